//! Cache: compiled code on disk, so that a restart or a roll-back compiles nothing.
//!
//! A file is named by the artefact's digest, by the engine's compatibility hash and by the contract that artefacts are
//! verified against; a file that does not fit this engine is therefore never opened, and who finds one knows that the
//! artefact has been verified. Any failure is a miss.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// A file that is being written; what is left of it goes when this is dropped.
pub(super) struct Partial {
    pub(super) partial: PathBuf,
    path: PathBuf,
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It has got its name, or was never made, or stays until the cache is trimmed.
        let _ = fs::remove_file(&self.partial);
    }
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
        (env!("CARGO_PKG_VERSION"), hotseat_build::WIT).hash(&mut hasher);
        Some(self.dir.as_ref()?.join(format!("{digest}-{:016x}.cwasm", hasher.finish())))
    }

    /// The compiled component, if it is here and sound.
    #[expect(unsafe_code, reason = "maps compiled code from the private cache directory; see below")]
    pub(super) fn get(&self, engine: &wasmtime::Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(engine, digest)?;
        if !path.is_file() {
            return None;
        }
        // SAFETY: `deserialize_file` trusts the file's contents. The directory is 0700 and owned by this user. Files
        // get their name only by `put` and `take_over`, whole, and what these rename was written by this engine
        // version: in this process, or in a worker that runs this same program, was started for that one file by
        // `CompileLimits::compile` and has ended well. A worker reads an artefact from outside, as this process would
        // otherwise, and what it writes is what the compiler makes of it. Artefacts themselves are never read from here.
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

    /// Where a worker is to write the code of an artefact, for [`Self::take_over`]: a name that nobody else uses.
    pub(super) fn partial(&self, engine: &wasmtime::Engine, digest: &Digest) -> Option<Partial> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.path(engine, digest)?;
        let partial = path.with_extension(format!("{}-{number}.partial", std::process::id()));
        Some(Partial { partial, path })
    }

    /// Keeps what a worker has written.
    pub(super) fn take_over(&self, partial: &Partial) -> io::Result<()> {
        fs::rename(&partial.partial, &partial.path)?;
        self.trim();
        Ok(())
    }

    fn try_put(
        &self,
        engine: &wasmtime::Engine,
        digest: &Digest,
        component: &Component,
    ) -> Result<(), wasmtime::Error> {
        let Some(path) = self.path(engine, digest) else { return Ok(()) };
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        let code = component.serialize()?;
        let written = fs::write(&partial, code).and_then(|()| fs::rename(&partial, &path));
        written.inspect_err(|_| drop(fs::remove_file(&partial)))?;
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
