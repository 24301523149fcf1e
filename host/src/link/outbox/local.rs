//! Local: the outbox of a session of this process.
//!
//! The session takes everything at once and writes it in one go. So a tick that sends a player ten frames costs one
//! wake-up and one write, and an idle session holds no buffer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Push, Taken};
use crate::link::Signal;

/// The queue. Shared between a session's task, which takes, and whoever sends to the player.
#[derive(Debug)]
pub(super) struct Local {
    limit: usize,
    inner: Mutex<Inner>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    signals: Vec<Signal>,
    /// Set by overflow, a close or the session's end: later frames are dropped.
    shut: bool,
    overflowed: bool,
}

impl Local {
    /// An empty outbox that holds at most `limit` bytes of encoded frames.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default(), ready: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic between two appends leaves whole frames behind, so the queue stays usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends one frame. `payload` is at most 65,533 bytes (the u16 size less the opcode); the caller checks.
    #[inline]
    pub(super) fn push(&self, opcode: u16, payload: &[u8]) -> Push {
        debug_assert!(payload.len() <= hotseat_packet::MAX_DOWN_PAYLOAD);
        self.append(payload.len() + 4, |bytes| {
            #[expect(clippy::cast_possible_truncation, reason = "the caller checks")]
            let size = (payload.len() + 2) as u16;
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&opcode.to_be_bytes());
            bytes.extend_from_slice(payload);
        })
    }

    /// Appends frames that are encoded already.
    pub(super) fn push_encoded(&self, frames: &[u8]) -> Push {
        self.append(frames.len(), |bytes| bytes.extend_from_slice(frames))
    }

    #[inline]
    fn append(&self, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Push {
        let mut inner = self.lock();
        if inner.shut {
            return Push::Dropped;
        }
        if inner.bytes.len() + length > self.limit {
            inner.shut = true;
            inner.overflowed = true;
            drop(inner);
            self.ready.notify_one();
            return Push::Overflowed;
        }
        let was_idle = inner.bytes.is_empty() && inner.signals.is_empty();
        inner.bytes.reserve(length);
        write(&mut inner.bytes);
        drop(inner);
        if was_idle {
            self.ready.notify_one();
        }
        Push::Queued
    }

    /// See [`Outbox::signal_after`](super::Outbox::signal_after).
    pub(super) fn signal_after(&self, signal: Signal, first: impl FnOnce()) -> bool {
        let mut inner = self.lock();
        first();
        if inner.shut {
            return false;
        }
        inner.shut = matches!(signal, Signal::Close(_));
        inner.signals.push(signal);
        drop(inner);
        self.ready.notify_one();
        true
    }

    /// Whether the session is closing: nothing more reaches it.
    pub(super) fn is_shut(&self) -> bool {
        self.lock().shut
    }

    /// Swaps what is queued into `bytes`, which must be empty, and returns the rest.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> Taken {
        debug_assert!(bytes.is_empty());
        let mut inner = self.lock();
        std::mem::swap(&mut inner.bytes, bytes);
        Taken { signals: std::mem::take(&mut inner.signals), overflowed: inner.overflowed }
    }

    /// Drops the frames that are queued and all that will come: the session is over. Returns the signals it has not
    /// taken, of which a [`Signal::Moved`] says which room is to hear of its end.
    pub(super) fn shut(&self) -> Vec<Signal> {
        let mut inner = self.lock();
        inner.shut = true;
        inner.bytes = Vec::new();
        std::mem::take(&mut inner.signals)
    }

    /// Completes when there may be something to take. Cancel safe; may complete early.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }
}
