//! Version 1.

use hotseat_guest::{Failure, Service, Shard};
use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::ranks::Ranks;
use crate::service;

/// The sets of a shard, and nothing else.
#[derive(Debug, Serialize, Deserialize)]
pub struct V1 {
    /// The sets.
    pub ranks: Ranks,
}

impl Service for V1 {
    const SCHEMA: u32 = 1;

    fn open(shard: &Shard, _key: &str) -> Result<Self, String> {
        Ok(Self { ranks: Ranks::new(Limits::read(shard)?) })
    }

    fn loaded(&mut self, shard: &Shard) -> Result<(), String> {
        self.ranks.loaded(Limits::read(shard)?);
        Ok(())
    }

    fn call(&mut self, shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        service::call(&mut self.ranks, shard, method, body).map(|done| done.response)
    }

    fn query(&self, _shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        service::query(&self.ranks, 0, method, body)
    }

    fn timer(&mut self, shard: &Shard, _id: u64) {
        service::timer(&mut self.ranks, shard);
    }
}
