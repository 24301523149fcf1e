//! Registration: an entry that stands as long as somebody holds on to this.

use std::sync::Arc;

use super::etcd::Registered;
use super::simulated::Simulated;
use super::table::Table;

/// An entry that [`super::Discovery::register`] keeps. Dropping it removes the entry.
#[derive(Debug)]
pub struct Registration {
    key: Box<str>,
    kept: Kept,
}

#[derive(Debug)]
pub(super) enum Kept {
    Table { table: Arc<Table>, token: u64 },
    Etcd { registered: Arc<Registered>, token: u64 },
    Simulated { table: Arc<dyn Simulated>, token: u64 },
}

impl Registration {
    pub(super) fn new(key: &str, kept: Kept) -> Self {
        Self { key: key.into(), kept }
    }

    /// Changes the value. Nothing happens if a later registration has the key.
    pub fn update(&self, value: Vec<u8>) {
        match &self.kept {
            Kept::Table { table, token } => table.update(&self.key, *token, Some(value)),
            Kept::Etcd { registered, token } => registered.update(&self.key, *token, Some(value)),
            Kept::Simulated { table, token } => table.update(&self.key, *token, Some(value)),
        }
    }

    /// Which entry it is.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        match &self.kept {
            Kept::Table { table, token } => table.update(&self.key, *token, None),
            Kept::Etcd { registered, token } => registered.update(&self.key, *token, None),
            Kept::Simulated { table, token } => table.update(&self.key, *token, None),
        }
    }
}
