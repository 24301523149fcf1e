//! One version after another.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rank::{TRAP_SCORE, Trapping, V1, V2};

use crate::support::{HOUR_MS, open};

#[test]
fn the_next_version_takes_over_and_counts() {
    let mut ranking = open();
    ranking.update(1, &[(1, 10), (2, 20), (3, 10)]).expect("is accepted");
    ranking
        .configure(hotseat_services::rank::Options {
            set_id: 1,
            schedule: "0 * * * *".to_owned(),
            ..Default::default()
        })
        .expect("is accepted");
    let mut ranking = ranking.swap::<V2>();
    assert_eq!(ranking.order(1), [2, 1, 3]);
    assert_eq!(ranking.describe(1).expect("reads").shard_changes, 0);
    ranking.change(1, 1, 30).expect("is accepted");
    ranking.increment(1, &[(3, 1), (4, 1)]).expect("is accepted");
    let mut ranking = ranking.restart();
    assert_eq!(ranking.order(1), [1, 2, 3, 4]);
    assert_eq!(ranking.describe(1).expect("reads").shard_changes, 3);
    ranking.shard.advance(HOUR_MS);
    assert_eq!(ranking.seasons(1).expect("reads").len(), 2, "timers are handed over");
    let error = ranking.shard.swap::<V1>().expect_err("there is no way back");
    assert!(error.contains("schema 2"), "{error}");
}

#[test]
fn the_faulty_version_traps_where_it_says() {
    let mut ranking = open();
    ranking.change(1, 1, 1).expect("is accepted");
    let mut ranking = ranking.swap::<Trapping>();
    ranking.change(1, 2, TRAP_SCORE + 1).expect("is accepted");
    assert_eq!(ranking.order(1), [1, 2]);
    let trapped = catch_unwind(AssertUnwindSafe(|| ranking.change(1, 3, TRAP_SCORE)));
    assert!(trapped.is_err());
}

#[test]
fn a_damaged_state_is_refused_with_a_reason() {
    let mut ranking = open();
    ranking.update(1, &[(1, 10), (2, 20), (3, 30)]).expect("is accepted");
    let snapshot = ranking.shard.save();
    for length in 0..snapshot.bytes.len() {
        let mut cut = snapshot.clone();
        cut.bytes.truncate(length);
        let shard = hotseat_guest::testing::TestShard::<V1>::load(&cut);
        assert!(shard.is_err(), "{length} of {} bytes", snapshot.bytes.len());
    }
    // Whatever a flipped bit makes of it: an error, or a set that is in order.
    for bit in 0..snapshot.bytes.len() * 8 {
        let mut flipped = snapshot.clone();
        flipped.bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(shard) = hotseat_guest::testing::TestShard::<V1>::load(&flipped) else { continue };
        let loaded = crate::support::Ranking { shard };
        let Ok(entries) = loaded.range(1, 1, 9) else { continue };
        let users: Vec<_> = entries.iter().map(|(user, _)| *user).collect();
        let expected: Vec<_> = (1..).zip(&entries).map(|(rank, (_, score))| (rank, *score)).collect();
        assert_eq!(loaded.users(1, &users).expect("reads"), expected, "bit {bit}");
    }
}
