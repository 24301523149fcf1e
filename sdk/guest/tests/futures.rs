//! Spawned futures: when they run, what wakes them, what becomes of them.

use std::future::poll_fn;
use std::task::Poll;

use hotseat_guest::testing::TestRoom;
use hotseat_guest::{Answer, Game, MAX_CALLS_IN_FLIGHT, MAX_TASKS, Refusal, Room, UserId};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Caller {
    seen: Vec<String>,
}

impl Caller {
    fn saw(&mut self, what: impl Into<String>) {
        self.seen.push(what.into());
    }
}

impl Game for Caller {
    const SCHEMA: u32 = 1;

    fn open(_room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
        Ok(Caller::default())
    }

    fn message(&mut self, room: &Room<Self>, user: UserId, op: u16, _payload: &[u8]) -> Result<(), Refusal> {
        match op {
            // One call, then the state and a frame.
            1001 => room.spawn(move |handle| async move {
                handle.update(|game, _| game.saw("first poll"));
                let answer = handle.call("rank", "a", "x.Y/Z", b"q").await;
                handle.update(|game, room| {
                    game.saw(format!("answer {} {:?}", answer.status, answer.body));
                    room.send(user, 2001, &answer.body);
                });
            }),
            // Two calls under way at once, awaited in the other order.
            1002 => room.spawn(|handle| async move {
                let first = handle.call("s", "", "a.B/1", b"");
                let second = handle.call("s", "", "a.B/2", b"");
                let (second, first) = (second.await, first.await);
                handle.update(|game, _| game.saw(format!("{:?} {:?}", first.body, second.body)));
            }),
            // Refused after spawning.
            1003 => {
                room.spawn(|handle| async move {
                    handle.call("s", "", "a.B/C", b"").await;
                });
                return Err(Refusal::new(1000, "no"));
            }
            // Does not wait for the answer.
            1004 => room.spawn(|handle| async move { drop(handle.call("s", "", "a.B/C", b"")) }),
            // Waits for nothing.
            1005 => room.spawn(|_| std::future::pending()),
            // Spawns from within, and wakes itself.
            1006 => room.spawn(|handle| async move {
                handle.update(|_, room| {
                    room.spawn(|inner| async move { inner.update(|game, _| game.saw("inner")) })
                });
                let mut polls = 0;
                poll_fn(|context| {
                    polls += 1;
                    context.waker().wake_by_ref();
                    if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                handle.update(|game, _| game.saw(format!("polled {polls} times")));
            }),
            // Many at once.
            1007 => {
                for _ in 0..=MAX_CALLS_IN_FLIGHT {
                    room.spawn(|handle| async move {
                        let answer = handle.call("s", "", "a.B/C", b"").await;
                        handle.update(|game, _| game.saw(format!("{} {}", answer.status, answer.text)));
                    });
                }
            }
            1008 => (0..=MAX_TASKS).for_each(|_| room.spawn(|_| std::future::pending())),
            1009 => room.spawn(|handle| {
                handle.update(|_, _| ());
                async {}
            }),
            _ => return Err(Refusal::new(1001, "unknown")),
        }
        self.saw("handler done");
        Ok(())
    }

    fn reply(&mut self, _room: &Room<Self>, token: u64, answer: Answer) {
        self.saw(format!("orphan {token} {}", answer.status));
    }
}

fn room() -> TestRoom<Caller> {
    let mut room = TestRoom::open("home/1", b"").expect("opens");
    room.join(5);
    room
}

#[test]
fn a_future_starts_after_the_handler_and_wakes_with_the_answer() {
    let mut room = room();
    room.message(5, 1001, b"").expect("is accepted");
    assert_eq!(room.state().seen, ["handler done", "first poll"]);
    let call = room.answer_next(Answer::ok([1, 2]));
    assert_eq!((&call.service[..], &call.instance[..], &call.method[..]), ("rank", "a", "x.Y/Z"));
    assert_eq!(room.state().seen[2..], ["answer 0 [1, 2]"]);
    assert_eq!(room.sent_to(5), [(2001, vec![1, 2])]);
}

#[test]
fn answers_come_in_any_order() {
    let mut room = room();
    room.message(5, 1002, b"").expect("is accepted");
    let tokens: Vec<_> = room.calls().iter().map(|call| call.token).collect();
    room.answer(tokens[0], Answer::ok([10]));
    assert_eq!(room.state().seen, ["handler done"]);
    room.answer(tokens[1], Answer::ok([20]));
    assert_eq!(room.state().seen[1..], ["[10] [20]"]);
}

#[test]
fn a_refused_handler_starts_nothing() {
    let mut room = room();
    room.message(5, 1003, b"").expect_err("refuses");
    room.tick();
    assert_eq!(room.calls(), []);
}

#[test]
fn an_answer_nobody_awaits_goes_to_reply() {
    let mut room = room();
    room.message(5, 1004, b"").expect("is accepted");
    room.answer_next(Answer::error(4, "late"));
    assert_eq!(room.state().seen[1..], ["orphan 1 4"]);
}

#[test]
fn futures_do_not_outlive_a_swap_and_their_answers_go_to_reply() {
    let mut room = room();
    room.message(5, 1001, b"").expect("is accepted");
    let mut room = room.swap::<Caller>().expect("loads");
    room.answer_next(Answer::ok([1]));
    assert_eq!(room.state().seen[2..], ["orphan 1 0"]);
    assert_eq!(room.sent_to(5), []);
}

#[test]
fn a_future_that_nothing_can_wake_is_dropped() {
    let mut room = room();
    for _ in 0..2 * MAX_TASKS {
        room.message(5, 1005, b"").expect("is accepted");
    }
    let logs = room.logs();
    assert_eq!(logs.len(), 2 * MAX_TASKS);
    assert!(logs[0].text.contains("cannot happen"), "{}", logs[0].text);
}

#[test]
fn futures_may_spawn_and_wake_themselves() {
    let mut room = room();
    room.message(5, 1006, b"").expect("is accepted");
    assert_eq!(room.state().seen, ["handler done", "inner", "polled 3 times"]);
}

#[test]
fn calls_beyond_the_limit_are_answered_at_once() {
    let mut room = room();
    room.message(5, 1007, b"").expect("is accepted");
    assert_eq!(room.calls().len(), MAX_CALLS_IN_FLIGHT);
    assert_eq!(room.state().seen[1..], ["8 64 calls are in flight"]);
    room.answer_next(Answer::ok([]));
    assert_eq!(room.state().seen[2..], ["0 "]);
}

#[test]
#[should_panic(expected = "more than 1024 spawned futures are unfinished")]
fn too_many_futures_are_a_trap() {
    let _ = room().message(5, 1008, b"");
}

#[test]
#[should_panic(expected = "update was called inside a handler")]
fn update_inside_a_handler_is_a_mistake_with_a_name() {
    let _ = room().message(5, 1009, b"");
}
