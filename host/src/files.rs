//! Files: small files that are there whole or not at all, and what is left of those that were not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tracing::{info, warn};

/// What the names of files end in that are being written.
const PARTIAL: &str = "partial";

/// How deep below a data directory files are written.
const DEPTH: u32 = 3;

/// Writes a file beside the one that is there and puts it in its place; on disk when this returns. Nothing is left of it
/// if that fails. Blocks on the disk.
///
/// # Errors
/// What the system says; what was there is there then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(path, bytes, 0o666)
}

/// The same; the file is for this user alone.
///
/// # Errors
/// As [`write_whole`].
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(path, bytes, 0o600)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(PARTIAL);
    let partial = Path::new(&name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(partial, path)?;
        match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().inspect_err(|_| drop(fs::remove_file(partial)))
}

/// Removes what processes that were killed, or met a full disk, have left half written in a data directory that no other
/// process uses.
pub fn remove_partials(dir: &Path) {
    remove_below(dir, DEPTH);
}

fn remove_below(dir: &Path, depth: u32) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => remove_below(&path, depth - 1),
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|it| it == PARTIAL) => {
                match fs::remove_file(&path) {
                    Ok(()) => info!(file = %path.display(), "removed what was left half written"),
                    Err(error) => warn!(file = %path.display(), %error, "half written file not removed"),
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_of_one_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        // A directory is in its place: it is written, and cannot be put there.
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        write_whole(&taken, b"three").unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_was_left_half_written_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let plugin = dir.path().join("plugins/game-logic");
        fs::create_dir_all(&plugin).unwrap();
        for path in [plugin.join("a.partial"), dir.path().join("machine-id.json.partial")] {
            fs::write(path, "half").unwrap();
        }
        fs::write(plugin.join("a.wasm"), "whole").unwrap();
        remove_partials(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&plugin).unwrap().count(), 1);
    }
}
