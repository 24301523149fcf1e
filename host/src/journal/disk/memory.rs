//! Memory: a disk that exists in the process alone, for tests of what disks do wrong.
//!
//! It keeps what is written apart from what is synced, so that a power cut can be played: names that no sync of their
//! directory has confirmed are gone, and of each file the unsynced end is lost, wholly or in part.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Lock, Stamp};

/// What a disk is asked to do, as a fault is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A directory is made, or a file is begun.
    Create,
    /// Bytes are written.
    Write,
    /// A file is synced.
    Sync,
    /// A directory is synced.
    SyncDir,
    /// A file gets another name, or a second one.
    Rename,
    /// A file is removed.
    Remove,
    /// A file or directory is read.
    Read,
}

/// Whether an operation fails, and how.
type Fault = Box<dyn FnMut(Operation, &Path) -> Option<io::Error> + Send>;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<Files>>,
}

#[derive(Default)]
struct Files {
    /// What a process sees.
    names: BTreeMap<PathBuf, u64>,
    /// What a power cut leaves of it.
    kept_names: BTreeMap<PathBuf, u64>,
    contents: BTreeMap<u64, Content>,
    dirs: BTreeSet<PathBuf>,
    locked: BTreeSet<PathBuf>,
    next: u64,
    /// Bytes that all files together may have.
    capacity: Option<usize>,
    fault: Option<Fault>,
    /// Bytes written since the beginning.
    written: u64,
}

#[derive(Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
    /// How often it was changed.
    changes: i64,
}

impl std::fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryDisk").field("files", &self.files().names.len()).finish_non_exhaustive()
    }
}

impl MemoryDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All files together may have so many bytes from now on; none: as many as they like.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.files().capacity = bytes;
    }

    /// Operations fail from now on as `fault` says.
    pub fn set_fault(&self, fault: impl FnMut(Operation, &Path) -> Option<io::Error> + Send + 'static) {
        self.files().fault = Some(Box::new(fault));
    }

    /// No operation fails any more but for the capacity.
    pub fn clear_fault(&self) {
        self.files().fault = None;
    }

    /// The process has died: what it wrote is there, its locks are not.
    pub fn kill(&self) {
        self.files().locked.clear();
    }

    /// The power has failed. `left` says of each file, by its path and how many bytes of it were not synced, how many
    /// of these are there, and how many zeros stand behind them.
    pub fn cut_power(&self, mut left: impl FnMut(&Path, usize) -> (usize, usize)) {
        let mut files = self.files();
        files.locked.clear();
        files.names = files.kept_names.clone();
        let names: Vec<_> = files.names.iter().map(|(path, id)| (path.clone(), *id)).collect();
        for (path, id) in names {
            if let Some(content) = files.contents.get_mut(&id) {
                let (kept, zeros) = left(&path, content.bytes.len() - content.synced);
                content.bytes.truncate(content.synced + kept);
                content.bytes.resize(content.bytes.len() + zeros, 0);
                content.synced = content.bytes.len();
                content.changes += 1;
            }
        }
    }

    /// Bytes that all files together have.
    pub fn used(&self) -> usize {
        self.files().used()
    }

    /// Bytes written since the beginning.
    pub fn written(&self) -> u64 {
        self.files().written
    }

    /// Paths of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files().names.keys().cloned().collect()
    }

    /// Puts a file there, on disk.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut files = self.files();
        let id = files.fresh();
        files.contents.insert(id, Content { bytes: bytes.to_vec(), synced: bytes.len(), changes: 0 });
        files.names.insert(path.to_owned(), id);
        files.kept_names.insert(path.to_owned(), id);
    }
}

impl Files {
    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn check(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.fault.as_mut().and_then(|fault| fault(operation, path)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn id(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn used(&self) -> usize {
        self.names.values().filter_map(|id| self.contents.get(id)).map(|content| content.bytes.len()).sum()
    }

    fn space(&self) -> usize {
        self.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(self.used()))
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut files = self.files();
        files.check(Operation::Create, dir)?;
        for dir in dir.ancestors() {
            files.dirs.insert(dir.to_owned());
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut files = self.files();
        if !files.locked.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Held { disk: self.clone(), path: path.to_owned() })))
    }

    fn is_locked(&self, path: &Path) -> bool {
        self.files().locked.contains(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut files = self.files();
        files.check(Operation::Read, dir)?;
        if !files.dirs.contains(dir) && !files.names.keys().any(|path| path.starts_with(dir)) {
            return Err(ErrorKind::NotFound.into());
        }
        let there = files.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(there.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut files = self.files();
        files.check(Operation::Read, path)?;
        let id = files.id(path)?;
        Ok(files.contents.get(&id).map(|content| content.bytes.clone()).unwrap_or_default())
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        let mut files = self.files();
        files.check(Operation::Read, path)?;
        let id = files.id(path)?;
        let about = files.contents.get(&id).map(|content| (content.bytes.len() as u64, content.changes));
        let (length, changes) = about.unwrap_or_default();
        Ok(([id, length], [changes, 0]))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.files();
        files.check(Operation::Create, path)?;
        if files.space() == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let id = match files.id(path) {
            Ok(id) => id,
            Err(_) => files.fresh(),
        };
        let changes = files.contents.get(&id).map_or(0, |content| content.changes + 1);
        files.contents.insert(id, Content { changes, ..Content::default() });
        files.names.insert(path.to_owned(), id);
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_owned(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        files.check(Operation::Rename, to)?;
        let id = files.id(from)?;
        files.names.remove(from);
        files.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        files.check(Operation::Rename, to)?;
        let id = files.id(from)?;
        files.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut files = self.files();
        files.check(Operation::Remove, path)?;
        files.names.remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut files = self.files();
        files.check(Operation::SyncDir, dir)?;
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        files.kept_names.retain(|path, _| !inside(path));
        let now: Vec<_> =
            files.names.iter().filter(|(path, _)| inside(path)).map(|(p, id)| (p.clone(), *id)).collect();
        files.kept_names.extend(now);
        Ok(())
    }
}

struct Held {
    disk: MemoryDisk,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.files().locked.remove(&self.path);
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    id: u64,
}

impl DiskFile for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut files = self.disk.files();
        files.check(Operation::Write, &self.path)?;
        let count = bytes.len().min(files.space());
        if count == 0 && !bytes.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        files.written += count as u64;
        if let Some(content) = files.contents.get_mut(&self.id) {
            content.bytes.extend_from_slice(&bytes[..count]);
            content.changes += 1;
        }
        Ok(count)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut files = self.disk.files();
        files.check(Operation::Sync, &self.path)?;
        if let Some(content) = files.contents.get_mut(&self.id) {
            content.synced = content.bytes.len();
        }
        Ok(())
    }
}
