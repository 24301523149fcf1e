//! The good half of the guest; the bad half needs a host that survives it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hotseat_guest::Answer;
use hotseat_guest::testing::{Setup, TestRoom};

use super::*;

fn room() -> TestRoom<Misbehave> {
    let mut room = TestRoom::open("arena/1", b"").expect("opens");
    room.join(1);
    room
}

fn ask(room: &mut TestRoom<Misbehave>, op: u16, payload: &[u8]) -> Vec<(u16, Vec<u8>)> {
    room.message(1, op, payload).expect("is accepted");
    room.sent_to(1)
}

#[test]
fn legal_things_work() {
    let mut room = room();
    assert_eq!(ask(&mut room, ECHO, b"hi"), [(3111, b"hi".to_vec())]);
    assert_eq!(ask(&mut room, SPIN, b"")[0].0, 3113);
    ask(&mut room, STORE, b"kept");
    let mut room = room.swap::<Misbehave>().expect("loads");
    assert_eq!(ask(&mut room, RECALL, b""), [(3115, b"kept".to_vec())]);
    assert_eq!(ask(&mut room, TRANSFER_NOWHERE, b""), [(3112, vec![])]);
    assert_eq!(room.message(1, REFUSE, b"").expect_err("refuses"), Refusal::new(1234, "no"));
    assert_eq!(ask(&mut room, FLOOD_LOGS, b""), [(3106, vec![])]);
    ask(&mut room, KICK, b"");
    assert_eq!(room.players(), []);
}

#[test]
fn a_service_answers_by_future_or_after_a_swap_by_reply() {
    let mut room = room();
    ask(&mut room, CALL, b"rank/proto.RankingService/QueryRankRange");
    let call = room.answer_next(Answer::ok(*b"ab"));
    assert_eq!((&call.service[..], &call.method[..]), ("rank", "proto.RankingService/QueryRankRange"));
    assert_eq!(room.sent_to(1), [(3116, b"\0\0\0\0ab".to_vec())]);
    ask(&mut room, CALL, b"rank/a.B/C");
    let mut room = room.swap::<Misbehave>().expect("loads");
    room.answer_next(Answer::error(14, "away"));
    assert_eq!(room.sent_to(1), [(3216, vec![0, 0, 0, 14])]);
    assert_eq!(room.message(1, CALL, b"nothing").expect_err("refuses").code, 1001);
}

#[test]
fn limits_trap() {
    for op in [PANIC, FLOOD_EFFECTS, BIG_PAYLOAD, TIMERS] {
        let mut room = room();
        assert!(catch_unwind(AssertUnwindSafe(|| room.message(1, op, b""))).is_err(), "op {op} should panic");
        assert_eq!(ask(&mut room, ECHO, b"").len(), 1, "nothing of op {op} was sent");
    }
}

#[test]
fn modes_of_birth_come_from_the_settings() {
    let open = |mode: &str| Setup::new().config("mode", mode).open::<Misbehave>("home/1", b"");
    assert_eq!(open("fail-open").expect_err("refuses"), "fail-open: room home/1");
    assert!(catch_unwind(|| open("trap-open").map(drop)).is_err());
    assert!(open("fail-load").is_ok());
}

#[test]
fn modes_of_hand_over_come_from_the_settings_or_the_state() {
    let saved = room().save();
    let load = |mode: &str| Setup::new().config("mode", mode).load::<Misbehave>(&saved);
    assert_eq!(load("fail-load").expect_err("refuses"), "fail-load");
    assert!(catch_unwind(AssertUnwindSafe(|| load("trap-load").map(drop))).is_err());
    let traps = load("trap-save").expect("loads");
    assert!(catch_unwind(AssertUnwindSafe(|| traps.save())).is_err());

    let mut room = room();
    assert_eq!(ask(&mut room, SET_MODE, b"fail-load"), [(3118, vec![])]);
    let mut room = room.swap::<Misbehave>().expect_err("refuses").room;
    ask(&mut room, SET_MODE, b"trap-save");
    assert!(catch_unwind(AssertUnwindSafe(|| room.save())).is_err());
}
