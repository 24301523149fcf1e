//! Plugins: the artefacts that a replay runs, named by a person or found beside what is replayed.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hotseat_build::{Digest, Manifest};

use super::{Case, ReplayError, Source};
use crate::actor::artefacts;
use crate::plugin::{Engine, GAME_WORLD, Version};

/// What a node takes at most, bytes (`proto/admin.proto`).
const ARTEFACT_MAX: u64 = 64 << 20;

/// The plugin of rooms; shards have theirs in their name.
const ROOMS: &str = "game-logic";

/// Compiles artefacts.
pub struct Plugins {
    engine: Engine,
}

/// Whether a room is of the plugin with that manifest: shards of a service are named `PLUGIN#N`.
pub fn belongs(room: &str, manifest: &Manifest) -> bool {
    match room.split_once('#') {
        Some((plugin, _)) => plugin == manifest.name,
        None => manifest.world == GAME_WORLD,
    }
}

impl Plugins {
    /// Starts an engine of its own.
    ///
    /// # Errors
    /// [`ReplayError::Engine`].
    pub fn start() -> Result<Self, ReplayError> {
        Ok(Self { engine: Engine::transient()? })
    }

    /// Reads and compiles an artefact; takes seconds.
    ///
    /// # Errors
    /// [`ReplayError::File`], [`ReplayError::Version`].
    pub fn prepare(&self, path: &Path) -> Result<Arc<Version>, ReplayError> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(ARTEFACT_MAX).read_to_end(&mut bytes));
        read.map_err(|source| ReplayError::File { path: path.to_owned(), source })?;
        let version = Version::prepare(&self.engine, bytes.into());
        version.map(Arc::new).map_err(|source| ReplayError::Version { path: path.to_owned(), source })
    }

    /// The artefact that a case was played on, as far as the data directory knows: the one that a dead letter names, or
    /// the one that was live last.
    ///
    /// # Errors
    /// [`ReplayError::NoPlugin`] says where it was looked for.
    pub fn find(source: &Source, case: &Case) -> Result<PathBuf, ReplayError> {
        let of_room = case.room.split_once('#').map_or(ROOMS, |(plugin, _)| plugin);
        let plugin = source.letter.as_ref().map_or(of_room, |about| &about.plugin);
        let none = |why: String| ReplayError::NoPlugin { plugin: plugin.to_owned(), why };
        let Some(data_dir) = &source.data_dir else {
            return Err(none("the file does not lie in a data directory".to_owned()));
        };
        let digest = match &source.letter {
            Some(about) => about.digest.parse::<Digest>().ok(),
            // The name is a folder's: what it comes from may have been made up.
            None if plugin.contains(['/', '.']) => None,
            None => artefacts::last_live(data_dir, plugin),
        };
        let Some(digest) = digest else {
            return Err(none(format!("{} does not tell which version was live", data_dir.display())));
        };
        let plugins = data_dir.join("plugins");
        let file = format!("{digest}.wasm");
        let folders = fs::read_dir(&plugins).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files = folders.map(|folder| folder.join(&file));
        files
            .find(|path| path.is_file())
            .ok_or_else(|| none(format!("there is no {file} in {}", plugins.display())))
    }
}
