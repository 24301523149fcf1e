//! Version 2: counts the changes it makes.

use hotseat_guest::{Failure, Service, Shard, decode};
use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::ranks::Ranks;
use crate::service;
use crate::v1::V1;

/// The sets of a shard, and how many scores were written since version 2 runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct V2 {
    /// The sets.
    pub ranks: Ranks,
    /// Scores written, those that were the same as before included.
    pub changes: u64,
}

impl Service for V2 {
    const SCHEMA: u32 = 2;

    fn open(shard: &Shard, _key: &str) -> Result<Self, String> {
        Ok(Self { ranks: Ranks::new(Limits::read(shard)?), changes: 0 })
    }

    fn migrate(_shard: &Shard, from: u32, bytes: &[u8]) -> Result<Self, String> {
        match from {
            1 => decode::<V1>(bytes).map(|V1 { ranks }| Self { ranks, changes: 0 }),
            _ => Err(format!("no migration from schema {from} to {}", Self::SCHEMA)),
        }
    }

    fn loaded(&mut self, shard: &Shard) -> Result<(), String> {
        self.ranks.loaded(Limits::read(shard)?);
        Ok(())
    }

    fn call(&mut self, shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let done = service::call(&mut self.ranks, shard, method, body)?;
        self.changes += done.changes;
        Ok(done.response)
    }

    fn query(&self, _shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        service::query(&self.ranks, self.changes, method, body)
    }

    fn timer(&mut self, shard: &Shard, _id: u64) {
        service::timer(&mut self.ranks, shard);
    }
}
