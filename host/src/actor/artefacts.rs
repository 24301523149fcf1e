//! Artefacts: the plugin binaries a node was given, and what happened to them.
//!
//! In the data directory, `plugins/NAME/`: one `DIGEST.wasm` per artefact and `history.jsonl`, a line an event.
//! So a restarted node runs what it ran before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hotseat_build::Digest;
use serde::{Deserialize, Serialize};

use super::lines::Lines;
use crate::files;

/// Events kept in memory and handed out; the file keeps all.
const EVENTS_MAX: usize = 1000;

/// What can happen to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// It ran from the node's start.
    Started,
    /// An operator deployed it.
    Deployed,
    /// It was refused; nothing changed.
    Refused,
    /// An operator went back to it.
    RolledBack,
    /// The node went back to it because the newer one failed on probation.
    Reverted,
}

impl EventKind {
    /// Its name in histories and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Deployed => "deployed",
            Self::Refused => "refused",
            Self::RolledBack => "rolled-back",
            Self::Reverted => "reverted",
        }
    }

    /// Whether the event's version was live after it.
    fn makes_live(self) -> bool {
        self != Self::Refused
    }
}

/// One event of a plugin's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, ms since 1970.
    pub at_ms: u64,
    /// What.
    pub kind: EventKind,
    /// The version's digest, hex.
    pub digest: String,
    /// Its label.
    pub label: String,
    /// Its size.
    pub size_bytes: u64,
    /// Why, for the kinds that have a reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The folder of one plugin.
#[derive(Debug)]
pub struct Artefacts {
    dir: PathBuf,
    history: Lines,
    events: Vec<Event>,
}

/// What the disk refused.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// A file or folder cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the history is no event.
    #[error("{path} line {line}: {source}; mend the line, or move the file away to start a new history")]
    History {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A stored artefact's content is not what its name says.
    #[error("{path} is damaged: its sha256 is {found}; remove it and deploy the version again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest of what is there.
        found: Digest,
    },
}

impl Artefacts {
    /// Opens the folder of plugin `name` in the data directory. A last line that a crash cut short
    /// is cut off.
    ///
    /// # Errors
    /// See [`ArtefactError`].
    pub fn open(data_dir: &Path, name: &str) -> Result<Self, ArtefactError> {
        let dir = data_dir.join("plugins").join(name);
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        let path = dir.join("history.jsonl");
        let (history, text) = Lines::open(&path).map_err(at(&path))?;
        let mut events = Vec::new();
        for (before, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let event = serde_json::from_slice(line).map_err(|source| ArtefactError::History {
                path: path.clone(),
                line: before + 1,
                source,
            });
            events.push(event?);
        }
        Ok(Self { dir, history, events })
    }

    /// The last events, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.events[self.events.len().saturating_sub(EVENTS_MAX)..]
    }

    /// The versions one could go back through, the live one first.
    pub fn lives(&self) -> Vec<Digest> {
        lives(&self.events)
    }

    /// Whether an artefact has ever been live here.
    pub fn knows(&self, digest: &Digest) -> bool {
        let digest = digest.to_string();
        self.events.iter().any(|event| event.kind.makes_live() && event.digest == digest)
    }

    /// Writes an event down.
    ///
    /// # Errors
    /// [`ArtefactError::Io`]; the event is not kept then.
    pub fn record(&mut self, event: Event) -> Result<(), ArtefactError> {
        let line = serde_json::to_vec(&event).expect("an event is plain data");
        self.history.push(line).map_err(at(self.history.path()))?;
        self.events.push(event);
        Ok(())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}.wasm"))
    }

    /// Keeps an artefact.
    ///
    /// # Errors
    /// [`ArtefactError::Io`].
    pub fn store(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ArtefactError> {
        let path = self.path(digest);
        files::write_whole(&path, bytes).map_err(at(&path))
    }

    /// Reads an artefact back, if it is kept here.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn find(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>, ArtefactError> {
        match self.load(digest) {
            Err(ArtefactError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Reads an artefact back.
    ///
    /// # Errors
    /// [`ArtefactError::Io`], [`ArtefactError::Damaged`].
    pub fn load(&self, digest: &Digest) -> Result<Arc<[u8]>, ArtefactError> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(at(&path))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(ArtefactError::Damaged { path, found });
        }
        Ok(bytes.into())
    }
}

/// As [`Artefacts::lives`].
fn lives(events: &[Event]) -> Vec<Digest> {
    let mut lives: Vec<Digest> = Vec::new();
    for event in events.iter().filter(|event| event.kind.makes_live()) {
        let Ok(digest) = event.digest.parse::<Digest>() else { continue };
        let known = lives.iter().position(|live| *live == digest);
        match (event.kind, known) {
            // Going back leaves what came after: nobody wants a failed version back by "rollback".
            (EventKind::Reverted | EventKind::RolledBack, Some(at)) => lives.truncate(at + 1),
            (_, Some(at)) => lives[at..].rotate_left(1),
            (_, None) => lives.push(digest),
        }
    }
    lives.reverse();
    lives
}

/// The version of plugin `name` that was live last in a data directory that may be in use. Changes nothing; none if
/// the history does not tell.
pub fn last_live(data_dir: &Path, name: &str) -> Option<Digest> {
    let text = fs::read_to_string(data_dir.join("plugins").join(name).join("history.jsonl")).ok()?;
    let events: Vec<Event> = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
    lives(&events).first().copied()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ArtefactError {
    let path = path.to_owned();
    move |source| ArtefactError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, digest: Digest) -> Event {
        let digest = digest.to_string();
        Event { at_ms: 1, kind, digest, label: "1.0.0".into(), size_bytes: 3, reason: String::new() }
    }

    #[test]
    fn a_history_survives_a_restart_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let mut artefacts = Artefacts::open(dir.path(), "game-logic").unwrap();
        artefacts.store(&one, b"one").unwrap();
        artefacts.record(event(EventKind::Started, one)).unwrap();
        artefacts.record(event(EventKind::Refused, two)).unwrap();
        drop(artefacts);
        let path = dir.path().join("plugins/game-logic/history.jsonl");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"{\"at_ms\":"].concat()).unwrap();

        let mut artefacts = Artefacts::open(dir.path(), "game-logic").unwrap();
        assert_eq!(artefacts.events().len(), 2);
        assert_eq!(artefacts.lives(), [one]);
        assert_eq!(&*artefacts.load(&one).unwrap(), b"one");
        artefacts.record(event(EventKind::Deployed, two)).unwrap();
        let artefacts = Artefacts::open(dir.path(), "game-logic").unwrap();
        assert_eq!(artefacts.lives(), [two, one]);
    }

    #[test]
    fn going_back_forgets_what_failed() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, three] = [b"1", b"2", b"3"].map(|bytes| Digest::of(bytes));
        let mut artefacts = Artefacts::open(dir.path(), "game-logic").unwrap();
        for (kind, digest) in [
            (EventKind::Started, one),
            (EventKind::Deployed, two),
            (EventKind::Deployed, three),
            (EventKind::Reverted, two),
        ] {
            artefacts.record(event(kind, digest)).unwrap();
        }
        assert_eq!(artefacts.lives(), [two, one]);
        assert!(artefacts.knows(&three));
        artefacts.record(event(EventKind::RolledBack, one)).unwrap();
        assert_eq!(artefacts.lives(), [one]);
        artefacts.record(event(EventKind::Deployed, two)).unwrap();
        artefacts.record(event(EventKind::Started, two)).unwrap();
        assert_eq!(artefacts.lives(), [two, one]);
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let artefacts = Artefacts::open(dir.path(), "game-logic").unwrap();
        let digest = Digest::of(b"one");
        artefacts.store(&digest, b"other").unwrap();
        let text = artefacts.load(&digest).unwrap_err().to_string();
        assert!(text.contains("is damaged") && text.contains(&digest.to_string()), "{text}");
        fs::write(dir.path().join("plugins/game-logic/history.jsonl"), "{}\n").unwrap();
        let text = Artefacts::open(dir.path(), "game-logic").unwrap_err().to_string();
        assert!(text.contains("history.jsonl line 1"), "{text}");
        let good = serde_json::to_vec(&event(EventKind::Started, digest)).unwrap();
        for bad in [&b"\xff\xfe"[..], b"{\"at_ms\":", b""] {
            let lines = [&good[..], bad, &good[..]].map(|line| [line, b"\n"].concat()).concat();
            fs::write(dir.path().join("plugins/game-logic/history.jsonl"), lines).unwrap();
            let text = Artefacts::open(dir.path(), "game-logic").unwrap_err().to_string();
            assert!(text.contains("history.jsonl line 2"), "{text}");
        }
    }
}
