//! Streams: history and live messages in one, and what does not fit into one call.

use crate::support::{RETENTION, Shard, range};

/// Lets everything that waits for a round come.
fn settle(shard: &mut Shard) {
    shard.inner.advance(60_000);
    assert!(shard.inner.timers().is_empty(), "no round is left to do");
}

#[test]
fn minus_one_is_new_ones_only() {
    let mut shard = Shard::registered(&[]);
    shard.fill(3);
    let channel = shard.subscribe(-1);
    assert_eq!(shard.offsets(channel), [0; 0]);
    shard.fill(2);
    assert_eq!(shard.offsets(channel), [4, 5]);
    assert!(shard.inner.timers().is_empty());
}

#[test]
fn history_begins_where_it_is_asked_to() {
    let mut shard = Shard::registered(&[("retention", "5")]);
    shard.fill(8);
    for (from, first) in [(1, 4), (0, 4), (-2, 4), (i64::MIN, 4), (4, 4), (6, 6), (8, 8), (9, 9)] {
        let channel = shard.subscribe(from);
        assert_eq!(shard.offsets(channel), range(first, 8), "from {from}");
        shard.inner.unsubscribe(channel);
    }
}

#[test]
fn beyond_the_end_it_waits_and_begins_with_the_first_new_one() {
    let mut shard = Shard::registered(&[]);
    shard.fill(3);
    let (soon, never) = (shard.subscribe(100), shard.subscribe(i64::MAX));
    shard.fill(2);
    assert_eq!(shard.offsets(soon), [4, 5]);
    assert_eq!(shard.offsets(never), [4, 5]);
}

#[test]
fn a_stream_that_is_over_gets_nothing_more() {
    let mut shard = Shard::registered(&[]);
    let (gone, stays) = (shard.subscribe(-1), shard.subscribe(-1));
    shard.inner.unsubscribe(gone);
    shard.fill(1);
    assert_eq!(shard.offsets(gone), [0; 0]);
    assert_eq!(shard.offsets(stays), [1]);
    assert_eq!(shard.describe().subscribers, 1);
    shard.check_cost();
}

#[test]
fn a_long_history_comes_in_chunks_with_new_ones_behind_it() {
    let mut shard = Shard::registered(&[("retention", "5000")]);
    shard.fill(5_000);
    let channel = shard.subscribe(1);
    let mut got = shard.offsets(channel);
    assert_eq!(got, range(1, 1024));
    // Drops 1 to 3, which the stream has, and has the new ones wait behind its history.
    shard.fill(3);
    assert_eq!(shard.offsets(channel), [0; 0]);
    shard.inner.advance(10);
    got.extend(shard.offsets(channel));
    assert_eq!(got, range(1, 2048));
    settle(&mut shard);
    got.extend(shard.offsets(channel));
    assert_eq!(got, range(1, 5003));
    shard.fill(1);
    assert_eq!(shard.offsets(channel), [5004]);
}

#[test]
fn a_heavy_history_comes_in_chunks() {
    let mut shard = Shard::registered(&[("max_body_bytes", "262144")]);
    for _ in 0..20 {
        shard.post(0, vec![b'x'; 262_144]).unwrap();
    }
    let channels: Vec<u64> = (0..6).map(|_| shard.subscribe(1)).collect();
    for channel in &channels {
        assert_eq!(shard.offsets(*channel), [1], "one message is a chunk");
    }
    settle(&mut shard);
    for channel in &channels {
        assert_eq!(shard.offsets(*channel), range(2, 20), "all have had their turns");
    }
}

#[test]
fn what_retention_drops_is_sent_before_it_goes() {
    let mut shard = Shard::registered(&[("retention", "1500")]);
    shard.fill(1_500);
    let (first, second) = (shard.subscribe(1), shard.subscribe(1));
    // No round in between: the streams have 1 to 1024 and would miss what is dropped from 1025 on.
    shard.fill(1_500);
    assert_eq!(shard.offsets(first), range(1, 1500));
    shard.inner.unsubscribe(second);
    settle(&mut shard);
    assert_eq!(shard.offsets(first), range(1501, 3000));
}

#[test]
fn a_retention_of_one_has_no_gaps_either() {
    let mut shard = Shard::registered(&[("retention", "3000")]);
    shard.fill(2_000);
    let channel = shard.subscribe(1);
    assert_eq!(shard.offsets(channel).len(), 1024);
    shard.retain(1).unwrap();
    assert_eq!(shard.offsets(channel), range(1025, 1999));
    shard.fill(2);
    settle(&mut shard);
    assert_eq!(shard.offsets(channel), range(2000, 2002));
    shard.fill(1);
    assert_eq!(shard.offsets(channel), [2003]);
}

#[test]
fn a_lower_retention_ends_those_it_overtakes() {
    let mut shard = Shard::registered(&[]);
    for _ in 0..30 {
        shard.post(0, vec![b'x'; 60_000]).unwrap();
    }
    let (lags, live) = (shard.subscribe(1), shard.subscribe(-1));
    let had = shard.offsets(lags).len() as i64;
    shard.retain(1).unwrap();
    let got = shard.offsets(lags);
    assert_eq!(got, range(had + 1, had + 16), "as much as fits into the call");
    assert_eq!(
        shard.ended(lags),
        Some((10, "the retention was lowered below what was yet to be sent".into()))
    );
    assert_eq!(shard.describe().subscribers, 1);
    shard.fill(1);
    assert_eq!(shard.offsets(live), [31]);
    settle(&mut shard);
    shard.check_cost();
}

#[test]
fn newcomers_do_not_hold_up_those_who_wait() {
    let mut shard = Shard::registered(&[("retention", "5000")]);
    shard.fill(5_000);
    let first = shard.subscribe(1);
    for _ in 0..5 {
        shard.inner.advance(9);
        shard.subscribe(1);
    }
    assert_eq!(shard.offsets(first), range(1, 5000));
}

#[test]
fn an_endpoint_takes_its_streams_along() {
    let mut shard = Shard::registered(&[("retention", "3000")]);
    shard.fill(3_000);
    let (lags, live) = (shard.subscribe(1), shard.subscribe(-1));
    shard.unreg(1).unwrap();
    for channel in [lags, live] {
        assert_eq!(shard.ended(channel), Some((5, "the id was unregistered".into())));
    }
    settle(&mut shard);
    assert_eq!(shard.offsets(lags), range(1, 1024));
}

#[test]
fn ten_thousand_streams_end_in_rounds() {
    let mut shard = Shard::registered(&[]);
    let channels: Vec<u64> = (0..10_000).map(|_| shard.subscribe(-1)).collect();
    shard.fill(1);
    shard.unreg(1).unwrap();
    assert_eq!(shard.inner.channels().len(), 6_000);
    // One that goes by itself meanwhile needs no end.
    shard.inner.unsubscribe(channels[9_999]);
    shard.reg(1).unwrap();
    let new = shard.subscribe(-1);
    shard.fill(1);
    settle(&mut shard);
    assert_eq!(shard.inner.channels(), [new]);
    assert_eq!(shard.offsets(new), [1]);
    for channel in &channels[..9_999] {
        assert_eq!(shard.offsets(*channel), [1]);
        assert_eq!(shard.ended(*channel).unwrap().0, 5);
    }
    assert_eq!(shard.ended(channels[9_999]), None);
    shard.check_cost();
}

#[test]
fn a_post_is_one_effect_however_many_read_it() {
    let mut shard = Shard::registered(&[]);
    for _ in 0..10_000 {
        shard.subscribe(-1);
    }
    shard.inner.effects();
    shard.fill(1);
    assert_eq!(shard.inner.effects().len(), 1);
    assert_eq!(shard.describe().subscribers, 10_000);
}

#[test]
fn history_is_what_the_default_keeps() {
    let mut shard = Shard::registered(&[]);
    shard.fill(RETENTION as usize + 10);
    let channel = shard.subscribe(1);
    assert_eq!(shard.offsets(channel), range(11, RETENTION + 10));
    assert!(shard.inner.timers().is_empty(), "that fits into one call");
}
