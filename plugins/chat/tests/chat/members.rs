//! Membership, presence, and what is for members only.

use hotseat_services::chat::Settings;

use crate::support::{Shard, refused};

#[test]
fn members_come_and_go() {
    let mut shard = Shard::registered(&[]);
    for user in [9, 7, 8, 8, u64::MAX] {
        shard.join(user).unwrap();
    }
    assert_eq!(shard.members(0, 0), [7, 8, 9, u64::MAX]);
    assert_eq!(shard.members(7, 2), [8, 9]);
    assert_eq!(shard.members(u64::MAX, 0), [0; 0]);
    shard.leave(8).unwrap();
    shard.leave(8).unwrap();
    assert_eq!(shard.members(0, 0), [7, 9, u64::MAX]);
    assert_eq!(shard.describe().members, 3);
    for outcome in [shard.join(0), shard.leave(0)] {
        assert_eq!(refused(outcome), (3, "user 0 is not allowed: must be 1 and up".into()));
    }
    shard.check_cost();
}

#[test]
fn presence_is_members_that_are_subscribed() {
    let mut shard = Shard::registered(&[]);
    for user in [5, 6, 7] {
        shard.join(user).unwrap();
    }
    let first = shard.subscribe_as(7, -1).unwrap();
    let second = shard.subscribe_as(7, -1).unwrap();
    shard.subscribe_as(5, -1).unwrap();
    shard.subscribe_as(99, -1).unwrap();
    shard.subscribe(-1);
    assert_eq!(shard.presence(0, 0), [5, 7]);
    assert_eq!(shard.presence(5, 1), [7]);
    shard.inner.unsubscribe(first);
    assert_eq!(shard.presence(0, 0), [5, 7]);
    shard.inner.unsubscribe(second);
    assert_eq!(shard.presence(0, 0), [5]);
    shard.leave(5).unwrap();
    assert_eq!(shard.presence(0, 0), [0; 0]);
}

#[test]
fn posting_can_be_for_members_only() {
    let mut shard = Shard::registered(&[]);
    shard.join(7).unwrap();
    shard.configure(&Settings { members_post: Some(true), ..Settings::default() }).unwrap();
    shard.post(7, "x").unwrap();
    shard.post(0, "the system may").unwrap();
    assert_eq!(refused(shard.post(8, "x")), (7, "only members may post, and user 8 is none".into()));
    shard.subscribe_as(8, -1).unwrap();
    shard.leave(7).unwrap();
    assert_eq!(refused(shard.post(7, "x")).0, 7);
    shard.retain(9).unwrap();
    assert!(shard.describe().members_post, "an absent field changes nothing");
    shard.configure(&Settings { members_post: Some(false), ..Settings::default() }).unwrap();
    assert_eq!(shard.post(7, "x").unwrap().offset, 3, "what was refused left no trace");
}

#[test]
fn subscribing_can_be_for_members_only() {
    let mut shard = Shard::registered(&[]);
    shard.join(7).unwrap();
    let (member, system) = (shard.subscribe_as(7, -1).unwrap(), shard.subscribe(-1));
    let stranger = shard.subscribe_as(8, -1).unwrap();
    shard.configure(&Settings { members_subscribe: Some(true), ..Settings::default() }).unwrap();
    let no_more = Some((7, "only members may subscribe, and this user is none any more".into()));
    assert_eq!(shard.ended(stranger), no_more);
    assert_eq!(
        refused(shard.subscribe_as(8, -1)),
        (7, "only members may subscribe, and user 8 is none".into())
    );
    shard.post(8, "anybody may post").unwrap();
    for channel in [member, system] {
        assert_eq!(shard.offsets(channel), [1]);
    }
    shard.leave(7).unwrap();
    assert_eq!(shard.ended(member), no_more);
    assert_eq!(shard.inner.channels(), [system]);
    assert_eq!(shard.describe().subscribers, 1);
    shard.check_cost();
}
