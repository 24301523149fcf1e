//! Profiles: one small document per player, in an embedded store.
//!
//! A write is visible to the next read at once and on disk a moment later: a thread of its own commits what has
//! gathered, once the journal has on disk what led to it. What waits is bounded by the players on the node, since a
//! later write replaces an earlier one. Each write names the version that it replaces; one that names another version
//! than the store has is refused.

mod store;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::watch;
use tracing::error;

use self::store::{Documents, Store};
use crate::plugin::{ProfileWrite, puts_of};
use crate::telemetry::health::Part;

/// The store, in its directory.
const FILE: &str = "profiles.redb";

/// How often the journal is looked at while something waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Tries of a store that is closing; then what waits is given up, loudly.
const LAST_TRIES: u32 = 3;

/// How long a store that closes waits for the journal, which has been closed before it and has written all it could.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Versions on disk that are remembered, so that a write need not read; with more users than this some are read again.
const KNOWN_MAX: usize = 65_536;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be opened: another node has it, or it is no store.
    #[error("profile store {path}: {why}; is another node running on this data directory?")]
    Open {
        /// The file.
        path: PathBuf,
        /// The store's words.
        why: String,
    },
    /// The system gave no thread for the writer.
    #[error("no thread for the profile writer: {0}")]
    Writer(std::io::Error),
}

/// A document that is not taken. What the store has stays.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The store has gone on without whoever put it.
    #[error("it replaces version {base:#x}, the store has {stored:#x}")]
    Overtaken {
        /// What it was to replace.
        base: u64,
        /// What is there.
        stored: u64,
    },
}

/// A document with its user and version.
type Owned = (u64, u64, Arc<[u8]>);

/// A document and its version, if there is one.
type Found = Option<(u64, Arc<[u8]>)>;

/// The store.
pub struct Profiles {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    store: Store,
    part: Part,
    state: Mutex<State>,
    work: Condvar,
    /// The position up to which the journal is on disk.
    journal: watch::Receiver<u64>,
    /// The last ticket of those whose documents are on disk.
    kept: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Taken from guests, not yet committed.
    waiting: HashMap<u64, Document>,
    /// Being committed.
    writing: Arc<HashMap<u64, Document>>,
    /// Versions of documents on disk.
    known: HashMap<u64, u64>,
    /// Documents taken so far.
    tickets: u64,
    closed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Document {
    version: u64,
    bytes: Arc<[u8]>,
    /// What the journal must have on disk first.
    position: u64,
    /// What it replaces, if it could not be compared with what the store has: then that is done when it is written.
    unjudged: Option<Option<u64>>,
}

enum Judgement {
    Take,
    /// It is there already, or something that has followed upon it.
    There,
    Conflict(Conflict),
    /// The store cannot be read at present.
    Later,
}

impl Profiles {
    /// Opens the store in `dir`. `journal` tells the position up to which the journal is on disk; `part` is told when the
    /// disk takes nothing.
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub fn open(dir: &Path, journal: watch::Receiver<u64>, part: Part) -> Result<Self, ProfileError> {
        let path = dir.join(FILE);
        let store = Store::open(&path);
        let store =
            store.map_err(|error| ProfileError::Open { path: path.clone(), why: error.to_string() })?;
        Self::of(path, store, journal, part)
    }

    fn of(
        path: PathBuf,
        store: Store,
        journal: watch::Receiver<u64>,
        part: Part,
    ) -> Result<Self, ProfileError> {
        let (state, work, kept) = (Mutex::default(), Condvar::new(), watch::Sender::new(0));
        let shared = Arc::new(Shared { path, store, part, state, work, journal, kept });
        let writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("profiles".into())
            .spawn(move || writer.write_behind())
            .map_err(ProfileError::Writer)?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }

    /// A player's document and its version. Reads the disk if it is not waiting to be written: not for the hot path.
    pub fn get(&self, user: u64) -> Option<(u64, Arc<[u8]>)> {
        let state = self.shared.lock();
        if let Some(document) = state.held(user) {
            return Some((document.version, Arc::clone(&document.bytes)));
        }
        drop(state);
        match self.shared.store.read(user) {
            Ok(found) => found,
            Err(why) => {
                error!(user, error = %why, "profile unreadable");
                None
            }
        }
    }

    /// All documents of the users that `of` picks: user, version, document. Blocks: reads the whole store.
    pub fn find(&self, of: impl Fn(u64) -> bool) -> Vec<Owned> {
        let mut found = self.shared.store.read_all(&of).unwrap_or_else(|why| {
            error!(error = %why, "profiles unreadable");
            Documents::new()
        });
        let state = self.shared.lock();
        for (user, document) in state.writing.iter().chain(&state.waiting).filter(|(user, _)| of(**user)) {
            found.insert(*user, (document.version, Arc::clone(&document.bytes)));
        }
        found.into_iter().map(|(user, (version, bytes))| (user, version, bytes)).collect()
    }

    /// The documents that another process, which has ended, left in `dir`: those of the users that `of` picks. None if
    /// there is no store.
    ///
    /// # Errors
    /// If the store cannot be read, or is in use.
    pub fn left_in(dir: &Path, of: impl Fn(u64) -> bool) -> Result<Vec<Owned>, ProfileError> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let fail = |error: redb::Error| ProfileError::Open { path: path.clone(), why: error.to_string() };
        let database = store::tried(|| Database::open(&path)).map_err(|error| fail(error.into()))?;
        let found = store::read_all(&database, &of).map_err(fail)?;
        Ok(found.into_iter().map(|(user, (version, bytes))| (user, version, bytes)).collect())
    }

    /// Replaces a player's document, on disk not before the journal is at `position` there. The ticket says when it has
    /// happened: see [`Self::kept`]. What is there already is put again without harm.
    ///
    /// # Errors
    /// See [`Conflict`].
    pub fn put(&self, put: ProfileWrite, position: u64) -> Result<u64, Conflict> {
        let mut state = self.shared.lock();
        let later = match self.shared.judge(&mut state, &put) {
            Judgement::Take => None,
            Judgement::Later => Some(put.base),
            Judgement::There => return Ok(state.tickets),
            Judgement::Conflict(conflict) => return Err(conflict),
        };
        let ProfileWrite { user, base: put_base, version, bytes } = put;
        let idle = state.waiting.is_empty();
        // What one that has not been compared replaces is what the next one has to replace in its place.
        let unjudged = later.or_else(|| match (state.waiting.get(&user), state.writing.get(&user)) {
            (Some(before), _) => before.unjudged,
            (None, Some(before)) => before.unjudged.map(|_| put_base),
            (None, None) => None,
        });
        state.waiting.insert(user, Document { version, bytes, position, unjudged });
        state.tickets += 1;
        let ticket = state.tickets;
        drop(state);
        if idle {
            self.shared.work.notify_one();
        }
        Ok(ticket)
    }

    /// Waits until what was taken up to this ticket is on disk. Cancel safe.
    pub async fn kept(&self, ticket: u64) {
        // The sender lives as long as the store.
        let _ = self.shared.kept.subscribe().wait_for(|kept| *kept >= ticket).await;
    }

    /// Writes what waits and closes the store. Blocks until it is on disk. To be called after the journal is closed.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            error!("the profile writer ended in a panic");
        }
    }
}

impl Drop for Profiles {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    /// A document that is not on disk yet.
    fn held(&self, user: u64) -> Option<&Document> {
        self.waiting.get(&user).or_else(|| self.writing.get(&user))
    }

    fn know(&mut self, user: u64, version: u64) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(user, version);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // All maps are whole at every step, so a panic elsewhere does not spoil them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, state: &mut State, put: &ProfileWrite) -> Judgement {
        if let Some(stored) = state.held(put.user).map(|document| document.version) {
            return judge(stored, put);
        }
        let stored = match state.known.get(&put.user) {
            Some(stored) => *stored,
            // Once a stay at most, and what `get` has just read: the lock is not held for long.
            None => match self.store.read(put.user) {
                Ok(found) => {
                    let stored = found.map_or(0, |(version, _)| version);
                    state.know(put.user, stored);
                    stored
                }
                Err(_) => return Judgement::Later,
            },
        };
        judge(stored, put)
    }

    fn write_behind(&self) {
        let mut last_tries = 0;
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() && !state.closed {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.waiting.is_empty() {
                return;
            }
            let batch = Arc::new(std::mem::take(&mut state.waiting));
            state.writing = Arc::clone(&batch);
            let ticket = state.tickets;
            drop(state);
            if !self.journal_has(&batch) {
                error!(lost = batch.len(), "profiles lost: the journal has not what led to them");
                return;
            }
            let written = self.store.write(&batch);
            let mut state = self.lock();
            state.writing = Arc::default();
            match written {
                Ok(overtaken) => {
                    last_tries = 0;
                    for (user, document) in batch.iter().filter(|(user, _)| !overtaken.contains(user)) {
                        state.know(*user, document.version);
                    }
                    drop(state);
                    if !overtaken.is_empty() {
                        let users = overtaken.len();
                        error!(users, "profiles not replaced: the store had gone on before it failed");
                    }
                    self.part.works();
                    self.kept.send_replace(ticket);
                }
                Err(why) => {
                    let path = self.path.display();
                    self.part.failed("profiles not written, trying again", &format_args!("{path}: {why}"));
                    for (user, document) in batch.iter() {
                        let waiting = state.waiting.entry(*user).or_insert_with(|| document.clone());
                        waiting.unjudged = document.unjudged.or(waiting.unjudged);
                    }
                    last_tries += u32::from(state.closed);
                    if last_tries == LAST_TRIES {
                        error!(lost = state.waiting.len(), %path, "profiles lost: the store does not take them");
                        return;
                    }
                    drop(self.work.wait_timeout(state, RETRY).unwrap_or_else(PoisonError::into_inner));
                }
            }
        }
    }

    /// Waits until the journal has what led to a batch; false if it never will. What comes meanwhile waits for the next
    /// batch, so that a player whose document never stops changing does not keep it from the disk.
    fn journal_has(&self, batch: &HashMap<u64, Document>) -> bool {
        let position = batch.values().map(|document| document.position).max().unwrap_or_default();
        let mut closed_since = None;
        while *self.journal.borrow() < position {
            if self.lock().closed && closed_since.get_or_insert_with(Instant::now).elapsed() > LAST_LOOK {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }
}

fn judge(stored: u64, put: &ProfileWrite) -> Judgement {
    match put.base {
        _ if put.version == stored => Judgement::There,
        Some(base) if base == stored => Judgement::Take,
        Some(base) => Judgement::Conflict(Conflict::Overtaken { base, stored }),
        None if puts_of(put.version) > puts_of(stored) => Judgement::Take,
        None => Judgement::There,
    }
}

/// Whether a document replaces what is stored.
fn judged(stored: u64, base: Option<u64>, version: u64) -> bool {
    let follows = base.map_or(puts_of(version) > puts_of(stored), |base| base == stored);
    version == stored || follows
}

#[cfg(test)]
mod tests;
