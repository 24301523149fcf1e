//! The room a test plays in.

use std::cell::Ref;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use crate::answer::Answer;
use crate::game::{Game, LeaveReason, Refusal, UserId};
use crate::runtime::Runtime;
use crate::state::Snapshot;
use crate::testing::host::{FollowUp, MAX_FOLLOW_UPS, overloaded};
use crate::testing::{Effect, LogLine, ServiceCall, Setup, SharedHost, enter};

/// A tick of 20 Hz, as most games have it; [`TestRoom::tick_every`] changes it.
const DEFAULT_TICK_MS: u32 = 50;

/// A room of the game `G` in memory. Time stands still until [`tick`](TestRoom::tick) or
/// [`advance`](TestRoom::advance).
pub struct TestRoom<G: Game> {
    host: SharedHost,
    runtime: Runtime<G>,
    tick_ms: u32,
}

/// A hand-over that failed: the room as it was, and why.
pub struct Stays<G: Game> {
    /// The room, still on the version it had.
    pub room: TestRoom<G>,
    /// What the new version said.
    pub error: String,
}

impl<G: Game> fmt::Debug for Stays<G> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Stays").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<G: Game> fmt::Debug for TestRoom<G> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TestRoom").field("key", &self.host.borrow().key).finish_non_exhaustive()
    }
}

impl<G: Game> TestRoom<G> {
    /// A new room; [`Setup`] for one with settings or a seed of its own.
    ///
    /// # Errors
    /// Those of [`Game::open`].
    pub fn open(key: &str, args: &[u8]) -> Result<Self, String> {
        Setup::new().open(key, args)
    }

    /// A room out of a saved state; without players, timers and calls (see [`swap`](TestRoom::swap)).
    ///
    /// # Errors
    /// If the state does not decode, is of a newer schema, or the migration fails.
    pub fn load(snapshot: &Snapshot) -> Result<Self, String> {
        Setup::new().load(snapshot)
    }

    pub(super) fn open_on(host: SharedHost, key: &str, args: &[u8]) -> Result<Self, String> {
        let runtime = enter(&host, || Runtime::open(key, args))?;
        let mut room = Self { host, runtime, tick_ms: DEFAULT_TICK_MS };
        room.settle();
        Ok(room)
    }

    pub(super) fn load_on(host: SharedHost, snapshot: &Snapshot) -> Result<Self, String> {
        let runtime = enter(&host, || Runtime::load(snapshot));
        host.borrow_mut().drop_queued();
        Ok(Self { runtime: runtime?, host, tick_ms: DEFAULT_TICK_MS })
    }

    /// Hands the room over to another version, as the host does at a call boundary: players, timers, time,
    /// randomness, settings and calls in flight carry over, futures do not.
    ///
    /// # Errors
    /// If the other version cannot take the state: the room stays as it was.
    pub fn swap<N: Game>(self) -> Result<TestRoom<N>, Stays<G>> {
        let snapshot = self.save();
        match TestRoom::load_on(Rc::clone(&self.host), &snapshot) {
            Ok(next) => Ok(TestRoom { tick_ms: self.tick_ms, ..next }),
            Err(error) => Err(Stays { room: self, error }),
        }
    }

    /// Hands the room back to an older version, as the host does when an operator goes back: in the older layout, if
    /// [`Game::downgrade`] writes it.
    ///
    /// # Errors
    /// If the state is not written for the other version, or that one does not take it: the room stays as it was.
    pub fn go_back<N: Game>(self) -> Result<TestRoom<N>, Stays<G>> {
        let written = enter(&self.host, || self.runtime.save_as(N::SCHEMA));
        self.host.borrow_mut().drop_queued();
        let snapshot = written.map(|bytes| Snapshot { schema: N::SCHEMA, bytes });
        let next = snapshot.and_then(|snapshot| TestRoom::load_on(Rc::clone(&self.host), &snapshot));
        match next {
            Ok(next) => Ok(TestRoom { tick_ms: self.tick_ms, ..next }),
            Err(error) => Err(Stays { room: self, error }),
        }
    }

    /// The whole state, as the host would save it.
    pub fn save(&self) -> Snapshot {
        let snapshot = enter(&self.host, || self.runtime.save());
        self.host.borrow_mut().drop_queued();
        snapshot
    }

    /// A look at the state. Let go of it before the next event.
    pub fn state(&self) -> Ref<'_, G> {
        self.runtime.state()
    }

    /// A player comes in.
    ///
    /// # Panics
    /// If the player is in the room.
    pub fn join(&mut self, user: UserId) {
        assert!(self.host.borrow_mut().players.insert(user), "player {user} is in the room");
        self.event(|runtime| runtime.join(user));
    }

    /// A player comes back whose transfer failed. Those of [`Room::transfer`](crate::Room::transfer) do so by
    /// themselves if the target is no home room and was not created or [added](TestRoom::add_room).
    ///
    /// # Panics
    /// If the player is not in the room.
    pub fn rejoin(&mut self, user: UserId) {
        self.demand(user);
        self.event(|runtime| runtime.rejoin(user));
    }

    /// A player goes. Kicked and transferred ones do so by themselves.
    ///
    /// # Panics
    /// If the player is not in the room.
    pub fn leave(&mut self, user: UserId, reason: LeaveReason) {
        self.demand(user);
        self.host.borrow_mut().players.remove(&user);
        self.host.borrow_mut().leaving = Some(user);
        self.event(|runtime| runtime.leave(user, reason));
        self.host.borrow_mut().leaving = None;
    }

    /// A frame of a player.
    ///
    /// # Errors
    /// The handler's refusal; its effects are dropped.
    ///
    /// # Panics
    /// If the player is not in the room, and wherever the handler does.
    pub fn message(&mut self, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
        self.demand(user);
        self.host.borrow_mut().drop_queued();
        let outcome = enter(&self.host, || self.runtime.message(user, op, payload));
        match outcome {
            Ok(()) => self.settle(),
            Err(_) => self.host.borrow_mut().drop_queued(),
        }
        outcome
    }

    /// One tick later: timers that are due fire, then the tick runs.
    pub fn tick(&mut self) {
        let dt_ms = self.tick_ms;
        self.advance(u64::from(dt_ms));
        self.event(|runtime| runtime.tick(dt_ms));
    }

    /// The time between two ticks, in milliseconds; 50 until set.
    pub fn tick_every(&mut self, tick_ms: u32) {
        self.tick_ms = tick_ms;
    }

    /// Lets time pass without ticks. Timers fire when they are due, equal times by rising id; those they set too.
    pub fn advance(&mut self, ms: u64) {
        let until = self.host.borrow().now_ms + ms;
        while let Some(id) = self.due_timer(until) {
            self.event(|runtime| runtime.timer(id));
        }
        self.host.borrow_mut().now_ms = until;
    }

    /// The answer to a pending call.
    ///
    /// # Panics
    /// If no call of that token is pending.
    pub fn answer(&mut self, token: u64, answer: Answer) {
        let call = self.host.borrow_mut().calls.remove(&token);
        assert!(call.is_some(), "no call {token} is pending");
        self.event(|runtime| runtime.reply(token, answer));
    }

    /// The answer to the oldest pending call, which is returned.
    ///
    /// # Panics
    /// If no call is pending.
    pub fn answer_next(&mut self, answer: Answer) -> ServiceCall {
        let call = self.calls().into_iter().next().expect("no call is pending");
        self.answer(call.token, answer);
        call
    }

    /// The calls of other services that wait for an answer, oldest first.
    pub fn calls(&self) -> Vec<ServiceCall> {
        self.host.borrow().calls.values().cloned().collect()
    }

    /// The effects of all calls that returned, in order, since this was last asked.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.host.borrow_mut().released)
    }

    /// The frames (opcode and payload) a player got, in order, since this was last asked.
    pub fn sent_to(&mut self, user: UserId) -> Vec<(u16, Vec<u8>)> {
        self.host.borrow_mut().sent.remove(&user).unwrap_or_default()
    }

    /// The lines logged since this was last asked, of calls that panicked too.
    pub fn logs(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.host.borrow_mut().logs)
    }

    /// The players in the room, rising.
    pub fn players(&self) -> Vec<UserId> {
        self.host.borrow().players.iter().copied().collect()
    }

    /// The timers that are set: id and due time (milliseconds since 1970), by rising id.
    pub fn timers(&self) -> Vec<(u64, u64)> {
        self.host.borrow().timers.iter().map(|(id, due)| (*id, *due)).collect()
    }

    /// The room's time, in milliseconds since 1970-01-01 UTC.
    pub fn now_ms(&self) -> u64 {
        self.host.borrow().now_ms
    }

    /// The reason if the room closed itself.
    pub fn closed(&self) -> Option<u32> {
        self.host.borrow().closed
    }

    /// A player's document, whether the player is here or not.
    pub fn profile(&self, user: UserId) -> Option<Vec<u8>> {
        self.host.borrow().profiles.get(&user).cloned()
    }

    /// Begins the random numbers anew.
    pub fn seed(&mut self, seed: u64) {
        self.host.borrow_mut().seed(seed);
    }

    /// Changes one of the operator's settings.
    pub fn set_config(&mut self, key: &str, value: impl Into<Vec<u8>>) {
        self.host.borrow_mut().config.insert(key.into(), value.into());
    }

    /// Gives a player a document.
    pub fn set_profile(&mut self, user: UserId, bytes: impl Into<Vec<u8>>) {
        self.host.borrow_mut().profiles.insert(user, bytes.into());
    }

    /// Makes a room that transfers find.
    pub fn add_room(&mut self, room: &str) {
        self.host.borrow_mut().rooms.insert(room.into());
    }

    fn demand(&self, user: UserId) {
        let host = self.host.borrow();
        assert!(host.closed.is_none(), "the room is closed");
        assert!(host.players.contains(&user), "player {user} is not in the room: join first");
    }

    fn due_timer(&self, until: u64) -> Option<u64> {
        self.host.borrow_mut().take_due(until)
    }

    fn event(&mut self, event: impl FnOnce(&Runtime<G>)) {
        self.call(event);
        self.settle();
    }

    fn call(&self, event: impl FnOnce(&Runtime<G>)) {
        assert!(self.host.borrow().closed.is_none(), "the room is closed");
        // What an earlier call left behind when it panicked.
        self.host.borrow_mut().drop_queued();
        enter(&self.host, || event(&self.runtime));
    }

    /// Releases the effects of the call that returned, and runs the events that follow from them.
    fn settle(&mut self) {
        let mut follow_ups: VecDeque<FollowUp> = self.host.borrow_mut().release();
        let mut count = 0;
        while let Some(follow_up) = follow_ups.pop_front() {
            if self.closed().is_some() {
                return;
            }
            count += 1;
            assert!(count <= MAX_FOLLOW_UPS, "more than {MAX_FOLLOW_UPS} events follow from one another");
            if let FollowUp::Kicked(user) | FollowUp::Transferred(user) = &follow_up {
                self.host.borrow_mut().leaving = Some(*user);
            }
            self.call(|runtime| match follow_up {
                FollowUp::Kicked(user) => runtime.leave(user, LeaveReason::Kicked),
                FollowUp::Transferred(user) => runtime.leave(user, LeaveReason::Transferred),
                FollowUp::Rejoin(user) => runtime.rejoin(user),
                FollowUp::Overloaded(token) => runtime.reply(token, overloaded()),
            });
            let released = self.host.borrow_mut().release();
            follow_ups.extend(released);
            self.host.borrow_mut().leaving = None;
        }
    }
}
