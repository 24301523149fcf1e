//! Sqlite: a B-tree with a write-ahead log; one transaction a group.

use std::path::Path;

use anyhow::Result;
use rusqlite::{Connection, params};

use super::{Store, Tally, value};

pub(super) struct Sqlite {
    connection: Connection,
    group: Vec<Vec<u8>>,
}

fn open(dir: &Path) -> Result<Connection> {
    let connection = Connection::open(dir.join("journal.sqlite"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // In this mode a commit is synced only if it is full.
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

impl Sqlite {
    pub(super) fn create(dir: &Path) -> Result<Self> {
        let connection = open(dir)?;
        connection.execute_batch("CREATE TABLE journal (id INTEGER PRIMARY KEY, record BLOB NOT NULL)")?;
        Ok(Self { connection, group: Vec::new() })
    }
}

impl Store for Sqlite {
    fn append(&mut self, room: &str, inputs: &[u8]) -> Result<()> {
        self.group.push(value(room, inputs));
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO journal (record) VALUES (?1)")?;
            for value in self.group.drain(..) {
                insert.execute(params![value])?;
            }
        }
        Ok(transaction.commit()?)
    }
}

pub(super) fn read(dir: &Path) -> Result<Tally> {
    let connection = open(dir)?;
    let mut tally = Tally::default();
    let mut select = connection.prepare("SELECT record FROM journal ORDER BY id")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        tally.take(row.get_ref(0)?.as_blob()?)?;
    }
    Ok(tally)
}
