//! Fjall: a log-structured merge tree; its own journal is synced once a group.

use std::path::Path;

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use anyhow::Result;

use super::{Store, Tally, value};

pub(super) struct Fjall {
    database: Database,
    keyspace: Keyspace,
    next: u64,
}

fn open(dir: &Path) -> Result<Fjall> {
    let database = Database::builder(dir).manual_journal_persist(true).open()?;
    let options = || KeyspaceCreateOptions::default().manual_journal_persist(true);
    let keyspace = database.keyspace("journal", options)?;
    Ok(Fjall { database, keyspace, next: 0 })
}

impl Fjall {
    pub(super) fn create(dir: &Path) -> Result<Self> {
        open(dir)
    }
}

impl Store for Fjall {
    fn append(&mut self, room: &str, inputs: &[u8]) -> Result<()> {
        self.keyspace.insert(self.next.to_be_bytes(), value(room, inputs))?;
        self.next += 1;
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }
}

pub(super) fn read(dir: &Path) -> Result<Tally> {
    let store = open(dir)?;
    let mut tally = Tally::default();
    for entry in store.keyspace.iter() {
        let (_, value) = entry.into_inner()?;
        tally.take(&value)?;
    }
    Ok(tally)
}
