//! The room: who plays, what happens at a message and at a tick. What differs from version to version is asked of
//! its [`Rules`].

use std::collections::{BTreeMap, BTreeSet};

use hotseat_guest::{Answer, Game, LeaveReason, Refusal, Room, UserId};
use hotseat_packet::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::field::{COINS, Heading, PLACES, Point};
use crate::messages::{
    self, ARENA_NOTIFY, Code, ENTER_ACK, ENTER_REQ, EnterAck, EnterReq, LEAVE_ACK, LEAVE_REQ, LeaveAck,
    MOVE_REQ, MoveReq, PING_ACK, PING_REQ, Ping, SAY_REQ, Seen, TOP_REQ,
};
use crate::scores::{self, Scores};
use crate::talk::{self, Talk};

/// Rooms of this prefix are arenas of their own: who comes there came to play.
const ARENA_PREFIX: &str = "arena/";

/// Longest name of an arena.
const MAX_NAME: usize = 32;

/// Players an arena holds; a notify about all of them is 60 KB, which is below the largest frame.
pub const MAX_PLAYERS: usize = 3_000;

/// The timer that looks whether the arena is still empty; set when the last player has stopped playing.
const EMPTY: u64 = 4;

/// How long an arena stays open in which nobody plays, unless the operator's setting [`EMPTY_SETTING`] says otherwise.
const EMPTY_MS: u32 = 10_000;

/// The operator's setting for that, milliseconds.
const EMPTY_SETTING: &str = "arena_empty_ms";

/// Why an arena closes, for the operator: nobody plays in it.
pub const CLOSED_EMPTY: u32 = 1001;

/// What one version of the game does differently from another.
pub trait Rules: Sized + 'static {
    /// The number clients see.
    const NUMBER: u8;

    /// The layout of the state, see [`Game::SCHEMA`].
    const SCHEMA: u32;

    /// What these rules remember of a player, beside what every version does.
    type Memory: Default + Serialize + DeserializeOwned + 'static;

    /// What a coin is worth to a player with this memory who takes it now (milliseconds since 1970).
    fn points(memory: &mut Self::Memory, now_ms: u64) -> u32;

    /// Reads the state of an older version.
    ///
    /// # Errors
    /// If there is no way to; the room then stays on the older version.
    fn migrate(from: u32, bytes: &[u8]) -> Result<Arena<Self>, String> {
        let _ = bytes;
        Err(format!("no migration from schema {from} to {}", Self::SCHEMA))
    }

    /// Writes the state of an older version.
    ///
    /// # Errors
    /// If there is no way to.
    fn downgrade(arena: &Arena<Self>, schema: u32) -> Result<Vec<u8>, String> {
        let _ = arena;
        Err(format!("no downgrade from schema {} to {schema}", Self::SCHEMA))
    }

    /// Sees every ping before it is answered.
    fn on_ping(id: i32) {
        let _ = id;
    }
}

/// The state of one room.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Arena<R: Rules> {
    /// What clients call it; empty in a home room.
    pub name: String,
    /// Whether players play as soon as they are here.
    pub enter_on_join: bool,
    /// Rises with every notify. Stands still while nobody plays.
    pub tick: u32,
    /// Where the coins are.
    pub coins: Vec<Point>,
    /// Who plays. Players who are in the room and have not entered are not in here.
    pub players: BTreeMap<UserId, Player<R::Memory>>,
    /// Who has asked for another arena and has not left for it yet.
    pub asked: BTreeSet<UserId>,
    /// What is between the arena and the rank service.
    pub scores: Scores,
    /// What is between the arena and the chat service.
    pub talk: Talk,
}

/// One player who has entered.
#[derive(Serialize, Deserialize)]
pub struct Player<M> {
    /// Where the player is.
    pub at: Point,
    /// Where the player is going.
    pub heading: Heading,
    /// What the player has.
    pub score: u32,
    /// The most the player has had in any visit to any arena; also kept in the player's profile.
    pub best: u32,
    /// `seq` of the last move.
    pub last_move: u32,
    /// What the rules remember.
    pub memory: M,
}

impl<R: Rules> Game for Arena<R> {
    const SCHEMA: u32 = R::SCHEMA;

    fn open(room: &Room<Self>, key: &str, _args: &[u8]) -> Result<Self, String> {
        let name = key.strip_prefix(ARENA_PREFIX);
        if name.is_some() {
            // Whoever asked for it may be gone before it is there.
            room.set_timer(EMPTY, empty_ms(room));
        }
        Ok(Self {
            name: name.unwrap_or_default().to_owned(),
            enter_on_join: name.is_some(),
            tick: 0,
            coins: (0..COINS).map(|_| anywhere(room)).collect(),
            players: BTreeMap::new(),
            asked: BTreeSet::new(),
            scores: Scores::default(),
            talk: Talk::new(key),
        })
    }

    fn migrate(_room: &Room<Self>, from: u32, bytes: &[u8]) -> Result<Self, String> {
        R::migrate(from, bytes)
    }

    fn downgrade(&self, schema: u32) -> Result<Vec<u8>, String> {
        R::downgrade(self, schema)
    }

    fn join(&mut self, room: &Room<Self>, user: UserId) {
        if self.enter_on_join {
            self.enter_or_log(room, user);
        }
    }

    /// Where the arena that the player asked for could not be opened, this one is the next best. Who plays, and has lost
    /// sight of the room for a while, is told again where it stands; who only looks on goes on doing so.
    fn rejoin(&mut self, room: &Room<Self>, user: UserId) {
        if self.asked.remove(&user) || self.players.contains_key(&user) {
            self.enter_or_log(room, user);
        }
    }

    fn leave(&mut self, room: &Room<Self>, user: UserId, _reason: LeaveReason) {
        self.players.remove(&user);
        self.asked.remove(&user);
        self.scores.forget(user);
        self.watch_empty(room);
    }

    fn message(&mut self, room: &Room<Self>, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
        match op {
            PING_REQ => {
                let ping: Ping = decode(payload)?;
                R::on_ping(ping.id);
                send(room, user, PING_ACK, &ping);
                Ok(())
            }
            ENTER_REQ => self.enter_req(room, user, &decode(payload)?),
            LEAVE_REQ => self.leave_req(room, user),
            MOVE_REQ => self.move_req(user, decode(payload)?),
            SAY_REQ => self.say_req(room, user, decode(payload)?),
            TOP_REQ => self.top_req(room, user),
            _ => Err(Code::UnknownOpcode.refusal(format!("the game knows no opcode {op}"))),
        }
    }

    fn tick(&mut self, room: &Room<Self>, _dt_ms: u32) {
        if self.players.is_empty() {
            return;
        }
        self.tick = self.tick.wrapping_add(1);
        let now_ms = room.now_ms();
        for (user, player) in &mut self.players {
            player.at = player.at.step(player.heading);
            for coin in &mut self.coins {
                if player.at.reaches(*coin) {
                    player.score = player.score.saturating_add(R::points(&mut player.memory, now_ms));
                    *coin = anywhere(room);
                }
            }
            if player.score > player.best {
                player.best = player.score;
                scores::keep(room, *user, player.best);
                self.scores.note(room, *user, player.best);
            }
        }
        self.notify(room);
    }

    fn timer(&mut self, room: &Room<Self>, id: u64) {
        match id {
            scores::REPORT => self.report(room),
            scores::ASK => self.ask(room),
            talk::LISTEN => self.listen(room),
            EMPTY => self.close_empty(room),
            _ => {}
        }
    }

    /// The answer to a call of before a swap, a fault or a restart: the future that waited for it is gone. What it
    /// was to do is in the state, and is done now.
    fn reply(&mut self, room: &Room<Self>, _token: u64, _answer: Answer) {
        self.scores.catch_up(room);
        talk::catch_up(room);
    }
}

impl<R: Rules> Arena<R> {
    fn enter_req(&mut self, room: &Room<Self>, user: UserId, req: &EnterReq) -> Result<(), Refusal> {
        if req.arena.is_empty() || req.arena == self.name {
            return self.enter(room, user);
        }
        if !is_arena_name(&req.arena) {
            let text = format!("arena {:?}: must be 1 to {MAX_NAME} of a-z 0-9 -", req.arena);
            return Err(Code::BadArena.refusal(text));
        }
        // The other room finishes this: it sends the answer when the player joins it.
        let other = format!("{ARENA_PREFIX}{}", req.arena);
        self.asked.insert(user);
        room.create_room(&other, &[]);
        room.transfer(user, &other);
        Ok(())
    }

    fn leave_req(&mut self, room: &Room<Self>, user: UserId) -> Result<(), Refusal> {
        let player = self.players.remove(&user).ok_or_else(not_entered)?;
        send(room, user, LEAVE_ACK, &LeaveAck { score: player.score });
        self.watch_empty(room);
        Ok(())
    }

    fn move_req(&mut self, user: UserId, req: MoveReq) -> Result<(), Refusal> {
        let player = self.players.get_mut(&user).ok_or_else(not_entered)?;
        let MoveReq { seq, dx, dy } = req;
        player.heading = Heading::new(dx, dy)
            .ok_or_else(|| Code::BadHeading.refusal(format!("heading {dx},{dy}: each must be -1, 0 or 1")))?;
        player.last_move = seq;
        Ok(())
    }

    /// Where nobody plays any more, the time begins after which the arena closes. Home rooms stay.
    fn watch_empty(&self, room: &Room<Self>) {
        if self.enter_on_join && self.players.is_empty() {
            room.set_timer(EMPTY, empty_ms(room));
        }
    }

    /// Nobody has played here for a while: who only looks on goes home. Scores that rank has not taken yet are waited for,
    /// as long as it takes any; players bring them along to the next arena else.
    fn close_empty(&mut self, room: &Room<Self>) {
        if !self.enter_on_join || !self.players.is_empty() {
            return;
        }
        if !self.scores.unreported.is_empty() && self.scores.failures == 0 {
            room.set_timer(EMPTY, empty_ms(room));
        } else {
            room.close_room(CLOSED_EMPTY);
        }
    }

    /// Lets a player play; one who does already is told again where it stands.
    fn enter(&mut self, room: &Room<Self>, user: UserId) -> Result<(), Refusal> {
        if self.players.len() >= MAX_PLAYERS && !self.players.contains_key(&user) {
            return Err(Code::ArenaFull.refusal(format!("{MAX_PLAYERS} players are in the arena")));
        }
        let is_new = !self.players.contains_key(&user);
        let new = || Player::new(anywhere(room), scores::kept(room, user));
        let player = self.players.entry(user).or_insert_with(new);
        let (at, score, best) = (player.at, player.score, player.best);
        let ack = EnterAck { arena: self.name.clone(), rules: R::NUMBER, tick: self.tick, at, score };
        send(room, user, ENTER_ACK, &ack);
        if is_new {
            self.scores.note(room, user, best);
            self.talk.greet(room, user);
        }
        Ok(())
    }

    /// As [`enter`](Self::enter), where there is no message that could be refused.
    fn enter_or_log(&mut self, room: &Room<Self>, user: UserId) {
        if let Err(refusal) = self.enter(room, user) {
            room.warn(format_args!("player {user} cannot enter: {}", refusal.text));
        }
    }

    /// One payload for everybody, however many they are.
    fn notify(&self, room: &Room<Self>) {
        let seen = self.players.iter().map(|(user, player)| Seen {
            user: *user,
            at: player.at,
            score: player.score,
            last_move: player.last_move,
        });
        match messages::arena_notify(self.tick, R::NUMBER, seen, &self.coins) {
            Ok(payload) => {
                let entered: Vec<UserId> = self.players.keys().copied().collect();
                room.broadcast_to(&entered, ARENA_NOTIFY, &payload);
            }
            Err(error) => room.error(format_args!("notify of tick {}: {error}", self.tick)),
        }
    }
}

impl<M: Default> Player<M> {
    fn new(at: Point, best: u32) -> Self {
        Self { at, heading: Heading::default(), score: 0, best, last_move: 0, memory: M::default() }
    }
}

fn empty_ms<G: Game>(room: &Room<G>) -> u32 {
    let setting = room.config(EMPTY_SETTING).and_then(|value| String::from_utf8(value).ok()?.parse().ok());
    setting.unwrap_or(EMPTY_MS)
}

fn anywhere<G: Game>(room: &Room<G>) -> Point {
    Point::numbered(room.random_below(PLACES))
}

fn is_arena_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

pub(crate) fn not_entered() -> Refusal {
    Code::NotEntered.refusal("enter the arena first")
}

fn decode<T: Message>(payload: &[u8]) -> Result<T, Refusal> {
    T::from_bytes(payload).map_err(|error| Code::BadPayload.refusal(error.to_string()))
}

pub(crate) fn send<G: Game>(room: &Room<G>, user: UserId, op: u16, message: &impl Message) {
    match message.to_bytes() {
        Ok(payload) => room.send(user, op, &payload),
        Err(error) => room.error(format_args!("frame {op} for player {user}: {error}")),
    }
}
