//! Segment: the files of a journal.
//!
//! A file `NNNNNNNNNNNNNNNN.seg` (its number, hexadecimal) begins with [`SEGMENT_MAGIC`] and says, little-endian: `u64 its
//! number | u64 length of the segment before it | u64 bytes behind that which do not count | u32 crc of that length |
//! u32 seed of its records | u32 crc of this header`; then records. So a segment that is missing, doubled, cut or another
//! is seen. A length of [`UNKNOWN`]: the segment before it could not be synced. Segments that begin with [`MAGIC`] are
//! those of an earlier version and have no more of a header.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, Lock, write_all, write_whole};
use super::record::{Kind, write_base, write_record};
use super::{JournalError, SavedState};

/// What dead letters and files set aside begin with, and segments of an earlier version; seed 0.
pub(super) const MAGIC: &[u8; 8] = b"hotseat\x02";

/// What every segment begins with: the format and its version.
pub(super) const SEGMENT_MAGIC: &[u8; 8] = b"hotseat\x03";

/// Bytes of a segment before its first record.
pub(super) const HEADER: usize = 44;

const UNKNOWN: u64 = u64::MAX;

/// How a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Bytes that count.
    pub(super) length: u64,
    /// Bytes behind them: the record that a crash cut short.
    pub(super) cut: u64,
    /// CRC-32 of the bytes that count.
    pub(super) crc: u32,
}

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    /// The end of the one before it, if that is known.
    pub(super) previous: Option<End>,
    pub(super) seed: u32,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER] {
        let previous = self.previous.unwrap_or(End { length: UNKNOWN, cut: 0, crc: 0 });
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&previous.length.to_le_bytes());
        bytes[24..32].copy_from_slice(&previous.cut.to_le_bytes());
        bytes[32..36].copy_from_slice(&previous.crc.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.seed.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..40]);
        bytes[40..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn of(bytes: &[u8; HEADER]) -> Option<Self> {
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        if !bytes.starts_with(SEGMENT_MAGIC) || crc32fast::hash(&bytes[..40]) != short(40) {
            return None;
        }
        let end = End { length: long(16), cut: long(24), crc: short(32) };
        let previous = (end.length != UNKNOWN).then_some(end);
        Some(Self { number: long(8), previous, seed: short(36) })
    }
}

/// How a file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// It has been begun, and has no record.
    Begun,
    /// As segments did in an earlier version.
    Old,
    /// As segments do.
    New(Header),
    /// Otherwise.
    Foreign,
}

impl Opening {
    pub(super) fn of(bytes: &[u8]) -> Self {
        if let Some(header) = bytes.first_chunk::<HEADER>()
            && let Some(header) = Header::of(header)
        {
            return if bytes.len() == HEADER { Self::Begun } else { Self::New(header) };
        }
        let begins = |magic: &[u8]| magic.starts_with(&bytes[..bytes.len().min(magic.len())]);
        let half_a_header = bytes.len() < HEADER && begins(SEGMENT_MAGIC);
        // A power cut leaves zeros where a file had been given space that was not written.
        if half_a_header || bytes == MAGIC || bytes.iter().all(|byte| *byte == 0) {
            return Self::Begun;
        }
        if bytes.starts_with(MAGIC) {
            return Self::Old;
        }
        if begins(MAGIC) { Self::Begun } else { Self::Foreign }
    }

    /// Where its records begin.
    pub(super) fn records_at(self) -> usize {
        if matches!(self, Self::Old) { MAGIC.len() } else { HEADER }
    }

    pub(super) fn seed(self) -> u32 {
        if let Self::New(header) = self { header.seed } else { 0 }
    }
}

/// The path of a segment.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.seg"))
}

/// The number of a segment of a journal, by its name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(".seg")?;
    (stem.len() == 16).then(|| u64::from_str_radix(stem, 16).ok())?
}

/// The directory of segments, held by this process alone.
#[derive(Debug)]
pub(super) struct Segments {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    _lock: Lock,
}

impl Segments {
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, JournalError> {
        disk.create_dir(dir).map_err(at(dir))?;
        let path = lock_of(dir);
        match disk.lock(&path).map_err(at(&path))? {
            Some(lock) => Ok(Self { disk, dir: dir.to_owned(), _lock: lock }),
            None => Err(JournalError::Locked(dir.to_owned())),
        }
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        path_of(&self.dir, number)
    }

    /// Begins a segment. One that this process has begun before and could not finish is begun anew: a number that is
    /// given out is above those of all segments with records.
    pub(super) fn begin(&self, header: Header) -> io::Result<Box<dyn DiskFile>> {
        let mut file = self.disk.create(&self.path(header.number))?;
        write_all(&mut *file, &header.to_bytes())?;
        // The directory entry must outlive a power cut as the records do.
        self.disk.sync_dir(&self.dir)?;
        Ok(file)
    }

    /// Removes the segments below `number`.
    pub(super) fn remove_below(&self, number: u64) -> io::Result<()> {
        let names = self.disk.list(&self.dir)?;
        let mut old: Vec<u64> =
            names.iter().filter_map(|name| number_of(name)).filter(|it| *it < number).collect();
        old.sort_unstable();
        old.into_iter().try_for_each(|number| self.disk.remove(&self.path(number)))
    }
}

/// The file that says that a process has the journal.
pub(super) fn lock_of(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// Writes one room's records into a file of their own, in the form of a segment of an earlier version.
pub(super) fn write_aside(
    disk: &dyn Disk,
    path: &Path,
    room: &str,
    past: &SavedState,
) -> Result<(), JournalError> {
    let mut bytes = MAGIC.to_vec();
    write_base(&mut bytes, 0, room, past.generation, &past.base);
    write_record(&mut bytes, 0, Kind::Inputs, room, &past.inputs);
    let parent = path.parent().unwrap_or(Path::new("."));
    disk.create_dir(parent).map_err(at(parent))?;
    write_whole(disk, path, &bytes).map_err(at(path))
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}
