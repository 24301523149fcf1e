//! Head: what a journal says of its segments apart from them, in the file `head`.
//!
//! One line, written whole and synced: which segments must be there. It is written before segments are removed, when a new
//! one has got its first records to disk, and when the journal is closed.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::disk::{Disk, write_whole};

/// What must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Segments below this one are of no use any more.
    pub(super) floor: u64,
    /// The last one that had records on disk; below `floor` if there was none.
    pub(super) last: u64,
    /// Bytes of it that were on disk then.
    pub(super) bytes: u64,
}

pub(super) fn path_of(dir: &Path) -> PathBuf {
    dir.join("head")
}

impl Head {
    /// None if there is no such file; `Ok(Err(()))` if it says something else.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Result<Option<Self>, ()>> {
        match disk.read(&path_of(dir)) {
            Ok(bytes) => Ok(Self::of(&bytes).map(Some).ok_or(())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Ok(None)),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        write_whole(disk, &path_of(dir), self.to_text().as_bytes())
    }

    fn to_text(self) -> String {
        let Self { floor, last, bytes } = self;
        let line = format!("from {floor:016x} to {last:016x} with {bytes} bytes");
        format!("{line} crc {:08x}\n", crc32fast::hash(line.as_bytes()))
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.split(' ').skip(1).step_by(2);
        let floor = u64::from_str_radix(words.next()?, 16).ok()?;
        let last = u64::from_str_radix(words.next()?, 16).ok()?;
        let head = Self { floor, last, bytes: words.next()?.parse().ok()? };
        (head.to_text() == text).then_some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was_or_not_at_all() {
        let head = Head { floor: 7, last: 0x1f, bytes: 12_345 };
        let text = head.to_text();
        assert_eq!(Head::of(text.as_bytes()), Some(head));
        for at in 0..text.len() {
            assert_eq!(Head::of(&text.as_bytes()[..at]), None);
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            assert_eq!(Head::of(&bad), None, "{at}");
        }
    }
}
