//! Segment: the files of a journal and the form of their records.
//!
//! A file `NNNNNNNNNNNNNNNN.seg` (its number, hexadecimal) begins with [`MAGIC`]; then records, little-endian:
//! `u32 length | u32 crc | u8 kind | u8 name length | name | bytes`, `length` counting what follows the crc and the crc
//! (CRC-32, IEEE 802.3) covering it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{JournalError, Past};

/// What every segment begins with: the format and its version.
pub(super) const MAGIC: &[u8; 8] = b"hotseat\x02";

/// Bytes of a record before its kind.
pub(super) const HEAD: usize = 8;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A room's base; it makes what came before it useless.
    Base = 1,
    /// Inputs since.
    Inputs = 2,
    /// The room has ended.
    Ended = 3,
    /// What a dead letter is about; in no journal.
    Letter = 4,
}

impl Kind {
    pub(super) fn of(byte: u8) -> Option<Self> {
        [Self::Base, Self::Inputs, Self::Ended, Self::Letter].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Appends a record; its length. Room names are at most 64 bytes, bases and inputs far below 4 GiB.
pub(super) fn write_record(out: &mut Vec<u8>, kind: Kind, room: &str, bytes: &[u8]) -> usize {
    let name = u8::try_from(room.len()).expect("room names are at most 64 bytes");
    let length = 2 + room.len() + bytes.len();
    let start = out.len();
    out.reserve(HEAD + length);
    out.extend_from_slice(&u32::try_from(length).expect("a record is below 4 GiB").to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind as u8, name]);
    out.extend_from_slice(room.as_bytes());
    out.extend_from_slice(bytes);
    let crc = crc32fast::hash(&out[start + HEAD..]);
    out[start + 4..start + HEAD].copy_from_slice(&crc.to_le_bytes());
    HEAD + length
}

/// The directory of segments, held by this process alone.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    _lock: File,
}

impl Segments {
    pub(super) fn open(dir: &Path) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(at(dir))?;
        let path = dir.join("lock");
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(JournalError::Locked(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(JournalError::Io { path, source }),
        }
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016x}.seg"))
    }

    /// The numbers of the segments that are there, rising.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, JournalError> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let name = entry.map_err(at(&self.dir))?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".seg"));
            numbers.extend(stem.and_then(|stem| u64::from_str_radix(stem, 16).ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.numbers().ok()?.last().copied()
    }

    /// Begins a segment.
    pub(super) fn create(&self, number: u64) -> io::Result<File> {
        let mut file = OpenOptions::new().create_new(true).append(true).open(self.path(number))?;
        file.write_all(MAGIC)?;
        // The directory entry must outlive a power cut as the records do.
        File::open(&self.dir)?.sync_all()?;
        Ok(file)
    }

    /// Removes the segments below `number`.
    pub(super) fn remove_below(&self, number: u64) -> Result<(), JournalError> {
        for old in self.numbers()?.into_iter().filter(|old| *old < number) {
            let path = self.path(old);
            fs::remove_file(&path).map_err(at(&path))?;
        }
        Ok(())
    }
}

/// Writes one room's records into a file of their own, in the form of a segment.
pub(super) fn write_aside(path: &Path, room: &str, past: &Past) -> Result<(), JournalError> {
    let mut bytes = MAGIC.to_vec();
    write_record(&mut bytes, Kind::Base, room, &past.base);
    write_record(&mut bytes, Kind::Inputs, room, &past.inputs);
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(at(parent))?;
    let write =
        || File::create(path).and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
    write().map_err(at(path))
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}
