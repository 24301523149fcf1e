//! Lines that go to chat and come back to everybody.

use game_logic::V2;
use game_logic::arena::{Arena, Rules};
use game_logic::messages::{
    Code, ENTER_REQ, LEAVE_REQ, SAID_NOTIFY, SAY_FAILED_ACK, SAY_REQ, Said, SayFailedAck, SayReq,
};
use game_logic::talk::{HISTORY, endpoint};
use hotseat_guest::testing::TestRoom;
use hotseat_guest::{Answer, UserId};
use hotseat_packet::Message as _;

use crate::desk::{SECOND_MS, Services, arena, ask};

fn say<R: Rules>(room: &mut TestRoom<Arena<R>>, user: UserId, text: &str) {
    ask(room, user, SAY_REQ, &SayReq { text: text.into() }.to_bytes().expect("encodes"));
}

/// The lines a player was told: offset, user, text.
fn told<R: Rules>(room: &mut TestRoom<Arena<R>>, user: UserId) -> Vec<(i64, UserId, String)> {
    let frames = room.sent_to(user).into_iter().filter(|(op, _)| *op == SAID_NOTIFY);
    let said = frames.map(|(_, payload)| Said::from_bytes(&payload).expect("decodes"));
    said.map(|said| (said.offset, said.user, said.text)).collect()
}

fn say_failed<R: Rules>(room: &mut TestRoom<Arena<R>>, user: UserId) -> (u8, String) {
    match &room.sent_to(user)[..] {
        [(SAY_FAILED_ACK, payload)] => {
            let SayFailedAck { status, text } = SayFailedAck::from_bytes(payload).expect("decodes");
            (status, text)
        }
        other => panic!("one refusal, not {other:?}"),
    }
}

#[test]
fn what_is_said_comes_back_to_everybody_as_chat_has_kept_it() {
    let (mut room, mut services) = (arena(1..=3), Services::default());
    ask(&mut room, 3, LEAVE_REQ, b"");
    say(&mut room, 1, "darn, hello");
    services.serve(&mut room);
    assert_eq!(services.endpoints, [endpoint("home/1")].into(), "the first line registers");
    for user in [1, 2] {
        assert_eq!(told(&mut room, user), [(1, 1, "****, hello".to_owned())]);
    }
    assert_eq!(told(&mut room, 3), [], "who watches hears nothing");
    // Two at once, answered the other way round: each line once, in order.
    say(&mut room, 1, "one");
    say(&mut room, 2, "two");
    for take in [0, 0, 1, 0] {
        let call = room.calls()[take].clone();
        let answer = services.answer(&call, room.now_ms());
        room.answer(call.token, answer);
    }
    let both = [(2, 1, "one".to_owned()), (3, 2, "two".to_owned())];
    assert_eq!(told(&mut room, 1), both);
    assert_eq!(told(&mut room, 2), both);
    assert_eq!(room.calls(), []);
}

#[test]
fn who_enters_is_told_the_last_lines() {
    let (mut room, mut services) = (arena(1..=1), Services::default());
    services.endpoints.insert(endpoint("home/1"));
    for number in 1..=30 {
        services.put(endpoint("home/1"), 5, format!("line {number}").as_bytes(), number);
    }
    let offsets = |told: Vec<(i64, UserId, String)>| -> Vec<i64> { told.iter().map(|line| line.0).collect() };
    room.join(2);
    ask(&mut room, 2, ENTER_REQ, &[0, 0]);
    room.tick();
    services.serve(&mut room);
    let last: Vec<i64> = (21..=30).collect();
    assert_eq!(offsets(told(&mut room, 2)), last);
    assert_eq!(room.state().talk.lines.len(), HISTORY);
    told(&mut room, 1);
    // What came from elsewhere since is news to all; who enters has it once.
    let text = "é".repeat(150);
    services.put(endpoint("home/1"), 0, text.as_bytes(), 31);
    room.join(3);
    ask(&mut room, 3, ENTER_REQ, &[0, 0]);
    ask(&mut room, 3, ENTER_REQ, &[0, 0]);
    room.tick();
    services.serve(&mut room);
    assert_eq!(told(&mut room, 1), [(31, 0, "é".repeat(100))]);
    assert_eq!(offsets(told(&mut room, 3)), (21..=31).collect::<Vec<i64>>());
    // Removed and registered again, it counts anew.
    services.lines.clear();
    say(&mut room, 1, "anew");
    services.serve(&mut room);
    assert_eq!(told(&mut room, 3), [(1, 1, "anew".to_owned())]);
}

#[test]
fn who_is_refused_is_told_why() {
    let (mut room, mut services) = (arena(1..=1), Services::default());
    services.endpoints.insert(endpoint("home/1"));
    room.join(13);
    ask(&mut room, 13, ENTER_REQ, &[0, 0]);
    room.tick();
    services.serve(&mut room);
    room.sent_to(13);
    say(&mut room, 13, "hello?");
    services.serve(&mut room);
    assert_eq!(say_failed(&mut room, 13), (7, "user 13 is muted".to_owned()));
    say(&mut room, 13, "hello?");
    room.answer_next(Answer::error(14, "away"));
    assert_eq!(say_failed(&mut room, 13), (14, "away".to_owned()));
    say(&mut room, 13, "hello?");
    room.answer_next(Answer::ok([0xff]));
    assert_eq!(say_failed(&mut room, 13).0, 13);
    assert_eq!(told(&mut room, 1), []);
    for (text, code) in [(String::new(), Code::BadText), ("x".repeat(201), Code::BadText)] {
        let payload = SayReq { text }.to_bytes().expect("encodes");
        assert_eq!(room.message(1, SAY_REQ, &payload).expect_err("refuses").code, code as i32);
    }
    let refused = room.message(1, SAY_REQ, &[0, 1, 0xff]).expect_err("is not UTF-8");
    assert_eq!(refused.code, Code::BadPayload as i32);
    ask(&mut room, 1, LEAVE_REQ, b"");
    let refused = room.message(1, SAY_REQ, &[0, 1, b'x']).expect_err("only watches");
    assert_eq!(refused.code, Code::NotEntered as i32);
    assert_eq!(room.calls(), []);
}

#[test]
fn a_line_that_chat_took_is_told_though_its_answer_was_lost() {
    let (mut room, mut services) = (arena(1..=2), Services::default());
    say(&mut room, 1, "first");
    services.serve(&mut room);
    told(&mut room, 2);
    // Lost in a swap.
    say(&mut room, 1, "second");
    let call = room.calls()[0].clone();
    let mut room = room.swap::<Arena<V2>>().expect("migrates");
    let answer = services.answer(&call, room.now_ms());
    room.answer(call.token, answer);
    room.advance(SECOND_MS);
    services.serve(&mut room);
    assert_eq!(told(&mut room, 2), [(2, 1, "second".to_owned())]);
    // Chat goes away between the two calls of a line.
    say(&mut room, 1, "third");
    let answer = services.answer(&room.calls()[0], room.now_ms());
    room.answer_next(answer);
    room.answer_next(Answer::error(14, "away"));
    assert_eq!(told(&mut room, 2), []);
    room.advance(SECOND_MS);
    services.serve(&mut room);
    assert_eq!(told(&mut room, 2), [(3, 1, "third".to_owned())]);
}
