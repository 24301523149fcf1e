//! Scratch: the directory of one demo.

use std::fs;
use std::path::{Path, PathBuf};

use super::DemoError;

/// A directory, removed at the end unless it is to be kept.
pub(super) struct Scratch {
    dir: PathBuf,
    keep: bool,
}

impl Scratch {
    /// The directory that was asked for, or a temporary one of this process.
    pub(super) fn new(asked: Option<&Path>) -> Result<Self, DemoError> {
        let temporary = || std::env::temp_dir().join(format!("hotseat-demo-{}", std::process::id()));
        let scratch = Self { dir: asked.map_or_else(temporary, Path::to_owned), keep: asked.is_some() };
        scratch.make().map_err(|source| DemoError::File { path: scratch.dir.clone(), source })?;
        Ok(scratch)
    }

    fn make(&self) -> std::io::Result<()> {
        if !self.keep {
            // A process that was killed and had our number may have left it behind.
            match fs::remove_dir_all(&self.dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::create_dir_all(&self.dir)?;
        if fs::read_dir(&self.dir)?.next().is_some() {
            return Err(std::io::Error::other("there is something in it; the demo begins with nothing"));
        }
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps it; where the node's log is.
    pub(super) fn keep(&mut self) -> Option<PathBuf> {
        self.keep = true;
        Some(self.dir.join(super::node::LOG)).filter(|log| log.is_file())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What stays is in the system's directory for temporary files.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_something_in_it_is_refused_and_left_alone() {
        let full = tempfile::tempdir().unwrap();
        fs::write(full.path().join("mine"), "x").unwrap();
        assert!(Scratch::new(Some(full.path())).is_err());
        assert!(full.path().join("mine").is_file());
        let fresh = full.path().join("fresh");
        drop(Scratch::new(Some(&fresh)).unwrap());
        assert!(fresh.is_dir());
    }
}
