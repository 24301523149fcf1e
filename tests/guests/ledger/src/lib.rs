//! A guest that keeps account, for property tests: whatever is lost, doubled, reordered or half done shows up
//! in the counts it answers with.
//!
//! | frame | payload | what happens |
//! |---|---|---|
//! | [`COUNT`] | `seq u32` | counts; answers [`COUNTED`], then [`CLOSED`] |
//! | [`TRAP`] | `seq u32` | counts, queues [`COUNTED`], panics: none of it may ever be seen |
//! | [`SHOUT`] | `seq u32` | counts; everyone in the room gets [`SHOUTED`] |
//! | [`MOVE`] | `room string` | counts; opens that room and goes there |
//! | [`SAVE`] | | counts; the count becomes the player's profile; answers [`SAVED`] |
//! | [`SAVE_TRAP`] | | the same, then panics |
//! | [`SHOW`] | | answers [`SHOWN`]; does not count |
//!
//! "Counts" is per user and room: of every message handled to its end. When somebody leaves who has a
//! profile, that counts too, and is saved. The cargo feature `v2` builds the second version: a new schema,
//! and [`COUNTED`] ends with the version. The feature `trapping` builds the first version with a fault: it
//! traps in every tick of one second of sixteen, and [`COUNTED`] ends with 3.

use std::collections::BTreeMap;

use hotseat_guest::{Game, LeaveReason, Refusal, Room, UserId, decode};
use hotseat_packet::{ReadError, Reader, Writer};
use serde::{Deserialize, Serialize};

/// Client: count this. Payload `seq u32`.
pub const COUNT: u16 = 2001;
/// Guest: counted. Payload `seq u32, count u32, version u8`.
pub const COUNTED: u16 = 2002;
/// Guest: the second effect of the same call. Payload `seq u32`.
pub const CLOSED: u16 = 2003;
/// Client: count this and trap. Payload `seq u32`.
pub const TRAP: u16 = 2004;
/// Client: tell everyone. Payload `seq u32`.
pub const SHOUT: u16 = 2005;
/// Guest: somebody shouted. Payload `user u64, seq u32`.
pub const SHOUTED: u16 = 2006;
/// Client: take me to that room. Payload `room string`.
pub const MOVE: u16 = 2010;
/// Client: count, and keep the count as my profile.
pub const SAVE: u16 = 2011;
/// Guest: done. Payload `count u32`.
pub const SAVED: u16 = 2012;
/// Client: [`SAVE`], and trap.
pub const SAVE_TRAP: u16 = 2013;
/// Client: what have I got?
pub const SHOW: u16 = 2014;
/// Guest: what the room has counted and what the profile says, 0 without one. Payload `count u32, saved u32`.
pub const SHOWN: u16 = 2015;

/// Refusal: the payload does not decode.
pub const BAD_PAYLOAD: i32 = 1000;
/// Refusal: no such opcode.
pub const UNKNOWN_OPCODE: i32 = 1001;

#[cfg(not(feature = "v2"))]
hotseat_guest::export!(First);

#[cfg(feature = "v2")]
hotseat_guest::export!(Second);

/// Version 1 of the state.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// Messages handled, per user. Kept when the user leaves.
    pub counts: BTreeMap<UserId, u32>,
    /// Ticks seen.
    pub ticks: u64,
}

/// Version 2 of the state: knows what it was migrated from.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// The ledger as it was kept before.
    pub ledger: First,
    /// Ticks seen by version 1, if the room began there.
    pub migrated_at: Option<u64>,
}

impl Game for First {
    const SCHEMA: u32 = 1;

    fn open(_room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn message(&mut self, room: &Room<Self>, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
        self.handle(room, user, op, payload, if cfg!(feature = "trapping") { 3 } else { 1 })
    }

    fn leave(&mut self, room: &Room<Self>, user: UserId, _reason: LeaveReason) {
        self.part(room, user);
    }

    fn tick(&mut self, room: &Room<Self>, _dt_ms: u32) {
        let fails = cfg!(feature = "trapping") && room.now_ms() / 1000 % 16 == 7;
        assert!(!fails, "this version traps now and then");
        self.ticks += 1;
    }
}

impl Game for Second {
    const SCHEMA: u32 = 2;

    fn open(_room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn migrate(_room: &Room<Self>, from: u32, bytes: &[u8]) -> Result<Self, String> {
        match from {
            1 => decode::<First>(bytes).map(|old| Self { migrated_at: Some(old.ticks), ledger: old }),
            _ => Err(format!("no migration from schema {from} to {}", Self::SCHEMA)),
        }
    }

    fn message(&mut self, room: &Room<Self>, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
        self.ledger.handle(room, user, op, payload, 2)
    }

    fn leave(&mut self, room: &Room<Self>, user: UserId, _reason: LeaveReason) {
        self.ledger.part(room, user);
    }

    fn tick(&mut self, _room: &Room<Self>, _dt_ms: u32) {
        self.ledger.ticks += 1;
    }
}

impl First {
    fn handle<G: Game>(
        &mut self,
        room: &Room<G>,
        user: UserId,
        op: u16,
        payload: &[u8],
        version: u8,
    ) -> Result<(), Refusal> {
        let mut reader = Reader::new(payload);
        match op {
            COUNT => {
                let seq = reader.u32().map_err(bad_payload)?;
                self.count(room, user, seq, version);
                room.send(user, CLOSED, &seq.to_be_bytes());
            }
            TRAP => {
                let seq = reader.u32().map_err(bad_payload)?;
                self.count(room, user, seq, version);
                panic!("message {seq} of player {user} asked for it");
            }
            SHOUT => {
                let seq = reader.u32().map_err(bad_payload)?;
                self.bump(user);
                let mut writer = Writer::new();
                writer.u64(user).u32(seq);
                room.broadcast(SHOUTED, &writer.into_bytes());
            }
            MOVE => {
                let target = reader.string().map_err(bad_payload)?;
                self.bump(user);
                room.create_room(target, &[]);
                room.transfer(user, target);
            }
            SAVE | SAVE_TRAP => {
                let count = self.save(room, user);
                room.send(user, SAVED, &count.to_be_bytes());
                assert!(op == SAVE, "save {count} of player {user} is to trap");
            }
            SHOW => {
                let mut writer = Writer::new();
                writer.u32(self.counts.get(&user).copied().unwrap_or_default()).u32(saved(room, user));
                room.send(user, SHOWN, &writer.into_bytes());
            }
            _ => return Err(Refusal::new(UNKNOWN_OPCODE, format!("there is no opcode {op}"))),
        }
        Ok(())
    }

    fn count<G: Game>(&mut self, room: &Room<G>, user: UserId, seq: u32, version: u8) {
        let count = self.bump(user);
        let mut writer = Writer::new();
        writer.u32(seq).u32(count).u8(version);
        room.send(user, COUNTED, &writer.into_bytes());
    }

    fn save<G: Game>(&mut self, room: &Room<G>, user: UserId) -> u32 {
        let count = self.bump(user);
        room.put_profile(user, &count.to_be_bytes());
        count
    }

    fn part<G: Game>(&mut self, room: &Room<G>, user: UserId) {
        if saved(room, user) > 0 {
            self.save(room, user);
        }
    }

    fn bump(&mut self, user: UserId) -> u32 {
        let count = self.counts.entry(user).or_default();
        *count += 1;
        *count
    }
}

/// What the player's profile says; 0 without one.
fn saved<G: Game>(room: &Room<G>, user: UserId) -> u32 {
    let profile = room.profile(user).and_then(|bytes| bytes.try_into().ok());
    profile.map_or(0, u32::from_be_bytes)
}

fn bad_payload(error: ReadError) -> Refusal {
    Refusal::new(BAD_PAYLOAD, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotseat_guest::testing::{Effect, TestRoom};

    #[test]
    fn counts_answer_shout_and_move() {
        let mut room = TestRoom::<First>::open("home/1", b"").expect("opens");
        room.join(1);
        room.join(2);
        room.message(1, COUNT, &[0, 0, 0, 9]).expect("is accepted");
        assert_eq!(room.sent_to(1), [(COUNTED, vec![0, 0, 0, 9, 0, 0, 0, 1, 1]), (CLOSED, vec![0, 0, 0, 9])]);
        room.message(1, SHOUT, &[0, 0, 0, 10]).expect("is accepted");
        assert_eq!(room.sent_to(2), [(SHOUTED, vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 10])]);
        room.effects();
        room.message(1, MOVE, b"\0\x03a/b").expect("is accepted");
        let made = Effect::CreateRoom { room: "a/b".into(), args: vec![] };
        assert_eq!(room.effects(), [made, Effect::Transfer { user: 1, room: "a/b".into() }]);
        assert_eq!(room.message(2, COUNT, b"").expect_err("refuses").code, BAD_PAYLOAD);
        assert_eq!(room.message(2, 2999, b"").expect_err("refuses").code, UNKNOWN_OPCODE);
        assert_eq!(room.state().counts, [(1, 3)].into());
    }

    #[test]
    fn the_second_version_goes_on_counting() {
        let mut room = TestRoom::<First>::open("home/1", b"").expect("opens");
        room.join(1);
        room.message(1, COUNT, &[0; 4]).expect("is accepted");
        room.tick();
        let mut room = room.swap::<Second>().expect("migrates");
        room.sent_to(1);
        room.message(1, COUNT, &[0, 0, 0, 1]).expect("is accepted");
        assert_eq!(room.sent_to(1)[0], (COUNTED, vec![0, 0, 0, 1, 0, 0, 0, 2, 2]));
        assert_eq!(room.state().migrated_at, Some(1));
    }

    #[test]
    fn a_count_is_saved_with_the_player() {
        let mut room = TestRoom::<First>::open("home/1", b"").expect("opens");
        room.join(1);
        room.message(1, SHOW, b"").expect("is accepted");
        assert_eq!(room.sent_to(1), [(SHOWN, vec![0; 8])]);
        room.message(1, SAVE, b"").expect("is accepted");
        room.message(1, SHOW, b"").expect("is accepted");
        assert_eq!(room.sent_to(1), [(SAVED, vec![0, 0, 0, 1]), (SHOWN, vec![0, 0, 0, 1, 0, 0, 0, 1])]);
    }

    #[test]
    #[should_panic(expected = "message 7 of player 1 asked for it")]
    fn a_trap_traps() {
        let mut room = TestRoom::<First>::open("home/1", b"").expect("opens");
        room.join(1);
        let _ = room.message(1, TRAP, &[0, 0, 0, 7]);
    }
}
