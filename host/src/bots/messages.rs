//! What a player says to the reference game, and what it hears. The game's own module of this name is the
//! original; this one reads a notify without collecting it.

use hotseat_packet::{Message, ReadError, Reader, WriteError, Writer};

pub(super) const PING_REQ: u16 = 1001;
pub(super) const PING_ACK: u16 = 1002;
pub(super) const ENTER_REQ: u16 = 1101;
pub(super) const ENTER_ACK: u16 = 1102;
pub(super) const MOVE_REQ: u16 = 1105;
pub(super) const ARENA_NOTIFY: u16 = 1106;

/// How far a player gets along an axis in a tick: `SPEED` of the game's field.
pub(super) const SPEED: u32 = 10;

/// Payload of [`ENTER_REQ`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnterReq {
    /// Which arena; empty for that of the home room.
    pub(super) arena: String,
}

impl Message for EnterReq {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { arena: reader.string()?.to_owned() })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.string(&self.arena).map(drop)
    }
}

/// Payload of [`ENTER_ACK`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnterAck {
    pub(super) arena: String,
    pub(super) rules: u8,
    /// The tick that was last.
    pub(super) tick: u32,
    pub(super) x: i16,
    pub(super) y: i16,
    pub(super) score: u32,
}

impl Message for EnterAck {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            arena: reader.string()?.to_owned(),
            rules: reader.u8()?,
            tick: reader.u32()?,
            x: reader.s16()?,
            y: reader.s16()?,
            score: reader.u32()?,
        })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        let Self { arena, rules, tick, x, y, score } = self;
        writer.string(arena)?.u8(*rules).u32(*tick).s16(*x).s16(*y).u32(*score);
        Ok(())
    }
}

/// Payload of [`MOVE_REQ`].
pub(super) fn move_req(seq: u32, dx: i8, dy: i8) -> [u8; 6] {
    let [a, b, c, d] = seq.to_be_bytes();
    [a, b, c, d, dx.cast_unsigned(), dy.cast_unsigned()]
}

/// Payload of [`ARENA_NOTIFY`], read as far as one player cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Notify<'a> {
    pub(super) tick: u32,
    pub(super) rules: u8,
    players: &'a [[u8; SEEN_BYTES]],
}

/// One player as everybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) x: i16,
    pub(super) y: i16,
    pub(super) score: u32,
    /// `seq` of the last move that counted, 0 before the first.
    pub(super) last_move: u32,
}

/// user u64, x s16, y s16, score u32, last_move u32.
const SEEN_BYTES: usize = 20;

impl<'a> Notify<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(payload);
        let (tick, rules, count) = (reader.u32()?, reader.u8()?, reader.count()?);
        let (players, _) = reader.raw(count * SEEN_BYTES)?.as_chunks();
        Ok(Self { tick, rules, players })
    }

    /// The player with this id. They come by rising id.
    pub(super) fn player(&self, user: u64) -> Option<Seen> {
        let id = |seen: &[u8; SEEN_BYTES]| {
            seen.first_chunk().map_or(0, |bytes: &[u8; 8]| u64::from_be_bytes(*bytes))
        };
        let at = self.players.binary_search_by_key(&user, id).ok()?;
        let mut reader = Reader::new(self.players.get(at)?);
        reader.u64().ok()?;
        Some(Seen {
            x: reader.s16().ok()?,
            y: reader.s16().ok()?,
            score: reader.u32().ok()?,
            last_move: reader.u32().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notify_is_read_and_a_short_one_refused() {
        let mut writer = Writer::new();
        writer.u32(7).u8(2).count(2).unwrap();
        for user in [3_u64, 9] {
            writer.u64(user).s16(-1).s16(user as i16).u32(5).u32(6);
        }
        writer.count(1).unwrap().s16(1).s16(2);
        let bytes = writer.into_bytes();
        let notify = Notify::read(&bytes).unwrap();
        assert_eq!((notify.tick, notify.rules), (7, 2));
        assert_eq!(notify.player(9), Some(Seen { x: -1, y: 9, score: 5, last_move: 6 }));
        assert_eq!(notify.player(4), None);
        assert!(Notify::read(&bytes[..40]).is_err());
        assert!(Notify::read(&[]).is_err());
    }

    #[test]
    fn an_answer_survives_the_wire() {
        let ack = EnterAck { arena: "bots-1".into(), rules: 1, tick: 9, x: 1, y: -1, score: 3 };
        assert_eq!(EnterAck::from_bytes(&ack.to_bytes().unwrap()).unwrap(), ack);
        assert_eq!(move_req(258, 1, -1), [0, 0, 1, 2, 1, 255]);
    }
}
