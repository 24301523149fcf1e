//! The streams of a test shard.

use std::collections::{BTreeMap, BTreeSet};

use crate::failure::Failure;

/// Streams by number, and what the test has not looked at yet.
#[derive(Clone, Default)]
pub(crate) struct Channels {
    open: BTreeSet<u64>,
    ended: BTreeMap<u64, Result<(), Failure>>,
    sent: BTreeMap<u64, Vec<Vec<u8>>>,
    /// A number names one stream for ever.
    known: BTreeSet<u64>,
}

impl Channels {
    /// Begins a stream; false if one of that number was there before.
    pub(crate) fn open(&mut self, channel: u64) -> bool {
        self.known.insert(channel) && self.open.insert(channel)
    }

    /// The client's end of a stream; false if it is not open.
    pub(crate) fn close(&mut self, channel: u64) -> bool {
        self.open.remove(&channel)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = u64> {
        self.open.iter().copied()
    }

    pub(crate) fn send(&mut self, channels: &[u64], message: &[u8]) {
        for channel in channels.iter().filter(|channel| self.open.contains(channel)) {
            self.sent.entry(*channel).or_default().push(message.to_vec());
        }
    }

    pub(crate) fn end(&mut self, channel: u64, status: u32, text: &str) {
        if self.open.remove(&channel) {
            let outcome = if status == 0 { Ok(()) } else { Err(Failure::new(status, text)) };
            self.ended.insert(channel, outcome);
        }
    }

    pub(crate) fn take_sent(&mut self, channel: u64) -> Vec<Vec<u8>> {
        self.sent.remove(&channel).unwrap_or_default()
    }

    pub(crate) fn ended(&self, channel: u64) -> Option<Result<(), Failure>> {
        self.ended.get(&channel).cloned()
    }
}
