//! Saving, loading, swapping: nothing that a caller or a stream sees may change.

use chat::{Trapping, V1, V2, Version};
use hotseat_services::chat::Settings;

use crate::support::{Shard, offsets, range, refused};

/// A shard with a bit of everything; the streams are 1 (live, user 7) and 2 (lagging at 1025).
fn busy() -> Shard {
    let mut shard =
        Shard::registered(&[("retention", "3000"), ("words", "bad"), ("burst", "2"), ("max_mib", "1")]);
    shard.join(7).unwrap();
    shard.mute(8, 0).unwrap();
    shard.subscribe_as(7, -1).unwrap();
    shard.post(7, "a bad word").unwrap();
    shard.fill(3_499);
    shard.configure(&Settings { members_post: Some(true), ..Settings::default() }).unwrap();
    assert_eq!(shard.subscribe_as(9, 1).unwrap(), 2);
    shard
}

fn check<V: Version>(mut shard: Shard<V>) {
    let described = shard.describe();
    assert_eq!((described.first_offset, described.next_offset), (501, 3501));
    assert_eq!(offsets(&shard.query(1, 1_000).unwrap()), range(501, 1_000));
    assert_eq!((described.members, described.subscribers, described.muted), (1, 2, 1));
    assert!(described.members_post);
    assert_eq!(shard.presence(0, 0), [7]);
    assert_eq!(refused(shard.post(8, "x")).0, 7);
    assert_eq!(shard.post(7, "still bad").unwrap().offset, 3501);
    assert_eq!(shard.latest(1).unwrap().messages[0].body, b"still ***");
    shard.inner.advance(1_000);
    assert_eq!(shard.offsets(1), range(1, 3501));
    assert_eq!(shard.offsets(2), range(501, 3501));
    shard.check_cost();
}

#[test]
fn version_1_goes_on_where_it_was() {
    check(busy().swap::<V1>().unwrap());
}

#[test]
fn version_2_takes_over_and_counts_from_then_on() {
    let mut shard = busy().swap::<V2>().unwrap();
    assert_eq!(shard.describe().masked, 0);
    shard.join(5).unwrap();
    shard.post(5, "bad").unwrap();
    shard.post(5, "good").unwrap();
    assert_eq!(shard.describe().masked, 1);
    let shard = shard.swap::<V2>().unwrap();
    assert_eq!(shard.describe().masked, 1);
    check(busy().swap::<V2>().unwrap());
}

#[test]
fn version_1_does_not_take_a_newer_state() {
    let error = busy().swap::<V2>().unwrap().swap::<V1>().err().unwrap();
    assert_eq!(error, "state has schema 2, this version knows up to 1");
}

#[test]
fn streams_that_are_ending_end_in_the_next_version() {
    let mut shard = Shard::registered(&[]);
    for _ in 0..5_000 {
        shard.subscribe(-1);
    }
    shard.unreg(1).unwrap();
    assert_eq!(shard.inner.channels().len(), 1_000);
    let mut shard = shard.swap::<V2>().unwrap();
    shard.inner.advance(100);
    assert!(shard.inner.channels().is_empty());
    assert_eq!(shard.ended(5_000).unwrap().0, 5);
}

#[test]
fn settings_count_from_the_next_load() {
    let mut shard = Shard::registered(&[]);
    shard.fill(50);
    let channel = shard.subscribe(-1);
    shard.inner.set_config("retention", "10");
    assert_eq!(shard.describe().retention, 1024);
    let mut shard = shard.swap::<V1>().unwrap();
    assert_eq!(offsets(&shard.latest(100).unwrap()), range(41, 50));
    shard.fill(1);
    assert_eq!(offsets(&shard.latest(100).unwrap()), range(42, 51));
    assert_eq!(shard.offsets(channel), [51]);
    shard.check_cost();
}

#[test]
fn a_lower_retention_does_not_overtake_a_lagging_stream() {
    let shard = busy();
    let mut shard = {
        let mut shard = shard;
        shard.inner.set_config("retention", "10");
        shard.swap::<V1>().unwrap()
    };
    shard.post(0, "x").unwrap();
    assert_eq!(shard.offsets(2), range(501, 3491));
    shard.inner.advance(100);
    assert_eq!(shard.offsets(2), range(3492, 3501));
    assert_eq!(offsets(&shard.latest(100).unwrap()), range(3492, 3501));
}

#[test]
fn the_trapping_version_is_version_1_but_for_its_mark() {
    check(busy().swap::<Trapping>().unwrap());
    let mut shard = busy().swap::<Trapping>().unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shard.post(0, "!trap! now")));
    let text = *caught.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(text, "a body begins with !trap!: broken on purpose");
}
