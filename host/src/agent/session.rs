//! Session: the life of one client, in one task that owns all of its state.
//!
//! The hot path is synchronous: one poll reads the socket, answers what is local, hands the rest to the room in
//! one batch, takes what the outbox has and writes once. Only a login and the end await.

mod attach;

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hotseat_packet::{code, opcode};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use super::Shared;
use super::close::{End, farewell};
use super::codec::Output;
use super::input::{Input, SCRATCH};
use super::session_table::Entry;
use crate::link::{
    AttachError, Attaching, Blocked, EarlySignals, Gone, Outbox, Seat, SessionId, Signal, Uplink, UserId,
    unseat,
};
use crate::overdue::Overdue;

/// Events handled in one poll before other tasks get their turn.
const TURNS: u8 = 4;
/// Bytes to write above which nothing more is read: a client that does not read its answers gets to ask no more.
const OUT_HIGH: usize = 16 * 1024;

/// What woke the session.
enum Event {
    /// Bytes were read, and the whole frames among them handled.
    Input(Step),
    /// The outbox may have something.
    Outbox,
    /// The room took what was held back, or is gone.
    Mailbox(Result<(), Gone>),
    /// The player whose seat was lost has another one, or none.
    Seated(Result<Uplink, AttachError>),
    /// The socket cannot be written.
    Broken,
    /// It is time to look at the clock.
    Deadline,
}

/// What comes next.
pub(super) enum Step {
    /// The next event.
    On,
    /// This user has logged in and wants a seat. What follows in the input waits.
    Login(UserId),
    /// The room is gone, unless the outbox knows better.
    Gone,
    /// Nothing.
    End(End),
}

/// One connection.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    id: SessionId,
    outbox: Arc<Outbox>,
    _entry: Entry,
    pub(super) input: Input,
    pub(super) out: Output,
    /// Since when the socket takes nothing of `out`.
    stuck: Option<Instant>,
    /// Where it sits, once logged in.
    pub(super) seat: Option<Seat>,
    /// A new seat is asked for; the present one takes nothing meanwhile.
    attaching: Option<Attaching>,
    /// What the next seat's room has said before this session knows of the seat, in order.
    early: EarlySignals,
    accepted: Instant,
    /// The one timer: armed for the nearest deadline as known when it last fired, never per frame.
    timer: Pin<Box<Sleep>>,
    overdue: Overdue,
    turns: u8,
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: TcpStream,
        peer: SocketAddr,
        id: SessionId,
        outbox: Arc<Outbox>,
        entry: Entry,
    ) -> Self {
        let now = Instant::now();
        let config = &shared.config;
        let timer = Box::pin(sleep_until(now + config.login_timeout.min(config.idle_timeout)));
        Self {
            input: Input::new(config.rates, now),
            shared,
            stream,
            peer,
            id,
            outbox,
            _entry: entry,
            out: Output::default(),
            stuck: None,
            seat: None,
            attaching: None,
            early: EarlySignals::default(),
            accepted: now,
            timer,
            overdue: Overdue::default(),
            turns: 0,
        }
    }

    /// Lives it. Must not be dropped before it is done: its room would not hear of the end.
    pub(super) async fn run(mut self) {
        debug!(session = %self.id, peer = %self.peer, "connected");
        let outbox = Arc::clone(&self.outbox);
        let mut ready = pin!(outbox.ready());
        let end = 'life: loop {
            let event = poll_fn(|cx| self.poll_event(cx, ready.as_mut())).await;
            let mut step = match event {
                Event::Input(step) => step,
                Event::Outbox => {
                    ready.set(outbox.ready());
                    self.take()
                }
                Event::Mailbox(Ok(())) => {
                    self.input.heard_now();
                    Step::On
                }
                Event::Mailbox(Err(Gone)) => Step::Gone,
                Event::Seated(result) => self.seated_again(result),
                Event::Broken => Step::End(End::lost()),
                Event::Deadline => self.deadline(),
            };
            loop {
                step = match step {
                    Step::On => break,
                    Step::Login(user) => Box::pin(self.attach(user)).await,
                    Step::Gone => self.gone(),
                    Step::End(end) => break 'life end,
                }
            }
        };
        Box::pin(self.finish(end)).await;
    }

    /// The next event; writes what there is to write before it goes to sleep.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        mut ready: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Event> {
        loop {
            if self.turns < TURNS {
                if let Poll::Ready(event) = self.poll_sources(cx, ready.as_mut()) {
                    self.turns += 1;
                    return Poll::Ready(event);
                }
            } else {
                cx.waker().wake_by_ref();
            }
            let read = self.reads();
            if self.flush().is_err() {
                return Poll::Ready(Event::Broken);
            }
            let writable = self.stuck.is_some() && self.stream.poll_write_ready(cx).is_ready();
            // What was written may have made space for more input, which has not been asked for then.
            let reads_again = self.reads() && !read;
            if self.turns == TURNS || !(writable || reads_again) {
                self.turns = 0;
                return Poll::Pending;
            }
        }
    }

    fn poll_sources(
        &mut self,
        cx: &mut Context<'_>,
        mut ready: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Event> {
        // Every other time the socket goes first, so that neither direction can starve the other.
        let outbox_first = self.turns.is_multiple_of(2);
        if outbox_first && ready.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Outbox);
        }
        if let Some(seat) = &mut self.seat
            && let Poll::Ready(result) = seat.poll(cx)
        {
            return Poll::Ready(Event::Mailbox(result));
        }
        if let Some(attaching) = &mut self.attaching
            && let Poll::Ready(result) = attaching.as_mut().poll(cx)
        {
            self.attaching = None;
            return Poll::Ready(Event::Seated(result));
        }
        if self.reads()
            && let Poll::Ready(step) = self.poll_input(cx)
        {
            return Poll::Ready(Event::Input(step));
        }
        if !outbox_first && ready.poll(cx).is_ready() {
            return Poll::Ready(Event::Outbox);
        }
        self.timer.as_mut().poll(cx).map(|()| Event::Deadline)
    }

    /// Whether the socket may be read now.
    fn reads(&self) -> bool {
        self.seat.as_ref().is_none_or(|seat| seat.blocked().is_none()) && self.out.pending().len() < OUT_HIGH
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            // Unlike `try_read`, this knows that a short read has emptied the socket, and spares the second call.
            let result = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
            Poll::Ready(match (result, buf.filled()) {
                (Err(_), _) => Step::End(End::lost()),
                (Ok(()), []) => Step::End(End::closed()),
                (Ok(()), bytes) => self.read(bytes),
            })
        })
    }

    /// Writes as much as the socket takes.
    fn flush(&mut self) -> io::Result<()> {
        let metrics = &self.shared.metrics.agent;
        let frames = self.out.tally();
        if frames > 0 {
            metrics.frames_out.inc_by(frames);
        }
        while !self.out.is_empty() {
            match self.stream.try_write(self.out.pending()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    metrics.bytes_out.inc_by(count as u64);
                    self.out.advance(count);
                    if self.stuck.take().is_some() {
                        // It reads again; it could not be heard while it did not.
                        self.input.heard_now();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck.get_or_insert_with(Instant::now);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what the game side has for this client.
    fn take(&mut self) -> Step {
        let taken = self.out.append(|bytes| self.outbox.take(bytes));
        let limit = self.shared.config.outbox_max_bytes;
        if taken.overflowed {
            return Step::End(End::slow(format!("more than {limit} bytes wait to be read")));
        }
        for signal in taken.signals {
            if let Step::End(end) = self.heed(signal) {
                return Step::End(end);
            }
        }
        if self.stuck.is_some() && self.out.pending().len() > limit {
            return Step::End(End::slow(format!("more than {limit} bytes wait to be read")));
        }
        Step::On
    }

    /// The room's mailbox is closed: the outbox may say why, or where to go instead.
    fn gone(&mut self) -> Step {
        match self.take() {
            Step::On => match &self.seat {
                Some(seat) if seat.gone() => {
                    Step::End(End::no_room(format!("room {} has ended", seat.room())))
                }
                _ => Step::On,
            },
            step => step,
        }
    }

    /// Ends the session if a deadline has passed and still has at a second look, else arms the timer for the nearest one.
    fn deadline(&mut self) -> Step {
        let now = Instant::now();
        let late = now.saturating_duration_since(self.timer.deadline());
        let next = match self.nearest(now) {
            Ok(next) => {
                self.overdue.met();
                next
            }
            Err(end) => match self.overdue.again(late, self.shared.config.idle_timeout) {
                Some(pause) => now + pause,
                None => return Step::End(end),
            },
        };
        self.timer.as_mut().reset(next);
        if self.seat.as_ref().is_some_and(Seat::gone) { Step::Gone } else { Step::On }
    }

    /// The nearest deadline that has not passed, or the end that goes with one that has.
    fn nearest(&self, now: Instant) -> Result<Instant, End> {
        let config = &self.shared.config;
        let idle = config.idle_timeout;
        let mut next = now + idle;
        let mut due = |since: Instant, limit: Duration| {
            next = next.min(since + limit);
            now >= since + limit
        };
        if self.stuck.is_some_and(|since| due(since, idle)) {
            return Err(End::slow(format!("nothing was read for {idle:?}")));
        }
        match self.seat.as_ref().map(|seat| (seat, seat.blocked())) {
            None if due(self.accepted, config.login_timeout) => {
                return Err(End::login_timeout(config.login_timeout));
            }
            Some((_, Some(Blocked::Full(since)))) if due(since, idle) => {
                return Err(End::busy(idle));
            }
            Some((seat, Some(Blocked::Moving(since)))) if due(since, idle) => {
                let text = format!("the move out of room {} took longer than {idle:?}", seat.room());
                return Err(End::no_room(text));
            }
            _ => {}
        }
        if self.reads() && due(self.input.heard(), idle) {
            return Err(End::idle(idle));
        }
        Ok(next)
    }

    /// Counts an error frame and queues it.
    pub(super) fn say(&mut self, opcode: u16, code: i32, text: &str) {
        let name = code::name(code).unwrap_or("plugin");
        self.shared.metrics.agent.errors.with_label_values(&[name]).inc();
        self.out.error(opcode, code, text);
    }

    /// Refuses one frame; the session goes on.
    pub(super) fn refuse(&mut self, code: i32, text: &str) {
        self.say(opcode::CLIENT_ERROR_ACK, code, text);
    }

    async fn finish(mut self, end: End) {
        let metrics = Arc::clone(&self.shared.metrics);
        metrics.agent.closed.with_label_values(&[end.reason]).inc();
        let user = self.seat.as_ref().map(|seat| seat.user().0);
        debug!(session = %self.id, user, peer = %self.peer, reason = end.reason, "closed");

        if self.seat.is_some() {
            // What the room said before, and where the player sits by now. How it ends is decided.
            let _ = self.take();
        }
        for signal in self.early.take().into_iter().chain(self.outbox.shut()) {
            if let (Signal::Moved(uplink), Some(seat)) = (signal, &mut self.seat) {
                seat.moved(uplink);
            }
        }
        if let Some(error) = &end.error {
            self.say(error.opcode, error.code, &error.text);
        }
        let writes = self.flush().is_ok();
        if let Some(seat) = self.seat.take() {
            metrics.agent.logged_in.dec();
            let user = seat.user();
            if let Some(attaching) = self.attaching.take() {
                self.shared.tasks.spawn(unseat(attaching, user, self.id));
            }
            if seat.leave(end.leave).await.is_err() {
                metrics.agent.leaves_lost.inc();
                debug!(session = %self.id, %user, "the room did not take the leave in time");
            }
            self.shared.link.left(user, self.id).await;
        }
        if end.linger && writes {
            metrics.agent.bytes_out.inc_by(self.out.pending().len() as u64);
            farewell(self.stream, self.out).await;
        }
    }
}
