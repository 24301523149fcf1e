//! Link: the frame channel between an agent and a game host.
//!
//! Upward it is the bounded mailbox of the room a session sits in ([`Up`]); downward it is the bounded
//! [`Outbox`] of each session. In one process these queues are the whole link; between two, one gRPC stream carries
//! what is in them ([`Line`], and the module `cluster`). Agent code and game code meet here and nowhere else.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

mod frames;
mod line;
mod outbox;
mod seat;

pub use frames::{Frames, FramesBuilder, TornFrames};
pub use line::{Cut, Line};
pub use outbox::{Broadcast, Outbox, Push, Remote, Taken};
pub use seat::{Attaching, Blocked, EARLY_MAX, EarlySignals, Gone, Seat, SignalOutcome, Unheard, unseat};

/// A player's account. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u64);

/// One player's presence at an agent; never used twice in a process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    /// The next unused id of this process.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a player left a room. The numbers are the plugin contract's (`wit/game-logic.wit`, `room.leave`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum LeaveReason {
    /// The client closed its connection.
    Closed = 0,
    /// The connection broke or fell silent.
    Lost = 1,
    /// The plugin kicked the player.
    Kicked = 2,
    /// The plugin moved the player to another room.
    Transferred = 3,
    /// The same user logged in again elsewhere.
    Replaced = 4,
    /// The client broke the protocol or a limit.
    Violation = 5,
    /// The node is shutting down.
    Shutdown = 6,
    /// The way to the player's agent broke. No guest sees this: the player may come back, and `leave` says
    /// [`Self::Lost`] if it does not.
    LinkLost = u32::MAX,
}

impl LeaveReason {
    /// The reason of that number; what nobody knows is a lost connection.
    pub fn from_number(number: u32) -> Self {
        let all = [
            Self::Closed,
            Self::Lost,
            Self::Kicked,
            Self::Transferred,
            Self::Replaced,
            Self::Violation,
            Self::Shutdown,
        ];
        all.into_iter().find(|reason| *reason as u32 == number).unwrap_or(Self::Lost)
    }
}

/// The seat of one session: who it is and where its frames go.
#[derive(Debug, Clone)]
pub struct Player {
    /// The account.
    pub user: UserId,
    /// The session that speaks for it now.
    pub session: SessionId,
    /// Its downward queue.
    pub outbox: Arc<Outbox>,
}

/// What a room's mailbox takes. Per session, order is kept from socket to guest.
#[derive(Debug)]
pub enum Up {
    /// A session sits down. `backlog` holds frames that a transfer carried over, in order.
    Join {
        /// Who.
        player: Player,
        /// Frames sent to the room it came from, after it had left.
        backlog: Vec<Frames>,
        /// The player's document with its version, if it has one.
        profile: Option<(u64, Arc<[u8]>)>,
        /// The player was here before the room changed hosts, or its host died: a guest that knows it still is told
        /// `rejoin`.
        again: bool,
    },
    /// The whole frames of one socket read.
    Frames {
        /// Who sent them.
        user: UserId,
        /// Through which session; frames of a session that has been replaced are dropped.
        session: SessionId,
        /// The frames, in order, without their sequence numbers.
        frames: Frames,
    },
    /// The session's answer to [`Signal::Moving`]: every frame meant for this room is in its mailbox before this.
    Fence {
        /// Who.
        user: UserId,
        /// Which session.
        session: SessionId,
    },
    /// A session gets up.
    Leave {
        /// Who.
        user: UserId,
        /// Which session; ignored if another one has taken its place.
        session: SessionId,
        /// Why.
        reason: LeaveReason,
    },
}

/// Where a session's frames go: the mailbox of one room.
#[derive(Debug, Clone)]
pub struct Uplink {
    /// The room's name, for logs.
    pub room: Arc<str>,
    /// Its mailbox. Full means: wait (back-pressure on this client's socket). Closed means: the room is gone.
    pub mailbox: mpsc::Sender<Up>,
    /// The number of the user's login, of which a later one takes the seat.
    pub login: u64,
}

/// What the game side tells a session besides frames, in order with them.
#[derive(Debug)]
pub enum Signal {
    /// The plugin moves the player: send [`Up::Fence`] to the present room, then send nothing until
    /// [`Signal::Moved`].
    Moving,
    /// Frames go here from now on.
    Moved(Uplink),
    /// The next room is on another host: attach there.
    Released(Released),
    /// The room does not keep up: send it nothing until [`Signal::Resume`].
    Pause,
    /// The room takes frames again.
    Resume,
    /// The host that the player sits at cannot be reached any more: attach again. Holds what was never sent to it.
    Lost(Vec<Frames>),
    /// Flush what is queued, send one last error frame, close.
    Close(Close),
}

/// Where a player goes that leaves this host.
#[derive(Debug, Clone, Default)]
pub struct Released {
    /// The room; none means the user's home room.
    pub room: Option<String>,
    /// The node that has it, if that is known.
    pub node: Option<String>,
    /// What the client has sent since the room before let it go, in order.
    pub backlog: Vec<Frames>,
    /// The number of the user's login.
    pub login: u64,
    /// The player keeps its place: the room itself has gone there.
    pub again: bool,
}

/// How a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// What the room is told, if it does not know yet.
    pub leave: LeaveReason,
    /// What the metric counts it under.
    pub reason: &'static str,
    /// The code of the last error frame (`hotseat_packet::code`, or a plugin's own from 1000 up).
    pub code: i32,
    /// Its text.
    pub text: String,
}

/// A session asks for a seat.
#[derive(Debug)]
pub struct Attach {
    /// Who.
    pub player: Player,
    /// Where.
    pub request: SeatRequest,
    /// Answered with where its frames go, after the room's mailbox holds its [`Up::Join`].
    pub seat: oneshot::Sender<Result<Uplink, AttachError>>,
}

/// Where a session wants to sit.
#[derive(Debug, Clone, Default)]
pub struct SeatRequest {
    /// The room; none means the user's home room.
    pub room: Option<String>,
    /// The node that is known to have it.
    pub node: Option<String>,
    /// Frames that the room before did not take, in order.
    pub backlog: Vec<Frames>,
    /// The number of the user's login; 0 for a new one.
    pub login: u64,
    /// The session had a seat, and the host it was at is gone or has handed the room over.
    pub again: bool,
}

/// What the agent asks of the game side.
#[derive(Debug)]
pub enum LinkRequest {
    /// A seat.
    Attach(Attach),
    /// The user's home room has come here; its player sits at another host.
    Note {
        /// Who.
        player: Player,
        /// The number of its login.
        login: u64,
    },
    /// The session has ended, wherever it sat.
    Left {
        /// Who.
        user: UserId,
        /// Which session.
        session: SessionId,
    },
}

/// Why there is no seat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// Nothing to play: no game-logic plugin is live on this node.
    #[error("no game logic is loaded")]
    NoPlugin,
    /// The room could not be opened; the text says why.
    #[error("room {room} cannot be opened: {why}")]
    Closed {
        /// The home room.
        room: String,
        /// The plugin's or the host's reason.
        why: String,
    },
    /// A limit of this node is reached; try again later.
    #[error("{what} limit of {limit} reached")]
    Busy {
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: usize,
    },
    /// The game side is shutting down.
    #[error("the game host is shutting down")]
    Shutdown,
    /// Another host has the room.
    #[error("room {room} is another host's")]
    Elsewhere {
        /// Which room.
        room: String,
    },
    /// A later login of the user holds the seat.
    #[error("the same user has logged in again")]
    Replaced,
    /// A limit of the host is reached; its words.
    #[error("{why}")]
    Refused {
        /// Which limit.
        why: String,
    },
    /// The host cannot be reached.
    #[error("game host {node} cannot be reached")]
    Unreachable {
        /// Which.
        node: String,
    },
}

/// The agent's end of the link.
#[derive(Debug, Clone)]
pub struct Link {
    asks: mpsc::Sender<LinkRequest>,
}

/// Makes a link whose game end takes at most `waiting` questions at a time.
pub fn link(waiting: usize) -> (Link, mpsc::Receiver<LinkRequest>) {
    let (asks, requests) = mpsc::channel(waiting);
    (Link { asks }, requests)
}

impl Link {
    /// Seats a player.
    ///
    /// An older session of the same user is closed with a reason first. Not cancel safe: a dropped future may
    /// leave the player seated, so the caller must send [`Up::Leave`] on every way out.
    ///
    /// # Errors
    /// As [`AttachError`] says; nothing is left behind then.
    pub async fn attach(&self, player: Player, request: SeatRequest) -> Result<Uplink, AttachError> {
        let (seat, answer) = oneshot::channel();
        let ask = LinkRequest::Attach(Attach { player, request, seat });
        self.asks.send(ask).await.map_err(|_| AttachError::Shutdown)?;
        answer.await.map_err(|_| AttachError::Shutdown)?
    }

    /// Tells who is to keep track of a user from now on that it is connected, and through what.
    pub async fn note(&self, player: Player, login: u64) {
        // A game side that is gone keeps track of nobody.
        let _ = self.asks.send(LinkRequest::Note { player, login }).await;
    }

    /// Tells whoever keeps track of the user that its session has ended. Its room hears of it from its mailbox.
    pub async fn left(&self, user: UserId, session: SessionId) {
        // A game side that is gone keeps track of nobody.
        let _ = self.asks.send(LinkRequest::Left { user, session }).await;
    }
}
