//! Scores that reach rank, and the leaderboard that comes back.

use game_logic::arena::{Arena, Rules};
use game_logic::messages::{Code, ENTER_REQ, LEAVE_REQ, MOVE_REQ, Ranked, TOP_ACK, TOP_REQ, TopAck};
use game_logic::{V1, V2};
use hotseat_guest::testing::TestRoom;
use hotseat_guest::{Answer, LeaveReason, Level, Snapshot, UserId};
use hotseat_packet::Message as _;

use crate::desk::{SECOND_MS, Services, arena, ask, is_quiet};

fn tops<R: Rules>(room: &mut TestRoom<Arena<R>>, user: UserId) -> Vec<TopAck> {
    let frames = room.sent_to(user).into_iter().filter(|(op, _)| *op == TOP_ACK);
    frames.map(|(_, payload)| TopAck::from_bytes(&payload).expect("decodes")).collect()
}

#[test]
fn changes_of_one_second_are_one_report() {
    let (mut room, mut services) = (arena(1..=3), Services::default());
    room.tick();
    assert_eq!(room.calls(), []);
    room.advance(SECOND_MS);
    assert_eq!(room.calls().len(), 1);
    // While it is under way there is no second one, whatever happens.
    ask(&mut room, 1, MOVE_REQ, &[0, 0, 0, 1, 1, 0]);
    (0..60).for_each(|_| room.tick());
    let score = room.state().players[&1].score;
    assert!(score > 1, "there was a coin to the right");
    assert_eq!(room.calls().len(), 1);
    services.serve(&mut room);
    assert_eq!(services.scores, [(1, 1), (2, 1), (3, 1)].into());
    // What has changed since, and nothing else, is in the next.
    assert_eq!(room.state().scores.unreported, [(1, score)].into());
    services.scores.clear();
    room.advance(SECOND_MS);
    services.serve(&mut room);
    assert_eq!(services.scores, [(1, i64::from(score))].into());
    is_quiet(room, services);
}

#[test]
fn who_leaves_is_reported_too() {
    let (mut room, mut services) = (arena(1..=1), Services::default());
    room.tick();
    room.leave(1, LeaveReason::Lost);
    room.advance(SECOND_MS);
    services.serve(&mut room);
    assert_eq!(services.scores, [(1, 1)].into());
}

#[test]
fn the_best_of_all_visits_counts() {
    let (mut room, mut services) = (arena(1..=1), Services::default());
    room.set_profile(1, 7_u32.to_be_bytes());
    ask(&mut room, 1, LEAVE_REQ, b"");
    ask(&mut room, 1, ENTER_REQ, &[0, 0]);
    // Whatever rank has missed, it hears now.
    room.advance(SECOND_MS);
    services.serve(&mut room);
    assert_eq!(services.scores, [(1, 7)].into());
    let Snapshot { schema, bytes } = room.save();
    let mut changed: Arena<V1> = postcard::from_bytes(&bytes).expect("decodes");
    changed.coins = vec![changed.players[&1].at; 9];
    let bytes = postcard::to_stdvec(&changed).expect("encodes");
    let mut room = TestRoom::<Arena<V1>>::load(&Snapshot { schema, bytes }).expect("loads");
    room.join(1);
    room.tick();
    assert_eq!(room.state().players[&1].score, 9);
    assert_eq!(room.profile(1), Some(9_u32.to_be_bytes().to_vec()));
    room.advance(SECOND_MS);
    services.serve(&mut room);
    assert_eq!(services.scores, [(1, 9)].into());
}

#[test]
fn a_report_that_fails_is_repeated_ever_less_often_and_seldom_told() {
    let (mut room, mut services) = (arena(1..=1), Services::default());
    room.tick();
    room.logs();
    let mut waits = Vec::new();
    room.advance(SECOND_MS);
    for _ in 0..10 {
        room.answer_next(Answer::error(14, "service rank is not configured"));
        let mut wait = 0;
        while room.calls().is_empty() {
            room.advance(SECOND_MS);
            wait += 1;
        }
        waits.push(wait);
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 64, 64, 64, 64]);
    let logs = room.logs();
    assert_eq!(logs.len(), 4, "{logs:?}");
    assert!(logs.iter().all(|line| line.level == Level::Debug), "{logs:?}");
    services.serve(&mut room);
    assert_eq!((services.scores.get(&1), room.state().scores.failures), (Some(&1), 0));
}

#[test]
fn a_report_under_way_at_a_swap_is_made_again() {
    for answered in [true, false] {
        let (mut room, mut services) = (arena(1..=1), Services::default());
        room.tick();
        room.advance(SECOND_MS);
        let lost = room.calls()[0].token;
        let mut room = room.swap::<Arena<V2>>().expect("migrates");
        if answered {
            // Whatever it says: nobody is there to hear it.
            room.answer(lost, Answer::error(4, "late"));
            room.advance(SECOND_MS);
        } else {
            room.advance(9 * SECOND_MS);
            assert_eq!(room.calls().len(), 1, "the host may still answer");
            room.advance(SECOND_MS);
        }
        services.serve(&mut room);
        assert_eq!(services.scores, [(1, 1)].into());
        assert!(room.state().scores.unreported.is_empty());
        is_quiet(room, services);
    }
}

#[test]
fn the_leaderboard_is_shown_to_all_who_ask() {
    let (mut room, mut services) = (arena(1..=2), Services::default());
    let top = |list: &[(UserId, i64)]| TopAck {
        status: 0,
        top: (1..)
            .zip(list)
            .map(|(rank, (user, score))| Ranked { user: *user, score: *score, rank })
            .collect(),
    };
    services.scores = (1..=12).map(|user| (user, 100 - user)).collect();
    for user in [1, 2, 1] {
        ask(&mut room, user, TOP_REQ, b"");
    }
    assert_eq!(room.calls().len(), 1, "they share an answer");
    services.serve(&mut room);
    let best: Vec<_> = (1..=10).map(|user| (user, 100 - user as i64)).collect();
    assert_eq!(tops(&mut room, 1), [top(&best), top(&best)]);
    assert_eq!(tops(&mut room, 2), [top(&best)]);
    // Rank is away.
    ask(&mut room, 1, TOP_REQ, b"");
    room.answer_next(Answer::error(14, "away"));
    assert_eq!(tops(&mut room, 1), [TopAck { status: 14, top: vec![] }]);
    // The answer gets lost in a swap, and reached nobody before.
    ask(&mut room, 1, TOP_REQ, b"");
    ask(&mut room, 2, TOP_REQ, b"");
    room.leave(2, LeaveReason::Closed);
    let mut room = room.swap::<Arena<V2>>().expect("migrates");
    room.answer_next(Answer::error(14, "away"));
    room.tick();
    services.serve(&mut room);
    assert_eq!(tops(&mut room, 1), [top(&best)]);
    is_quiet(room, services);
}

#[test]
fn too_many_who_ask_are_refused() {
    let mut room = arena(1..=1);
    (0..1_000).for_each(|_| ask(&mut room, 1, TOP_REQ, b""));
    let refused = room.message(1, TOP_REQ, b"").expect_err("refuses");
    assert_eq!(refused.code, Code::Busy as i32);
    room.answer_next(Answer::ok([]));
    assert_eq!(tops(&mut room, 1).len(), 1_000);
}
