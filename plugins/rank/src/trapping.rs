//! Version 1 with a fault, to see what the host does about it.

use hotseat_guest::{Failure, Service, Shard};
use hotseat_services::rank::{Change, method};
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::v1::V1;

/// The score that a `RankChange` traps at.
pub const TRAP_SCORE: i64 = i64::MIN + 7;

/// Version 1, but a `RankChange` to [`TRAP_SCORE`] panics after it has changed the state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trapping {
    /// The version it is otherwise.
    pub sound: V1,
}

impl Service for Trapping {
    const SCHEMA: u32 = V1::SCHEMA;

    fn open(shard: &Shard, key: &str) -> Result<Self, String> {
        V1::open(shard, key).map(|sound| Self { sound })
    }

    fn loaded(&mut self, shard: &Shard) -> Result<(), String> {
        self.sound.loaded(shard)
    }

    fn call(&mut self, shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let response = self.sound.call(shard, method, body)?;
        if method == method::RANK_CHANGE
            && Change::decode(body).is_ok_and(|change| change.score == TRAP_SCORE)
        {
            panic!("this build traps at the score {TRAP_SCORE}");
        }
        Ok(response)
    }

    fn query(&self, shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.sound.query(shard, method, body)
    }

    fn timer(&mut self, shard: &Shard, id: u64) {
        self.sound.timer(shard, id);
    }
}
