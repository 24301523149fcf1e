//! Cache: compiled code on disk, so that a restart or a roll-back compiles nothing.
//!
//! A file is named by the artefact's digest and by the engine's compatibility hash; a file that does not fit this
//! engine is therefore never opened. Any failure is a miss.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

use hotseat_build::Digest;
use tracing::debug;
use wasmtime::component::Component;

/// Files kept; the least recently written ones go first.
const KEEP: usize = 64;

/// A directory of compiled components, private to this user.
pub(super) struct Cache {
    /// None: nothing is kept, and nothing found.
    dir: Option<PathBuf>,
}

impl Cache {
    /// Opens the cache, making the directory with mode 0700.
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        // The files are machine code that this process will run: nobody else may write them, also if the
        // directory was there before.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        Ok(Self { dir: Some(dir) })
    }

    /// A cache that keeps nothing.
    pub(super) fn none() -> Self {
        Self { dir: None }
    }

    fn path(&self, engine: &wasmtime::Engine, digest: &Digest) -> Option<PathBuf> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Some(self.dir.as_ref()?.join(format!("{digest}-{:016x}.cwasm", hasher.finish())))
    }

    /// The compiled component, if it is here and sound.
    #[expect(unsafe_code, reason = "maps compiled code from the private cache directory; see below")]
    pub(super) fn get(&self, engine: &wasmtime::Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(engine, digest)?;
        if !path.is_file() {
            return None;
        }
        // SAFETY: `deserialize_file` trusts the file's contents. The directory is 0700 and owned by this user, and
        // only `put` writes into it, by renaming whole files that this engine version produced. Artefacts that
        // come from outside are never read from here.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => Some(component),
            Err(error) => {
                debug!(path = %path.display(), error = format!("{error:#}"), "compiled code unusable, compiling anew");
                None
            }
        }
    }

    /// Stores a compiled component. Failing to is no error: the cache only saves time.
    pub(super) fn put(&self, engine: &wasmtime::Engine, digest: &Digest, component: &Component) {
        if let Err(error) = self.try_put(engine, digest, component) {
            debug!(dir = ?self.dir, %error, "compiled code not cached");
        }
        self.trim();
    }

    fn try_put(
        &self,
        engine: &wasmtime::Engine,
        digest: &Digest,
        component: &Component,
    ) -> Result<(), wasmtime::Error> {
        let Some(path) = self.path(engine, digest) else { return Ok(()) };
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        fs::write(&partial, component.serialize()?)?;
        fs::rename(&partial, &path)?;
        Ok(())
    }

    fn trim(&self) {
        let Some(Ok(entries)) = self.dir.as_ref().map(fs::read_dir) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        for (_, path) in files.iter().rev().skip(KEEP) {
            if let Err(error) = fs::remove_file(path) {
                debug!(path = %path.display(), %error, "old compiled code not removed");
            }
        }
    }
}
