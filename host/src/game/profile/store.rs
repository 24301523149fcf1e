//! Store: the documents' file. One that the disk has failed is closed and opened again: until then it answers nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{Document, Found, judged};

/// User to version (`u64`, little-endian) and document.
const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("documents");

/// How often, and how far apart, a store is tried that another host is reading.
const OPEN_TRIES: u32 = 30;
const OPEN_PAUSE: Duration = Duration::from_millis(100);

/// All documents of some users, with their versions.
pub(super) type Documents = BTreeMap<u64, (u64, Arc<[u8]>)>;

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

pub(super) struct Store {
    open: Opener,
    /// None while it cannot be opened again.
    database: RwLock<Option<Database>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Opens a store that another host may be reading at this moment.
pub(super) fn tried(open: impl Fn() -> Result<Database, DatabaseError>) -> Result<Database, DatabaseError> {
    for _ in 0..OPEN_TRIES {
        match open() {
            Err(DatabaseError::DatabaseAlreadyOpen) => std::thread::sleep(OPEN_PAUSE),
            opened => return opened,
        }
    }
    open()
}

impl Store {
    pub(super) fn open(path: &Path) -> Result<Self, redb::Error> {
        let path = path.to_owned();
        Self::open_with(Box::new(move || tried(|| Database::create(&path))))
    }

    /// As [`Self::open`], by an opener that is called again when the disk has failed.
    pub(super) fn open_with(open: Opener) -> Result<Self, redb::Error> {
        let store = Self { open, database: RwLock::new(None) };
        store.reopen()?;
        Ok(store)
    }

    fn reopen(&self) -> Result<(), redb::Error> {
        // What is in it is replaced whole, so a panic elsewhere does not spoil it.
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The file is locked until it is closed.
        *database = None;
        let opened = (self.open)()?;
        let transaction = opened.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        *database = Some(opened);
        Ok(())
    }

    fn on<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let tried = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            database.as_ref().map(&work)
        };
        match tried {
            None | Some(Err(redb::Error::PreviousIo | redb::Error::Io(_))) => {
                self.reopen()?;
                let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
                // Another thread may have failed and be about to open it.
                database.as_ref().map_or(Err(redb::Error::PreviousIo), work)
            }
            Some(done) => done,
        }
    }

    pub(super) fn read(&self, user: u64) -> Result<Found, redb::Error> {
        self.on(|database| {
            let table = database.begin_read()?.open_table(TABLE)?;
            let Some(value) = table.get(user)? else { return Ok(None) };
            let Some((version, bytes)) = value.value().split_first_chunk::<8>() else {
                return Err(redb::Error::Corrupted(format!("document of user {user} without a version")));
            };
            Ok(Some((u64::from_le_bytes(*version), bytes.into())))
        })
    }

    /// All documents of the users that `of` picks.
    pub(super) fn read_all(&self, of: &impl Fn(u64) -> bool) -> Result<Documents, redb::Error> {
        self.on(|database| read_all(database, of))
    }

    /// Writes all documents, or none. Those of which it was not known what they replace are left out if the store has
    /// gone on without them: they are returned.
    pub(super) fn write(&self, batch: &HashMap<u64, Document>) -> Result<Vec<u64>, redb::Error> {
        self.on(|database| {
            let transaction = database.begin_write()?;
            let mut overtaken = Vec::new();
            {
                let mut table = transaction.open_table(TABLE)?;
                for (user, document) in batch {
                    if let Some(base) = document.unjudged {
                        let stored = table.get(*user)?;
                        let stored = stored.and_then(|value| Some(*value.value().first_chunk::<8>()?));
                        if !judged(stored.map_or(0, u64::from_le_bytes), base, document.version) {
                            overtaken.push(*user);
                            continue;
                        }
                    }
                    let mut value = table.insert_reserve(*user, 8 + document.bytes.len())?;
                    let (version, bytes) = value.as_mut().split_at_mut(8);
                    version.copy_from_slice(&document.version.to_le_bytes());
                    bytes.copy_from_slice(&document.bytes);
                }
            }
            transaction.commit()?;
            Ok(overtaken)
        })
    }
}

/// As [`Store::read_all`], of a store that is open elsewhere.
pub(super) fn read_all(database: &Database, of: &impl Fn(u64) -> bool) -> Result<Documents, redb::Error> {
    let mut found = Documents::new();
    let table = database.begin_read()?.open_table(TABLE)?;
    for entry in table.iter()? {
        let (user, value) = entry?;
        if of(user.value())
            && let Some((version, bytes)) = value.value().split_first_chunk::<8>()
        {
            found.insert(user.value(), (u64::from_le_bytes(*version), bytes.into()));
        }
    }
    Ok(found)
}
