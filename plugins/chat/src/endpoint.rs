//! One endpoint: its log, its streams, its members. It knows nothing of other endpoints or the shard's limits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use hotseat_guest::Failure;
use serde::{Deserialize, Serialize};

use crate::log::{Encoded, Log};
use crate::pump::Outbox;

/// What these cost of the shard's memory, in bytes: the values, and their share of the trees they are in.
pub const ENDPOINT_BYTES: u64 = 512;
/// See [`ENDPOINT_BYTES`].
pub const MEMBER_BYTES: u64 = 32;
/// See [`ENDPOINT_BYTES`].
pub const STREAM_BYTES: u64 = 96;

/// An endpoint. `M` is what the plugin's version remembers of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Endpoint<M> {
    /// The messages kept.
    pub log: Log,
    /// Messages to keep, if not as many as the operator says.
    pub retention: Option<u32>,
    /// Whether only members may post.
    pub members_post: bool,
    /// Whether only members may subscribe.
    pub members_subscribe: bool,
    /// The members.
    pub members: BTreeSet<u64>,
    /// Muted users, and until when (milliseconds since 1970).
    pub muted: BTreeMap<u64, u64>,
    /// The open streams: user by channel, 0 for nobody in particular.
    pub(crate) streams: BTreeMap<u64, u64>,
    /// Those whose history is still to be sent: the next offset by channel, always one that is kept.
    pub(crate) lagging: BTreeMap<u64, i64>,
    /// The others, rising: where a new message goes at once.
    #[serde(skip)]
    pub(crate) live: Vec<u64>,
    /// What the plugin's version remembers.
    pub memory: M,
}

impl<M> Endpoint<M> {
    /// What all of it costs of the shard's memory, in bytes.
    pub fn cost(&self) -> u64 {
        ENDPOINT_BYTES
            + self.log.cost()
            + MEMBER_BYTES * (self.members.len() + self.muted.len()) as u64
            + STREAM_BYTES * self.streams.len() as u64
    }

    /// Rebuilds what is not saved.
    pub(crate) fn loaded(&mut self) {
        self.live = self.streams.keys().copied().filter(|it| !self.lagging.contains_key(it)).collect();
    }

    /// Whether a user may post now.
    ///
    /// # Errors
    /// Status 7 if only members may and it is none, or it is muted.
    pub fn may_post(&self, sender: u64, now_ms: u64) -> Result<(), Failure> {
        if sender == 0 {
            return Ok(());
        }
        if self.members_post && !self.members.contains(&sender) {
            return Err(Failure::denied(format!("only members may post, and user {sender} is none")));
        }
        match self.muted.get(&sender) {
            Some(&u64::MAX) => Err(Failure::denied(format!("user {sender} is muted"))),
            Some(until) if *until > now_ms => {
                Err(Failure::denied(format!("user {sender} is muted until {until} ms since 1970")))
            }
            _ => Ok(()),
        }
    }

    /// Whether a user may subscribe.
    pub(crate) fn may_subscribe(&self, user: u64) -> bool {
        !self.members_subscribe || user == 0 || self.members.contains(&user)
    }

    /// Adds a stream that wants the messages from an offset on (see `Subscribe`). Nothing is sent yet.
    pub(crate) fn subscribe(&mut self, channel: u64, user: u64, from: i64) {
        let next = self.log.next();
        let from = if from == -1 { next } else { from.clamp(self.log.first(), next) };
        self.streams.insert(channel, user);
        if from < next {
            self.lagging.insert(channel, from);
        } else {
            self.make_live(channel);
        }
    }

    /// Forgets a stream.
    pub(crate) fn unsubscribe(&mut self, channel: u64) {
        self.streams.remove(&channel);
        if self.lagging.remove(&channel).is_none()
            && let Ok(index) = self.live.binary_search(&channel)
        {
            self.live.remove(index);
        }
    }

    /// Sends a lagging stream its next chunk. Returns whether it lags no more.
    pub(crate) fn feed(&mut self, channel: u64, out: &mut Outbox<'_>) -> bool {
        let Some(next) = self.lagging.get_mut(&channel) else { return true };
        let mut chunk = out.chunk();
        for message in self.log.from(*next) {
            if !chunk.send(&[channel], message.bytes()) {
                return false;
            }
            *next += 1;
        }
        self.lagging.remove(&channel);
        self.make_live(channel);
        true
    }

    /// Drops the oldest messages until at most `keep` are left. Streams whose turn a message was yet to come get it
    /// now, so that nobody sees a gap; returns those for which there is no room in this call.
    #[must_use]
    pub(crate) fn trim(&mut self, keep: usize, out: &mut Outbox<'_>) -> Vec<u64> {
        let mut cut = Vec::new();
        while self.log.len() > keep {
            let Some(oldest) = self.log.oldest() else { break };
            let first = self.log.first();
            let waiting: Vec<u64> = self
                .lagging
                .iter()
                .filter(|(_, next)| **next == first)
                .map(|(channel, _)| *channel)
                .collect();
            if waiting.is_empty() || out.send(&waiting, oldest.bytes()) {
                for channel in waiting {
                    self.lagging.insert(channel, first + 1);
                }
            } else {
                for channel in waiting {
                    self.unsubscribe(channel);
                    cut.push(channel);
                }
            }
            self.log.drop_oldest();
        }
        cut
    }

    /// Appends a message and sends it to all streams but those that lag: they find it in the log.
    pub(crate) fn publish(&mut self, message: Encoded, out: &mut Outbox<'_>) {
        if !self.live.is_empty() {
            out.send_reserved(&self.live, message.bytes());
        }
        self.log.push(message);
    }

    /// The channels of the users that `select` says yes to.
    pub(crate) fn streams_of(&self, select: impl Fn(u64) -> bool) -> Vec<u64> {
        self.streams.iter().filter(|(_, user)| select(**user)).map(|(channel, _)| *channel).collect()
    }

    /// The members above a number, at most so many.
    pub(crate) fn members_after(&self, after: u64, limit: usize) -> Vec<u64> {
        self.members.range((Excluded(after), Unbounded)).take(limit).copied().collect()
    }

    /// The members above a number that have a stream, at most so many.
    pub(crate) fn present_after(&self, after: u64, limit: usize) -> Vec<u64> {
        let present: BTreeSet<u64> = self
            .streams
            .values()
            .copied()
            .filter(|user| *user > after && self.members.contains(user))
            .collect();
        present.into_iter().take(limit).collect()
    }

    /// How many users are muted now.
    pub(crate) fn muted_now(&self, now_ms: u64) -> usize {
        self.muted.values().filter(|until| **until > now_ms).count()
    }

    fn make_live(&mut self, channel: u64) {
        if let Err(index) = self.live.binary_search(&channel) {
            self.live.insert(index, channel);
        }
    }
}
