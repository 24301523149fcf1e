//! From version to version: what carries over, what the new rules change, how the broken ones break.

use std::collections::BTreeSet;

use game_logic::arena::{Player, Rules};
use game_logic::field::{Heading, Point};
use game_logic::messages::*;
use game_logic::scores::Scores;
use game_logic::talk::Talk;
use game_logic::{Arena, BadMigration, Streak, Trapping, V1, V2};
use hotseat_guest::testing::TestRoom;
use hotseat_guest::{Snapshot, UserId};
use hotseat_packet::Message;

/// A room of version 1 in which player 1 has played for a while.
fn played() -> TestRoom<Arena<V1>> {
    let mut room = TestRoom::open("home/1", b"").expect("opens");
    room.join(1);
    room.join(2);
    send(&mut room, 1, ENTER_REQ, &EnterReq { arena: String::new() });
    for (dx, dy) in [(-1, -1), (1, 1), (-1, 0), (1, -1), (-1, 1), (0, -1)] {
        send(&mut room, 1, MOVE_REQ, &MoveReq { seq: 2, dx, dy });
        (0..100).for_each(|_| room.tick());
    }
    assert!(room.state().players[&1].score > 0, "along edges and diagonals there is a coin");
    send(&mut room, 1, MOVE_REQ, &MoveReq { seq: 3, dx: 1, dy: 1 });
    room.sent_to(1);
    room
}

fn send<R: Rules>(room: &mut TestRoom<Arena<R>>, user: UserId, op: u16, message: &impl Message) {
    room.message(user, op, &message.to_bytes().expect("encodes")).expect("is accepted");
}

fn tick<R: Rules>(room: &mut TestRoom<Arena<R>>) -> ArenaNotify {
    room.tick();
    let frames = room.sent_to(1);
    let (op, payload) = frames.last().expect("a tick sends a notify");
    assert_eq!(*op, ARENA_NOTIFY);
    ArenaNotify::from_bytes(payload).expect("decodes")
}

fn carries_over<R: Rules<Memory = Streak>>() {
    let mut room = played();
    let before = tick(&mut room);
    let mut room = room.swap::<Arena<R>>().expect("migrates");
    assert_eq!(room.state().players[&1].memory, Streak::default());
    let after = tick(&mut room);
    assert_eq!((before.rules, after.rules), (1, 2));
    assert_eq!(after.tick, before.tick + 1);
    let (was, is) = (before.players[0], after.players[0]);
    assert!((was.score..=was.score + 2).contains(&is.score));
    assert_eq!((is.at, is.last_move), (was.at.step(Heading::new(1, 1).expect("is one")), 3));
    assert_eq!(room.sent_to(2), [], "who only watched still does");
}

#[test]
fn version_2_goes_on_where_version_1_was() {
    carries_over::<V2>();
    carries_over::<Trapping>();
}

#[test]
fn version_2_loads_what_it_saved() {
    let room = played().swap::<Arena<V2>>().expect("migrates");
    let again = TestRoom::<Arena<V2>>::load(&room.save()).expect("loads");
    assert_eq!(again.state().players[&1].score, room.state().players[&1].score);
    assert_eq!(again.state().coins, room.state().coins);
}

#[test]
fn version_1_cannot_read_version_2() {
    let room = played().swap::<Arena<V2>>().expect("migrates");
    let stays = room.swap::<Arena<V1>>().expect_err("refuses");
    assert_eq!(stays.error, "state has schema 4, this version knows up to 3");
}

#[test]
fn a_streak_doubles_coins_in_version_2_only() {
    let mut memory = Streak::default();
    let taken_at = [10_000, 13_000, 16_001, 16_001];
    assert_eq!(taken_at.map(|now_ms| V2::points(&mut memory, now_ms)), [1, 2, 1, 2]);
    assert_eq!(taken_at.map(|now_ms| V1::points(&mut (), now_ms)), [1, 1, 1, 1]);
}

#[test]
fn a_streak_is_scored_in_the_arena() {
    // Two coins where the player stands, the rest as far away as can be.
    let at = Point { x: 0, y: 0 };
    let mut coins = vec![Point { x: 999, y: 999 }; 20];
    coins[..2].fill(at);
    let memory = Streak::default();
    let player = Player { at, heading: Heading::default(), score: 0, best: 0, last_move: 0, memory };
    let arena = Arena::<V2> {
        name: String::new(),
        enter_on_join: false,
        tick: 0,
        coins,
        players: [(1, player)].into(),
        asked: BTreeSet::new(),
        scores: Scores::default(),
        talk: Talk::new("home/1"),
    };
    let bytes = postcard::to_stdvec(&arena).expect("encodes");
    let mut room = TestRoom::<Arena<V2>>::load(&Snapshot { schema: V2::SCHEMA, bytes }).expect("loads");
    room.tick();
    assert_eq!(room.state().players[&1].score, 3, "one for the first, two for the second");
}

#[test]
fn the_trapping_version_panics_at_every_fiftieth_ping_and_at_nothing_else() {
    let mut room = TestRoom::<Arena<Trapping>>::open("home/1", b"").expect("opens");
    room.join(1);
    for id in [1, 49, 51, -7] {
        send(&mut room, 1, PING_REQ, &Ping { id });
    }
    assert_eq!(room.sent_to(1).len(), 4);
    for id in [0, 50, 100, -50] {
        let payload = Ping { id }.to_bytes().expect("encodes");
        let call = std::panic::AssertUnwindSafe(|| room.message(1, PING_REQ, &payload));
        assert!(std::panic::catch_unwind(call).is_err(), "ping {id} should panic");
    }
    assert_eq!(room.sent_to(1), []);
}

#[test]
fn the_bad_migration_takes_over_nothing_and_changes_nothing() {
    let mut room = played();
    let before = tick(&mut room);
    let stays = room.swap::<Arena<BadMigration>>().expect_err("refuses");
    assert_eq!(stays.error, "the migration from schema 3 is broken on purpose");
    let mut room = stays.room;
    assert_eq!(tick(&mut room).tick, before.tick + 1);

    let room = room.swap::<Arena<V2>>().expect("migrates");
    let stays = room.swap::<Arena<BadMigration>>().expect_err("refuses");
    assert_eq!(stays.error, "the migration from schema 4 is broken on purpose");
}
