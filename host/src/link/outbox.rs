//! Outbox: the downward queue of one session.
//!
//! The game side appends encoded frames (`u16 size | u16 opcode | payload`, big-endian, not yet encrypted) and signals.
//! A session of this process takes them from its own queue; what is for a session of another node goes to that node's
//! line.

mod local;
mod remote;

use std::collections::VecDeque;
use std::sync::Arc;

use self::local::Local;
pub use self::remote::Remote;
use super::line::Line;
use super::{Close, Signal};

/// The queue of one session. Shared between it and whoever sends to the player.
#[derive(Debug)]
pub struct Outbox {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Local(Local),
    Remote(Arc<Remote>),
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
    /// The client has not read for too long; what was taken will not reach it in time.
    pub overflowed: bool,
}

impl Outbox {
    /// An empty outbox of a session of this process, which holds at most `limit` bytes of encoded frames.
    pub fn new(limit: usize) -> Self {
        Self { kind: Kind::Local(Local::new(limit)) }
    }

    /// The outbox of a session of another node.
    pub fn remote(remote: Arc<Remote>) -> Self {
        Self { kind: Kind::Remote(remote) }
    }

    /// Appends one frame. `payload` is at most 65,533 bytes (the u16 size less the opcode); the caller checks.
    #[inline]
    pub fn push(&self, opcode: u16, payload: &[u8]) -> Push {
        debug_assert!(payload.len() <= hotseat_packet::MAX_DOWN_PAYLOAD);
        match &self.kind {
            Kind::Local(local) => local.push(opcode, payload),
            Kind::Remote(remote) => remote.push(opcode, payload),
        }
    }

    /// Appends frames that are encoded already. For sessions of this process.
    pub fn push_encoded(&self, frames: &[u8]) -> Push {
        match &self.kind {
            Kind::Local(local) => local.push_encoded(frames),
            Kind::Remote(_) => Push::Dropped,
        }
    }

    /// Tells the session something; see [`Signal`]. False if it is closing and will not hear it.
    pub fn signal(&self, signal: Signal) -> bool {
        self.signal_after(signal, || ())
    }

    /// As [`Self::signal`], but does `first` before the session can hear it and lets nobody else tell the session
    /// anything in between: what `first` causes comes behind the signal. `first` must not use this outbox.
    pub fn signal_after(&self, signal: Signal, first: impl FnOnce()) -> bool {
        match &self.kind {
            Kind::Local(local) => local.signal_after(signal, first),
            Kind::Remote(remote) => remote.signal_after(signal, first),
        }
    }

    /// Whether the session is closing: nothing more reaches it.
    pub fn is_shut(&self) -> bool {
        match &self.kind {
            Kind::Local(local) => local.is_shut(),
            Kind::Remote(remote) => remote.is_shut(),
        }
    }

    /// Ends the session after what is queued has been written. The first close wins.
    pub fn close(&self, close: Close) {
        self.signal(Signal::Close(close));
    }

    /// Swaps what is queued into `bytes`, which must be empty, and returns the rest. For sessions of this process.
    pub fn take(&self, bytes: &mut Vec<u8>) -> Taken {
        match &self.kind {
            Kind::Local(local) => local.take(bytes),
            Kind::Remote(_) => Taken::default(),
        }
    }

    /// Drops the frames that are queued and all that will come: the session is over. Returns the signals it has not
    /// taken, of which a [`Signal::Moved`] says which room is to hear of its end.
    pub fn shut(&self) -> Vec<Signal> {
        match &self.kind {
            Kind::Local(local) => local.shut(),
            Kind::Remote(_) => Vec::new(),
        }
    }

    /// Completes when there may be something to take. Cancel safe; may complete early. For sessions of this process.
    pub async fn ready(&self) {
        match &self.kind {
            Kind::Local(local) => local.ready().await,
            Kind::Remote(_) => std::future::pending().await,
        }
    }
}

/// One frame for many sessions: each agent among them gets it once. To be ended with [`Self::flush`].
#[derive(Debug)]
pub struct Broadcast<'a> {
    opcode: u16,
    payload: &'a [u8],
    lines: VecDeque<(&'a Arc<Line>, Vec<u64>)>,
    missed: u64,
}

impl<'a> Broadcast<'a> {
    /// A frame that has been sent to nobody yet.
    pub fn new(opcode: u16, payload: &'a [u8]) -> Self {
        Self { opcode, payload, lines: VecDeque::new(), missed: 0 }
    }

    /// Sends it to this one too.
    pub fn to(&mut self, outbox: &'a Outbox) {
        match &outbox.kind {
            Kind::Local(local) => {
                self.missed += u64::from(local.push(self.opcode, self.payload) != Push::Queued);
            }
            Kind::Remote(remote) if remote.is_shut() => self.missed += 1,
            Kind::Remote(remote) => {
                // The agents of a cluster are few; the one that was named last is the likeliest.
                let line = remote.line();
                match self.lines.iter_mut().find(|(known, _)| Arc::ptr_eq(known, line)) {
                    Some((_, sessions)) => sessions.push(remote.number()),
                    None => self.lines.push_front((line, vec![remote.number()])),
                }
            }
        }
    }

    /// Hands it to the agents; returns how many sessions did not get it.
    pub fn flush(mut self) -> u64 {
        for (line, sessions) in self.lines.drain(..) {
            if line.frame(&sessions, self.opcode, self.payload).is_err() {
                self.missed += sessions.len() as u64;
            }
        }
        self.missed
    }
}
