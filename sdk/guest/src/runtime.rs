//! One room's life: from `open` or `load` through its events, the same in a component and in a test.

use std::cell::Ref;

use crate::answer::Answer;
use crate::game::{Game, LeaveReason, Refusal, UserId};
use crate::room::Room;
use crate::state::{self, Snapshot};

/// A room that is open.
pub(crate) struct Runtime<G: Game> {
    room: Room<G>,
}

impl<G: Game> Runtime<G> {
    pub(crate) fn open(key: &str, args: &[u8]) -> Result<Self, String> {
        let runtime = Self { room: Room::empty() };
        let game = G::open(&runtime.room, key, args)?;
        runtime.room.game.replace(Some(game));
        runtime.room.executor.run();
        Ok(runtime)
    }

    pub(crate) fn load(snapshot: &Snapshot) -> Result<Self, String> {
        let runtime = Self { room: Room::empty() };
        let room = &runtime.room;
        let mut game = state::restore(G::SCHEMA, snapshot, |from, bytes| G::migrate(room, from, bytes))?;
        game.loaded(room)?;
        runtime.room.game.replace(Some(game));
        // The host ignores effects of a load, so nobody would answer these.
        runtime.room.executor.clear();
        Ok(runtime)
    }

    pub(crate) fn save(&self) -> Snapshot {
        state::save(G::SCHEMA, &*self.state())
    }

    pub(crate) fn save_as(&self, schema: u32) -> Result<Vec<u8>, String> {
        self.state().downgrade(schema)
    }

    pub(crate) fn state(&self) -> Ref<'_, G> {
        Ref::map(self.room.game.borrow(), |game| game.as_ref().expect("a runtime exists only with a state"))
    }

    pub(crate) fn join(&self, user: UserId) {
        self.event(|game, room| game.join(room, user));
    }

    pub(crate) fn rejoin(&self, user: UserId) {
        self.event(|game, room| game.rejoin(room, user));
    }

    pub(crate) fn leave(&self, user: UserId, reason: LeaveReason) {
        self.event(|game, room| game.leave(room, user, reason));
    }

    pub(crate) fn message(&self, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
        let outcome = self.handle(|game, room| game.message(room, user, op, payload));
        match outcome {
            Ok(()) => self.room.executor.run(),
            Err(_) => self.room.executor.discard_fresh(),
        }
        outcome
    }

    pub(crate) fn tick(&self, dt_ms: u32) {
        self.event(|game, room| game.tick(room, dt_ms));
    }

    pub(crate) fn timer(&self, id: u64) {
        self.event(|game, room| game.timer(room, id));
    }

    pub(crate) fn reply(&self, token: u64, answer: Answer) {
        match self.room.executor.answer(token, answer) {
            Ok(()) => self.room.executor.run(),
            Err(answer) => self.event(|game, room| game.reply(room, token, answer)),
        }
    }

    fn event(&self, handler: impl FnOnce(&mut G, &Room<G>)) {
        self.handle(handler);
        self.room.executor.run();
    }

    fn handle<R>(&self, handler: impl FnOnce(&mut G, &Room<G>) -> R) -> R {
        let mut game = self.room.game.borrow_mut();
        let game = game.as_mut().expect("a runtime exists only with a state");
        handler(game, &self.room)
    }
}

impl<G: Game> Drop for Runtime<G> {
    fn drop(&mut self) {
        self.room.executor.clear();
    }
}
