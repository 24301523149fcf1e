//! The messages an endpoint keeps: encoded once, numbered for ever.

use std::collections::VecDeque;
use std::fmt;

use hotseat_services::chat::Message;
use prost::Message as _;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a kept message takes beside its bytes: pointer, length, and what the allocator adds.
const OVERHEAD_BYTES: u64 = 32;

/// A `Chat.Message` as it goes over the wire and into the saved state.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded(Box<[u8]>);

impl Encoded {
    /// Encodes a message.
    #[must_use]
    pub fn new(message: &Message) -> Self {
        Self(message.encode_to_vec().into_boxed_slice())
    }

    /// The encoded message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn cost(&self) -> u64 {
        cost(self.0.len())
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Encoded({} bytes)", self.0.len())
    }
}

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As a slice serde would write it byte by byte.
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Encoded;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an encoded message")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Encoded, E> {
                Ok(Encoded(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// What keeping an encoded message of so many bytes costs of the shard's memory, in bytes.
#[must_use]
pub fn cost(encoded_bytes: usize) -> u64 {
    encoded_bytes as u64 + OVERHEAD_BYTES
}

/// The last messages of an endpoint, with consecutive offsets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Log {
    /// The offset of the oldest message kept, or of the next one if none is.
    first: i64,
    messages: VecDeque<Encoded>,
    cost: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { first: 1, messages: VecDeque::new(), cost: 0 }
    }
}

impl Log {
    /// The offset of the oldest message kept; [`next`](Log::next) if none is.
    #[must_use]
    pub fn first(&self) -> i64 {
        self.first
    }

    /// The offset the next message will have.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.first + self.messages.len() as i64
    }

    /// Messages kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether no message is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What all messages cost of the shard's memory, in bytes.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Appends a message, which must carry the offset [`next`](Log::next).
    pub fn push(&mut self, message: Encoded) {
        self.cost += message.cost();
        self.messages.push_back(message);
    }

    /// The oldest message.
    #[must_use]
    pub fn oldest(&self) -> Option<&Encoded> {
        self.messages.front()
    }

    /// Drops the oldest message; the offsets of the others stay.
    pub fn drop_oldest(&mut self) {
        if let Some(message) = self.messages.pop_front() {
            self.first += 1;
            self.cost -= message.cost();
        }
    }

    /// The messages kept from an offset on.
    pub fn from(&self, offset: i64) -> impl Iterator<Item = &Encoded> {
        let skipped = offset.saturating_sub(self.first).clamp(0, self.messages.len() as i64);
        self.messages.range(skipped as usize..)
    }

    /// The messages kept from one offset to another, both included.
    pub fn range(&self, from: i64, to: i64) -> impl Iterator<Item = &Encoded> {
        let from = from.max(self.first);
        let count = to.min(self.next() - 1).saturating_sub(from).saturating_add(1).max(0);
        self.from(from).take(count as usize)
    }

    /// The newest messages, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Encoded> {
        self.messages.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(first: i64, next: i64) -> Log {
        let mut log = Log { first, ..Log::default() };
        for offset in first..next {
            log.push(Encoded::new(&Message { offset, ..Message::default() }));
        }
        log
    }

    fn offsets<'a>(messages: impl Iterator<Item = &'a Encoded>) -> Vec<i64> {
        messages.map(|message| Message::decode(message.bytes()).unwrap().offset).collect()
    }

    #[test]
    fn ranges_are_clamped_to_what_is_kept() {
        let log = log(5, 9);
        for (from, to, expected) in [
            (5, 8, vec![5, 6, 7, 8]),
            (6, 7, vec![6, 7]),
            (6, 6, vec![6]),
            (7, 6, vec![]),
            (1, 5, vec![5]),
            (1, 4, vec![]),
            (8, 100, vec![8]),
            (9, 100, vec![]),
            (i64::MIN, i64::MAX, vec![5, 6, 7, 8]),
            (i64::MAX, i64::MIN, vec![]),
            (i64::MAX, i64::MAX, vec![]),
            (i64::MIN, i64::MIN, vec![]),
        ] {
            assert_eq!(offsets(log.range(from, to)), expected, "{from} to {to}");
        }
        assert_eq!(offsets(log.from(i64::MIN)), [5, 6, 7, 8]);
        assert_eq!(offsets(log.from(8)), [8]);
        assert_eq!(offsets(log.from(i64::MAX)), [0; 0]);
        assert_eq!(offsets(log.newest_first()), [8, 7, 6, 5]);
    }

    #[test]
    fn dropping_moves_no_offset_and_returns_the_cost() {
        let mut log = log(1, 3);
        log.drop_oldest();
        assert_eq!((log.first(), log.next(), log.len()), (2, 3, 1));
        log.drop_oldest();
        log.drop_oldest();
        assert_eq!((log.first(), log.next(), log.cost()), (3, 3, 0));
        assert!(log.is_empty() && log.oldest().is_none());
    }

    #[test]
    fn a_saved_message_is_its_bytes_behind_their_length() {
        let message =
            Encoded::new(&Message { id: 7, body: b"hello".into(), offset: 1, ..Message::default() });
        let saved = postcard::to_allocvec(&message).unwrap();
        assert_eq!(&saved[1..], message.bytes());
        assert_eq!(postcard::from_bytes::<Encoded>(&saved).unwrap(), message);
    }
}
