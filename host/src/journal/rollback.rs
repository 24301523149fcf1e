//! Rollback: files that keep what a room was when a version took it over, and its inputs since.
//!
//! The version before is given both when an operator goes back to it, or the node does on probation. A file is a run of
//! pieces, little-endian: `u32 length | u32 crc | bytes`, the crc (CRC-32, IEEE 802.3) covering the bytes. The first piece
//! is the base of the hand-over, the others are inputs in order. One is written whenever a room's log is replaced by a
//! snapshot; what is small waits in memory for more. No file outlives the process: what an earlier one has left is removed
//! at the start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::IntGauge;

/// Bytes of a piece before its content.
const HEAD: usize = 8;

/// Inputs of a room that wait in memory for more, bytes: 4,096 rooms hold 64 MiB then.
const TAIL_MAX: usize = 16 << 10;

/// Why something is not kept, or cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The bound of all files together is reached.
    #[error("more than rollback_max_bytes = {most} would be kept")]
    Full {
        /// The bound.
        most: u64,
    },
    /// A file or the directory cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{0} is damaged")]
    Damaged(PathBuf),
}

/// All files of a node, and their common bound.
#[derive(Debug)]
pub struct RollbackStore {
    dir: PathBuf,
    most: u64,
    used: AtomicU64,
    serial: AtomicU64,
    gauge: IntGauge,
}

impl RollbackStore {
    /// Keeps at most `most` bytes in `dir`, which is made for the first file. Removes what an earlier process left there.
    ///
    /// # Errors
    /// If that cannot be removed.
    pub fn open(dir: &Path, most: u64, gauge: IntGauge) -> io::Result<Self> {
        match fs::remove_dir_all(dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(source),
            _ => {}
        }
        let (used, serial) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { dir: dir.to_owned(), most, used, serial, gauge })
    }

    /// The bound of all files together, bytes.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Begins a file. Nothing is written before there is something to keep.
    pub fn begin(self: &Arc<Self>, room: &str) -> RollbackFile {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{}-{serial}.rollback", room.replace('/', "_")));
        RollbackFile { store: Arc::clone(self), path, tail: Vec::new(), based: false, taken: 0 }
    }

    fn take(&self, bytes: u64) -> Result<(), RollbackError> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.gauge.add(i64::try_from(bytes).unwrap_or(i64::MAX));
                Ok(())
            }
            Err(_) => Err(RollbackError::Full { most: self.most }),
        }
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.gauge.sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// What one room keeps. The file goes when this is dropped.
#[derive(Debug)]
pub struct RollbackFile {
    store: Arc<RollbackStore>,
    path: PathBuf,
    /// Inputs that are not in the file yet.
    tail: Vec<u8>,
    /// The base is in the file.
    based: bool,
    /// Bytes that count against the bound.
    taken: u64,
}

impl RollbackFile {
    /// Whether it has a base, and with it everything up to the last inputs it was given.
    pub fn has_base(&self) -> bool {
        self.based
    }

    /// Bytes kept.
    pub fn bytes(&self) -> u64 {
        self.taken
    }

    /// Keeps the base of the hand-over, before any inputs. Blocks on the disk.
    ///
    /// # Errors
    /// [`RollbackError::Full`], [`RollbackError::Io`]; what is kept is of no more use then.
    pub fn base(&mut self, base: &[u8]) -> Result<(), RollbackError> {
        self.take(base.len())?;
        fs::create_dir_all(&self.store.dir).map_err(|source| io_at(&self.store.dir, source))?;
        let bytes = piece(base);
        // What players send and what a plugin is configured with is for nobody else on the machine.
        let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path);
        create().and_then(|mut file| file.write_all(&bytes)).map_err(|source| io_at(&self.path, source))?;
        self.based = true;
        Ok(())
    }

    /// Keeps inputs that follow. May block on the disk.
    ///
    /// # Errors
    /// As for [`Self::base`].
    pub fn inputs(&mut self, records: &[u8]) -> Result<(), RollbackError> {
        self.take(records.len())?;
        if self.tail.len() + records.len() <= TAIL_MAX {
            self.tail.extend_from_slice(records);
            return Ok(());
        }
        let mut inputs = std::mem::take(&mut self.tail);
        inputs.extend_from_slice(records);
        let bytes = piece(&inputs);
        let open = || OpenOptions::new().append(true).open(&self.path);
        open().and_then(|mut file| file.write_all(&bytes)).map_err(|source| io_at(&self.path, source))
    }

    fn take(&mut self, bytes: usize) -> Result<(), RollbackError> {
        self.store.take(bytes as u64)?;
        self.taken += bytes as u64;
        Ok(())
    }

    /// Reads everything back: the base, and the inputs piece by piece. Blocks on the disk.
    ///
    /// # Errors
    /// [`RollbackError::Io`], [`RollbackError::Damaged`].
    pub fn read(&self) -> Result<(Vec<u8>, Pieces<'_>), RollbackError> {
        let file = File::open(&self.path).map_err(|source| io_at(&self.path, source))?;
        let mut pieces = Pieces { of: self, file: Some(BufReader::new(file)) };
        match pieces.read()? {
            Some(base) => Ok((base, pieces)),
            None => Err(RollbackError::Damaged(self.path.clone())),
        }
    }
}

impl Drop for RollbackFile {
    fn drop(&mut self) {
        self.store.give_back(self.taken);
        if self.based {
            // One that stays is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Inputs as they were kept, oldest first; each piece is a run of records.
#[derive(Debug)]
pub struct Pieces<'a> {
    of: &'a RollbackFile,
    /// None once the file has been read to its end.
    file: Option<BufReader<File>>,
}

impl Pieces<'_> {
    /// The next piece of the file.
    fn read(&mut self) -> Result<Option<Vec<u8>>, RollbackError> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let io = |source| io_at(&self.of.path, source);
        let damaged = || RollbackError::Damaged(self.of.path.clone());
        let mut head = Vec::with_capacity(HEAD);
        file.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(io)?;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = match head[..] {
            [] => return Ok(None),
            _ => *head.first_chunk::<HEAD>().ok_or_else(damaged)?,
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let mut bytes = Vec::new();
        file.by_ref().take(length.into()).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() != length as usize || crc32fast::hash(&bytes) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(damaged());
        }
        Ok(Some(bytes))
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Vec<u8>, RollbackError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Err(error) => {
                self.file = None;
                return Some(Err(error));
            }
            Ok(Some(inputs)) => return Some(Ok(inputs)),
            Ok(None) => {}
        }
        // The file ends, and behind it is what waits in memory; once.
        self.file.take()?;
        (!self.of.tail.is_empty()).then(|| Ok(self.of.tail.clone()))
    }
}

fn piece(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + bytes.len());
    let length = u32::try_from(bytes.len()).expect("bases and logs are far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

fn io_at(path: &Path, source: io::Error) -> RollbackError {
    RollbackError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &Path, most: u64) -> Arc<RollbackStore> {
        let gauge = IntGauge::new("kept", "kept").unwrap();
        Arc::new(RollbackStore::open(dir, most, gauge).unwrap())
    }

    #[test]
    fn what_is_kept_is_read_back_in_order_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("rollback");
        let store = store(&dir, 1 << 20);
        let mut file = store.begin("home/1");
        assert!(!file.has_base());
        file.base(b"base").unwrap();
        let big = vec![7; TAIL_MAX + 1];
        for inputs in [&b"one"[..], b"two", &big, b"three"] {
            file.inputs(inputs).unwrap();
        }
        let (base, pieces) = file.read().unwrap();
        let pieces: Vec<_> = pieces.map(Result::unwrap).collect();
        assert_eq!((&base[..], pieces.concat()), (&b"base"[..], [b"onetwo", &big[..], b"three"].concat()));
        assert_eq!(pieces.len(), 2);
        assert_eq!(store.gauge.get(), 4 + 6 + 5 + i64::try_from(big.len()).unwrap());
        drop(file);
        assert_eq!((store.gauge.get(), fs::read_dir(&dir).unwrap().count()), (0, 0));
    }

    #[test]
    fn the_bound_is_one_for_all_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), 10);
        let (mut one, mut two) = (store.begin("a"), store.begin("b"));
        one.base(&[1; 6]).unwrap();
        let text = two.base(&[2; 6]).unwrap_err().to_string();
        assert_eq!(text, "more than rollback_max_bytes = 10 would be kept");
        drop(one);
        two.base(&[2; 6]).unwrap();
    }

    #[test]
    fn a_file_that_was_changed_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), 1 << 20);
        let mut file = store.begin("a");
        file.base(b"base").unwrap();
        let mut bytes = fs::read(&file.path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file.path, bytes).unwrap();
        assert!(matches!(file.read(), Err(RollbackError::Damaged(_))));
    }
}
