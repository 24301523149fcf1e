//! What does not fit into one call: a call has a limited number of effects and bytes, and a stream that is sent more
//! than its client can read at once is cut. So long histories go out in chunks, and many streams end in rounds.
//!
//! A stream is either live, and gets a message when it is posted, or lagging, and gets it from the log when its turn
//! comes. It never is both, which is why it sees each message once and in order.

use std::ops::Bound::{Excluded, Unbounded};

use hotseat_guest::{Failure, Shard};
use serde::{Deserialize, Serialize};

use crate::chat::Chat;
use crate::version::Version;

/// The timer of the next round.
pub(crate) const ROUND: u64 = 1;

/// Time between two rounds, in milliseconds. With [`CHUNK_BYTES`] it paces a history at 25 MiB/s a stream.
const ROUND_MS: u32 = 10;

/// Effects a call may have: the contract's 4,096, less room for a timer and a message.
const CALL_EFFECTS: usize = 4_000;
/// Bytes a call may send: the contract's 1 MiB, less what keeps us away from it.
const CALL_BYTES: usize = 1_000_000;

/// What one stream gets of its history in one call, in messages.
const CHUNK_EFFECTS: usize = 1_024;
/// What one stream gets of its history in one call, in bytes; a single message may be larger.
const CHUNK_BYTES: usize = 256 << 10;

/// What a call may still send.
#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    shard: &'a Shard,
    effects: usize,
    bytes: usize,
}

impl<'a> Outbox<'a> {
    /// A whole call's worth.
    pub(crate) fn new(shard: &'a Shard) -> Self {
        Self { shard, effects: CALL_EFFECTS, bytes: CALL_BYTES }
    }

    /// A call's worth, less a message that [`send_reserved`](Outbox::send_reserved) will take.
    pub(crate) fn reserving(shard: &'a Shard, bytes: usize) -> Self {
        Self { shard, effects: CALL_EFFECTS - 1, bytes: CALL_BYTES.saturating_sub(bytes) }
    }

    /// Sends a message; returns false, and does not, if there is no room for it.
    pub(crate) fn send(&mut self, channels: &[u64], message: &[u8]) -> bool {
        let fits = self.effects > 0 && message.len() <= self.bytes;
        if fits {
            self.effects -= 1;
            self.bytes -= message.len();
            self.shard.send(channels, message);
        }
        fits
    }

    /// Sends the message for which room was reserved.
    pub(crate) fn send_reserved(&mut self, channels: &[u64], message: &[u8]) {
        self.shard.send(channels, message);
    }

    /// The part of it that one stream's history may have.
    pub(crate) fn chunk(&mut self) -> Chunk<'_, 'a> {
        Chunk { out: self, effects: 0, bytes: 0 }
    }

    fn end(&mut self, channel: u64, failure: Failure) -> bool {
        let fits = self.effects > 0 && failure.text.len() <= self.bytes;
        if fits {
            self.effects -= 1;
            self.bytes -= failure.text.len();
            self.shard.end(channel, Err(failure));
        }
        fits
    }
}

/// What one stream gets of its history in one call; remembers what it already got.
#[derive(Debug)]
pub(crate) struct Chunk<'o, 'a> {
    out: &'o mut Outbox<'a>,
    effects: usize,
    bytes: usize,
}

impl Chunk<'_, '_> {
    /// As [`Outbox::send`]; the first message always fits into the chunk.
    pub(crate) fn send(&mut self, channels: &[u64], message: &[u8]) -> bool {
        self.effects += 1;
        self.bytes += message.len();
        let fits = self.effects == 1 || (self.effects <= CHUNK_EFFECTS && self.bytes <= CHUNK_BYTES);
        fits && self.out.send(channels, message)
    }
}

/// Why the shard ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// Its endpoint is gone.
    Unregistered,
    /// Only members may subscribe, and its user is none any more.
    NoMember,
    /// Messages it was waiting for are gone: the retention was lowered.
    Overtaken,
}

impl Ending {
    fn failure(self) -> Failure {
        match self {
            Self::Unregistered => Failure::not_found("the id was unregistered"),
            Self::NoMember => Failure::denied("only members may subscribe, and this user is none any more"),
            Self::Overtaken => Failure::new(10, "the retention was lowered below what was yet to be sent"),
        }
    }
}

impl<V: Version> Chat<V> {
    /// Sends a new stream the beginning of its history, or all of it.
    pub(crate) fn begin(&mut self, shard: &Shard, channel: u64) {
        self.feed(channel, &mut Outbox::new(shard));
        self.schedule(shard);
    }

    /// Gives streams that are no longer in any endpoint their ending, as many as fit into this call.
    pub(crate) fn end(&mut self, shard: &Shard, channels: Vec<u64>, ending: Ending, out: &mut Outbox<'_>) {
        for channel in channels {
            self.channels.remove(&channel);
            self.lagging.remove(&channel);
            self.ending.insert(channel, ending);
        }
        self.end_some(out);
        self.schedule(shard);
    }

    /// One round for everybody who waits: endings, then a chunk for each lagging stream, beginning where the last
    /// round had to stop.
    pub(crate) fn round(&mut self, shard: &Shard) {
        self.scheduled = false;
        let mut out = Outbox::new(shard);
        self.end_some(&mut out);
        let turn = self.fed;
        let behind = self.lagging.range((Excluded(turn), Unbounded));
        let order: Vec<u64> = behind.chain(self.lagging.range(..=turn)).copied().collect();
        for channel in order {
            if out.effects == 0 || out.bytes == 0 {
                break;
            }
            self.feed(channel, &mut out);
            self.fed = channel;
        }
        self.schedule(shard);
    }

    fn feed(&mut self, channel: u64, out: &mut Outbox<'_>) {
        let endpoint = self.channels.get(&channel).and_then(|id| self.endpoints.get_mut(id));
        if endpoint.is_none_or(|endpoint| endpoint.feed(channel, out)) {
            self.lagging.remove(&channel);
        } else {
            self.lagging.insert(channel);
        }
    }

    fn end_some(&mut self, out: &mut Outbox<'_>) {
        while let Some((channel, ending)) = self.ending.first_key_value() {
            if !out.end(*channel, ending.failure()) {
                break;
            }
            self.ending.pop_first();
        }
    }

    /// Sets the timer of the next round if there is anything for it to do. It is not moved if it is set: those who
    /// come would hold up those who wait.
    fn schedule(&mut self, shard: &Shard) {
        let waits = !self.lagging.is_empty() || !self.ending.is_empty();
        if waits && !self.scheduled {
            self.scheduled = true;
            shard.set_timer(ROUND, ROUND_MS);
        }
    }
}
