//! Input: bytes to frames, frames to answers and to the room.

use std::cell::RefCell;

use hotseat_packet::{Message as _, UpFrame, UserLoginInfo, code, decode_up};
use tokio::time::Instant;

use super::close::End;
use super::limits::{Limiter, Rates};
use super::route::{Route, route};
use super::session::{Session, Step};
use crate::link::FramesBuilder;

/// Bytes one read takes at most. A worker's reads share one buffer, so a session keeps none.
const READ: usize = 16 * 1024;
/// Capacity a session's unfinished frame may waste, bytes.
const SLACK: usize = 4096;

thread_local! {
    /// Where a worker reads into. What is read is handled before the poll ends, so no session sees another's.
    pub(super) static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// What a session knows of its client's frames.
#[derive(Debug)]
pub(super) struct Input {
    /// The unfinished frame, or what waits behind a login. Empty most of the time, without memory then.
    tail: Vec<u8>,
    /// The sequence number the next frame must carry.
    expected: u32,
    /// None if the client may send what it likes.
    limiter: Option<Limiter>,
    /// When the last whole frame came.
    heard: Instant,
}

impl Input {
    pub(super) fn new(rates: Option<Rates>, now: Instant) -> Self {
        let limiter = rates.map(|rates| Limiter::new(rates, now));
        Self { tail: Vec::new(), expected: 1, limiter, heard: now }
    }

    /// When the last whole frame came, or the client could last be heard.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// The client could not be heard for a while, by no fault of its own: its silence counts from now.
    pub(super) fn heard_now(&mut self) {
        self.heard = Instant::now();
    }

    /// Sequence number and rate of one frame.
    fn admit(&mut self, seq: u32) -> Result<(), End> {
        if seq != self.expected {
            let text = format!("sequence number {seq}, expected {}", self.expected);
            return Err(End::violation(code::BAD_SEQUENCE, text));
        }
        self.expected = self.expected.wrapping_add(1);
        match self.limiter.as_mut().map_or(Ok(()), Limiter::frame) {
            Ok(()) => Ok(()),
            Err(exceeded) => Err(End::violation(code::RATE_LIMITED, exceeded.to_string())),
        }
    }
}

impl Session {
    /// Handles what one read brought.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Step {
        let now = Instant::now();
        self.shared.metrics.agent.bytes_in.inc_by(bytes.len() as u64);
        if let Some(limiter) = &mut self.input.limiter
            && let Err(exceeded) = limiter.read(bytes.len(), now)
        {
            return Step::End(End::violation(code::RATE_LIMITED, exceeded.to_string()));
        }
        if self.input.tail.is_empty() {
            let (used, step) = self.digest(bytes, now);
            self.input.tail.extend_from_slice(&bytes[used..]);
            return step;
        }
        self.input.tail.extend_from_slice(bytes);
        self.digest_tail(now)
    }

    /// Goes on with what waited behind a login.
    pub(super) fn resume(&mut self) -> Step {
        if self.input.tail.is_empty() { Step::On } else { self.digest_tail(Instant::now()) }
    }

    fn digest_tail(&mut self, now: Instant) -> Step {
        let mut tail = std::mem::take(&mut self.input.tail);
        let (used, step) = self.digest(&tail, now);
        if used < tail.len() {
            tail.drain(..used);
            if tail.capacity() - tail.len() > SLACK {
                tail.shrink_to_fit();
            }
            self.input.tail = tail;
        }
        step
    }

    /// Handles the whole frames in `bytes`, up to a login or a violation. Returns how many bytes they took.
    fn digest(&mut self, bytes: &[u8], now: Instant) -> (usize, Step) {
        let config = &self.shared.config;
        let max = if self.seat.is_some() { config.frame_max_bytes } else { config.login_frame_max_bytes };
        let mut batch = FramesBuilder::default();
        let mut frames = 0;
        let mut used = 0;
        let step = loop {
            let (frame, size) = match decode_up(&bytes[used..], max) {
                Ok(Some(found)) => found,
                Ok(None) => break Step::On,
                Err(error) => break Step::End(End::bad_frame(error)),
            };
            used += size;
            frames += 1;
            if let Err(end) = self.input.admit(frame.seq) {
                break Step::End(end);
            }
            match route(frame.opcode) {
                Route::Game if self.seat.is_some() => batch.push(frame.opcode, frame.payload),
                Route::Heartbeat => self.heartbeat(frame.payload),
                other => match self.rare(other, frame) {
                    Step::On => {}
                    step => break step,
                },
            }
        };
        if frames > 0 {
            self.shared.metrics.agent.frames_in.inc_by(frames);
            self.input.heard = now;
        }
        (used, self.hand_over(batch, now, step))
    }

    /// Gives the room its frames, those before a violation too.
    fn hand_over(&mut self, mut batch: FramesBuilder, now: Instant, step: Step) -> Step {
        let Some(seat) = self.seat.as_mut().filter(|_| !batch.is_empty()) else { return step };
        let sent = seat.send(batch.take(), now);
        if seat.blocked().is_some() {
            self.shared.metrics.agent.reads_held.inc();
        }
        match (sent, step) {
            (Err(_gone), Step::On) => Step::Gone,
            (_, step) => step,
        }
    }

    fn heartbeat(&mut self, payload: &[u8]) {
        if !self.out.heartbeat(payload) {
            let text = format!("heart_beat_req has {} bytes, its id needs 4", payload.len());
            self.refuse(code::BAD_PAYLOAD, &text);
        }
    }

    /// The frames that are not the daily bread.
    fn rare(&mut self, owner: Route, frame: UpFrame<'_>) -> Step {
        let opcode = frame.opcode;
        match owner {
            Route::Login => return self.login(frame.payload),
            Route::Game => {
                self.refuse(code::NOT_LOGGED_IN, &format!("opcode {opcode} needs a login first"));
            }
            Route::Seed => self.refuse(
                code::UNKNOWN_OPCODE,
                "get_seed_req: the legacy key exchange (DH and RC4) is not offered here",
            ),
            Route::Heartbeat | Route::Unknown => {
                self.refuse(code::UNKNOWN_OPCODE, &format!("opcode {opcode} is not known"));
            }
        }
        Step::On
    }

    fn login(&mut self, payload: &[u8]) -> Step {
        if self.seat.is_some() {
            self.refuse(code::ALREADY_LOGGED_IN, "this session is logged in already");
            return Step::On;
        }
        let info = match UserLoginInfo::from_bytes(payload) {
            Ok(info) => info,
            Err(error) => {
                self.refuse(code::BAD_PAYLOAD, &format!("user_login_req: {error}"));
                return Step::On;
            }
        };
        match self.shared.authenticator.check(&info) {
            Ok(user) => Step::Login(user),
            Err(error) => Step::End(End::login_failed(code::LOGIN_FAILED, error.to_string())),
        }
    }
}
