//! Check: what there is in a journal that no node has open, and what can be made of it.
//!
//! A journal that is damaged is made whole again as one new segment, which holds of each room what can be trusted. The old
//! files are kept beside it. What was there counts until the new segment is whole and on disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::JournalError;
use super::disk::{Disk, RealDisk, write_whole};
use super::head::Head;
use super::record::{Kind, write_base, write_record};
use super::segment::{HEADER, Header, Segments, at, lock_of};
pub use super::survey::Room;
use super::survey::{Damage, Survey, Torn, survey};

/// Tries to look at a journal that its node writes to meanwhile.
const TRIES: usize = 5;

/// What there is in a journal.
#[derive(Debug)]
pub struct Report {
    /// Whether a node has it open at this moment; what it has not yet written is not here.
    pub in_use: bool,
    /// Segments and their bytes.
    pub segments: BTreeMap<PathBuf, u64>,
    /// Rooms, as far as they can be trusted.
    pub rooms: BTreeMap<String, Room>,
    /// What is wrong.
    pub damage: Vec<Damage>,
    /// An end that a crash has cut short: no damage.
    pub torn: Option<Torn>,
}

/// Looks at a journal and changes nothing.
///
/// # Errors
/// [`JournalError::Io`].
pub fn check(dir: &Path) -> Result<Report, JournalError> {
    let mut tries = 1;
    loop {
        let in_use = RealDisk.is_locked(&lock_of(dir));
        match survey(&RealDisk, dir) {
            // Its node may have begun or removed segments meanwhile.
            Ok(found) if in_use && tries < TRIES && !found.damage.is_empty() => {}
            Err((_, error)) if in_use && tries < TRIES && error.kind() == io::ErrorKind::NotFound => {}
            Ok(found) => return Ok(report(dir, found, in_use)),
            Err((path, error)) => return Err(at(&path)(error)),
        }
        tries += 1;
    }
}

fn report(dir: &Path, found: Survey, in_use: bool) -> Report {
    let segments =
        found.segments.iter().map(|(number, bytes)| (super::segment::path_of(dir, *number), *bytes));
    Report {
        in_use,
        segments: segments.collect(),
        rooms: found.rooms,
        damage: found.damage,
        torn: found.torn,
    }
}

/// A journal that is held for its repair.
#[derive(Debug)]
pub struct Repair {
    segments: Segments,
    next: u64,
    report: Report,
}

impl Repair {
    /// Looks at a journal and keeps nodes away from it meanwhile.
    ///
    /// # Errors
    /// [`JournalError::Locked`], [`JournalError::Io`].
    pub fn begin(dir: &Path) -> Result<Self, JournalError> {
        Self::begin_on(Arc::new(RealDisk), dir)
    }

    /// As [`Self::begin`], of a journal on another disk.
    ///
    /// # Errors
    /// As there.
    pub fn begin_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, JournalError> {
        // No directory is made for a journal that is not there.
        disk.list(dir).map_err(at(dir))?;
        let segments = Segments::open(disk, dir)?;
        let found = survey(&*segments.disk, dir).map_err(|(path, error)| at(&path)(error))?;
        let next = found.next;
        Ok(Self { segments, next, report: report(dir, found, false) })
    }

    /// What there is.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Makes the journal whole again; where the old files are.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the journal is as it was, or whole.
    pub fn run(self) -> Result<PathBuf, JournalError> {
        let (disk, dir) = (&*self.segments.disk, &*self.segments.dir);
        let seed = getrandom::u32().map_err(JournalError::Random)?;
        let mut bytes = Header { number: self.next, previous: None, seed }.to_bytes().to_vec();
        for (name, room) in &self.report.rooms {
            write_base(&mut bytes, seed, name, room.past.generation, &room.past.base);
            if !room.past.inputs.is_empty() {
                write_record(&mut bytes, seed, Kind::Inputs, name, &room.past.inputs);
            }
        }
        let kept = dir.join("aside").join(format!("repair-{}", crate::snowflake::now_ms()));
        self.keep(disk, dir, &kept).map_err(at(&kept))?;
        let empty = bytes.len() == HEADER;
        let path = self.segments.path(self.next);
        let head = Head { floor: self.next, last: self.next, bytes: bytes.len() as u64 };
        let head = if empty { Head { last: self.next.saturating_sub(1), bytes: 0, ..head } } else { head };
        if !empty {
            write_whole(disk, &path, &bytes).map_err(at(&path))?;
        }
        // From here on the segments before it are of no use.
        head.write(disk, dir).map_err(at(dir))?;
        self.segments.remove_below(self.next).map_err(at(dir))?;
        Ok(kept)
    }

    /// Gives all files of the journal a second name in another directory.
    fn keep(&self, disk: &dyn Disk, dir: &Path, kept: &Path) -> io::Result<()> {
        disk.create_dir(kept)?;
        for name in disk.list(dir)? {
            if name == "head" || name.ends_with(".seg") {
                disk.link(&dir.join(&name), &kept.join(&name))?;
            }
        }
        disk.sync_dir(kept)
    }
}
