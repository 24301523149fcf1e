//! Downs: what waits for the agent at the other end of one stream.
//!
//! The session puts in without waiting, so that it always hears what its room tells it; the connection takes out at the
//! agent's pace.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hotseat_packet::decode_down;
use tokio::sync::Notify;
use tonic::Status;

use crate::proto::original::game::{Frame, FrameType};

/// Bytes that wait, above which nothing more is read: an agent that does not read its answers gets to ask no more.
const HIGH: usize = 16 * 1024;

/// What a frame costs beside its bytes, so that empty ones are counted too.
const COST: usize = 8;

/// The queue of one stream.
#[derive(Debug)]
pub(super) struct Downs {
    limit: usize,
    inner: Mutex<Inner>,
    /// For who takes out.
    filled: Notify,
    /// For who puts in.
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Item>,
    bytes: usize,
    /// Nothing comes any more.
    ended: bool,
    /// Nobody takes out any more.
    gone: bool,
}

#[derive(Debug)]
enum Item {
    /// Encoded frames, of which those before `at` have been taken.
    Frames {
        bytes: Vec<u8>,
        at: usize,
    },
    Ping(Vec<u8>),
    Kick,
    Failed(Status),
}

/// The agent does not read: more waits for it than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unread;

impl Downs {
    /// A queue in which about `limit` bytes may wait.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default(), filled: Notify::new(), emptied: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The queue is whole at every step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: Item, cost: usize) -> Result<(), Unread> {
        let mut inner = self.lock();
        // What comes in one go is the outbox's limit at most, so at most twice that waits here.
        if inner.bytes > self.limit {
            return Err(Unread);
        }
        if !inner.ended && !inner.gone {
            inner.bytes += cost;
            inner.items.push_back(item);
            drop(inner);
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Frames as an outbox has them: `u16 size | u16 opcode | payload` each.
    pub(super) fn frames(&self, bytes: Vec<u8>) -> Result<(), Unread> {
        let cost = bytes.len();
        if cost == 0 { Ok(()) } else { self.push(Item::Frames { bytes, at: 0 }, cost) }
    }

    /// The answer to a ping.
    pub(super) fn ping(&self, bytes: Vec<u8>) -> Result<(), Unread> {
        let cost = bytes.len() + COST;
        self.push(Item::Ping(bytes), cost)
    }

    /// The end, in good order: the player is to be disconnected, if `kick` says so.
    pub(super) fn end(&self, kick: bool) {
        self.close(kick.then_some(Item::Kick), false);
    }

    /// The end, with this status; what waits is dropped, if `at_once` says so.
    pub(super) fn fail(&self, status: Status, at_once: bool) {
        self.close(Some(Item::Failed(status)), at_once);
    }

    fn close(&self, last: Option<Item>, at_once: bool) {
        let mut inner = self.lock();
        if at_once {
            inner.items.clear();
        }
        if !inner.ended {
            inner.items.extend(last);
        }
        inner.ended = true;
        drop(inner);
        self.filled.notify_one();
    }

    /// Whether so much waits that nothing more is to be read.
    pub(super) fn is_high(&self) -> bool {
        self.lock().bytes >= HIGH
    }

    /// Whether nobody takes out any more.
    pub(super) fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// Completes when [`Self::is_high`] or [`Self::is_gone`] may have changed. Cancel safe.
    pub(super) async fn emptied(&self) {
        self.emptied.notified().await;
    }
}

impl Inner {
    fn take(&mut self) -> Option<Result<Frame, Status>> {
        let frame = |r#type: FrameType, message| Ok(Frame { r#type: r#type.into(), message });
        while let Item::Frames { bytes, at } = self.items.front_mut()? {
            match decode_down(&bytes[*at..]) {
                Ok(Some((_, used))) => {
                    // Behind the size stands what the original has there.
                    let message = bytes[*at + 2..*at + used].to_vec();
                    *at += used;
                    self.bytes -= used;
                    return Some(frame(FrameType::Message, message));
                }
                // Whole frames only are put in, so this is their end.
                Ok(None) | Err(_) => {
                    self.bytes -= bytes.len() - *at;
                    self.items.pop_front();
                }
            }
        }
        match self.items.pop_front()? {
            Item::Ping(bytes) => {
                self.bytes -= bytes.len() + COST;
                Some(frame(FrameType::Ping, bytes))
            }
            Item::Failed(status) => Some(Err(status)),
            Item::Kick | Item::Frames { .. } => Some(frame(FrameType::Kick, Vec::new())),
        }
    }
}

/// Who takes out. Dropping it says that the stream is gone.
#[derive(Debug)]
pub(super) struct Reading(Arc<Downs>);

impl Reading {
    pub(super) fn new(downs: Arc<Downs>) -> Self {
        Self(downs)
    }

    /// What comes next; waits until there is something. `None` at the end. Cancel safe.
    pub(super) async fn next(&self) -> Option<Result<Frame, Status>> {
        loop {
            {
                let mut inner = self.0.lock();
                let was_high = inner.bytes >= HIGH;
                let taken = inner.take();
                let is_high = inner.bytes >= HIGH;
                let ended = inner.ended;
                drop(inner);
                if was_high && !is_high {
                    self.0.emptied.notify_one();
                }
                if taken.is_some() || ended {
                    return taken;
                }
            }
            self.0.filled.notified().await;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.gone = true;
        inner.items = VecDeque::new();
        drop(inner);
        self.0.emptied.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(opcode: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        hotseat_packet::encode_down(&mut bytes, opcode, payload).unwrap();
        bytes
    }

    async fn all(reading: Reading) -> Vec<Result<(i32, Vec<u8>), tonic::Code>> {
        let mut found = Vec::new();
        while let Some(frame) = reading.next().await {
            found.push(frame.map(|frame| (frame.r#type, frame.message)).map_err(|status| status.code()));
        }
        found
    }

    #[tokio::test]
    async fn what_is_put_in_comes_out_in_order() {
        let downs = Arc::new(Downs::new(1 << 20));
        downs.frames([encoded(1002, b"one"), encoded(1003, b"")].concat()).unwrap();
        downs.ping(b"two".to_vec()).unwrap();
        downs.frames(Vec::new()).unwrap();
        downs.frames(encoded(1004, &[7; 60_000])).unwrap();
        assert!(downs.is_high());
        downs.end(true);
        downs.fail(Status::internal("too late"), false);
        let found = all(Reading::new(Arc::clone(&downs))).await;
        let long = [&[3, 236][..], &[7; 60_000]].concat();
        let message = |bytes: &[u8]| Ok((0, bytes.to_vec()));
        let expected = [
            message(b"\x03\xEAone"),
            message(b"\x03\xEB"),
            Ok((2, b"two".to_vec())),
            message(&long),
            Ok((1, vec![])),
        ];
        assert!(found == expected, "{}", found.len());
        assert_eq!(downs.lock().bytes, 0);
        assert!(downs.is_gone() && !downs.is_high());
    }

    #[tokio::test]
    async fn an_agent_that_does_not_read_is_told_nothing_but_that() {
        let downs = Arc::new(Downs::new(100));
        downs.frames(encoded(1002, &[0; 90])).unwrap();
        downs.frames(encoded(1002, &[0; 90])).unwrap();
        assert_eq!(downs.ping(Vec::new()), Err(Unread));
        downs.fail(Status::resource_exhausted("x"), true);
        assert_eq!(all(Reading::new(downs)).await, [Err(tonic::Code::ResourceExhausted)]);
    }
}
