use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::clock::FakeClock;
use super::*;

const NOW: u64 = 1_700_000_000_000;

fn told(machine: u16, limit_ms: u64) -> (Generator, Arc<FakeClock>) {
    let told = FakeClock::at(NOW);
    let generator = Generator::closed(Clock::FakeClock(Arc::clone(&told)));
    generator.open(machine, 0, limit_ms);
    (generator, told)
}

#[test]
fn the_bits_are_where_the_format_says() {
    let (generator, _) = told(1023, TIME_END_MS);
    let ids: Vec<_> = generator.reserve(4097).unwrap().collect();
    assert_eq!((ids[0] >> 63, ids[0] >> 22, ids[0] >> 12 & 1023, ids[0] & 4095), (0, NOW, 1023, 0));
    assert_eq!((ids[4095] >> 22, ids[4095] & 4095), (NOW, 4095));
    assert_eq!((ids[4096] >> 22, ids[4096] >> 12 & 1023, ids[4096] & 4095), (NOW + 1, 1023, 0));
    assert_eq!(Generator::standing_at(1024, 5).next().unwrap() >> 12 & 1023, 0);
}

#[test]
fn a_standing_clock_gives_the_same_ids_every_time() {
    let ids = || {
        let generator = Generator::standing_at(1, 5);
        assert_eq!(generator.guest_block(), 1);
        [generator.next().unwrap(), generator.next().unwrap()]
    };
    assert_eq!(ids(), ids());
    assert_eq!(ids().map(|id| (id >> 22, id & 4095)), [(5, 0), (5, 1)]);
}

#[test]
fn callers_run_a_second_ahead_and_guests_up_to_what_is_written_down() {
    let (generator, told) = told(1, NOW + 5000);
    let most = u32::try_from(AHEAD_MS).unwrap() * 4096;
    generator.reserve(most).unwrap();
    assert_eq!(generator.next(), Err(GeneratorError::Ahead));
    generator.reserve_for_guests(4 * most).unwrap();
    assert_eq!(generator.reserve_for_guests(1), Err(GeneratorError::Ahead));
    generator.raise(NOW + 5001);
    assert_eq!(generator.reserve_for_guests(4096).unwrap().ms(), NOW + 5000);
    assert_eq!(generator.reserve_for_guests(1), Err(GeneratorError::Ahead));
    // What is not written down is nobody's, whatever the clock says.
    told.pass(60_000);
    assert_eq!(generator.next(), Err(GeneratorError::Ahead));
    generator.raise(NOW + 70_000);
    assert_eq!(generator.next().unwrap() >> 22, NOW + 60_000);
}

#[test]
fn guests_draw_older_ids_when_the_clock_is_beyond_the_limit() {
    let (generator, told) = told(1, NOW + 5000);
    let first = generator.next().unwrap();
    told.pass(60_000);
    assert_eq!(generator.next(), Err(GeneratorError::Ahead));
    assert_eq!(generator.reserve_for_guests(2).unwrap().collect::<Vec<_>>(), [first + 1, first + 2]);
}

#[test]
fn a_closed_generator_issues_nothing_but_what_is_secured_and_that_to_guests_alone() {
    let (generator, told) = told(1, NOW + 2);
    let first = generator.next().unwrap();
    generator.close();
    generator.close();
    told.pass(10);
    assert_eq!(generator.next(), Err(GeneratorError::Closed));
    // A limit raised too late is none.
    generator.raise(NOW + 1000);
    let rest = generator.reserve_for_guests(2 * 4096 - 1).unwrap();
    assert_eq!(rest.clone().next(), Some(first + 1));
    assert!(rest.last().unwrap() >> 22 < NOW + 2);
    assert_eq!(generator.reserve_for_guests(1), Err(GeneratorError::Closed));
}

#[test]
fn a_sealed_generator_issues_nothing_to_anybody() {
    let (generator, _) = told(1, NOW + 5000);
    let last = generator.reserve(5000).unwrap().last().unwrap();
    assert_eq!(generator.seal(), (last >> 22) + 1);
    assert_eq!(generator.next(), Err(GeneratorError::Closed));
    assert_eq!(generator.reserve_for_guests(1), Err(GeneratorError::Closed));
}

#[test]
fn ids_rise_from_one_machine_number_to_a_lower_one() {
    let (generator, _) = told(7, NOW + 1000);
    let last = generator.next().unwrap();
    generator.close();
    generator.open(3, 0, NOW + 1000);
    let next = generator.next().unwrap();
    assert!(next > last, "{next} after {last}");
    assert_eq!((next >> 12 & 1023, next & 4095), (3, 0));
    // It is open, so this does not count.
    generator.open(9, 0, NOW + 1000);
    assert_eq!(generator.next().unwrap(), next + 1);
}

#[test]
fn above_a_mark_ahead_of_the_clock_ids_go_on_at_the_format_s_pace() {
    let told = FakeClock::at(NOW);
    let generator = Generator::closed(Clock::FakeClock(Arc::clone(&told)));
    generator.open(1, NOW + 60_000, NOW + 90_000);
    assert_eq!(generator.next().unwrap() >> 22, NOW + 60_000);
    let all = 4096 * 1000;
    generator.reserve(all - 1).unwrap();
    assert_eq!(generator.next(), Err(GeneratorError::Ahead));
    told.pass(1000);
    generator.reserve(all).unwrap();
    assert_eq!(generator.next(), Err(GeneratorError::Ahead));
    // Once the clock is there, ids tell the time again.
    told.pass(80_000);
    assert_eq!(generator.next().unwrap() >> 22, NOW + 81_000);
}

#[test]
fn at_the_end_of_time_it_refuses() {
    let told = FakeClock::at(TIME_END_MS - 1);
    let generator = Generator::closed(Clock::FakeClock(Arc::clone(&told)));
    generator.open(1023, 0, u64::MAX);
    let ids: Vec<_> = generator.reserve(4096).unwrap().collect();
    assert_eq!(ids[4095], u64::MAX >> 1);
    assert_eq!(generator.next(), Err(GeneratorError::Ahead));
    assert_eq!(generator.reserve_for_guests(1), Err(GeneratorError::Ahead));
}

/// The fourth of the acceptance cases: five million ids as fast as they come, then the clock goes back.
#[test]
fn five_million_saturated_ids_are_distinct_ordered_and_of_the_machine() {
    let generator = Generator::new(517);
    let mut last = 0;
    for _ in 0..5_000_000 {
        let id = loop {
            match generator.next() {
                Ok(id) => break id,
                Err(error) => assert_eq!(error, GeneratorError::Ahead),
            }
            std::thread::yield_now();
        };
        assert!(id > last, "{id} after {last}");
        assert_eq!(id >> 12 & 1023, 517);
        last = id;
    }
}

#[test]
fn threads_that_draw_at_once_share_nothing() {
    let generator = Generator::new(1);
    let draw = |n: u32| {
        let mut ids = Vec::new();
        while ids.len() < 100_000 {
            match generator.reserve(n) {
                Ok(block) => ids.extend(block),
                Err(_) => std::thread::yield_now(),
            }
        }
        assert!(ids.is_sorted_by(|a, b| a < b));
        ids
    };
    let all: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = [1, 3, 16, 64].map(|n| scope.spawn(move || draw(n))).into();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
}

#[derive(Debug, Clone)]
enum Act {
    Draw {
        n: u32,
        guest: bool,
    },
    Pass(u64),
    Set(i64),
    Raise,
    Close,
    /// In good order: the mark comes down to what was issued.
    Seal,
    /// Another process, with another clock, that knows the mark alone.
    Restart(i64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (1..5000u32, any::<bool>()).prop_map(|(n, guest)| Act::Draw { n, guest }),
        2 => (0..3000u64).prop_map(Act::Pass),
        // Five seconds back, standing, a day on.
        2 => prop_oneof![Just(-5000), Just(0), -100_000..100_000i64, Just(86_400_000)].prop_map(Act::Set),
        2 => Just(Act::Raise),
        1 => Just(Act::Close),
        1 => Just(Act::Seal),
        1 => prop_oneof![Just(-5000), -100_000..100_000i64].prop_map(Act::Restart),
    ];
    prop::collection::vec(act, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Against a naive model: a set of all ids, and the last one. Numbers change hands only with their mark.
    #[test]
    fn no_id_comes_twice_and_none_comes_late(acts in acts()) {
        let (mut mark, mut machine) = (0, 5);
        let mut clock = FakeClock::at(NOW);
        let mut generator = Generator::closed(Clock::FakeClock(Arc::clone(&clock)));
        let mut seen = BTreeSet::new();
        let mut last = 0;
        for act in acts {
            match act {
                Act::Draw { n, guest } => {
                    let block = if guest { generator.reserve_for_guests(n) } else { generator.reserve(n) };
                    for id in block.into_iter().flatten() {
                        prop_assert!(id > last, "{} after {}", id, last);
                        prop_assert!(seen.insert(id));
                        prop_assert!(id >> 22 < mark, "{} above the mark {}", id >> 22, mark);
                        prop_assert_eq!(id >> 12 & 1023, u64::from(machine));
                        last = id;
                    }
                }
                Act::Pass(ms) => clock.pass(ms),
                Act::Set(by) => {
                    let now = clock.wall_ms.load(Ordering::Relaxed);
                    clock.set(now.saturating_add_signed(by));
                }
                Act::Raise => {
                    let begin = mark;
                    mark = mark.max(generator.now_ms() + 3000).max(generator.last_ms() + 10);
                    if generator.state.load(Ordering::Relaxed) & CLOSED != 0 {
                        machine = (machine * 7 + 3) % MACHINES;
                        generator.open(machine, begin, mark);
                    } else {
                        generator.raise(mark);
                    }
                }
                Act::Close => generator.close(),
                Act::Seal => {
                    mark = mark.min(generator.seal()).max(last >> 22);
                    mark += u64::from(last >> 22 == mark && last != 0);
                    clock = FakeClock::at(clock.wall_ms.load(Ordering::Relaxed));
                    generator = Generator::closed(Clock::FakeClock(Arc::clone(&clock)));
                }
                Act::Restart(by) => {
                    let now = clock.wall_ms.load(Ordering::Relaxed);
                    clock = FakeClock::at(now.saturating_add_signed(by));
                    generator = Generator::closed(Clock::FakeClock(Arc::clone(&clock)));
                }
            }
        }
    }
}
