//! The test room does what the host does: effects, follow-up events, time, limits.

use hotseat_guest::testing::{Effect, Setup, TestRoom};
use hotseat_guest::{Answer, Game, LeaveReason, Level, Refusal, Room, UserId};
use serde::{Deserialize, Serialize};

/// Does what the first byte of a message says, and writes down what happens to it.
#[derive(Default, Serialize, Deserialize)]
struct Probe {
    seen: Vec<String>,
}

hotseat_guest::export!(Probe);

impl Game for Probe {
    const SCHEMA: u32 = 1;

    fn open(room: &Room<Self>, key: &str, args: &[u8]) -> Result<Self, String> {
        if args == b"no" {
            return Err(format!("{key} stays closed"));
        }
        room.set_timer(99, 60_000);
        Ok(Probe { seen: vec![format!("open {key}")] })
    }

    fn join(&mut self, room: &Room<Self>, user: UserId) {
        self.seen.push(format!("join {user} {:?}", room.profile(user)));
    }

    fn rejoin(&mut self, _room: &Room<Self>, user: UserId) {
        self.seen.push(format!("rejoin {user}"));
    }

    fn leave(&mut self, _room: &Room<Self>, user: UserId, reason: LeaveReason) {
        self.seen.push(format!("leave {user} {reason:?}"));
    }

    fn message(&mut self, room: &Room<Self>, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
        match op {
            1001 => room.send(user, 2001, payload),
            1002 => {
                room.send(user, 2002, payload);
                return Err(Refusal::new(1000, "no"));
            }
            1003 => {
                room.send(user, 2003, b"");
                panic!("boom");
            }
            1004 => room.broadcast(2004, payload),
            1005 => room.broadcast_to(&[2, 3, 77], 2005, payload),
            1006 => room.broadcast_to(&[], 2006, payload),
            1007 => room.kick(user, 1999),
            1008 => room.transfer(user, "arena/x"),
            1009 => {
                room.create_room("arena/x", payload);
                room.transfer(user, "arena/x");
            }
            1010 => room.close_room(5),
            1011 => {
                for id in 0..u64::from(payload[0]) {
                    room.set_timer(id, 100);
                }
            }
            1012 => room.cancel_timer(0),
            1013 => {
                room.put_profile(user, payload);
                self.seen.push(format!("profile {:?}", room.profile(user)));
            }
            1014 => (0..5000).for_each(|_| room.send(user, 2014, b"")),
            1015 => (0..20).for_each(|_| room.send(user, 2015, &[0; 60_000])),
            1016 => room.send(user, 2016, &[0; 65_534]),
            1017 => (0..1025).for_each(|id| room.set_timer(id, 1)),
            1018 => room.put_profile(user, &[0; 65_537]),
            1019 => self.seen.push(format!("token {}", room.call("rank", "", "a.B/C", payload))),
            _ => return Err(Refusal::new(1001, format!("there is no opcode {op}"))),
        }
        Ok(())
    }

    fn tick(&mut self, _room: &Room<Self>, dt_ms: u32) {
        self.seen.push(format!("tick {dt_ms}"));
    }

    fn timer(&mut self, room: &Room<Self>, id: u64) {
        self.seen.push(format!("timer {id} at {}", room.now_ms()));
        if id == 1 {
            room.set_timer(2, 10);
        }
    }

    fn reply(&mut self, _room: &Room<Self>, token: u64, answer: Answer) {
        self.seen.push(format!("reply {token} {} {:?}", answer.status, answer.body));
    }
}

fn room() -> TestRoom<Probe> {
    let mut room = Setup::new().now_ms(1_000).open("arena/p", b"").expect("opens");
    (1..=3).for_each(|user| room.join(user));
    room.effects();
    room
}

fn last(room: &TestRoom<Probe>) -> String {
    room.state().seen.last().cloned().expect("open is always there")
}

fn send(room: &mut TestRoom<Probe>, op: u16, payload: &[u8]) {
    room.message(1, op, payload).expect("is accepted");
}

#[test]
fn open_sees_key_and_args_and_may_fail() {
    assert_eq!(room().state().seen[0], "open arena/p");
    let error = TestRoom::<Probe>::open("arena/p", b"no").expect_err("refuses");
    assert_eq!(error, "arena/p stays closed");
}

#[test]
fn frames_reach_exactly_whom_they_name() {
    let mut room = room();
    send(&mut room, 1001, b"a");
    send(&mut room, 1004, b"b");
    send(&mut room, 1005, b"c");
    send(&mut room, 1006, b"d");
    assert_eq!(room.sent_to(1), [(2001, b"a".to_vec()), (2004, b"b".to_vec())]);
    assert_eq!(room.sent_to(2), [(2004, b"b".to_vec()), (2005, b"c".to_vec())]);
    assert_eq!(room.sent_to(77), []);
    assert_eq!(room.sent_to(1), [], "what was taken is gone");
    assert_eq!(room.effects().len(), 3);
}

#[test]
fn a_refusal_releases_nothing() {
    let mut room = room();
    assert_eq!(room.message(1, 1002, b"").expect_err("refuses"), Refusal::new(1000, "no"));
    assert_eq!(room.effects(), []);
    assert_eq!(room.sent_to(1), []);
}

#[test]
fn a_panic_releases_nothing() {
    let mut room = room();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| room.message(1, 1003, b"")));
    assert!(panic.is_err());
    send(&mut room, 1001, b"alive");
    assert_eq!(room.sent_to(1), [(2001, b"alive".to_vec())]);
}

#[test]
fn a_kicked_player_leaves() {
    let mut room = room();
    send(&mut room, 1007, b"");
    assert_eq!(room.players(), [2, 3]);
    assert_eq!(last(&room), "leave 1 Kicked");
}

#[test]
fn a_transfer_succeeds_if_the_room_is_there() {
    let mut room = room();
    send(&mut room, 1008, b"");
    assert_eq!(last(&room), "rejoin 1");
    send(&mut room, 1009, b"args");
    assert_eq!(last(&room), "leave 1 Transferred");
    assert_eq!(room.players(), [2, 3]);
    let created = Effect::CreateRoom { room: "arena/x".into(), args: b"args".to_vec() };
    assert!(room.effects().contains(&created));
}

#[test]
fn a_room_closes_unless_it_is_a_home_room() {
    let mut closing = room();
    send(&mut closing, 1010, b"");
    assert_eq!(closing.closed(), Some(5));
    let mut home = TestRoom::<Probe>::open("home/3", b"").expect("opens");
    home.join(1);
    send(&mut home, 1010, b"");
    assert_eq!(home.closed(), None);
}

#[test]
fn timers_fire_in_order_and_may_set_more() {
    let mut room = room();
    send(&mut room, 1011, &[2]);
    room.advance(200);
    assert_eq!(room.state().seen[4..], ["timer 0 at 1100", "timer 1 at 1100", "timer 2 at 1110"]);
    assert_eq!(room.now_ms(), 1_200);
    send(&mut room, 1011, &[1]);
    send(&mut room, 1012, b"");
    assert_eq!(room.timers(), [(99, 61_000)]);
}

#[test]
fn ticks_move_time() {
    let mut room = room();
    room.tick();
    room.tick_every(10);
    room.tick();
    assert_eq!(room.state().seen[4..], ["tick 50", "tick 10"]);
    assert_eq!(room.now_ms(), 1_060);
}

#[test]
fn who_leaves_still_has_its_document() {
    #[derive(Serialize, Deserialize)]
    struct Saver;
    impl Game for Saver {
        const SCHEMA: u32 = 1;
        fn open(_: &Room<Self>, _: &str, _: &[u8]) -> Result<Self, String> {
            Ok(Self)
        }
        fn leave(&mut self, room: &Room<Self>, user: UserId, _: LeaveReason) {
            let mut document = room.profile(user).unwrap_or_default();
            document.push(b'!');
            room.put_profile(user, &document);
        }
    }
    let mut room = Setup::new().profile(8, b"bye").open::<Saver>("home/1", b"").expect("opens");
    room.join(8);
    room.leave(8, LeaveReason::Closed);
    assert_eq!(room.profile(8), Some(b"bye!".to_vec()));
}

#[test]
fn a_profile_is_there_before_join_and_changes_after_the_call() {
    let mut room = Setup::new().profile(8, b"old").open::<Probe>("home/1", b"").expect("opens");
    room.join(8);
    assert_eq!(last(&room), format!("join 8 {:?}", Some(b"old".to_vec())));
    room.message(8, 1013, b"new").expect("is accepted");
    assert_eq!(last(&room), format!("profile {:?}", Some(b"old".to_vec())));
    assert_eq!(room.profile(8), Some(b"new".to_vec()));
}

#[test]
fn calls_by_hand_are_answered_by_token() {
    let mut room = room();
    send(&mut room, 1019, b"q");
    assert_eq!(last(&room), "token 1");
    let call = room.answer_next(Answer::ok(b"r"));
    assert_eq!(
        (call.token, &call.service[..], &call.method[..], &call.body[..]),
        (1, "rank", "a.B/C", &b"q"[..])
    );
    assert_eq!(last(&room), format!("reply 1 0 {:?}", b"r"));
}

#[test]
fn the_sixty_fifth_call_is_answered_with_status_8() {
    let mut room = room();
    (0..65).for_each(|_| send(&mut room, 1019, b""));
    assert_eq!(room.calls().len(), 64);
    assert_eq!(last(&room), "reply 65 8 []");
}

#[test]
fn limits_of_the_contract_are_traps() {
    for (op, text) in [
        (1014, "more than 4096 effects"),
        (1015, "more than 1048576 bytes"),
        (1016, "65534 bytes, at most 65533"),
        (1017, "one more than 1024"),
        (1018, "65537 bytes, at most 65536"),
    ] {
        let mut room = room();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| room.message(1, op, b"")));
        let panic = panic.expect_err("panics");
        let said = panic.downcast_ref::<String>().expect("is a text");
        assert!(said.contains(text), "op {op}: {said:?} should contain {text:?}");
    }
}

/// Random numbers, ids, settings and logs, looked at from within a handler.
#[derive(Serialize, Deserialize)]
struct Inputs {
    drawn: Vec<u64>,
}

impl Game for Inputs {
    const SCHEMA: u32 = 1;

    fn open(room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
        Ok(Inputs { drawn: vec![room.random()] })
    }

    fn join(&mut self, room: &Room<Self>, user: UserId) {
        self.drawn.push(room.random());
        assert!(room.next_id() < room.next_id());
        assert_eq!(room.random_below(0), 0);
        assert_eq!(room.random_below(1), 0);
        let mut hits = [0u32; 6];
        (0..6_000).for_each(|_| hits[usize::try_from(room.random_below(6)).expect("is below 6")] += 1);
        assert!(hits.iter().all(|n| (800..1_200).contains(n)), "a die of {hits:?}");
        room.error("e");
        room.warn(format_args!("w {user}"));
        room.info(room.config("key").map_or(0, |value| value.len()));
        room.debug("d");
    }
}

#[test]
fn inputs_are_under_the_tests_control() {
    let run = |seed| {
        let mut room =
            Setup::new().seed(seed).config("key", b"four").open::<Inputs>("home/1", b"").expect("opens");
        room.join(1);
        let lines: Vec<_> = room.logs().into_iter().map(|line| (line.level, line.text)).collect();
        let line = |level, text: &str| (level, text.to_owned());
        let expected = [
            line(Level::Error, "e"),
            line(Level::Warn, "w 1"),
            line(Level::Info, "4"),
            line(Level::Debug, "d"),
        ];
        assert_eq!(lines, expected);
        room.state().drawn.clone()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
#[should_panic(expected = "join first")]
fn a_message_of_a_stranger_is_a_mistake_of_the_test() {
    let _ = room().message(9, 1001, b"");
}
