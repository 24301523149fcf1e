//! Outbox: the downward queue of one session, bounded in bytes.
//!
//! The game side appends encoded frames (`u16 size | u16 opcode | payload`, big-endian, not yet encrypted); the
//! session takes everything at once and writes it in one go. So a tick that sends a player ten frames costs one
//! wake-up and one write, and an idle session holds no buffer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Close, Signal};

/// The queue. Shared between a session's task, which takes, and whoever sends to the player.
#[derive(Debug)]
pub struct Outbox {
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

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// Queued.
    Queued,
    /// The session is closing: nobody will read it.
    Dropped,
    /// It did not fit: the session is closed as a slow client. Said once; later frames are [`Push::Dropped`].
    Overflowed,
}

/// What a session takes from its outbox.
#[derive(Debug, Default)]
pub struct Taken {
    /// What to do besides writing, in order, after the bytes are written.
    pub signals: Vec<Signal>,
    /// The client has not read for too long; `bytes` will not reach it in time.
    pub overflowed: bool,
}

impl Outbox {
    /// An empty outbox that holds at most `limit` bytes of encoded frames.
    pub fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default(), ready: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic between two appends leaves whole frames behind, so the queue stays usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends one frame. `payload` is at most 65,533 bytes (the u16 size less the opcode); the caller checks.
    pub fn push(&self, opcode: u16, payload: &[u8]) -> Push {
        debug_assert!(payload.len() <= hotseat_packet::MAX_DOWN_PAYLOAD);
        let mut inner = self.lock();
        if inner.shut {
            return Push::Dropped;
        }
        if inner.bytes.len() + payload.len() + 4 > self.limit {
            inner.shut = true;
            inner.overflowed = true;
            drop(inner);
            self.ready.notify_one();
            return Push::Overflowed;
        }
        let was_idle = inner.bytes.is_empty() && inner.signals.is_empty();
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the check above")]
        let size = (payload.len() + 2) as u16;
        inner.bytes.reserve(payload.len() + 4);
        inner.bytes.extend_from_slice(&size.to_be_bytes());
        inner.bytes.extend_from_slice(&opcode.to_be_bytes());
        inner.bytes.extend_from_slice(payload);
        drop(inner);
        if was_idle {
            self.ready.notify_one();
        }
        Push::Queued
    }

    /// Tells the session something; see [`Signal`]. False if it is closing and will not hear it.
    pub fn signal(&self, signal: Signal) -> bool {
        self.signal_after(signal, || ())
    }

    /// As [`Self::signal`], but does `first` before the session can hear it and lets nobody else tell the session
    /// anything in between: what `first` causes comes behind the signal. `first` must not use this outbox.
    pub fn signal_after(&self, signal: Signal, first: impl FnOnce()) -> bool {
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
    pub fn is_shut(&self) -> bool {
        self.lock().shut
    }

    /// Ends the session after what is queued has been written. The first close wins.
    pub fn close(&self, close: Close) {
        self.signal(Signal::Close(close));
    }

    /// Swaps what is queued into `bytes`, which must be empty, and returns the rest.
    pub fn take(&self, bytes: &mut Vec<u8>) -> Taken {
        debug_assert!(bytes.is_empty());
        let mut inner = self.lock();
        std::mem::swap(&mut inner.bytes, bytes);
        Taken { signals: std::mem::take(&mut inner.signals), overflowed: inner.overflowed }
    }

    /// Drops the frames that are queued and all that will come: the session is over. Returns the signals it has not
    /// taken, of which a [`Signal::Moved`] says which room is to hear of its end.
    pub fn shut(&self) -> Vec<Signal> {
        let mut inner = self.lock();
        inner.shut = true;
        inner.bytes = Vec::new();
        std::mem::take(&mut inner.signals)
    }

    /// Completes when there may be something to take. Cancel safe; may complete early.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }
}
