//! Store: where a journal's records may go.

mod fjall;
mod redb;
mod segments;
mod sqlite;

use std::path::Path;

use anyhow::{Result, bail};

/// All of them. The first one drops what it is given: what the load itself costs.
pub(crate) const NAMES: [&str; 5] = ["nothing", "segments", "redb", "fjall", "sqlite"];

/// A journal that is being written.
pub(crate) trait Store {
    /// Takes a record of a room.
    fn append(&mut self, room: &str, inputs: &[u8]) -> Result<()>;
    /// Time to hand on to the system what it has, for stores that do so without syncing.
    fn write(&mut self) -> Result<()>;
    /// Everything is on disk when this returns.
    fn sync(&mut self) -> Result<()>;
}

/// What was read back.
#[derive(Default)]
pub(crate) struct Tally {
    /// Bytes of inputs.
    pub(crate) bytes: u64,
}

impl Tally {
    /// A value as the key-value stores have it: `u8 name length | name | inputs`.
    fn take(&mut self, value: &[u8]) -> Result<()> {
        let Some((length, rest)) = value.split_first() else { bail!("an empty record") };
        let Some((_, inputs)) = rest.split_at_checked(usize::from(*length)) else { bail!("a short record") };
        // Every byte is looked at, as a checksum does.
        std::hint::black_box(crc32fast::hash(inputs));
        self.bytes += inputs.len() as u64;
        Ok(())
    }
}

/// The value of a record in the key-value stores.
fn value(room: &str, inputs: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + room.len() + inputs.len());
    value.push(u8::try_from(room.len()).unwrap_or(u8::MAX));
    value.extend_from_slice(room.as_bytes());
    value.extend_from_slice(inputs);
    value
}

/// A new store in `dir`.
pub(crate) fn create(name: &str, dir: &Path) -> Result<Box<dyn Store>> {
    Ok(match name {
        "nothing" => Box::new(Nothing),
        "segments" => Box::new(segments::Segments::create(dir)?),
        "redb" => Box::new(redb::Redb::create(dir)?),
        "fjall" => Box::new(fjall::Fjall::create(dir)?),
        "sqlite" => Box::new(sqlite::Sqlite::create(dir)?),
        _ => bail!("no store {name}"),
    })
}

/// Opens a store and reads all of it, in order.
pub(crate) fn read(name: &str, dir: &Path) -> Result<Tally> {
    match name {
        "segments" => segments::read(dir),
        "redb" => redb::read(dir),
        "fjall" => fjall::read(dir),
        "sqlite" => sqlite::read(dir),
        _ => bail!("no store {name}"),
    }
}

struct Nothing;

impl Store for Nothing {
    fn append(&mut self, room: &str, inputs: &[u8]) -> Result<()> {
        std::hint::black_box((room, inputs));
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}
