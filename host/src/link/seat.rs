//! Seat: the upward half of a session that has been given a place in a room. It keeps what the room's mailbox has no
//! space for yet, and the order of frames, fence and leave across a move.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::time::Instant;

use super::{
    AttachError, Close, Frames, LeaveReason, Released, SeatRequest, SessionId, Signal, Up, Uplink, UserId,
};
use crate::overdue::within;

/// How long the room gets to take what is left when its session ends.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a seat that came too late is waited for, to leave it again.
const LATE_SEAT: Duration = Duration::from_secs(60);

/// A seat that is being asked for: [`Link::attach`](super::Link::attach) under way.
pub type Attaching = Pin<Box<dyn Future<Output = Result<Uplink, AttachError>> + Send>>;

type Reserve = Pin<Box<dyn Future<Output = Result<OwnedPermit<Up>, SendError<()>>> + Send>>;

/// Where a session sits.
pub struct Seat {
    user: UserId,
    session: SessionId,
    uplink: Uplink,
    /// Between `Signal::Moving` and `Signal::Moved`.
    moving: bool,
    /// The one batch that did not fit; nothing is read from the socket while there is one.
    held: Option<Frames>,
    /// The fence is still to be sent, after `held`.
    fence: bool,
    /// The old room ended in the middle of the move: what it did not take is the new room's.
    orphaned: bool,
    /// The room has asked for a pause.
    paused: bool,
    /// Waiting for space in the mailbox, for `held` or the fence.
    reserve: Option<Reserve>,
    /// Since when nothing goes up.
    blocked: Option<Instant>,
}

/// The room's mailbox is closed, and no move is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// The news that a session left did not reach its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unheard;

/// What a session has to do about a [`Signal`], besides what its seat has done.
#[derive(Debug)]
pub enum SignalOutcome {
    /// Nothing.
    Done,
    /// The player sits in another room now, and is heard again.
    Moved,
    /// Ask for another seat; this one takes nothing any more.
    LinkRequest(SeatRequest),
    /// End.
    Close(Close),
    /// End: there are more than [`EARLY_MAX`] words about a seat that the session does not have yet.
    Flooded,
}

/// Words of a room that may wait for the seat there: a move takes two, and a room asks for a pause now and then.
pub const EARLY_MAX: usize = 64;

/// What is said of a seat before the session that asks for it knows of it, in order. A room may move a player on as soon
/// as it sits there; without this the fence would be forgotten with the seat before.
#[derive(Debug, Default)]
pub struct EarlySignals {
    signals: Vec<Signal>,
}

impl EarlySignals {
    /// Does what the game side says of `seat`, or keeps it while another one is being asked for (`asking`).
    pub fn heed(
        &mut self,
        signal: Signal,
        asking: bool,
        seat: Option<&mut Seat>,
        now: Instant,
    ) -> SignalOutcome {
        match (signal, seat) {
            (Signal::Close(close), _) => SignalOutcome::Close(close),
            (_, _) if asking && self.signals.len() == EARLY_MAX => SignalOutcome::Flooded,
            (signal, _) if asking => {
                self.signals.push(signal);
                SignalOutcome::Done
            }
            (signal, Some(seat)) => seat.heed(signal, now),
            // Only a seated player can be moved.
            (_, None) => SignalOutcome::Done,
        }
    }

    /// What was kept.
    pub fn take(&mut self) -> Vec<Signal> {
        std::mem::take(&mut self.signals)
    }
}

/// Why nothing goes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// The room's mailbox is full.
    Full(Instant),
    /// The player is between two rooms.
    Moving(Instant),
}

impl Seat {
    /// The seat that `uplink` leads to.
    pub fn new(user: UserId, session: SessionId, uplink: Uplink) -> Self {
        Self {
            user,
            session,
            uplink,
            moving: false,
            held: None,
            fence: false,
            orphaned: false,
            paused: false,
            reserve: None,
            blocked: None,
        }
    }

    /// The name of the room, for logs.
    pub fn room(&self) -> &str {
        &self.uplink.room
    }

    /// Whose it is.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// Why the socket must not be read, if so, and since when.
    pub fn blocked(&self) -> Option<Blocked> {
        let since = self.blocked?;
        Some(if self.moving { Blocked::Moving(since) } else { Blocked::Full(since) })
    }

    /// Whether the room is no more. A room that ends says so through the outbox first; this is for what was
    /// missed.
    pub fn gone(&self) -> bool {
        !self.moving && self.uplink.mailbox.is_closed()
    }

    /// Hands a batch to the room, or holds it. Must not be called while [blocked](Self::blocked).
    ///
    /// # Errors
    /// [`Gone`]; the batch is held.
    pub fn send(&mut self, frames: Frames, now: Instant) -> Result<(), Gone> {
        debug_assert!(self.blocked.is_none());
        let up = Up::Frames { user: self.user, session: self.session, frames };
        match self.uplink.mailbox.try_send(up) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(up)) => {
                self.hold(up, now);
                Ok(())
            }
            Err(TrySendError::Closed(up)) => {
                self.hold(up, now);
                Err(Gone)
            }
        }
    }

    fn hold(&mut self, up: Up, now: Instant) {
        if let Up::Frames { frames, .. } = up {
            self.held = Some(frames);
            self.blocked = Some(now);
        }
    }

    fn heed(&mut self, signal: Signal, now: Instant) -> SignalOutcome {
        match signal {
            Signal::Moving => self.moving(now),
            Signal::Moved(uplink) => {
                self.moved(uplink);
                return SignalOutcome::Moved;
            }
            // The next room is on another host.
            Signal::Released(Released { room, node, backlog, login, again }) => {
                self.lost(now);
                return SignalOutcome::LinkRequest(SeatRequest { room, node, backlog, login, again });
            }
            // The host cannot be reached any more; the room may have another one by now.
            Signal::Lost(backlog) => {
                self.lost(now);
                let (room, login) = (Some(self.room().to_owned()), self.uplink.login);
                return SignalOutcome::LinkRequest(SeatRequest {
                    room,
                    node: None,
                    backlog,
                    login,
                    again: true,
                });
            }
            Signal::Pause => self.pause(now),
            Signal::Resume => self.resume(),
            Signal::Close(close) => return SignalOutcome::Close(close),
        }
        SignalOutcome::Done
    }

    /// The player is about to be moved: what is held and then the fence go to the present room, the rest
    /// waits.
    fn moving(&mut self, now: Instant) {
        self.moving = true;
        self.fence = true;
        self.blocked = Some(now);
    }

    /// The room is not there any more, nor is its host: what is held waits for the next one.
    fn lost(&mut self, now: Instant) {
        self.moving = true;
        self.fence = false;
        self.orphaned = true;
        self.reserve = None;
        self.blocked = Some(now);
    }

    /// The room does not keep up.
    fn pause(&mut self, now: Instant) {
        self.paused = true;
        self.blocked.get_or_insert(now);
    }

    /// It does again.
    fn resume(&mut self) {
        self.paused = false;
        if self.held.is_none() && !self.moving {
            self.blocked = None;
        }
    }

    /// The player has been moved. What the old room can no longer take goes to the new one.
    pub fn moved(&mut self, uplink: Uplink) {
        self.uplink = uplink;
        self.moving = false;
        self.fence = false;
        self.orphaned = false;
        self.paused = false;
        self.reserve = None;
        if self.held.is_none() {
            self.blocked = None;
        }
    }

    /// Sends what is held and the fence as the mailbox takes them. Ready when the state changed: whatever could
    /// be sent is; the caller looks at [`Self::blocked`]. Pending, without a waker, with nothing to send.
    ///
    /// # Errors
    /// [`Gone`], ready at once.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if self.orphaned || (self.held.is_none() && !self.fence) {
            return Poll::Pending;
        }
        while self.held.is_some() || self.fence {
            let mailbox = &self.uplink.mailbox;
            let reserve = self.reserve.get_or_insert_with(|| Box::pin(mailbox.clone().reserve_owned()));
            let permit = ready!(reserve.as_mut().poll(cx));
            self.reserve = None;
            match permit {
                Ok(permit) => {
                    let up = self.next();
                    permit.send(up);
                }
                Err(_) if self.moving => {
                    self.fence = false;
                    self.orphaned = true;
                    return Poll::Pending;
                }
                Err(_) => return Poll::Ready(Err(Gone)),
            }
        }
        if !self.moving && !self.paused {
            self.blocked = None;
        }
        Poll::Ready(Ok(()))
    }

    /// The next thing to send: held frames, then the fence.
    fn next(&mut self) -> Up {
        let (user, session) = (self.user, self.session);
        if let Some(frames) = self.held.take() {
            return Up::Frames { user, session, frames };
        }
        self.fence = false;
        Up::Fence { user, session }
    }

    /// Gets up: what is held, the fence and the leave, in order, within a bounded time. A room that has ended
    /// needs no telling. Not cancel safe.
    ///
    /// # Errors
    /// [`Unheard`] after 5 s.
    pub async fn leave(mut self, reason: LeaveReason) -> Result<(), Unheard> {
        let (user, session) = (self.user, self.session);
        // It stands first in the mailbox's queue, and nobody polls it any more.
        self.reserve = None;
        let all = async {
            while self.held.is_some() || self.fence {
                let up = self.next();
                self.uplink.mailbox.send(up).await?;
            }
            self.uplink.mailbox.send(Up::Leave { user, session, reason }).await
        };
        match within(LEAVE_TIMEOUT, &mut pin!(all)).await {
            Some(Ok(()) | Err(SendError(_))) => Ok(()),
            None => Err(Unheard),
        }
    }
}

/// Leaves a seat that was given after the session had given up. Waits for it a minute at most.
pub async fn unseat(mut seat: Attaching, user: UserId, session: SessionId) {
    if let Some(Ok(uplink)) = within(LATE_SEAT, &mut seat).await {
        // Nobody is there to count it for, and the mailbox is the room's: a full one is its own trouble.
        let _ = Seat::new(user, session, uplink).leave(LeaveReason::Lost).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn seat() -> (Seat, mpsc::Receiver<Up>) {
        let (mailbox, queue) = mpsc::channel(4);
        let uplink = Uplink { room: "home/1".into(), mailbox, login: 7 };
        (Seat::new(UserId(1), SessionId::next(), uplink), queue)
    }

    #[test]
    fn what_is_said_of_a_seat_waits_for_it() {
        let now = Instant::now();
        let mut early = EarlySignals::default();
        assert!(matches!(early.heed(Signal::Moving, true, None, now), SignalOutcome::Done));
        let (mut seat, _queue) = seat();
        let kept = early.take();
        assert!(matches!(kept[..], [Signal::Moving]));
        for signal in kept {
            assert!(matches!(early.heed(signal, false, Some(&mut seat), now), SignalOutcome::Done));
        }
        assert!(matches!(seat.blocked(), Some(Blocked::Moving(_))));
        assert!(early.take().is_empty());
    }

    #[test]
    fn words_of_a_room_to_come_are_bounded() {
        let now = Instant::now();
        let mut early = EarlySignals::default();
        for _ in 0..EARLY_MAX {
            assert!(matches!(early.heed(Signal::Pause, true, None, now), SignalOutcome::Done));
        }
        assert!(matches!(early.heed(Signal::Pause, true, None, now), SignalOutcome::Flooded));
    }

    #[test]
    fn a_seat_that_is_lost_asks_for_the_room_again_with_what_was_not_sent() {
        let (mut seat, _queue) = seat();
        let lost = Signal::Lost(vec![Frames::default()]);
        let heeded = EarlySignals::default().heed(lost, false, Some(&mut seat), Instant::now());
        let SignalOutcome::LinkRequest(request) = heeded else { panic!("{heeded:?}") };
        assert_eq!((request.room.as_deref(), request.login, request.again), (Some("home/1"), 7, true));
        assert_eq!(request.backlog.len(), 1);
        assert!(seat.blocked().is_some());
    }
}
