//! Remote: a session of another node, as rooms of this one see it.
//!
//! Downward it writes to its agent's line. Upward it knows the room the player sits in and keeps the order of frames,
//! fence and leave towards it; a room that does not keep up makes the agent pause this session, and no other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hotseat_packet::code;
use tokio::sync::mpsc::error::TrySendError;

use super::Push;
use crate::link::{Close, LeaveReason, Line, Signal, Up, Uplink};
use crate::proto::cluster::down::What;
use crate::proto::cluster::{self, Down, Moving, Pause, Released, Resume, Seated};

/// Bytes held for a room that does not keep up, above which the agent is asked to pause.
const PAUSE_AT: usize = 64 * 1024;
/// Bytes held above which the agent has not paused: what it had sent before it heard is less.
const HELD_MAX: usize = 4 * 1024 * 1024;

/// One session of an agent on another node.
#[derive(Debug)]
pub struct Remote {
    number: u64,
    line: Arc<Line>,
    shut: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    uplink: Option<Uplink>,
    login: u64,
    /// What the room has not taken yet.
    held: VecDeque<Up>,
    held_bytes: usize,
    /// A task is bringing `held` to the room.
    draining: bool,
    paused: bool,
    /// Between `Moving` and `Moved`.
    moving: bool,
    /// A seat is asked for: what the room says of it waits until the agent has been told of it.
    asking: bool,
    early: Vec<Signal>,
}

impl Remote {
    /// Session `number` of the agent behind `line`.
    pub fn new(number: u64, line: Arc<Line>) -> Self {
        Self { number, line, shut: AtomicBool::new(false), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is made in one go, so a panic elsewhere leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn push(&self, opcode: u16, payload: &[u8]) -> Push {
        if self.is_shut() || self.line.frame(&[self.number], opcode, payload).is_err() {
            return Push::Dropped;
        }
        Push::Queued
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    /// Nobody is there any more: frames for it are dropped, signals unheard. What it has sent still reaches its room.
    pub fn end(&self) {
        self.shut.store(true, Ordering::Relaxed);
    }

    fn tell(&self, what: What) -> bool {
        self.line.tell(Down { sessions: vec![self.number], what: Some(what) }).is_ok()
    }

    /// A seat is asked for.
    pub fn asking(&self) {
        let mut state = self.lock();
        state.asking = true;
        state.early.clear();
    }

    /// There is none.
    pub fn refused(&self) {
        let mut state = self.lock();
        state.asking = false;
        state.early.clear();
    }

    /// The player has sat down; frames go there from now on.
    pub fn seated(self: &Arc<Self>, uplink: Uplink, login: u64) {
        let mut state = self.lock();
        state.login = login;
        let room = uplink.room.to_string();
        state.uplink = Some(uplink);
        self.tell(What::Seated(Seated { room, login }));
        state.asking = false;
        // A room may move a player on before whoever asked for the seat knows of it.
        for signal in std::mem::take(&mut state.early) {
            self.heed(&mut state, signal);
        }
    }

    pub(super) fn signal_after(self: &Arc<Self>, signal: Signal, first: impl FnOnce()) -> bool {
        let mut state = self.lock();
        first();
        if self.is_shut() {
            return false;
        }
        if state.asking && !matches!(signal, Signal::Close(_)) {
            state.early.push(signal);
            return true;
        }
        self.heed(&mut state, signal)
    }

    fn heed(self: &Arc<Self>, state: &mut State, signal: Signal) -> bool {
        match signal {
            Signal::Moving => {
                state.moving = true;
                self.tell(What::Moving(Moving {}))
            }
            Signal::Moved(uplink) => {
                state.moving = false;
                // A session that has moved sends again, whatever it was told of the room before.
                state.paused = false;
                // A fence was for the room before.
                state.held.retain(|up| !matches!(up, Up::Fence { .. }));
                let (room, login) = (uplink.room.to_string(), state.login);
                state.uplink = Some(uplink);
                if !state.held.is_empty() {
                    self.drain(state);
                }
                self.tell(What::Moved(Seated { room, login }))
            }
            Signal::Released(released) => {
                state.uplink = None;
                state.moving = false;
                state.paused = false;
                let held = state.held.drain(..).filter_map(|up| match up {
                    Up::Frames { frames, .. } => Some(frames),
                    _ => None,
                });
                let backlog = released.backlog.iter().cloned().chain(held);
                let backlog = backlog.map(|frames| frames.to_bytes()).collect();
                state.held_bytes = 0;
                self.tell(What::Released(Released {
                    room: released.room.unwrap_or_default(),
                    node: released.node.unwrap_or_default(),
                    backlog,
                    login: state.login,
                    again: released.again,
                }))
            }
            Signal::Close(close) => self.close(close),
            // These go the other way.
            Signal::Pause | Signal::Resume | Signal::Lost(_) => false,
        }
    }

    /// Brings what the agent has sent to the player's room, behind all that came before it. Whether anybody sits there.
    pub fn up(self: &Arc<Self>, up: Up) -> bool {
        let mut state = self.lock();
        let Some(uplink) = &state.uplink else { return false };
        if !state.held.is_empty() {
            self.hold(&mut state, up);
            return true;
        }
        match uplink.mailbox.try_send(up) {
            Ok(()) => {}
            Err(TrySendError::Full(up)) => {
                self.hold(&mut state, up);
                self.drain(&mut state);
            }
            Err(TrySendError::Closed(up)) => self.on_closed(&mut state, Some(up)),
        }
        true
    }

    /// Nothing more reaches the session but this.
    fn close(&self, close: Close) -> bool {
        self.shut.store(true, Ordering::Relaxed);
        let Close { leave, reason, code, text } = close;
        self.tell(What::Close(cluster::Close { leave: leave as u32, reason: reason.to_owned(), code, text }))
    }

    /// The room has ended. One that moves its players out says so; what is held goes to the next one then.
    fn on_closed(&self, state: &mut State, up: Option<Up>) {
        if state.moving {
            if let Some(up @ (Up::Frames { .. } | Up::Leave { .. })) = up {
                self.hold(state, up);
            }
            return;
        }
        let room = state.uplink.take().map_or_else(|| "?".into(), |uplink| uplink.room);
        self.close(Close {
            leave: LeaveReason::Lost,
            reason: "no_room",
            code: code::NO_ROOM,
            text: format!("room {room} has ended"),
        });
    }

    fn hold(&self, state: &mut State, up: Up) {
        if let Up::Frames { frames, .. } = &up {
            state.held_bytes += frames.bytes();
        }
        state.held.push_back(up);
        if state.held_bytes > PAUSE_AT && !state.paused {
            state.paused = true;
            self.tell(What::Pause(Pause {}));
        }
        if state.held_bytes > HELD_MAX && !self.is_shut() {
            self.close(Close {
                leave: LeaveReason::Violation,
                reason: "busy",
                code: code::BUSY,
                text: format!("more than {HELD_MAX} bytes wait for the room"),
            });
        }
    }

    fn drain(self: &Arc<Self>, state: &mut State) {
        if !state.draining {
            state.draining = true;
            tokio::spawn(Arc::clone(self).bring());
        }
    }

    /// Brings what is held to the room, at the room's pace.
    async fn bring(self: Arc<Self>) {
        loop {
            let mailbox = match &self.lock().uplink {
                Some(uplink) => uplink.mailbox.clone(),
                None => break,
            };
            let permit = mailbox.reserve().await;
            let mut state = self.lock();
            if !state.uplink.as_ref().is_some_and(|uplink| uplink.mailbox.same_channel(&mailbox)) {
                // It has moved meanwhile; what is held is for the next room.
                continue;
            }
            let Ok(permit) = permit else {
                state.held.retain(|up| !matches!(up, Up::Fence { .. }));
                self.on_closed(&mut state, None);
                state.draining = false;
                return;
            };
            if let Some(up) = state.held.pop_front() {
                if let Up::Frames { frames, .. } = &up {
                    state.held_bytes -= frames.bytes();
                }
                permit.send(up);
            }
            if state.held.is_empty() {
                state.draining = false;
                if std::mem::take(&mut state.paused) {
                    self.tell(What::Resume(Resume {}));
                }
                return;
            }
        }
        self.lock().draining = false;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::link::{FramesBuilder, SessionId, UserId};

    /// Frames of more than may be held without a pause.
    fn flood() -> Up {
        let mut frames = FramesBuilder::default();
        frames.push(1001, &[0; 65_529]);
        frames.push(1001, &[0; 16]);
        Up::Frames { user: UserId(1), session: SessionId(1), frames: frames.take() }
    }

    /// A room whose mailbox takes one item, which it has.
    fn full_room() -> (Uplink, mpsc::Receiver<Up>) {
        let (mailbox, queue) = mpsc::channel(1);
        mailbox.try_send(flood()).unwrap();
        (Uplink { room: "home/1".into(), mailbox, login: 1 }, queue)
    }

    async fn pauses(line: &Line) -> usize {
        let batch = line.batch().await.unwrap();
        batch.downs.iter().filter(|down| matches!(down.what, Some(What::Pause(_)))).count()
    }

    #[tokio::test]
    async fn a_session_is_paused_again_where_it_goes_next() {
        let line = Arc::new(Line::new(1 << 20));
        let remote = Arc::new(Remote::new(1, Arc::clone(&line)));
        let (room, _first) = full_room();
        remote.seated(room, 1);
        assert!(remote.up(flood()));
        assert_eq!(pauses(&line).await, 1);
        // More of the same room's is not worth another word.
        assert!(remote.up(flood()));
        assert!(remote.signal_after(Signal::Released(crate::link::Released::default()), || ()));
        assert_eq!(pauses(&line).await, 0);
        let (room, _second) = full_room();
        remote.seated(room, 1);
        assert!(remote.up(flood()));
        assert_eq!(pauses(&line).await, 1);
    }
}
