//! Every bound is a refusal with status 8 that changes nothing.

use chat::{Chat, V1};
use hotseat_guest::testing::{Setup, TestShard};

use crate::support::{Shard, refused};

#[test]
fn bodies() {
    let mut shard = Shard::registered(&[]);
    shard.post(0, vec![0; 65_536]).unwrap();
    assert_eq!(
        refused(shard.post(0, vec![0; 65_537])),
        (3, "the body has 65537 bytes, allowed: 0 to 65536".into())
    );
    assert_eq!(shard.post(0, "").unwrap().offset, 2);
}

#[test]
fn endpoints() {
    let mut shard = Shard::with(&[("max_endpoints", "2")]);
    shard.reg(1).unwrap();
    shard.reg(2).unwrap();
    assert_eq!(refused(shard.reg(3)), (8, "this shard has 2 endpoints, which is all it may".into()));
    assert_eq!(refused(shard.reg(2)).0, 6);
    shard.unreg(2).unwrap();
    shard.reg(3).unwrap();
}

#[test]
fn members_and_mutes() {
    let mut shard = Shard::registered(&[("max_members", "2")]);
    shard.join(1).unwrap();
    shard.join(2).unwrap();
    assert_eq!(refused(shard.join(3)), (8, "id 1 has 2 members, which is all it may".into()));
    shard.join(2).unwrap();
    let now = shard.inner.now_ms();
    shard.mute(1, now + 10).unwrap();
    shard.mute(2, 0).unwrap();
    assert_eq!(refused(shard.mute(3, 0)), (8, "id 1 has 2 muted users, which is all it may".into()));
    shard.mute(2, now + 20).unwrap();
    shard.inner.advance(10);
    shard.mute(3, 0).unwrap();
    assert_eq!(shard.describe().muted, 2);
    shard.check_cost();
}

#[test]
fn subscribers() {
    let mut shard = Shard::registered(&[("max_subscribers", "1")]);
    let channel = shard.subscribe(-1);
    assert_eq!(refused(shard.subscribe_as(0, -1)), (8, "id 1 has 1 subscribers, which is all it may".into()));
    shard.inner.unsubscribe(channel);
    shard.subscribe(-1);
}

#[test]
fn memory() {
    let mut shard = Shard::registered(&[("max_mib", "1"), ("retention", "20")]);
    for _ in 0..15 {
        shard.post(0, vec![b'x'; 65_536]).unwrap();
    }
    let (status, text) = refused(shard.post(0, vec![b'x'; 65_536]));
    assert_eq!(status, 8);
    assert!(text.starts_with("this shard keeps 984") && text.ends_with("allowed: up to 1048576"), "{text}");
    shard.post(0, vec![b'x'; 60_000]).unwrap();
    assert!(shard.inner.state().cost() <= 1 << 20);
    shard.retain(16).unwrap();
    shard.post(0, vec![b'x'; 65_536]).expect("takes the place of the oldest");
    shard.check_cost();
}

#[test]
fn settings_that_are_not_allowed_keep_a_shard_from_opening_and_loading() {
    let setup = || Setup::new().config("retention", "many");
    let error = setup().open_shard::<Chat<V1>>("chat#0").unwrap_err();
    assert_eq!(error, "setting retention: \"many\" is not allowed: must be 1 to 65536");
    let snapshot = TestShard::<Chat<V1>>::open("chat#0").unwrap().save();
    assert_eq!(setup().load_shard::<Chat<V1>>(&snapshot).unwrap_err(), error);
}
