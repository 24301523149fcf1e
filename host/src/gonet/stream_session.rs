//! Session: the life of one stream, in one task.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use hotseat_packet::{ErrorInfo, MAX_UP_PAYLOAD, Message as _, encode_down, opcode};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};
use tracing::debug;

use super::downs::{Downs, Unread};
use super::{INCORRECT, Shared};
use crate::link::{
    AttachError, Attaching, Blocked, Close, EARLY_MAX, EarlySignals, FramesBuilder, Gone, LeaveReason,
    Outbox, Player, Seat, SeatRequest, SessionId, Signal, SignalOutcome, Uplink, UserId, unseat,
};
use crate::overdue::Overdue;
use crate::proto::original::game::{Frame, FrameType};

/// The original's error for a message that is too short for its opcode.
const TOO_SHORT: &str = "read uint16 failed";

/// The original's error for an opcode that nothing is bound to.
const NOT_BOUND: &str = "service not bind";

/// Why a stream ends.
enum End {
    /// The agent has said all it had to say.
    Closed,
    /// There is no stream any more.
    Lost,
    /// The agent does not read.
    Unread,
    /// The player is to be disconnected.
    Kick(Close),
    /// With this status.
    Failed(LeaveReason, Status),
}

/// One stream.
pub(super) struct Session {
    shared: Arc<Shared>,
    user: UserId,
    id: SessionId,
    outbox: Arc<Outbox>,
    downs: Arc<Downs>,
    /// Where it sits, once it does.
    seat: Option<Seat>,
    /// A seat is asked for; the present one, if any, takes nothing meanwhile.
    attaching: Option<Attaching>,
    /// What the room says of a seat before this session knows of it.
    early: EarlySignals,
    opened: Instant,
}

impl From<Unread> for End {
    fn from(_: Unread) -> Self {
        Self::Unread
    }
}

impl Session {
    /// A session that asks for its user's seat.
    pub(super) fn new(shared: Arc<Shared>, user: UserId, downs: Arc<Downs>) -> Self {
        let outbox = Arc::new(Outbox::new(shared.parts.outbox_max_bytes));
        let (id, opened) = (SessionId::next(), Instant::now());
        let mut session = Self {
            shared,
            user,
            id,
            outbox,
            downs,
            seat: None,
            attaching: None,
            early: EarlySignals::default(),
            opened,
        };
        session.attaching = Some(session.ask(SeatRequest::default()));
        session
    }

    /// Lives it. Must not be dropped before it is done: its room would not hear of the end.
    pub(super) async fn run(mut self, mut ups: Streaming<Frame>) {
        let metrics = self.shared.parts.metrics.clone();
        metrics.streams.inc();
        debug!(session = %self.id, user = %self.user, "game stream open");
        let stop = self.shared.parts.stop.clone();
        let (mut overdue, mut again, patience) = (Overdue::default(), None, self.shared.parts.patience);
        let end = loop {
            let blocked = self.blocked_since();
            let reads = blocked.is_none() && !self.downs.is_high();
            let due = blocked.unwrap_or(self.opened) + patience;
            if due > Instant::now() {
                overdue.met();
                again = None;
            }
            let deadline = again.unwrap_or(due);
            let step = tokio::select! {
                () = self.outbox.ready() => self.take(),
                result = poll_seat(&mut self.seat) => match result {
                    Ok(()) => Ok(()),
                    Err(Gone) => self.gone(),
                },
                result = answer(&mut self.attaching) => {
                    self.attaching = None;
                    self.seated(result)
                }
                up = ups.message(), if reads => self.up(up),
                () = self.downs.emptied() => if self.downs.is_gone() { Err(End::Lost) } else { Ok(()) },
                () = stop.cancelled() => Err(End::Kick(shutdown())),
                () = sleep_until(deadline), if blocked.is_some() => match overdue.again(deadline.elapsed(), patience) {
                    Some(pause) => {
                        again = Some(Instant::now() + pause);
                        Ok(())
                    }
                    None => Err(self.late()),
                },
            };
            if let Err(end) = step {
                break end;
            }
        };
        // What the agent still sends is nobody's.
        drop(ups);
        self.finish(end).await;
        metrics.streams.dec();
    }

    /// Since when nothing of the agent's can be taken, if so.
    fn blocked_since(&self) -> Option<Instant> {
        match &self.seat {
            None => Some(self.opened),
            Some(seat) => seat.blocked().map(|(Blocked::Full(since) | Blocked::Moving(since))| since),
        }
    }

    fn late(&self) -> End {
        let limit = self.shared.parts.patience;
        let text = match &self.seat {
            None => format!("no seat within {limit:?}"),
            Some(seat) => format!("room {} took nothing for {limit:?}", seat.room()),
        };
        End::Failed(LeaveReason::Lost, Status::unavailable(text))
    }

    /// A frame of the agent's.
    fn up(&mut self, up: Result<Option<Frame>, Status>) -> Result<(), End> {
        let Frame { r#type, message } = match up {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(End::Closed),
            Err(status) => return Err(End::Failed(LeaveReason::Lost, status)),
        };
        let wrong = |status| Err(End::Failed(LeaveReason::Violation, status));
        match FrameType::try_from(r#type) {
            Ok(FrameType::Message) => {}
            Ok(FrameType::Ping) => return Ok(self.downs.ping(message)?),
            Ok(FrameType::Kick) | Err(_) => return wrong(Status::unknown(INCORRECT)),
        }
        let Some((op, payload)) = message.split_first_chunk() else {
            return wrong(Status::unknown(TOO_SHORT));
        };
        let op = u16::from_be_bytes(*op);
        if !(opcode::GAME_MIN..=opcode::GAME_MAX).contains(&op) {
            return wrong(Status::unknown(NOT_BOUND));
        }
        if payload.len() > MAX_UP_PAYLOAD {
            let text = format!("payload of {} bytes: at most {MAX_UP_PAYLOAD}", payload.len());
            return wrong(Status::invalid_argument(text));
        }
        let mut frames = FramesBuilder::default();
        frames.push(op, payload);
        // Nothing is read without a seat.
        let Some(seat) = &mut self.seat else { return Ok(()) };
        match seat.send(frames.take(), Instant::now()) {
            Ok(()) => Ok(()),
            Err(Gone) => self.gone(),
        }
    }

    /// Takes what the game side has for this player.
    fn take(&mut self) -> Result<(), End> {
        let mut bytes = Vec::new();
        let taken = self.outbox.take(&mut bytes);
        self.downs.frames(bytes)?;
        if taken.overflowed {
            return Err(End::Unread);
        }
        taken.signals.into_iter().try_for_each(|signal| self.heed(signal))
    }

    /// Does what the game side says.
    fn heed(&mut self, signal: Signal) -> Result<(), End> {
        match self.early.heed(signal, self.attaching.is_some(), self.seat.as_mut(), Instant::now()) {
            SignalOutcome::Done | SignalOutcome::Moved => Ok(()),
            SignalOutcome::LinkRequest(request) => {
                self.attach_again(request);
                Ok(())
            }
            SignalOutcome::Close(close) => Err(End::Kick(close)),
            SignalOutcome::Flooded => {
                let text = format!("more than {EARLY_MAX} words of a room to come");
                Err(End::Failed(LeaveReason::Lost, Status::unavailable(text)))
            }
        }
    }

    /// The room's mailbox is closed: the outbox may say why, or where to go instead.
    fn gone(&mut self) -> Result<(), End> {
        self.take()?;
        match &self.seat {
            Some(seat) if seat.gone() => {
                let text = format!("room {} has ended", seat.room());
                Err(End::Failed(LeaveReason::Lost, Status::unavailable(text)))
            }
            _ => Ok(()),
        }
    }

    fn ask(&self, request: SeatRequest) -> Attaching {
        let player = Player { user: self.user, session: self.id, outbox: Arc::clone(&self.outbox) };
        let link = self.shared.parts.link.clone();
        Box::pin(async move { link.attach(player, request).await })
    }

    fn attach_again(&mut self, request: SeatRequest) {
        debug!(session = %self.id, user = %self.user, room = request.room, "looking for another seat");
        if let Some(older) = self.attaching.replace(self.ask(request)) {
            self.shared.tasks.spawn(unseat(older, self.user, self.id));
        }
    }

    /// What became of it.
    fn seated(&mut self, result: Result<Uplink, AttachError>) -> Result<(), End> {
        match (result, &mut self.seat) {
            (Ok(uplink), Some(seat)) => seat.moved(uplink),
            (Ok(uplink), seat) => *seat = Some(Seat::new(self.user, self.id, uplink)),
            (Err(error), _) => return Err(refused(&error)),
        }
        // What the room has said already.
        self.early.take().into_iter().try_for_each(|signal| self.heed(signal))?;
        self.take()
    }

    async fn finish(mut self, end: End) {
        if self.seat.is_some() {
            // What the room said before, and where the player sits by now. How it ends is decided.
            let _ = self.take();
        }
        for signal in self.early.take().into_iter().chain(self.outbox.shut()) {
            if let (Signal::Moved(uplink), Some(seat)) = (signal, &mut self.seat) {
                seat.moved(uplink);
            }
        }
        let (user, session) = (self.user, self.id);
        let leave = self.say(end);
        if let Some(attaching) = self.attaching.take() {
            self.shared.tasks.spawn(unseat(attaching, user, session));
        }
        if let Some(seat) = self.seat.take() {
            if seat.leave(leave).await.is_err() {
                debug!(%session, %user, "the room did not take the leave in time");
            }
            self.shared.parts.link.left(user, session).await;
        }
    }

    /// Tells the agent of the end; gives what the room is told.
    fn say(&self, end: End) -> LeaveReason {
        let (leave, why) = match end {
            End::Closed => {
                self.downs.end(false);
                (LeaveReason::Closed, "closed")
            }
            End::Lost => {
                self.downs.end(false);
                (LeaveReason::Lost, "lost")
            }
            End::Unread => {
                let limit = self.shared.parts.outbox_max_bytes;
                let text = format!("more than {limit} bytes wait to be read");
                self.downs.fail(Status::resource_exhausted(text), true);
                (LeaveReason::Violation, "not read")
            }
            End::Kick(Close { leave, reason, code, text }) => {
                let mut bytes = Vec::new();
                let info = ErrorInfo { code, msg: text }.to_bytes();
                let told =
                    info.is_ok_and(|info| encode_down(&mut bytes, opcode::CLIENT_ERROR_ACK, &info).is_ok());
                if told {
                    // An agent that does not read hears of the kick alone.
                    let _ = self.downs.frames(bytes);
                }
                self.downs.end(true);
                (leave, reason)
            }
            End::Failed(leave, status) => {
                debug!(session = %self.id, code = ?status.code(), text = status.message(), "game stream failed");
                self.downs.fail(status, false);
                (leave, "failed")
            }
        };
        debug!(session = %self.id, user = %self.user, why, "game stream ended");
        leave
    }
}

/// The seat sends what it holds; never completes without one.
async fn poll_seat(seat: &mut Option<Seat>) -> Result<(), Gone> {
    poll_fn(|cx| seat.as_mut().map_or(Poll::Pending, |seat| seat.poll(cx))).await
}

/// The answer to who asks for a seat; never completes if nobody does.
async fn answer(attaching: &mut Option<Attaching>) -> Result<Uplink, AttachError> {
    match attaching {
        Some(attaching) => attaching.as_mut().await,
        None => pending().await,
    }
}

fn shutdown() -> Close {
    Close {
        leave: LeaveReason::Shutdown,
        reason: "shutdown",
        code: hotseat_packet::code::SHUTTING_DOWN,
        text: "the game host is shutting down".to_owned(),
    }
}

/// There is no seat.
fn refused(error: &AttachError) -> End {
    let text = error.to_string();
    match error {
        AttachError::Replaced => End::Kick(Close {
            leave: LeaveReason::Replaced,
            reason: "duplicate_login",
            code: hotseat_packet::code::DUPLICATE_LOGIN,
            text,
        }),
        AttachError::Busy { .. } | AttachError::Refused { .. } => {
            End::Failed(LeaveReason::Lost, Status::resource_exhausted(text))
        }
        AttachError::NoPlugin | AttachError::Closed { .. } => {
            End::Failed(LeaveReason::Lost, Status::failed_precondition(text))
        }
        AttachError::Shutdown | AttachError::Elsewhere { .. } | AttachError::Unreachable { .. } => {
            End::Failed(LeaveReason::Lost, Status::unavailable(text))
        }
    }
}
