//! Redb: a B-tree with copy on write; one transaction a group.

use std::path::Path;

use ::redb::{Database, ReadableDatabase, ReadableTable as _, TableDefinition};
use anyhow::Result;

use super::{Store, Tally, value};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");

pub(super) struct Redb {
    database: Database,
    next: u64,
    group: Vec<Vec<u8>>,
}

impl Redb {
    pub(super) fn create(dir: &Path) -> Result<Self> {
        Ok(Self { database: Database::create(dir.join("journal.redb"))?, next: 0, group: Vec::new() })
    }
}

impl Store for Redb {
    fn append(&mut self, room: &str, inputs: &[u8]) -> Result<()> {
        self.group.push(value(room, inputs));
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for value in self.group.drain(..) {
                table.insert(self.next, &*value)?;
                self.next += 1;
            }
        }
        Ok(transaction.commit()?)
    }
}

pub(super) fn read(dir: &Path) -> Result<Tally> {
    let database = Database::open(dir.join("journal.redb"))?;
    let table = database.begin_read()?.open_table(TABLE)?;
    let mut tally = Tally::default();
    for entry in table.iter()? {
        tally.take(entry?.1.value())?;
    }
    Ok(tally)
}
