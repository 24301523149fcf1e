//! What goes over the wire: opcodes, payloads, refusals. Clients of the game use this module too.

use hotseat_guest::{Refusal, UserId};
use hotseat_packet::{Message, ReadError, Reader, WriteError, Writer};
use serde::{Deserialize, Serialize};

use crate::field::Point;

/// Client: are you there? Payload [`Ping`].
pub const PING_REQ: u16 = 1001;
/// Game: yes, with the same id. Payload [`Ping`].
pub const PING_ACK: u16 = 1002;
/// Client: let me play. Payload [`EnterReq`].
pub const ENTER_REQ: u16 = 1101;
/// Game: you play. Payload [`EnterAck`]; from here on [`ARENA_NOTIFY`] follows every tick.
pub const ENTER_ACK: u16 = 1102;
/// Client: I only watch from here. Empty payload.
pub const LEAVE_REQ: u16 = 1103;
/// Game: you had this score. Payload [`LeaveAck`]; no [`ARENA_NOTIFY`] follows it.
pub const LEAVE_ACK: u16 = 1104;
/// Client: I head that way until I say otherwise. Payload [`MoveReq`]; its `seq` is the answer's `last_move`.
pub const MOVE_REQ: u16 = 1105;
/// Game: where everybody is. Payload [`ArenaNotify`].
pub const ARENA_NOTIFY: u16 = 1106;
/// Client: I say something. Payload [`SayReq`]; when chat has taken it, everybody who plays gets [`SAID_NOTIFY`], else
/// the speaker gets [`SAY_FAILED_ACK`].
pub const SAY_REQ: u16 = 1107;
/// Game: somebody said something. Payload [`Said`]. Who enters gets the last lines first.
pub const SAID_NOTIFY: u16 = 1108;
/// Client: who is best? Empty payload.
pub const TOP_REQ: u16 = 1109;
/// Game: these are. Payload [`TopAck`], one for each request.
pub const TOP_ACK: u16 = 1110;
/// Game: nobody heard you. Payload [`SayFailedAck`]. The one answer that a swap can lose: a line that was under way
/// then and was not taken stays without a word, one that was taken is heard by all.
pub const SAY_FAILED_ACK: u16 = 1111;

/// Longest text of a [`SayReq`] and of a [`Said`], in bytes.
pub const MAX_TEXT: usize = 200;

/// Why the game refuses a message: the codes of its `client_error_ack` frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// The payload does not decode.
    BadPayload = 1000,
    /// Only a player in the arena can do this.
    NotEntered = 1001,
    /// No arena can have this name.
    BadArena = 1002,
    /// A heading has -1, 0 or 1 on each axis.
    BadHeading = 1003,
    /// The game does not know this opcode.
    UnknownOpcode = 1004,
    /// The arena holds no more players.
    ArenaFull = 1005,
    /// A text has 1 to [`MAX_TEXT`] bytes.
    BadText = 1006,
    /// Too many players wait for the same thing: try again later.
    Busy = 1007,
}

impl Code {
    /// The refusal with this code.
    pub fn refusal(self, text: impl Into<String>) -> Refusal {
        Refusal::new(self as i32, text)
    }
}

/// Payload of [`PING_REQ`] and [`PING_ACK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Chosen by the client, echoed by the game.
    pub id: i32,
}

impl Message for Ping {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { id: reader.s32()? })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.s32(self.id);
        Ok(())
    }
}

/// Payload of [`ENTER_REQ`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnterReq {
    /// Which arena: 1 to 32 of `a-z 0-9 -`, or empty for the one of the room the player is in.
    pub arena: String,
}

impl Message for EnterReq {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { arena: reader.string()?.to_owned() })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.string(&self.arena).map(|_| ())
    }
}

/// Payload of [`ENTER_ACK`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnterAck {
    /// The arena's name, empty in a home room.
    pub arena: String,
    /// Which rules the arena plays by: 1 or 2.
    pub rules: u8,
    /// The tick that was last; the first [`ArenaNotify`] has the next one.
    pub tick: u32,
    /// Where the player stands.
    pub at: Point,
    /// What the player has.
    pub score: u32,
}

impl Message for EnterAck {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            arena: reader.string()?.to_owned(),
            rules: reader.u8()?,
            tick: reader.u32()?,
            at: read_point(reader)?,
            score: reader.u32()?,
        })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer
            .string(&self.arena)?
            .u8(self.rules)
            .u32(self.tick)
            .s16(self.at.x)
            .s16(self.at.y)
            .u32(self.score);
        Ok(())
    }
}

/// Payload of [`LEAVE_ACK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaveAck {
    /// What the player had.
    pub score: u32,
}

impl Message for LeaveAck {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { score: reader.u32()? })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.u32(self.score);
        Ok(())
    }
}

/// Payload of [`MOVE_REQ`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoveReq {
    /// Chosen by the client.
    pub seq: u32,
    /// -1 to the left, 1 to the right, 0 neither.
    pub dx: i8,
    /// -1 up, 1 down, 0 neither.
    pub dy: i8,
}

impl Message for MoveReq {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { seq: reader.u32()?, dx: reader.s8()?, dy: reader.s8()? })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.u32(self.seq).s8(self.dx).s8(self.dy);
        Ok(())
    }
}

/// Payload of [`SAY_REQ`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SayReq {
    /// 1 to [`MAX_TEXT`] bytes of UTF-8.
    pub text: String,
}

impl Message for SayReq {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { text: reader.string()?.to_owned() })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.string(&self.text).map(|_| ())
    }
}

/// Payload of [`SAID_NOTIFY`]: `user u64, offset s64, text string`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who; 0 is the system.
    pub user: UserId,
    /// The line's place in the arena's chat. Rises from line to line, and begins anew only with the chat itself.
    pub offset: i64,
    /// What chat has kept: listed words are stars. What others than players put there is cut at [`MAX_TEXT`] bytes.
    pub text: String,
}

impl Message for Said {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { user: reader.u64()?, offset: reader.s64()?, text: reader.string()?.to_owned() })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.u64(self.user).s64(self.offset).string(&self.text).map(|_| ())
    }
}

/// Payload of [`TOP_ACK`]: `status u8, count u16, count x { user u64, score s64, rank u32 }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopAck {
    /// 0, or why there is no list, as a gRPC status: 14 means that rank is away.
    pub status: u8,
    /// The best players, the best first; fewer if there are not as many.
    pub top: Vec<Ranked>,
}

/// One player of a leaderboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranked {
    /// Who.
    pub user: UserId,
    /// The player's best score.
    pub score: i64,
    /// From 1, the best.
    pub rank: u32,
}

impl Message for TopAck {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let status = reader.u8()?;
        let top = reader
            .array(|reader| Ok(Ranked { user: reader.u64()?, score: reader.s64()?, rank: reader.u32()? }))?;
        Ok(Self { status, top })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.u8(self.status).count(self.top.len())?;
        for Ranked { user, score, rank } in &self.top {
            writer.u64(*user).s64(*score).u32(*rank);
        }
        Ok(())
    }
}

/// Payload of [`SAY_FAILED_ACK`]: `status u8, text string`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SayFailedAck {
    /// Why, as a gRPC status: 7 muted, 8 too much, 14 chat is away; others as chat says.
    pub status: u8,
    /// The reason for people.
    pub text: String,
}

impl Message for SayFailedAck {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { status: reader.u8()?, text: reader.string()?.to_owned() })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.u8(self.status).string(&self.text).map(|_| ())
    }
}

/// Payload of [`ARENA_NOTIFY`], as a client reads it. The game writes it with [`arena_notify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArenaNotify {
    /// Rises by exactly 1 from one to the next, across swaps too.
    pub tick: u32,
    /// Which rules the arena plays by: 1 or 2.
    pub rules: u8,
    /// Everybody who plays, by rising user id.
    pub players: Vec<Seen>,
    /// Every coin.
    pub coins: Vec<Point>,
}

/// One player as everybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Who.
    pub user: UserId,
    /// Where.
    pub at: Point,
    /// What the player has.
    pub score: u32,
    /// `seq` of the player's last [`MoveReq`] that counted, 0 before the first.
    pub last_move: u32,
}

/// Bytes of a [`Seen`] and of a coin on the wire.
const SEEN_BYTES: usize = 20;
const COIN_BYTES: usize = 4;

/// Writes an [`ArenaNotify`] in one go, without collecting the players first.
///
/// # Errors
/// Above 65,535 players or coins.
pub fn arena_notify(
    tick: u32,
    rules: u8,
    players: impl ExactSizeIterator<Item = Seen>,
    coins: &[Point],
) -> Result<Vec<u8>, WriteError> {
    let mut writer = Writer::with_capacity(9 + SEEN_BYTES * players.len() + COIN_BYTES * coins.len());
    writer.u32(tick).u8(rules).count(players.len())?;
    for Seen { user, at, score, last_move } in players {
        writer.u64(user).s16(at.x).s16(at.y).u32(score).u32(last_move);
    }
    writer.count(coins.len())?;
    for coin in coins {
        writer.s16(coin.x).s16(coin.y);
    }
    Ok(writer.into_bytes())
}

impl Message for ArenaNotify {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            tick: reader.u32()?,
            rules: reader.u8()?,
            players: reader.array(|reader| {
                Ok(Seen {
                    user: reader.u64()?,
                    at: read_point(reader)?,
                    score: reader.u32()?,
                    last_move: reader.u32()?,
                })
            })?,
            coins: reader.array(read_point)?,
        })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.raw(&arena_notify(self.tick, self.rules, self.players.iter().copied(), &self.coins)?);
        Ok(())
    }
}

fn read_point(reader: &mut Reader<'_>) -> Result<Point, ReadError> {
    Ok(Point { x: reader.s16()?, y: reader.s16()? })
}
