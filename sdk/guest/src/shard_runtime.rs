//! One shard's life: from `open` or `load` through its events, the same in a component and in a test.

use crate::answer::Answer;
use crate::failure::Failure;
use crate::service::Service;
use crate::shard::Shard;
use crate::state::{self, Snapshot};

/// A shard that is open.
pub(crate) struct ShardRuntime<S: Service> {
    shard: Shard,
    service: S,
}

impl<S: Service> ShardRuntime<S> {
    pub(crate) fn open(key: &str) -> Result<Self, String> {
        let shard = Shard::new();
        let service = S::open(&shard, key)?;
        Ok(Self { shard, service })
    }

    pub(crate) fn load(snapshot: &Snapshot) -> Result<Self, String> {
        let shard = Shard::new();
        let mut service: S =
            state::restore(S::SCHEMA, snapshot, |from, bytes| S::migrate(&shard, from, bytes))?;
        service.loaded(&shard)?;
        Ok(Self { shard, service })
    }

    pub(crate) fn save(&self) -> Snapshot {
        state::save(S::SCHEMA, &self.service)
    }

    pub(crate) fn save_as(&self, schema: u32) -> Result<Vec<u8>, String> {
        self.service.downgrade(schema)
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn state(&self) -> &S {
        &self.service
    }

    pub(crate) fn call(&mut self, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.service.call(&self.shard, method, body)
    }

    pub(crate) fn query(&self, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.service.query(&self.shard, method, body)
    }

    pub(crate) fn subscribe(&mut self, channel: u64, method: &str, body: &[u8]) -> Result<(), Failure> {
        self.service.subscribe(&self.shard, channel, method, body)
    }

    pub(crate) fn unsubscribe(&mut self, channel: u64) {
        self.service.unsubscribe(&self.shard, channel);
    }

    pub(crate) fn timer(&mut self, id: u64) {
        self.service.timer(&self.shard, id);
    }

    pub(crate) fn reply(&mut self, token: u64, answer: Answer) {
        self.service.reply(&self.shard, token, answer);
    }
}
