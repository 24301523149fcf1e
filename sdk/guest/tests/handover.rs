//! Saving, loading, migrating: what carries over and what is refused.

use hotseat_guest::testing::{Effect, TestRoom};
use hotseat_guest::{Game, Refusal, Room, Snapshot, UserId, decode};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct First {
    score: u32,
}

impl Game for First {
    const SCHEMA: u32 = 1;

    fn open(_room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
        Ok(First { score: 41 })
    }

    fn message(
        &mut self,
        room: &Room<Self>,
        _user: UserId,
        _op: u16,
        _payload: &[u8],
    ) -> Result<(), Refusal> {
        room.set_timer(7, 500);
        self.score += 1;
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Second {
    score: u32,
    fired: u32,
    #[serde(skip)]
    rebuilt: bool,
}

impl Game for Second {
    const SCHEMA: u32 = 2;

    fn open(_room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
        Ok(Second { score: 0, fired: 0, rebuilt: false })
    }

    fn migrate(room: &Room<Self>, from: u32, bytes: &[u8]) -> Result<Self, String> {
        room.send(1, 2000, b"an effect that is ignored");
        match from {
            1 => decode::<First>(bytes).map(|old| Second { score: old.score, fired: 0, rebuilt: false }),
            _ => Err(format!("no migration from schema {from}")),
        }
    }

    fn loaded(&mut self, room: &Room<Self>) -> Result<(), String> {
        room.spawn(|_| async { panic!("a future spawned while loading never runs") });
        self.rebuilt = true;
        if self.score == 1000 { Err("1000 is too much".into()) } else { Ok(()) }
    }

    fn timer(&mut self, room: &Room<Self>, _id: u64) {
        self.fired += 1;
        room.broadcast(2001, &[]);
    }
}

fn played() -> TestRoom<First> {
    let mut room = TestRoom::<First>::open("arena/1", b"").expect("opens");
    room.join(1);
    room.message(1, 1001, b"").expect("is accepted");
    room
}

#[test]
fn a_swap_keeps_state_players_timers_and_time() {
    let mut room = played();
    room.advance(300);
    let then = room.now_ms();
    room.effects();
    let mut room = room.swap::<Second>().expect("migrates");
    assert_eq!((room.state().score, room.state().rebuilt, room.now_ms()), (42, true, then));
    assert_eq!(room.effects(), [], "effects of a migration are ignored");
    room.advance(200);
    assert_eq!(room.state().fired, 1);
    assert_eq!(room.effects(), [Effect::Broadcast { users: vec![], op: 2001, payload: vec![] }]);
    assert_eq!(room.sent_to(1).len(), 1, "the player came along");
}

#[test]
fn what_was_saved_is_loaded() {
    let saved = played().save();
    assert_eq!(saved.schema, 1);
    assert_eq!(TestRoom::<First>::load(&saved).expect("loads").state().score, 42);
    let migrated = TestRoom::<Second>::load(&saved).expect("migrates").save();
    assert_eq!(migrated.schema, 2);
    assert_eq!(TestRoom::<Second>::load(&migrated).expect("loads").state().score, 42);
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    let saved = Snapshot { schema: 3, bytes: vec![] };
    let error = TestRoom::<Second>::load(&saved).expect_err("refuses");
    assert_eq!(error, "state has schema 3, this version knows up to 2");
}

#[test]
fn without_a_migration_an_older_schema_is_refused() {
    let saved = Snapshot { schema: 0, bytes: vec![] };
    let error = TestRoom::<First>::load(&saved).expect_err("refuses");
    assert_eq!(error, "no migration from schema 0 to 1");
}

#[test]
fn bytes_that_do_not_fit_are_refused() {
    let short = TestRoom::<First>::load(&Snapshot { schema: 1, bytes: vec![] }).expect_err("refuses");
    assert!(short.contains("state of 0 bytes is no handover::First"), "{short}");
    let long = TestRoom::<First>::load(&Snapshot { schema: 1, bytes: vec![1, 2, 3] }).expect_err("refuses");
    assert!(long.contains("2 bytes are left over"), "{long}");
}

#[test]
fn a_room_that_cannot_go_over_stays() {
    let mut room = played();
    room.message(1, 1001, b"").expect("is accepted");
    let stays = room.swap::<Refuser>().expect_err("refuses");
    assert_eq!(stays.error, "no migration from schema 1 to 9");
    let mut room = stays.room;
    room.message(1, 1001, b"").expect("is accepted");
    assert_eq!(room.state().score, 44);
}

#[test]
fn loaded_may_refuse() {
    let bytes = vec![0xe8, 0x07];
    let error = TestRoom::<Second>::load(&Snapshot { schema: 1, bytes }).expect_err("refuses");
    assert_eq!(error, "1000 is too much");
}

#[derive(Serialize, Deserialize)]
struct Refuser;

impl Game for Refuser {
    const SCHEMA: u32 = 9;

    fn open(_room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
        Ok(Refuser)
    }
}
