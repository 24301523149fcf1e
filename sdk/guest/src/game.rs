//! The trait a game implements, and the plain types of its handlers.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::Answer;
use crate::room::Room;

/// A player's account. Stable across sessions, rooms and restarts; never 0.
pub type UserId = u64;

/// The state and the rules of one room.
///
/// The value *is* the state: the host saves it, moves it to the next version and restores it after a fault, all
/// by serde. Handlers run one at a time; each must return within the manifest's `deadline_ms`. Everything but
/// [`open`](Game::open) has a default that does nothing.
pub trait Game: Serialize + DeserializeOwned + Sized + 'static {
    /// The layout of the serialised state. Raise it whenever a field is added, removed, reordered or changes its
    /// type, and teach [`migrate`](Game::migrate) the older layouts.
    const SCHEMA: u32;

    /// A new room. `key` is its name (`home/17`, or what [`Room::create_room`] was given), `args` what came with it.
    ///
    /// # Errors
    /// Any text keeps the room closed and is logged.
    fn open(room: &Room<Self>, key: &str, args: &[u8]) -> Result<Self, String>;

    /// Reads a state that an older version saved with schema `from`, which is lower than [`SCHEMA`](Game::SCHEMA).
    /// [`decode`](crate::decode) reads the old struct. Effects are ignored here.
    ///
    /// # Errors
    /// "I cannot": the room stays on the version it has. The default knows no older schema.
    fn migrate(room: &Room<Self>, from: u32, bytes: &[u8]) -> Result<Self, String> {
        let _ = (room, bytes);
        Err(format!("no migration from schema {from} to {}", Self::SCHEMA))
    }

    /// Writes the state in the layout of an older `schema`, as the version of that schema would: what an operator needs to
    /// go back to that version with the present state. [`encode`](crate::encode) writes the old struct.
    ///
    /// A host tries it on live state before it puts a version live, and tells the operator whether there is a way back.
    ///
    /// # Errors
    /// "I cannot", as the default says: then the way back is short. The host keeps what it handed over and all inputs since
    /// for a while (`rollback_window_ms`) and gives both to the older version.
    fn downgrade(&self, schema: u32) -> Result<Vec<u8>, String> {
        Err(format!("no downgrade from schema {} to {schema}", Self::SCHEMA))
    }

    /// The state was just read back, migrated or not; no event has been handled yet. The place to rebuild what
    /// is not serialised. Effects and spawned futures are ignored here.
    ///
    /// # Errors
    /// As for [`migrate`](Game::migrate).
    fn loaded(&mut self, room: &Room<Self>) -> Result<(), String> {
        let _ = room;
        Ok(())
    }

    /// A player is here now. This room has not sent it anything yet.
    fn join(&mut self, room: &Room<Self>, user: UserId) {
        let _ = (room, user);
    }

    /// A player who is already here regained its place: a transfer failed, the room has come from another host, or the
    /// way to the player's gateway broke and another was found. What is kept for it is valid; what was sent to it
    /// meanwhile may not have come, so tell it how things stand.
    fn rejoin(&mut self, room: &Room<Self>, user: UserId) {
        let _ = (room, user);
    }

    /// A player is gone.
    fn leave(&mut self, room: &Room<Self>, user: UserId, reason: LeaveReason) {
        let _ = (room, user, reason);
    }

    /// One frame of a player in this room; `op` is 1001 to 32767.
    ///
    /// # Errors
    /// The player gets the refusal as an error frame. The call's effects are dropped, and so are the futures it
    /// spawned; changes of `self` are not, so refuse before you change it. The default refuses everything.
    fn message(&mut self, room: &Room<Self>, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
        let _ = (room, user, payload);
        Err(Refusal::new(1000, format!("there is no opcode {op}")))
    }

    /// A step of the manifest's `tick_hz`. `dt_ms` is the time since the last tick that ran, in milliseconds: more
    /// than one step if the host had to skip some.
    fn tick(&mut self, room: &Room<Self>, dt_ms: u32) {
        let _ = (room, dt_ms);
    }

    /// A timer set by [`Room::set_timer`] is due.
    fn timer(&mut self, room: &Room<Self>, id: u64) {
        let _ = (room, id);
    }

    /// The answer to a call that no future is waiting for: one made with [`Room::call`], one whose future was
    /// dropped, or one made before the room was saved and loaded (futures are not part of the state).
    fn reply(&mut self, room: &Room<Self>, token: u64, answer: Answer) {
        let _ = (room, token, answer);
    }
}

/// Why a player left a room.
///
/// A number with names: a later host may send values that this crate does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveReason {
    /// 0: the client closed the connection.
    Closed,
    /// 1: the connection was lost or idle for too long.
    Lost,
    /// 2: this room kicked the player.
    Kicked,
    /// 3: the player went to another room.
    Transferred,
    /// 4: a newer login of the same account took over.
    Replaced,
    /// 5: the client broke the protocol or a limit.
    Violation,
    /// 6: the node is shutting down.
    Shutdown,
    /// Anything newer.
    Other(u32),
}

impl From<u32> for LeaveReason {
    fn from(number: u32) -> Self {
        match number {
            0 => Self::Closed,
            1 => Self::Lost,
            2 => Self::Kicked,
            3 => Self::Transferred,
            4 => Self::Replaced,
            5 => Self::Violation,
            6 => Self::Shutdown,
            other => Self::Other(other),
        }
    }
}

/// A handler's way to say no. The sender gets a `client_error_ack` frame with both fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The game's own number: 1000 and up, lower ones belong to the host.
    pub code: i32,
    /// For people; at most 512 bytes reach the client, the rest is cut.
    pub text: String,
}

impl Refusal {
    /// A refusal with the game's number and a text for people.
    pub fn new(code: i32, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}
