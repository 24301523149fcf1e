//! Survey: all that a journal's directory holds, what is wrong with it, and what of each room can be trusted.
//!
//! Changes nothing. A room can be trusted up to the first damage behind its last base: what was said of it after that may
//! lack something.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::head::{self, Head};
use super::record::{Bad, Kind, base_of, next_record, record};
use super::segment::{End, Opening, number_of, path_of};

/// What a room left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// Its last base.
    pub base: Vec<u8>,
    /// Its inputs since, in order.
    pub inputs: Vec<u8>,
    /// Rises with every change of its owner; of two states of one room the one of the higher generation is the later one.
    /// 0 for a room that has had one owner alone.
    pub generation: u64,
}

/// A place in a journal that cannot be as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// Bytes that cannot be read; 0 if it is not known.
    pub length: u64,
    /// What is wrong.
    pub what: String,
}

/// The end of the last segment that a crash, or a writer at work, has cut short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub path: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub tail: Vec<u8>,
}

/// A room, as far as it can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// What it left.
    pub past: SavedState,
    /// The segment of its base.
    pub segment: u64,
    /// Bytes of inputs that follow upon damage, and cannot be trusted.
    pub untrusted: u64,
    /// How much damage there had been when its base was read.
    damages: usize,
}

/// All that a journal's directory holds.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) rooms: BTreeMap<String, Room>,
    pub(super) damage: Vec<Damage>,
    pub(super) torn: Option<Torn>,
    /// Bytes by segment, of those that are needed.
    pub(super) segments: BTreeMap<u64, u64>,
    /// Segments that are of no use any more and have not been removed.
    pub(super) old: Vec<u64>,
    pub(super) head: Option<Head>,
    /// How the last segment with records ends.
    pub(super) end: Option<End>,
    /// The number of the next one.
    pub(super) next: u64,
}

/// Inputs whose base has not been seen, by room: where the first of them are.
type Headless = BTreeMap<String, (PathBuf, u64)>;

/// Reads a journal's directory; an error names the file.
pub(super) fn survey(disk: &dyn Disk, dir: &Path) -> Result<Survey, (PathBuf, io::Error)> {
    let mut survey = Survey::default();
    let mut headless = Headless::new();
    let head_path = head::path_of(dir);
    match Head::read(disk, dir).map_err(|error| (head_path.clone(), error))? {
        Ok(head) => survey.head = head,
        Err(()) => survey.damaged(&head_path, 0, 0, "it is not as it was written"),
    }
    let names = disk.list(dir).map_err(|error| (dir.to_owned(), error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    let floor = survey.head.map_or(0, |head| head.floor);
    let needed = numbers.partition_point(|number| *number < floor);
    survey.old = numbers.drain(..needed).collect();
    let mut expected = survey.head.map_or(numbers.first().copied().unwrap_or(1), |head| head.floor);
    // A segment says how the one before it ended, so the next one is read before this one is looked at.
    let mut next = read(disk, dir, numbers.first())?;
    for at in 0..numbers.len() {
        let (number, bytes) = (numbers[at], std::mem::take(&mut next));
        next = read(disk, dir, numbers.get(at + 1))?;
        if number > expected {
            survey.missing(dir, expected, number - 1);
        }
        let following = Opening::of(&next);
        let end = match following {
            Opening::New(header) if Some(header.number) == number.checked_add(1) => header.previous,
            _ => None,
        };
        let last = at + 1 == numbers.len() || (at + 2 == numbers.len() && following == Opening::Begun);
        if last && Opening::of(&bytes) == Opening::Begun && survey.synced(number) == 0 {
            // The process died while it began the segment; the next process begins it anew.
            expected = number;
            break;
        }
        expected = number.saturating_add(1);
        survey.take(dir, number, &bytes, (last, end), &mut headless);
    }
    survey.next = expected.max(1);
    if let Some(head) = survey.head {
        if head.last >= expected && head.last >= head.floor {
            survey.missing(dir, expected, head.last);
        }
        survey.next = survey.next.max(head.last.saturating_add(1));
    }
    for (room, (path, offset)) in headless {
        survey.damaged(&path, offset, 0, &format!("inputs of {room} stand here, and its base is nowhere"));
    }
    Ok(survey)
}

fn read(disk: &dyn Disk, dir: &Path, number: Option<&u64>) -> Result<Vec<u8>, (PathBuf, io::Error)> {
    let Some(number) = number else { return Ok(Vec::new()) };
    let path = path_of(dir, *number);
    disk.read(&path).map_err(|error| (path, error))
}

impl Survey {
    fn damaged(&mut self, path: &Path, offset: u64, length: usize, what: &str) {
        let (path, what) = (path.to_owned(), what.to_owned());
        self.damage.push(Damage { path, offset, length: length as u64, what });
    }

    fn missing(&mut self, dir: &Path, from: u64, to: u64) {
        let what = match to - from {
            0 => "it is missing".to_owned(),
            _ => format!("it is missing, and all up to {to:016x}.seg"),
        };
        self.damaged(&path_of(dir, from), 0, 0, &what);
    }

    /// Bytes of a segment that had been synced.
    fn synced(&self, number: u64) -> u64 {
        self.head.filter(|head| head.last == number).map_or(0, |head| head.bytes)
    }

    /// Takes a segment in. `end`: whether it is the last one, and how it ended by the word of the next one.
    fn take(
        &mut self,
        dir: &Path,
        number: u64,
        bytes: &[u8],
        (last, end): (bool, Option<End>),
        headless: &mut Headless,
    ) {
        let path = path_of(dir, number);
        let opening = Opening::of(bytes);
        match opening {
            Opening::Begun => return self.damaged(&path, 0, 0, "it is empty, and there were records in it"),
            Opening::Foreign => {
                return self.damaged(&path, 0, bytes.len(), "it is no segment of this version");
            }
            Opening::New(header) if header.number != number => {
                let what = format!("it is segment {:016x} under another name", header.number);
                return self.damaged(&path, 0, bytes.len(), &what);
            }
            Opening::New(_) if self.head.is_none() && self.damage.is_empty() => {
                self.damaged(&head::path_of(dir), 0, 0, "it is missing");
            }
            Opening::New(_) | Opening::Old => {}
        }
        self.segments.insert(number, bytes.len() as u64);
        let known = end.map(|end| usize::try_from(end.length).unwrap_or(usize::MAX));
        let counted = &bytes[..known.unwrap_or(bytes.len()).min(bytes.len())];
        let before = self.damage.len();
        let (valid, torn) = self.records(&path, counted, opening, known.is_none(), headless);
        if let Some(end) = end
            && self.damage.len() == before
        {
            let size = end.length + end.cut;
            if bytes.len() as u64 != size {
                let what = format!("it has {} bytes, and had {size}", bytes.len());
                self.damaged(&path, end.length.min(bytes.len() as u64), 0, &what);
            } else if crc32fast::hash(counted) != end.crc {
                self.damaged(&path, 0, 0, "it is another than the next segment says");
            }
        }
        if (valid as u64) < self.synced(number) && self.damage.len() == before {
            let why = torn.map_or("it ends here", Bad::what);
            let what = format!("{why}, and {} bytes of it had been on disk", self.synced(number));
            self.damaged(&path, valid as u64, bytes.len() - valid, &what);
        } else if last && valid < bytes.len() {
            self.torn = Some(Torn { path, offset: valid as u64, tail: bytes[valid..].to_vec() });
        }
        let cut = (bytes.len() - valid) as u64;
        self.end = Some(End { length: valid as u64, cut, crc: crc32fast::hash(&bytes[..valid]) });
    }

    /// Takes the records in; where the last of them ends, and what stands there if it is a torn end.
    fn records(
        &mut self,
        path: &Path,
        bytes: &[u8],
        opening: Opening,
        may_be_torn: bool,
        headless: &mut Headless,
    ) -> (usize, Option<Bad>) {
        let mut at = opening.records_at().min(bytes.len());
        while at < bytes.len() {
            match record(&bytes[at..], opening.seed()) {
                Ok((kind, room, content, length)) => {
                    self.apply(kind, room, content, (path, at as u64), headless);
                    at += length;
                }
                Err(bad) => match next_record(&bytes[at..], opening.seed()) {
                    // Nothing follows: this is where the process, or the power, ended.
                    None if may_be_torn => return (at, Some(bad)),
                    next => {
                        let length = next.unwrap_or(bytes.len() - at);
                        self.damaged(path, at as u64, length, bad.what());
                        at += length;
                    }
                },
            }
        }
        (at, None)
    }

    fn apply(&mut self, kind: Kind, name: &str, content: &[u8], at: (&Path, u64), headless: &mut Headless) {
        let damages = self.damage.len();
        match kind {
            Kind::Base | Kind::Owned => {
                headless.remove(name);
                let (generation, base) = base_of(kind, content);
                let past = SavedState { base, inputs: Vec::new(), generation };
                let segment = self.segments.last_key_value().map_or(0, |(number, _)| *number);
                self.rooms.insert(name.to_owned(), Room { past, segment, untrusted: 0, damages });
            }
            Kind::Inputs => match self.rooms.get_mut(name) {
                Some(room) if room.damages == damages => room.past.inputs.extend_from_slice(content),
                Some(room) => room.untrusted += content.len() as u64,
                None if headless.contains_key(name) => {}
                None => drop(headless.insert(name.to_owned(), (at.0.to_owned(), at.1))),
            },
            Kind::Ended => {
                headless.remove(name);
                self.rooms.remove(name);
            }
            Kind::DeadLetter => {}
        }
    }
}
