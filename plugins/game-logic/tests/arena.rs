//! Playing version 1: entering, moving, collecting, refusals, going to another arena.

use game_logic::arena::Rules as _;
use game_logic::field::{COINS, Point, SPEED};
use game_logic::messages::*;
use game_logic::{Arena, V1};
use hotseat_guest::testing::{Effect, TestRoom};
use hotseat_guest::{LeaveReason, Snapshot, UserId};
use hotseat_packet::Message;

type GameRoom = TestRoom<Arena<V1>>;

fn room(players: std::ops::RangeInclusive<UserId>) -> GameRoom {
    let mut room = GameRoom::open("home/1", b"").expect("opens");
    players.for_each(|user| room.join(user));
    room
}

fn send(room: &mut GameRoom, user: UserId, op: u16, message: &impl Message) {
    room.message(user, op, &message.to_bytes().expect("encodes")).expect("is accepted");
}

fn enter(room: &mut GameRoom, user: UserId) -> EnterAck {
    send(room, user, ENTER_REQ, &EnterReq { arena: String::new() });
    let frames = room.sent_to(user);
    let (op, payload) = frames.last().expect("is answered");
    assert_eq!(*op, ENTER_ACK);
    EnterAck::from_bytes(payload).expect("decodes")
}

/// The one notify a tick sends a player.
fn tick(room: &mut GameRoom, user: UserId) -> ArenaNotify {
    room.sent_to(user);
    room.tick();
    match &room.sent_to(user)[..] {
        [(ARENA_NOTIFY, payload)] => ArenaNotify::from_bytes(payload).expect("decodes"),
        other => panic!("a tick sends one notify, not {other:?}"),
    }
}

fn refused(room: &mut GameRoom, user: UserId, op: u16, payload: &[u8]) -> i32 {
    room.effects();
    let code = room.message(user, op, payload).expect_err("refuses").code;
    assert_eq!(room.effects(), []);
    code
}

#[test]
fn nothing_is_pushed_before_entering() {
    let mut room = room(1..=2);
    enter(&mut room, 2);
    (0..5).for_each(|_| room.tick());
    assert_eq!(room.sent_to(1), []);
    assert_eq!(room.sent_to(2).len(), 5);
}

#[test]
fn ping_works_before_entering() {
    let mut room = room(1..=1);
    send(&mut room, 1, PING_REQ, &Ping { id: -7 });
    assert_eq!(room.sent_to(1), [(PING_ACK, vec![0xff, 0xff, 0xff, 0xf9])]);
}

#[test]
fn entering_tells_where_one_stands_and_ticks_follow_without_a_gap() {
    let mut room = room(1..=2);
    let ack = enter(&mut room, 1);
    assert_eq!((&ack.arena[..], ack.rules, ack.tick, ack.score), ("", 1, 0, 0));
    for expected in 1..=3 {
        assert_eq!(tick(&mut room, 1).tick, expected);
    }
    assert_eq!(enter(&mut room, 2).tick, 3);
    let notify = tick(&mut room, 2);
    assert_eq!(notify.tick, 4);
    assert_eq!(notify.coins.len(), COINS);
    assert_eq!(notify.players.iter().map(|seen| seen.user).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(notify.players[0].at, ack.at, "nobody moves by itself");
}

#[test]
fn entering_twice_changes_nothing() {
    let mut room = room(1..=1);
    let first = enter(&mut room, 1);
    assert_eq!(enter(&mut room, 1), first);
}

#[test]
fn a_tick_is_one_broadcast_to_those_who_play() {
    let mut room = room(1..=3);
    enter(&mut room, 1);
    enter(&mut room, 3);
    // With the first tick it asks chat for what was said.
    room.tick();
    room.effects();
    room.tick();
    match &room.effects()[..] {
        [Effect::Broadcast { users, op, .. }] => assert_eq!((&users[..], *op), (&[1, 3][..], ARENA_NOTIFY)),
        other => panic!("one broadcast, not {other:?}"),
    }
}

#[test]
fn an_arena_without_players_does_nothing() {
    let mut room = room(1..=1);
    room.effects();
    (0..10).for_each(|_| room.tick());
    assert_eq!((room.effects().len(), room.state().tick), (0, 0));
}

#[test]
fn a_heading_holds_until_the_next() {
    let mut room = room(1..=1);
    let start = enter(&mut room, 1).at;
    // Away from the nearer edge, so that it does not stop us.
    let dx = if start.x < 500 { 1 } else { -1 };
    send(&mut room, 1, MOVE_REQ, &MoveReq { seq: 9, dx, dy: 0 });
    for steps in 1..=3 {
        let seen = tick(&mut room, 1).players[0];
        let expected = Point { x: start.x + SPEED * steps * i16::from(dx), y: start.y };
        assert_eq!((seen.at, seen.last_move), (expected, 9));
    }
    send(&mut room, 1, MOVE_REQ, &MoveReq { seq: 10, dx: 0, dy: 0 });
    let rests = tick(&mut room, 1).players[0];
    assert_eq!((rests.at.x, rests.last_move), (start.x + SPEED * 3 * i16::from(dx), 10));
}

#[test]
fn coins_are_collected_and_turn_up_again() {
    let mut room = room(1..=1);
    enter(&mut room, 1);
    let mut notify = tick(&mut room, 1);
    for seq in 1..=400 {
        let me = notify.players[0];
        let nearest =
            notify.coins.iter().min_by_key(|coin| me.at.x.abs_diff(coin.x).max(me.at.y.abs_diff(coin.y)));
        let coin = nearest.expect("there are always coins");
        let towards = |from: i16, to: i16| i8::try_from((to - from).signum()).expect("is a sign");
        send(
            &mut room,
            1,
            MOVE_REQ,
            &MoveReq { seq, dx: towards(me.at.x, coin.x), dy: towards(me.at.y, coin.y) },
        );
        let next = tick(&mut room, 1);
        assert!(me.at.x.abs_diff(next.players[0].at.x) <= SPEED.unsigned_abs());
        assert!(next.players[0].score >= me.score);
        assert_eq!(next.coins.len(), COINS);
        notify = next;
    }
    assert!(notify.players[0].score >= 10, "20 s of chasing coins brought {}", notify.players[0].score);
}

#[test]
fn leaving_ends_the_pushes_and_tells_the_score() {
    let mut room = room(1..=1);
    enter(&mut room, 1);
    let score = tick(&mut room, 1).players[0].score;
    room.message(1, LEAVE_REQ, b"").expect("is accepted");
    assert_eq!(room.sent_to(1), [(LEAVE_ACK, LeaveAck { score }.to_bytes().expect("encodes"))]);
    room.tick();
    assert_eq!(room.sent_to(1), []);
    assert_eq!(refused(&mut room, 1, LEAVE_REQ, b""), Code::NotEntered as i32);
}

#[test]
fn who_is_gone_is_not_seen() {
    let mut room = room(1..=2);
    enter(&mut room, 1);
    enter(&mut room, 2);
    room.leave(2, LeaveReason::Lost);
    assert_eq!(tick(&mut room, 1).players.len(), 1);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut room = room(1..=1);
    let moved = MoveReq { seq: 1, dx: 1, dy: 0 }.to_bytes().expect("encodes");
    assert_eq!(refused(&mut room, 1, MOVE_REQ, &moved), Code::NotEntered as i32);
    assert_eq!(refused(&mut room, 1, PING_REQ, &[0, 0, 0]), Code::BadPayload as i32);
    assert_eq!(refused(&mut room, 1, ENTER_REQ, b""), Code::BadPayload as i32);
    assert_eq!(refused(&mut room, 1, 1999, b""), Code::UnknownOpcode as i32);
    let long = "x".repeat(33);
    for name in ["A", "a/b", "a b", "é", "..", &long] {
        let req = EnterReq { arena: name.into() }.to_bytes().expect("encodes");
        assert_eq!(refused(&mut room, 1, ENTER_REQ, &req), Code::BadArena as i32, "{name:?}");
    }
    enter(&mut room, 1);
    assert_eq!(refused(&mut room, 1, MOVE_REQ, &[0, 0, 0, 1, 2, 0]), Code::BadHeading as i32);
    assert_eq!(tick(&mut room, 1).players[0].last_move, 0, "a refused move does not count");
}

#[test]
fn another_arena_is_another_room() {
    let mut home = room(1..=1);
    enter(&mut home, 1);
    send(&mut home, 1, ENTER_REQ, &EnterReq { arena: "pit-7".into() });
    assert_eq!(home.players(), []);
    assert!(home.state().players.is_empty());
    let effects = home.effects();
    let made = Effect::CreateRoom { room: "arena/pit-7".into(), args: vec![] };
    assert_eq!(
        effects[effects.len() - 2..],
        [made, Effect::Transfer { user: 1, room: "arena/pit-7".into() }]
    );

    let mut pit = GameRoom::open("arena/pit-7", b"").expect("opens");
    pit.join(1);
    match &pit.sent_to(1)[..] {
        [(ENTER_ACK, payload)] => assert_eq!(EnterAck::from_bytes(payload).expect("decodes").arena, "pit-7"),
        other => panic!("the new room finishes the entry, not {other:?}"),
    }
    assert_eq!(tick(&mut pit, 1).tick, 1);
    pit.message(1, LEAVE_REQ, b"").expect("is accepted");
    send(&mut pit, 1, ENTER_REQ, &EnterReq { arena: "pit-7".into() });
    assert_eq!(pit.players(), [1], "the arena one is in needs no transfer");
}

#[test]
fn a_transfer_that_fails_ends_in_this_arena() {
    // The test room makes every room that is asked for: this is how it stands where the host could not.
    let bytes = postcard::to_stdvec(&*room(1..=1).state()).expect("encodes");
    let mut arena: Arena<V1> = postcard::from_bytes(&bytes).expect("decodes");
    arena.asked.insert(1);
    let bytes = postcard::to_stdvec(&arena).expect("encodes");
    let mut home = GameRoom::load(&Snapshot { schema: V1::SCHEMA, bytes }).expect("loads");
    home.join(1);
    home.rejoin(1);
    assert_eq!(home.sent_to(1)[0].0, ENTER_ACK);
    assert!(home.state().asked.is_empty());
}

#[test]
fn who_comes_back_plays_on_if_it_played_before() {
    let mut home = room(1..=2);
    send(&mut home, 1, ENTER_REQ, &EnterReq { arena: String::new() });
    assert_eq!(home.sent_to(1)[0].0, ENTER_ACK);
    home.rejoin(1);
    home.rejoin(2);
    assert_eq!(home.sent_to(1).len(), 1, "told again");
    assert!(home.sent_to(2).is_empty(), "looks on as before");
    // Who has left for another arena has asked for nothing when it is here again.
    send(&mut home, 2, ENTER_REQ, &EnterReq { arena: "pit-7".into() });
    assert_eq!(home.players(), [1]);
    home.join(2);
    home.rejoin(2);
    assert!(home.sent_to(2).is_empty());
}

#[test]
fn an_arena_in_which_nobody_plays_closes_and_a_home_room_stays() {
    let mut pit = GameRoom::open("arena/pit-7", b"").expect("opens");
    pit.join(1);
    pit.advance(60_000);
    assert_eq!(pit.closed(), None, "somebody plays");
    pit.message(1, LEAVE_REQ, b"").expect("is accepted");
    pit.advance(9_000);
    enter(&mut pit, 1);
    pit.advance(60_000);
    assert_eq!(pit.closed(), None, "somebody plays again");
    pit.leave(1, LeaveReason::Lost);
    pit.advance(9_000);
    assert_eq!(pit.closed(), None);
    pit.advance(1_000);
    assert_eq!(pit.closed(), Some(game_logic::arena::CLOSED_EMPTY));

    let mut nobody = GameRoom::open("arena/pit-8", b"").expect("opens");
    nobody.advance(10_000);
    assert_eq!(nobody.closed(), Some(game_logic::arena::CLOSED_EMPTY), "nobody ever came");

    let mut home = room(1..=1);
    enter(&mut home, 1);
    home.leave(1, LeaveReason::Closed);
    home.advance(60_000);
    assert_eq!(home.closed(), None);
}
