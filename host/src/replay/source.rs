//! Source: what there is to replay, read from a dead letter, a segment or a journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ReplayError;
use crate::actor::Start;
use crate::journal::{About, Found, SavedState, inspect};
use crate::plugin::{Input, Records};

/// Names of rooms that an error lists.
const NAMED: usize = 10;

/// Cases, and where they come from.
pub struct Source {
    /// What happened, if it is a dead letter.
    pub letter: Option<About>,
    /// The rooms, by name.
    pub cases: Vec<Case>,
    /// What was left out, for people.
    pub notes: Vec<String>,
    /// The data directory it lies in, if it lies in one.
    pub data_dir: Option<PathBuf>,
}

/// A room: how it begins, and its inputs.
pub struct Case {
    /// Its name.
    pub room: String,
    /// How it begins.
    pub start: Start,
    log: Records,
    failed: Records,
}

impl Source {
    /// Reads a dead letter, a segment, a journal's directory, or the data directory around it. `settings` of the
    /// plugin are over those that were recorded. A journal may be in use.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn read(path: &Path, settings: &BTreeMap<String, String>) -> Result<Self, ReplayError> {
        let journal = path.join("journal");
        let (path, data_dir) = if journal.is_dir() {
            (journal.as_path(), Some(path.to_owned()))
        } else {
            (path, data_dir_of(path))
        };
        match inspect(path)? {
            Found::DeadLetter(letter) => {
                let past = letter.past.ok_or_else(|| ReplayError::NoContext {
                    room: letter.room.clone(),
                    omitted_bytes: letter.about.omitted_bytes,
                })?;
                let mut case = Case::new(letter.room, past, settings)?;
                case.failed = case.records(letter.input)?;
                let wanted = usize::from(letter.about.cause.has_input());
                if case.failed.inputs() != wanted {
                    return Err(ReplayError::Input(case.room, case.failed.inputs()));
                }
                Ok(Self { letter: Some(letter.about), cases: vec![case], notes: Vec::new(), data_dir })
            }
            Found::Rooms { saved_states, headless, torn } => {
                let mut notes = Vec::new();
                if let Some((path, offset)) = torn {
                    let file = path.display();
                    notes.push(format!("{file} ends at byte {offset} in a record cut short, left out"));
                }
                if !headless.is_empty() {
                    notes.push(format!(
                        "left out, since they began in an earlier segment (replay the journal's directory): {}",
                        named(headless.iter())
                    ));
                }
                let cases = saved_states.into_iter().map(|(room, past)| Case::new(room, past, settings));
                Ok(Self { letter: None, cases: cases.collect::<Result<_, _>>()?, notes, data_dir })
            }
        }
    }

    /// Keeps one room.
    ///
    /// # Errors
    /// [`ReplayError::NoRoom`].
    pub fn only(&mut self, room: &str) -> Result<(), ReplayError> {
        if !self.cases.iter().any(|case| case.room == room) {
            let there = named(self.cases.iter().map(|case| &case.room));
            return Err(ReplayError::NoRoom { room: room.to_owned(), there });
        }
        self.cases.retain(|case| case.room == room);
        Ok(())
    }
}

impl Case {
    fn new(room: String, past: SavedState, settings: &BTreeMap<String, String>) -> Result<Self, ReplayError> {
        let Some(start) = Start::read(&room, &past.base, settings) else {
            return Err(ReplayError::Base(room));
        };
        let mut case = Self { room, start, log: Records::default(), failed: Records::default() };
        case.log = case.records(past.inputs)?;
        Ok(case)
    }

    fn records(&self, bytes: Vec<u8>) -> Result<Records, ReplayError> {
        let room = || self.room.clone();
        Records::from_bytes(bytes).map_err(|source| ReplayError::Inputs { room: room(), source })
    }

    /// Inputs that were handled; the one that a dead letter is about comes behind them.
    pub fn handled(&self) -> usize {
        self.log.inputs()
    }

    /// All inputs, in order.
    pub(super) fn inputs(&self) -> Vec<(u64, Input<'_>, Vec<u64>)> {
        // Both have been read whole.
        self.log.iter().chain(self.failed.iter()).flatten().collect()
    }
}

fn named<'a>(rooms: impl Iterator<Item = &'a String>) -> String {
    let rooms: Vec<_> = rooms.map(|room| format!("{room:?}")).collect();
    match rooms.len() {
        0 => "none".to_owned(),
        count if count > NAMED => format!("{} and {} more", rooms[..NAMED].join(", "), count - NAMED),
        _ => rooms.join(", "),
    }
}

/// The directory above `path` that has a node's `plugins`: of a letter and a segment two up, of one set aside three.
fn data_dir_of(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    path.ancestors().skip(1).take(3).find(|dir| dir.join("plugins").is_dir()).map(Path::to_owned)
}
