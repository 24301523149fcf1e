//! Profiles: one small document per player, in an embedded store.
//!
//! A write is visible to the next read at once and on disk a moment later: a thread of its own commits what has
//! gathered. What waits is bounded by the players on the node, since a later write replaces an earlier one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use redb::{Database, ReadableDatabase, TableDefinition};
use tracing::error;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("profiles");

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

/// The store.
pub struct Profiles {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    database: Database,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Written by guests, not yet committed.
    waiting: HashMap<u64, Arc<[u8]>>,
    /// Being committed.
    writing: Arc<HashMap<u64, Arc<[u8]>>>,
    closed: bool,
}

impl Profiles {
    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// See [`ProfileError`].
    pub fn open(dir: &Path) -> Result<Self, ProfileError> {
        let path = dir.join("profiles.redb");
        let fail = |why: String| ProfileError::Open { path: path.clone(), why };
        let database = Database::create(&path).map_err(|error| fail(error.to_string()))?;
        create_table(&database).map_err(|error| fail(error.to_string()))?;
        let shared = Arc::new(Shared { database, state: Mutex::default(), work: Condvar::new() });
        let writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("profiles".into())
            .spawn(move || writer.write_behind())
            .map_err(ProfileError::Writer)?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }

    /// A player's document. Reads the disk if it is not waiting to be written: not for the hot path.
    pub fn get(&self, user: u64) -> Option<Arc<[u8]>> {
        let state = self.shared.lock();
        if let Some(bytes) = state.waiting.get(&user).or_else(|| state.writing.get(&user)) {
            return Some(Arc::clone(bytes));
        }
        drop(state);
        match self.shared.read(user) {
            Ok(bytes) => bytes,
            Err(why) => {
                error!(user, error = %why, "profile unreadable");
                None
            }
        }
    }

    /// Replaces a player's document.
    pub fn put(&self, user: u64, bytes: &[u8]) {
        self.shared.lock().waiting.insert(user, Arc::from(bytes));
        self.shared.work.notify_one();
    }

    /// Writes what waits and closes the store. Blocks until it is on disk.
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Both maps are whole at every step, so a panic elsewhere does not spoil them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, user: u64) -> Result<Option<Arc<[u8]>>, redb::Error> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(user)?.map(|bytes| Arc::from(bytes.value())))
    }

    fn write_behind(&self) {
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
            drop(state);
            let written = self.write(&batch);
            let mut state = self.lock();
            state.writing = Arc::default();
            if let Err(why) = written {
                error!(profiles = batch.len(), error = %why, "profiles not written, trying again");
                for (user, bytes) in batch.iter() {
                    state.waiting.entry(*user).or_insert_with(|| Arc::clone(bytes));
                }
                if state.closed {
                    error!(lost = state.waiting.len(), "profiles lost: the store does not take them");
                    return;
                }
                let pause = std::time::Duration::from_millis(500);
                drop(self.work.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    fn write(&self, batch: &HashMap<u64, Arc<[u8]>>) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (user, bytes) in batch {
                table.insert(*user, &**bytes)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn create_table(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_there_at_once_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let profiles = Profiles::open(dir.path()).unwrap();
        assert_eq!(profiles.get(7), None);
        profiles.put(7, b"one");
        profiles.put(7, b"two");
        assert_eq!(profiles.get(7).as_deref(), Some(&b"two"[..]));
        drop(profiles);
        let profiles = Profiles::open(dir.path()).unwrap();
        assert_eq!(profiles.get(7).as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn a_second_node_on_the_same_directory_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Profiles::open(dir.path()).unwrap();
        let second = Profiles::open(dir.path()).map(|_| ());
        let text = second.unwrap_err().to_string();
        assert!(text.contains("profiles.redb") && text.contains("another node"), "{text}");
    }
}
