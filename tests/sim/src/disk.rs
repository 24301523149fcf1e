//! Disk: the disks of a simulated cluster, one a host, which all hosts read as the storage that they share.
//!
//! Each is the journal's own disk in memory, which fills up, fails, and loses in a power cut what was not
//! synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use hotseat::journal::disk::{Disk, DiskFile, Lock, MemoryDisk, Operation, Stamp};

use crate::lock;
use crate::rng::Rng;

/// Bytes of a sector, which a power cut leaves written or not.
const SECTOR: usize = 512;

/// All disks, by the directory of the host whose it is. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disks {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    disks: BTreeMap<PathBuf, MemoryDisk>,
    /// Those whose syncs do not come back.
    slow: BTreeSet<PathBuf>,
}

impl Disks {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// The disk that a file of a journal is on.
    fn of(&self, path: &Path) -> MemoryDisk {
        let journal = path.ancestors().find(|dir| dir.ends_with("journal"));
        let dir = journal.and_then(Path::parent).unwrap_or(path);
        self.host(dir)
    }

    fn host(&self, dir: &Path) -> MemoryDisk {
        self.inner().disks.entry(dir.to_owned()).or_default().clone()
    }

    /// There is space for so many bytes more, and then for none.
    pub(crate) fn fill(&self, dir: &Path, spare: usize) {
        let disk = self.host(dir);
        disk.set_capacity(Some(disk.used() + spare));
    }

    /// In so many cases of a hundred it does not do what it is asked to, but for reading.
    pub(crate) fn fail(&self, dir: &Path, percent: u64, mut rng: Rng) {
        self.host(dir).set_fault(move |operation, _| {
            let fails = operation != Operation::Read && rng.chance(percent);
            fails.then(|| io::Error::other("the simulated disk fails"))
        });
    }

    /// Its syncs take longer than anybody waits.
    pub(crate) fn slow_down(&self, dir: &Path) {
        self.inner().slow.insert(dir.to_owned());
    }

    /// It has space again, and works.
    pub(crate) fn heal(&self, dir: &Path) {
        let disk = self.host(dir);
        disk.set_capacity(None);
        disk.clear_fault();
        self.inner().slow.remove(dir);
    }

    pub(crate) fn is_slow(&self, dir: &Path) -> bool {
        self.inner().slow.contains(dir)
    }

    /// The machine has no power: of what was not synced some is there, up to a byte or a sector, and maybe
    /// zeros behind it.
    pub(crate) fn cut_power(&self, dir: &Path, rng: &mut Rng) {
        self.host(dir).cut_power(|_, unsynced| {
            let kept = rng.index(unsynced + 1);
            let kept = if rng.chance(50) { kept - kept % SECTOR } else { kept };
            let zeros = if rng.chance(50) { rng.index(unsynced - kept + 1) } else { 0 };
            (kept, zeros)
        });
    }
}

impl Disk for Disks {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.of(dir).create_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.of(path).lock(path)
    }

    fn is_locked(&self, path: &Path) -> bool {
        self.of(path).is_locked(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.of(dir).list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.of(path).read(path)
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        self.of(path).stamp(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.of(path).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.of(to).rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.of(to).link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.of(path).remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.of(dir).sync_dir(dir)
    }
}
