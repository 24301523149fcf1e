//! Memory: what a node keeps beside its data of the machine number it had, `machine-id.json`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::generator::{MACHINES, TIME_END_MS};
use crate::files;

/// The file in the data directory.
pub const FILE: &str = "machine-id.json";
/// A file of ours is smaller by far.
const SIZE_MAX: u64 = 4096;

/// The number this node had last, and the millisecond below which all its ids are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) machine: u16,
    pub(super) mark_ms: u64,
}

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Notebook {
    path: PathBuf,
}

impl Notebook {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn of(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE) }
    }

    /// What it says. A file that says nothing sensible is as good as none: discovery has the mark too. Blocks on the disk.
    pub(super) fn read(&self) -> Option<Memory> {
        let bytes = match fs::metadata(&self.path) {
            Ok(file) if file.len() > SIZE_MAX => Err(format!("{} bytes, at most {SIZE_MAX}", file.len())),
            Ok(_) => fs::read(&self.path).map_err(|e| e.to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        let memory = bytes
            .and_then(|bytes| serde_json::from_slice::<Memory>(&bytes).map_err(|e| e.to_string()))
            .and_then(|memory| {
                let fine = memory.machine < MACHINES && memory.mark_ms < TIME_END_MS;
                if fine { Ok(memory) } else { Err(format!("out of range: {memory:?}")) }
            });
        memory
            .inspect_err(|why| {
                warn!(file = %self.path.display(), why, "not read: the machine number used last is not known");
            })
            .ok()
    }

    /// Writes it, whole or not at all; on disk when this returns. Blocks on the disk.
    pub(super) fn write(&self, memory: Memory) -> io::Result<()> {
        let bytes = serde_json::to_vec(&memory).expect("two numbers are JSON");
        files::write_whole(&self.path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_was_written_and_reads_nothing_out_of_rubbish() {
        let dir = tempfile::tempdir().unwrap();
        let book = Notebook::of(dir.path());
        assert_eq!(book.read(), None);
        let memory = Memory { machine: 7, mark_ms: 1_700_000_000_000 };
        book.write(memory).unwrap();
        assert_eq!(book.read(), Some(memory));
        let file = dir.path().join(FILE);
        let far = format!(r#"{{"machine":0,"mark_ms":{TIME_END_MS}}}"#);
        for rubbish in ["", "7", r#"{"machine":1024,"mark_ms":1}"#, &far, &"x".repeat(5000)] {
            fs::write(&file, rubbish).unwrap();
            assert_eq!(book.read(), None, "{rubbish:?}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let book = Notebook::of(Path::new("/proc/nowhere"));
        assert!(book.write(Memory { machine: 0, mark_ms: 0 }).is_err());
        assert_eq!(book.read(), None);
    }
}
