//! Look: what a journal, one of its files or a dead letter holds, without changing anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::dead_letters::About;
use super::disk::{Disk, RealDisk};
use super::head::Head;
use super::record::{Bad, Kind, base_of, next_record, record};
use super::segment::{MAGIC, Opening, number_of};
use super::survey::{SavedState, Survey, survey};

/// Tries to read a journal whose node removes segments meanwhile.
const TRIES: usize = 5;

/// Why nothing is found.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A file or directory cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{0} is neither a segment of a journal nor a dead letter of this version")]
    Kind(PathBuf),
    /// A directory without a segment.
    #[error("{0} is no journal: there is no segment in it")]
    Empty(PathBuf),
    /// A record cannot be trusted.
    #[error("{path} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// A dead letter as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The room.
    pub room: String,
    /// What happened.
    pub about: About,
    /// What the room was; none if that was too large to be kept.
    pub past: Option<SavedState>,
    /// The input that the guest failed on.
    pub input: Vec<u8>,
}

/// What there is.
#[derive(Debug)]
pub enum Found {
    /// A dead letter.
    DeadLetter(Box<DeadLetter>),
    /// Rooms.
    Rooms {
        /// By name.
        saved_states: BTreeMap<String, SavedState>,
        /// Rooms whose base lies in an earlier segment: their inputs are of no use without it.
        headless: BTreeSet<String>,
        /// The file and offset of a record at the end that a crash, or a writer at work, has cut short.
        torn: Option<(PathBuf, u64)>,
    },
}

/// Looks at a dead letter, at a segment, set aside or of a journal, or at a journal's directory. A journal may be in
/// use meanwhile: what its node had written when it was looked at is found.
///
/// # Errors
/// See [`InspectError`].
pub fn inspect(path: &Path) -> Result<Found, InspectError> {
    let kind = fs::metadata(path).map_err(at(path))?;
    if kind.is_dir() {
        return look_at(&RealDisk, path);
    }
    if !kind.is_file() {
        return Err(InspectError::Kind(path.to_owned()));
    }
    let bytes = fs::read(path).map_err(at(path))?;
    let of_a_journal = path.file_name().and_then(|name| number_of(name.to_str()?)).is_some();
    let opening = Opening::of(&bytes);
    let at = match opening {
        // Nobody begins a file that was set aside a second time.
        Opening::Begun if !of_a_journal && bytes.starts_with(MAGIC) => MAGIC.len(),
        Opening::Foreign => return Err(InspectError::Kind(path.to_owned())),
        Opening::Begun if !of_a_journal => return Err(InspectError::Kind(path.to_owned())),
        _ => opening.records_at().min(bytes.len()),
    };
    if at == bytes.len() && !of_a_journal {
        return Err(damaged(path, at as u64, Bad::Short.what()));
    }
    match record(&bytes[at..], opening.seed()) {
        Ok((Kind::DeadLetter, ..)) => letter(path, &bytes).map(|letter| Found::DeadLetter(Box::new(letter))),
        // What the death of a process cuts short is the end of a journal's last segment.
        _ => rooms_in(path, &bytes, opening, of_a_journal),
    }
}

/// Reads a journal's directory on a disk, which may be in use. Changes nothing.
///
/// # Errors
/// See [`InspectError`].
pub fn look_at(disk: &dyn Disk, dir: &Path) -> Result<Found, InspectError> {
    let mut tries = 1;
    loop {
        let before = Head::read(disk, dir).map_err(at(&super::head::path_of(dir)))?;
        let found = survey(disk, dir);
        let after = Head::read(disk, dir).map_err(at(&super::head::path_of(dir)))?;
        match found {
            // Its node has removed or begun segments meanwhile.
            Err((_, error)) if tries < TRIES && error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) if tries < TRIES && before != after => {}
            Err((path, source)) => return Err(InspectError::Io { path, source }),
            Ok(survey) => return found_in(dir, survey),
        }
        tries += 1;
    }
}

fn found_in(dir: &Path, survey: Survey) -> Result<Found, InspectError> {
    if let Some(first) = survey.damage.into_iter().next() {
        let (path, offset, what) = (first.path, first.offset, first.what);
        return Err(InspectError::Damaged { path, offset, what });
    }
    if survey.segments.is_empty() && survey.head.is_none() {
        return Err(InspectError::Empty(dir.to_owned()));
    }
    let saved_states = survey.rooms.into_iter().map(|(name, room)| (name, room.past)).collect();
    let torn = survey.torn.map(|torn| (torn.path, torn.offset));
    // A room without a base has ended, or was there before what the journal holds.
    Ok(Found::Rooms { saved_states, headless: BTreeSet::new(), torn })
}

/// What one file by itself tells of rooms.
fn rooms_in(path: &Path, bytes: &[u8], opening: Opening, may_be_torn: bool) -> Result<Found, InspectError> {
    let (mut saved_states, mut headless, mut torn) =
        (BTreeMap::<String, SavedState>::new(), BTreeSet::new(), None);
    let mut at = opening.records_at().min(bytes.len());
    while at < bytes.len() {
        match record(&bytes[at..], opening.seed()) {
            Ok((kind, room, content, length)) => {
                at += length;
                match (kind, saved_states.get_mut(room)) {
                    (Kind::Base | Kind::Owned, _) => {
                        let (generation, base) = base_of(kind, content);
                        let past = SavedState { base, inputs: Vec::new(), generation };
                        saved_states.insert(room.to_owned(), past);
                    }
                    (Kind::Inputs, Some(past)) => past.inputs.extend_from_slice(content),
                    (Kind::Inputs, None) => drop(headless.insert(room.to_owned())),
                    (Kind::Ended, _) => drop(saved_states.remove(room)),
                    (Kind::DeadLetter, _) => {}
                }
            }
            Err(_) if may_be_torn && next_record(&bytes[at..], opening.seed()).is_none() => {
                torn = Some((path.to_owned(), at as u64));
                break;
            }
            Err(bad) => return Err(damaged(path, at as u64, bad.what())),
        }
    }
    headless.retain(|room| !saved_states.contains_key(room));
    Ok(Found::Rooms { saved_states, headless, torn })
}

fn letter(path: &Path, bytes: &[u8]) -> Result<DeadLetter, InspectError> {
    let mut records = Vec::new();
    let mut rest = &bytes[MAGIC.len()..];
    while !rest.is_empty() {
        let offset = (bytes.len() - rest.len()) as u64;
        let (kind, room, content, length) =
            record(rest, 0).map_err(|bad| damaged(path, offset, bad.what()))?;
        records.push((offset, kind, room, content));
        rest = &rest[length..];
    }
    let bytes_of = |at: usize| records[at].3.to_vec();
    let kinds: Vec<Kind> = records.iter().map(|(_, kind, ..)| *kind).collect();
    let past = match kinds[..] {
        [Kind::DeadLetter, Kind::Inputs] => None,
        [Kind::DeadLetter, Kind::Base, Kind::Inputs, Kind::Inputs] => {
            Some(SavedState { base: bytes_of(1), inputs: bytes_of(2), generation: 0 })
        }
        _ => return Err(damaged(path, bytes.len() as u64, "a dead letter has other records")),
    };
    let (offset, _, room, about) = records[0];
    let about = serde_json::from_slice(about)
        .map_err(|_| damaged(path, offset, "what the dead letter is about cannot be read"))?;
    Ok(DeadLetter { room: room.to_owned(), about, past, input: bytes_of(records.len() - 1) })
}

fn damaged(path: &Path, offset: u64, what: &'static str) -> InspectError {
    InspectError::Damaged { path: path.to_owned(), offset, what: what.to_owned() }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InspectError {
    let path = path.to_owned();
    move |source| InspectError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::journal::{Bounds, Journal, segment};

    const BOUNDS: Bounds =
        Bounds { segment_bytes: 100, buffer_bytes: 1 << 20, sync_every: std::time::Duration::from_millis(1) };

    /// A journal of a few segments with rooms `a` and `b`, and the files it has while it is in use.
    fn journal(dir: &Path) -> Journal {
        let (journal, _) = Journal::open(dir, BOUNDS).unwrap();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        journal.base(&a, b"base of a");
        journal.base(&b, b"base of b");
        for _ in 0..20 {
            journal.inputs(&a, b"inputs");
        }
        journal
    }

    fn is_segment(path: &Path) -> bool {
        path.file_name().and_then(|name| number_of(name.to_str()?)).is_some()
    }

    fn listing(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    fn saved_states(found: Found) -> BTreeMap<String, SavedState> {
        match found {
            Found::Rooms { saved_states, .. } => saved_states,
            Found::DeadLetter(_) => panic!("a letter"),
        }
    }

    #[test]
    fn a_journal_is_seen_as_its_recovery_would_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path()).close();
        let before = listing(dir.path());
        assert!(before.len() > 2, "{before:?}");
        let last = before.keys().filter(|path| is_segment(path)).max().unwrap();
        let torn = [&before[last][..], &[9, 0, 0]].concat();
        fs::write(last, &torn).unwrap();
        let held = fs::File::open(dir.path().join("lock")).unwrap();
        held.lock().unwrap();
        let seen = inspect(dir.path()).unwrap();
        assert!(matches!(&seen, Found::Rooms { torn: Some((path, _)), .. } if path == last), "{seen:?}");
        assert_eq!(fs::read(last).unwrap(), torn);
        held.unlock().unwrap();
        let (_journal, recovered) = Journal::open(dir.path(), BOUNDS).unwrap();
        assert_eq!(saved_states(seen), recovered);
    }

    #[test]
    fn one_segment_tells_of_rooms_that_began_before_it() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path()).close();
        let segments: Vec<_> = listing(dir.path()).into_keys().filter(|path| is_segment(path)).collect();
        let Found::Rooms { saved_states, headless, .. } = inspect(segments.last().unwrap()).unwrap() else {
            panic!()
        };
        assert!(
            saved_states.is_empty() && headless == ["a".to_owned()].into(),
            "{saved_states:?} {headless:?}"
        );
        let Found::Rooms { saved_states, headless, .. } = inspect(&segments[0]).unwrap() else { panic!() };
        assert!(saved_states.len() == 2 && headless.is_empty(), "{saved_states:?} {headless:?}");
    }

    #[test]
    fn what_is_something_else_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let text = |path: &Path| inspect(path).unwrap_err().to_string();
        assert!(text(dir.path()).contains("no journal"), "{}", text(dir.path()));
        let file = dir.path().join("x");
        assert!(text(&file).contains("No such file"), "{}", text(&file));
        fs::write(&file, b"hello").unwrap();
        assert!(text(&file).contains("neither a segment"), "{}", text(&file));
        // Set aside, cut short: nobody is at work there.
        let past = SavedState { base: b"base".into(), inputs: b"inputs".into(), generation: 0 };
        segment::write_aside(&RealDisk, &file, "a", &past).unwrap();
        let whole = fs::read(&file).unwrap();
        assert_eq!(saved_states(inspect(&file).unwrap())["a"], past);
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        assert!(text(&file).contains("is damaged at byte 23: the record is cut short"), "{}", text(&file));
        fs::write(&file, MAGIC).unwrap();
        assert!(text(&file).contains("is damaged at byte 8: the record is cut short"), "{}", text(&file));
    }

    proptest! {
        #[test]
        fn a_damaged_letter_is_an_error_with_a_place_and_never_a_panic(
            at in any::<prop::sample::Index>(), flip in 1..=255u8, cut in any::<bool>()
        ) {
            let dir = tempfile::tempdir().unwrap();
            let counter = || prometheus::IntCounter::new("x", "x").unwrap();
            let counters = super::super::Counters { written: counter(), lost: counter() };
            let dead_letters = super::super::DeadLetters::open(dir.path(), 1, counters).unwrap();
            dead_letters.post(1, |_| super::super::dead_letters::tests::letter("a", 1));
            dead_letters.close();
            let path = dir.path().join("a-1-1.dead");
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            fs::write(&path, &bytes).unwrap();
            let text = inspect(&path).unwrap_err().to_string();
            prop_assert!(text.contains("damaged at byte") || text.contains("neither a segment"), "{}", text);
        }
    }
}
