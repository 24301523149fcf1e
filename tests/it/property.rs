//! Random play against a model: whatever comes together, every message is answered once, in order, by a room that
//! has counted right, and of a message that trapped nothing is ever seen.
//!
//! A case is a few rounds. In a round all players send their script at once, each in one go or frame by frame,
//! while the version may be replaced or taken back. What a player gets for its own messages is known beforehand,
//! frame for frame. What it hears of others is known too, unless it or they came or went in that round; then it
//! is at least something they said where it was, once and in their order.

mod model;
mod play;

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Players in a case.
const PLAYERS: usize = 3;
/// Rooms that players go to; the last is everybody's home.
const ROOMS: [&str; 3] = ["den/0", "den/1", "home/0"];
/// Trapping messages of one player in one case: three within ten seconds would end its session.
const TRAPS: usize = 2;

/// What a player sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Count,
    Shout,
    Trap,
    Move(usize),
}

/// How a player begins a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Where it was.
    Stay,
    /// Its connection breaks, and it comes back at once.
    Return,
    /// It logs in again while the older connection stands.
    Again,
    /// It goes, and is not there in this round.
    Away,
}

/// One player's part of a round.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) entry: Entry,
    pub(crate) script: Vec<Op>,
    /// Frame by frame, instead of in one write.
    pub(crate) piecemeal: bool,
}

/// What the operator does in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Nothing,
    Deploy,
    Rollback,
}

#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) operator: Operator,
    pub(crate) parts: Vec<Part>,
    /// The round ends only when time has passed for the rooms.
    pub(crate) tick: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Whether a new version is watched, and taken back when it traps.
    pub(crate) probation: bool,
    pub(crate) rounds: Vec<Round>,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => Just(Op::Count),
        3 => Just(Op::Shout),
        1 => Just(Op::Trap),
        1 => (0..ROOMS.len()).prop_map(Op::Move),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        10 => Just(Entry::Stay),
        1 => Just(Entry::Return),
        1 => Just(Entry::Again),
        1 => Just(Entry::Away),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    (entry(), prop::collection::vec(op(), 0..7), any::<bool>()).prop_map(|(entry, script, piecemeal)| Part {
        entry,
        script,
        piecemeal,
    })
}

fn round() -> impl Strategy<Value = Round> {
    let operator =
        prop_oneof![2 => Just(Operator::Nothing), 2 => Just(Operator::Deploy), 1 => Just(Operator::Rollback)];
    (operator, prop::collection::vec(part(), PLAYERS), prop::bool::weighted(0.3))
        .prop_map(|(operator, parts, tick)| Round { operator, parts, tick })
}

fn case() -> impl Strategy<Value = Case> {
    (any::<bool>(), prop::collection::vec(round(), 1..6)).prop_map(|(probation, mut rounds)| {
        for player in 0..PLAYERS {
            let scripts = rounds.iter_mut().flat_map(|round| &mut round.parts[player].script);
            scripts.filter(|op| **op == Op::Trap).skip(TRAPS).for_each(|op| *op = Op::Count);
        }
        Case { probation, rounds }
    })
}

#[test]
fn nothing_is_lost_doubled_reordered_or_half_done() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases: 48, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&case(), |case| {
        let played = runtime.block_on(async { tokio::time::timeout(TOO_LONG, play::play(&case)).await });
        played.unwrap_or_else(|_| Err("the case hangs".into())).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// A case takes a fraction of a second.
const TOO_LONG: Duration = Duration::from_secs(30);
