//! The test shard does what the host does: streams, effects, follow-up events, time, hand-over.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hotseat_guest::testing::{Effect, Setup, TestShard};
use hotseat_guest::{Answer, Failure, Level, Service, Shard, Snapshot, decode};
use serde::{Deserialize, Serialize};

/// Does what the method's name says, and writes down what happens to it.
#[derive(Default, Serialize, Deserialize)]
struct Probe {
    seen: Vec<String>,
    channels: Vec<u64>,
}

hotseat_guest::export_service!(Probe);

impl Service for Probe {
    const SCHEMA: u32 = 1;

    fn open(shard: &Shard, key: &str) -> Result<Self, String> {
        if shard.config("closed").is_some() {
            return Err(format!("{key} stays closed"));
        }
        shard.set_timer(99, 60_000);
        Ok(Probe { seen: vec![format!("open {key}")], channels: vec![] })
    }

    fn call(&mut self, shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.seen.push(method.into());
        match method {
            "p.P/Send" => shard.send(&self.channels, body),
            "p.P/SendTo" => shard.send(&body.iter().map(|it| u64::from(*it)).collect::<Vec<_>>(), b"to"),
            "p.P/Fail" => {
                shard.send(&self.channels, body);
                return Err(Failure::precondition("no"));
            }
            "p.P/Panic" => {
                shard.send(&self.channels, body);
                panic!("boom");
            }
            "p.P/End" => shard.end(u64::from(body[0]), Ok(())),
            "p.P/Cut" => shard.end(u64::from(body[0]), Err(Failure::exhausted("full"))),
            "p.P/CutOddly" => shard.end(u64::from(body[0]), Err(Failure::new(0, "odd"))),
            "p.P/Timers" => (0..u64::from(body[0])).for_each(|id| shard.set_timer(id, 100)),
            "p.P/Cancel" => shard.cancel_timer(0),
            "p.P/Ask" => return Ok(vec![shard.call("rank", "", "a.B/C", body) as u8]),
            "p.P/Effects" => (0..5000).for_each(|_| shard.send(&[], b"")),
            "p.P/Bytes" => (0..2).for_each(|_| shard.send(&[], &[0; 600_000])),
            "p.P/Inputs" => {
                assert!(shard.next_id() < shard.next_id());
                assert_eq!((shard.random_below(0), shard.random_below(1)), (0, 0));
                shard.error("e");
                shard.warn(format_args!("w {}", shard.now_ms()));
                shard.info(shard.config("key").map_or(0, |it| it.len()));
                shard.debug("d");
                return Ok(shard.random().to_be_bytes().to_vec());
            }
            _ => return Err(Failure::unimplemented(method)),
        }
        Ok(b"done".to_vec())
    }

    fn query(&self, shard: &Shard, method: &str, _body: &[u8]) -> Result<Vec<u8>, Failure> {
        shard.send(&self.channels, b"an effect that is ignored");
        shard.set_timer(5, 5);
        match method {
            "p.P/Count" => Ok(vec![self.seen.len() as u8]),
            _ => Err(Failure::not_found("nothing")),
        }
    }

    fn subscribe(&mut self, shard: &Shard, channel: u64, method: &str, body: &[u8]) -> Result<(), Failure> {
        shard.send(&[channel], b"welcome");
        match method {
            "p.P/Watch" => self.channels.push(channel),
            "p.P/Once" => shard.end(channel, Ok(())),
            _ => return Err(Failure::denied(String::from_utf8_lossy(body))),
        }
        Ok(())
    }

    fn unsubscribe(&mut self, _shard: &Shard, channel: u64) {
        self.seen.push(format!("unsubscribe {channel}"));
        self.channels.retain(|it| *it != channel);
    }

    fn timer(&mut self, shard: &Shard, id: u64) {
        self.seen.push(format!("timer {id} at {}", shard.now_ms()));
        if id == 1 {
            shard.set_timer(2, 10);
        }
    }

    fn reply(&mut self, _shard: &Shard, token: u64, answer: Answer) {
        self.seen.push(format!("reply {token} {} {:?}", answer.status, answer.body));
    }
}

/// Knows only what a service must.
#[derive(Debug, Serialize, Deserialize)]
struct Bare {
    seen: Vec<String>,
    #[serde(skip)]
    rebuilt: bool,
}

impl Service for Bare {
    const SCHEMA: u32 = 2;

    fn open(_shard: &Shard, _key: &str) -> Result<Self, String> {
        Ok(Bare { seen: vec![], rebuilt: false })
    }

    fn migrate(shard: &Shard, from: u32, bytes: &[u8]) -> Result<Self, String> {
        shard.set_timer(1, 1);
        match from {
            1 => decode::<Probe>(bytes).map(|old| Bare { seen: old.seen, rebuilt: false }),
            _ => Err(format!("no migration from schema {from}")),
        }
    }

    fn loaded(&mut self, _shard: &Shard) -> Result<(), String> {
        self.rebuilt = true;
        if self.seen.len() > 5 { Err("too much".into()) } else { Ok(()) }
    }

    fn call(&mut self, shard: &Shard, _method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        shard.send(&[1], body);
        Ok(vec![])
    }
}

fn shard() -> TestShard<Probe> {
    let mut shard = Setup::new().now_ms(1_000).open_shard("probe#3").expect("opens");
    shard.effects();
    shard
}

fn watched() -> TestShard<Probe> {
    let mut shard = shard();
    for channel in [1, 2] {
        shard.subscribe(channel, "p.P/Watch", b"").expect("is accepted");
        assert_eq!(shard.sent(channel), [b"welcome"]);
    }
    shard
}

fn call(shard: &mut TestShard<Probe>, method: &str, body: &[u8]) -> Vec<u8> {
    shard.call(method, body).expect("is accepted")
}

fn last(shard: &TestShard<Probe>) -> String {
    shard.state().seen.last().cloned().expect("open is always there")
}

#[test]
fn open_sees_key_and_settings_and_may_fail() {
    assert_eq!(shard().state().seen, ["open probe#3"]);
    assert_eq!(TestShard::<Probe>::open("a#0").expect("opens").timers().len(), 1);
    let closed = Setup::new().config("closed", b"1").open_shard::<Probe>("probe#0");
    assert_eq!(closed.expect_err("refuses"), "probe#0 stays closed");
}

#[test]
fn messages_reach_the_open_streams_they_name() {
    let mut shard = watched();
    assert_eq!(call(&mut shard, "p.P/Send", b"a"), b"done");
    call(&mut shard, "p.P/SendTo", &[2, 77]);
    assert_eq!(shard.sent(1), [b"a"]);
    assert_eq!(shard.sent(2), [b"a".to_vec(), b"to".to_vec()]);
    assert!(shard.sent(77).is_empty() && shard.sent(1).is_empty(), "what was taken is gone");
    let sent = Effect::ChannelSend { channels: vec![2, 77], message: b"to".to_vec() };
    assert_eq!(shard.effects().last(), Some(&sent));
    assert_eq!(shard.channels(), [1, 2]);
}

#[test]
fn streams_end_from_both_sides() {
    let mut shard = watched();
    shard.unsubscribe(1);
    assert_eq!((last(&shard).as_str(), shard.ended(1)), ("unsubscribe 1", None));
    call(&mut shard, "p.P/End", &[2]);
    assert_eq!(shard.ended(2), Some(Ok(())));
    assert_eq!(last(&shard), "p.P/End", "no unsubscribe for what the shard ended");
    call(&mut shard, "p.P/SendTo", &[1, 2]);
    assert!(shard.sent(1).is_empty() && shard.sent(2).is_empty());
    shard.subscribe(3, "p.P/Watch", b"").expect("is accepted");
    call(&mut shard, "p.P/Cut", &[3]);
    assert_eq!(shard.ended(3), Some(Err(Failure::exhausted("full"))));
    shard.subscribe(4, "p.P/Once", b"").expect("is accepted");
    assert_eq!((shard.sent(4), shard.ended(4)), (vec![b"welcome".to_vec()], Some(Ok(()))));
    shard.subscribe(5, "p.P/Watch", b"").expect("is accepted");
    call(&mut shard, "p.P/CutOddly", &[5]);
    assert_eq!(shard.ended(5), Some(Err(Failure::new(2, "odd"))), "a failure is never a good end");
    assert_eq!(shard.channels(), []);
}

#[test]
fn a_refused_stream_is_over_and_got_nothing() {
    let mut shard = shard();
    let failure = shard.subscribe(9, "p.P/Else", b"why").expect_err("refuses");
    assert_eq!(failure, Failure::denied("why"));
    assert_eq!((shard.sent(9), shard.ended(9)), (vec![], Some(Err(failure))));
    assert_eq!((shard.channels(), shard.effects()), (vec![], vec![]));
}

#[test]
fn a_failure_or_a_panic_releases_nothing() {
    let mut shard = watched();
    shard.effects();
    assert_eq!(shard.call("p.P/Fail", b"x"), Err(Failure::precondition("no")));
    assert!(catch_unwind(AssertUnwindSafe(|| shard.call("p.P/Panic", b"x"))).is_err());
    assert_eq!((shard.effects(), shard.sent(1)), (vec![], vec![]));
    call(&mut shard, "p.P/Send", b"alive");
    assert_eq!(shard.sent(1), [b"alive"]);
}

#[test]
fn a_query_only_reads() {
    let mut shard = watched();
    shard.effects();
    assert_eq!(shard.query("p.P/Count", b""), Ok(vec![1]));
    assert_eq!(shard.query("p.P/Else", b""), Err(Failure::not_found("nothing")));
    assert_eq!((shard.effects(), shard.sent(1)), (vec![], vec![]));
    assert_eq!(shard.timers(), [(99, 61_000)]);
}

#[test]
fn timers_fire_in_order_and_may_set_more() {
    let mut shard = shard();
    call(&mut shard, "p.P/Timers", &[2]);
    shard.advance(200);
    assert_eq!(shard.state().seen[2..], ["timer 0 at 1100", "timer 1 at 1100", "timer 2 at 1110"]);
    assert_eq!(shard.now_ms(), 1_200);
    call(&mut shard, "p.P/Timers", &[1]);
    call(&mut shard, "p.P/Cancel", b"");
    assert_eq!(shard.timers(), [(99, 61_000)]);
}

#[test]
fn other_services_answer_by_token() {
    let mut shard = shard();
    assert_eq!(call(&mut shard, "p.P/Ask", b"q"), [1]);
    let asked = shard.answer_next(Answer::ok(b"r"));
    assert_eq!((asked.token, &asked.service[..], &asked.body[..]), (1, "rank", &b"q"[..]));
    assert_eq!(last(&shard), format!("reply 1 0 {:?}", b"r"));
    (0..65).for_each(|_| drop(call(&mut shard, "p.P/Ask", b"")));
    assert_eq!(shard.calls().len(), 64);
    assert_eq!(last(&shard), "reply 66 8 []");
}

#[test]
fn inputs_are_under_the_tests_control() {
    let run = |seed| {
        let mut shard = Setup::new().seed(seed).now_ms(7).open_shard::<Probe>("p#0").expect("opens");
        shard.set_config("key", b"four");
        let drawn = call(&mut shard, "p.P/Inputs", b"");
        let lines: Vec<_> = shard.logs().into_iter().map(|line| (line.level, line.text)).collect();
        let line = |level, text: &str| (level, text.to_owned());
        let expected = [
            line(Level::Error, "e"),
            line(Level::Warn, "w 7"),
            line(Level::Info, "4"),
            line(Level::Debug, "d"),
        ];
        assert_eq!(lines, expected);
        drawn
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn limits_of_the_contract_are_traps() {
    for (method, text) in
        [("p.P/Effects", "more than 4096 effects"), ("p.P/Bytes", "more than 1048576 bytes")]
    {
        let mut shard = shard();
        let panic = catch_unwind(AssertUnwindSafe(|| shard.call(method, b""))).expect_err("panics");
        let said = panic.downcast_ref::<String>().expect("is a text");
        assert!(said.contains(text), "{method}: {said:?} should contain {text:?}");
    }
}

#[test]
fn a_swap_keeps_state_streams_timers_and_time() {
    let mut shard = watched();
    call(&mut shard, "p.P/Ask", b"");
    let mut shard = shard.swap::<Bare>().expect("migrates");
    assert_eq!((shard.state().seen.len(), shard.state().rebuilt), (2, true));
    assert_eq!((shard.channels(), shard.timers()), (vec![1, 2], vec![(99, 61_000)]));
    assert_eq!((shard.now_ms(), shard.calls().len()), (1_000, 1));
    shard.call("any", b"on").expect("is accepted");
    assert_eq!(shard.sent(1), [b"on"]);
    assert_eq!(shard.swap::<Probe>().expect_err("refuses"), "state has schema 2, this version knows up to 1");
}

#[test]
fn what_was_saved_is_loaded_or_refused() {
    let mut shard = shard();
    let saved = shard.save();
    assert_eq!(saved.schema, 1);
    assert_eq!(TestShard::<Probe>::load(&saved).expect("loads").state().seen, shard.state().seen);
    assert_eq!(TestShard::<Bare>::load(&saved).expect("migrates").save().schema, 2);
    let error = TestShard::<Bare>::load(&Snapshot { schema: 0, bytes: vec![] }).expect_err("refuses");
    assert_eq!(error, "no migration from schema 0");
    let error = TestShard::<Probe>::load(&Snapshot { schema: 0, bytes: vec![] }).expect_err("refuses");
    assert_eq!(error, "no migration from schema 0 to 1");
    let error = TestShard::<Probe>::load(&Snapshot { schema: 1, bytes: vec![] }).expect_err("refuses");
    assert!(error.contains("state of 0 bytes is no shard::Probe"), "{error}");
    (0..5).for_each(|_| drop(call(&mut shard, "p.P/Send", b"")));
    assert_eq!(shard.swap::<Bare>().expect_err("refuses"), "too much");
}

#[test]
fn methods_without_a_handler_are_unimplemented() {
    let mut shard = TestShard::<Bare>::open("bare#0").expect("opens");
    let expected = Failure::new(12, "there is no method p.P/X");
    assert_eq!(shard.query("p.P/X", b""), Err(expected.clone()));
    assert_eq!(shard.subscribe(1, "p.P/X", b""), Err(expected));
    assert_eq!(Failure::invalid("bad").to_string(), "status 3: bad");
}

#[test]
#[should_panic(expected = "channel 1 was used before")]
fn a_channel_is_used_once() {
    let mut shard = watched();
    shard.unsubscribe(1);
    let _ = shard.subscribe(1, "p.P/Watch", b"");
}

#[test]
#[should_panic(expected = "channel 7 is not open")]
fn the_end_of_a_stranger_is_a_mistake_of_the_test() {
    shard().unsubscribe(7);
}
