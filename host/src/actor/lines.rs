//! Lines: a text file that grows by whole lines, each on disk before it counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tracing::{error, warn};

use crate::files;

/// What lines are written to; but for tests, a file.
pub(super) trait Sheet: Write {
    /// Cuts it off behind so many bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// Brings it to disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Sheet for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length)).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Lines<S = File> {
    path: PathBuf,
    sheet: S,
    /// Bytes of whole lines.
    length: u64,
    /// Whether there may be more behind them: what a failed write has left.
    unclean: bool,
}

impl Lines {
    /// Opens a file, and makes it if it is not there. What it holds, and lines to go on with. A last line without an end,
    /// as a crash or a full disk leaves it, does not count: it is cut off, and kept in a file beside.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            keep(path, &text[whole..]);
            text.truncate(whole);
        }
        let unclean = true;
        Ok((Self { path: path.to_owned(), sheet: file, length: whole as u64, unclean }, text))
    }
}

/// Keeps half a line, which is cut off next.
fn keep(path: &Path, half: &[u8]) {
    let (file, bytes) = (path.display(), half.len());
    let kept = path.with_extension("cut");
    match files::write_whole(&kept, half) {
        Ok(()) => warn!(%file, bytes, kept = %kept.display(), "the last line has no end and does not count"),
        Err(error) => {
            let line = String::from_utf8_lossy(&half[..half.len().min(1024)]);
            error!(%file, bytes, %error, ?line, "the last line has no end, does not count, and cannot be kept");
        }
    }
    // An earlier process may have been killed while it wrote this one.
    let _ = fs::remove_file(path.with_extension("cut.partial"));
}

impl<S: Sheet> Lines<S> {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line, which has no end of its own. One that cannot be written leaves nothing behind.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn push(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        if self.unclean {
            self.sheet.cut(self.length)?;
        }
        self.unclean = true;
        let written = self.sheet.write_all(&line).and_then(|()| self.sheet.sync());
        if let Err(error) = written {
            // If this fails too, it is done before the next line is written, or when the file is opened.
            self.unclean = self.sheet.cut(self.length).is_err();
            return Err(error);
        }
        self.length += line.len() as u64;
        self.unclean = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sheet with so much space; what it cannot do is not done.
    #[derive(Default)]
    struct Small {
        text: Vec<u8>,
        space: usize,
        cuts: bool,
        syncs: bool,
    }

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.space - self.text.len());
            self.text.extend(&bytes[..count]);
            if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sheet for Small {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            if !self.cuts {
                return Err(io::ErrorKind::Other.into());
            }
            self.text.truncate(usize::try_from(length).unwrap());
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            if self.syncs { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
        }
    }

    #[test]
    fn a_line_that_is_written_in_part_or_not_synced_is_cut_back_at_once_or_later() {
        for cuts in [true, false] {
            let sheet = Small { space: 10, cuts: true, syncs: true, ..Small::default() };
            let mut lines = Lines { path: PathBuf::new(), sheet, length: 0, unclean: false };
            lines.push(b"one".to_vec()).unwrap();
            lines.sheet.cuts = cuts;
            lines.push(b"much too long".to_vec()).unwrap_err();
            lines.sheet.space = 100;
            lines.sheet.syncs = false;
            lines.push(b"not synced".to_vec()).unwrap_err();
            assert!(lines.sheet.text.starts_with(b"one\n"));
            (lines.sheet.cuts, lines.sheet.syncs) = (true, true);
            lines.push(b"two".to_vec()).unwrap();
            assert_eq!(lines.sheet.text, b"one\ntwo\n");
        }
    }

    #[test]
    fn half_a_line_at_the_end_is_cut_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        for half in [&b"{\"at_ms\":"[..], &[0; 300], b"\xff\xfe"] {
            fs::write(&path, [b"one\n", half].concat()).unwrap();
            let (mut lines, text) = Lines::open(&path).unwrap();
            assert_eq!(text, b"one\n");
            lines.push(b"two".to_vec()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
            assert_eq!(fs::read(dir.path().join("history.cut")).unwrap(), half);
        }
    }
}
