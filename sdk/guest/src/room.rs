//! What a handler can reach.

use std::cell::RefCell;
use std::fmt::Display;
use std::future::Future;
use std::rc::Rc;

use crate::game::{Game, UserId};
use crate::host;
use crate::task::{Executor, Handle};

/// The room a handler runs in, and through it everything a plugin can reach.
///
/// Methods marked *effect* do nothing at once: the host carries them out in order when the handler returns, and
/// drops them if it panics or refuses. At most 4,096 effects with 1 MiB of payload a call; one more is a trap.
pub struct Room<G: Game> {
    /// None while `open` or `load` still make it.
    pub(crate) game: Rc<RefCell<Option<G>>>,
    pub(crate) executor: Rc<Executor>,
}

impl<G: Game> Room<G> {
    pub(crate) fn empty() -> Self {
        Self { game: Rc::new(RefCell::new(None)), executor: Rc::new(Executor::default()) }
    }

    pub(crate) fn share(&self) -> Self {
        Self { game: Rc::clone(&self.game), executor: Rc::clone(&self.executor) }
    }

    /// *Effect.* Sends one frame to one player of this room; others are ignored. `op`: 1001 to 32767, the others are the
    /// host's own and a trap. `payload`: at most 65,533 bytes, more is a trap.
    pub fn send(&self, user: UserId, op: u16, payload: &[u8]) {
        host::send(user, op, payload);
    }

    /// *Effect.* Sends one frame to everyone in this room.
    pub fn broadcast(&self, op: u16, payload: &[u8]) {
        host::broadcast(&[], op, payload);
    }

    /// *Effect.* Sends one frame to the listed players of this room; does nothing if the list is empty.
    pub fn broadcast_to(&self, users: &[UserId], op: u16, payload: &[u8]) {
        // To the host an empty list means everyone.
        if !users.is_empty() {
            host::broadcast(users, op, payload);
        }
    }

    /// *Effect.* Ends a player's session after everything sent before has left. The client finds `reason` (1000
    /// and up; what is below is sent as 1000) in its last frame; [`Game::leave`] follows as its own event.
    pub fn kick(&self, user: UserId, reason: u32) {
        host::kick(user, reason);
    }

    /// *Effect.* Moves a player, socket and all, to another room of this plugin: [`Game::leave`] here, then
    /// [`Game::join`] there. If there is no such room, or the player has been moved too often within this second, the
    /// player stays, and this one sees [`Game::rejoin`]. If the room ends on the way or fails in its `join`, the player goes
    /// to its home room.
    pub fn transfer(&self, user: UserId, room: &str) {
        host::transfer(user, room);
    }

    /// *Effect.* Opens a room of this plugin; does nothing if it is there. Names: 1 to 64 of `a-z 0-9 / - _ .`, not
    /// beginning with `home/`. `args` reach its [`Game::open`]. The operator bounds how many rooms are open at a time, at
    /// the request of one room and of one player; beyond that none is opened, and a transfer there ends in
    /// [`Game::rejoin`].
    pub fn create_room(&self, room: &str, args: &[u8]) {
        host::create_room(room, args);
    }

    /// *Effect.* Closes this room: its players return to their home rooms and its state is dropped. Home rooms
    /// ignore it. `reason` is logged.
    pub fn close_room(&self, reason: u32) {
        host::close_room(reason);
    }

    /// *Effect.* Calls [`Game::timer`] with `id` once, `after_ms` milliseconds from now. Setting an id again moves
    /// it. Timers survive swaps. At most 1,024 ids a room; one more is a trap.
    pub fn set_timer(&self, id: u64, after_ms: u32) {
        host::set_timer(id, after_ms);
    }

    /// *Effect.* Forgets a timer; does nothing if there is none of that id.
    pub fn cancel_timer(&self, id: u64) {
        host::cancel_timer(id);
    }

    /// Milliseconds since 1970-01-01 UTC of the event being handled. Constant within a call, never lower than in
    /// the call before.
    pub fn now_ms(&self) -> u64 {
        host::now_ms()
    }

    /// 64 uniformly distributed bits, from a generator that is seeded once a room and kept across swaps. Not for
    /// secrets.
    pub fn random(&self) -> u64 {
        host::random()
    }

    /// A number from 0 to `bound - 1`, all equally likely; 0 if `bound` is 0.
    pub fn random_below(&self, bound: u64) -> u64 {
        host::random_below(bound)
    }

    /// An id that no other room, plugin or node hands out; rising within a room.
    pub fn next_id(&self) -> u64 {
        host::next_id()
    }

    /// The document the host keeps for a player; none if it has none or is not in this room.
    pub fn profile(&self, user: UserId) -> Option<Vec<u8>> {
        host::profile(user)
    }

    /// *Effect.* Replaces a player's document: at most 64 KiB, more is a trap. [`profile`](Room::profile) gives the
    /// old one until this call has returned.
    pub fn put_profile(&self, user: UserId, bytes: &[u8]) {
        host::put_profile(user, bytes);
    }

    /// The operator's value for a key, none if it is not set. Constant within a call.
    pub fn config(&self, key: &str) -> Option<Vec<u8>> {
        host::config(key)
    }

    /// *Effect.* Calls a unary gRPC method of another service; the answer arrives at [`Game::reply`] with the token
    /// this returns. `service`: its name in the operator's configuration; `instance`: one of its instances or
    /// "" for any; `method`: `package.Service/Method`; `body`: the encoded request, at most 1 MiB.
    ///
    /// Every call that leaves is answered once: by the service, or with status 4 (no answer in time), 14 (unknown
    /// or away) or 8 (more than 64 in flight). [`spawn`](Room::spawn) is the comfortable way to do this.
    pub fn call(&self, service: &str, instance: &str, method: &str, body: &[u8]) -> u64 {
        host::call(service, instance, method, body)
    }

    /// Starts a future that can wait for services. It is first polled when the handler has returned without a
    /// refusal, within the same call; from then on whenever an answer it waits for arrives.
    ///
    /// The future cannot hold the state while it waits; it comes back to it through [`Handle::update`]. It is
    /// **not saved**: after a swap or a recovery it is gone, and answers to its calls arrive at [`Game::reply`].
    /// So let the state say what is under way if that matters. More than [`MAX_TASKS`](crate::MAX_TASKS)
    /// unfinished futures are a trap.
    ///
    /// ```
    /// # use hotseat_guest::{Answer, Game, Refusal, Room, UserId, testing::TestRoom};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Hall { best: Vec<u8> }
    /// # impl Game for Hall {
    /// #     const SCHEMA: u32 = 1;
    /// #     fn open(_: &Room<Self>, _: &str, _: &[u8]) -> Result<Self, String> { Ok(Hall { best: vec![] }) }
    /// fn message(&mut self, room: &Room<Self>, user: UserId, _op: u16, body: &[u8]) -> Result<(), Refusal> {
    ///     let body = body.to_vec();
    ///     room.spawn(move |handle| async move {
    ///         let answer = handle.call("rank", "", "proto.RankingService/RankChange", &body).await;
    ///         handle.update(|game, room| match answer.into_result() {
    ///             Ok(best) => {
    ///                 room.send(user, 1301, &best);
    ///                 game.best = best;
    ///             }
    ///             Err((status, text)) => room.warn(format_args!("rank: status {status}: {text}")),
    ///         });
    ///     });
    ///     Ok(())
    /// }
    /// # }
    /// # let mut room = TestRoom::<Hall>::open("home/1", b"").expect("opens");
    /// # room.join(7);
    /// # room.message(7, 1300, b"x").expect("is accepted");
    /// # room.answer_next(Answer::ok([9]));
    /// # assert_eq!(room.sent_to(7), [(1301, vec![9])]);
    /// ```
    pub fn spawn<F>(&self, task: impl FnOnce(Handle<G>) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let future = task(Handle::of(self));
        self.executor.spawn(Box::pin(future));
    }

    /// Logs at level error. Lines are cut at 1,024 bytes; beyond 100 a second and room they are dropped.
    pub fn error(&self, line: impl Display) {
        host::log(host::Level::Error, &line.to_string());
    }

    /// Logs at level warn.
    pub fn warn(&self, line: impl Display) {
        host::log(host::Level::Warn, &line.to_string());
    }

    /// Logs at level info.
    pub fn info(&self, line: impl Display) {
        host::log(host::Level::Info, &line.to_string());
    }

    /// Logs at level debug.
    pub fn debug(&self, line: impl Display) {
        host::log(host::Level::Debug, &line.to_string());
    }
}
