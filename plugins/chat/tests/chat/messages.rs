//! Endpoints, offsets, retention, and reading without a stream.

use hotseat_services::chat::{Message, method};
use prost::Message as _;

use crate::support::{RETENTION, Shard, offsets, range, refused};

#[test]
fn endpoints_exist_once_and_unknown_ones_not_at_all() {
    let mut shard = Shard::open();
    let unknown = (5, "id not exists".to_owned());
    assert_eq!(refused(shard.post(0, "x")), unknown);
    assert_eq!(refused(shard.query(1, 2)), unknown);
    assert_eq!(refused(shard.latest(1)), unknown);
    assert_eq!(refused(shard.subscribe_as(0, -1)), unknown);
    assert_eq!(refused(shard.unreg(1)), unknown);
    assert_eq!(refused(shard.join(7)), unknown);
    assert_eq!(refused(shard.leave(7)), unknown);
    assert_eq!(refused(shard.mute(7, 0)), unknown);
    assert_eq!(refused(shard.unmute(7)), unknown);
    assert_eq!(refused(shard.retain(7)), unknown);
    shard.reg(1).unwrap();
    assert_eq!(refused(shard.reg(1)), (6, "id already exists".into()));
    shard.reg(u64::MAX).unwrap();
    shard.reg(0).unwrap();
    shard.check_cost();
}

#[test]
fn messages_are_numbered_and_stamped() {
    let mut shard = Shard::registered(&[]);
    let now = shard.inner.now_ms();
    let message = Message { id: 1, body: b"hi".into(), offset: 99, sender: 7, time_ms: 1 };
    shard.send(&message).unwrap();
    shard.inner.advance(5);
    let posted = shard.post(0, [0xff, 0]).unwrap();
    assert_eq!((posted.offset, posted.time_ms), (2, now + 5));
    shard.post(0, "").unwrap();
    let list = shard.query(1, 3).unwrap();
    assert_eq!(list.messages[0], Message { offset: 1, time_ms: now, ..message });
    assert_eq!(list.messages[1].body, [0xff, 0]);
    assert_eq!(list.messages[2], Message { id: 1, offset: 3, time_ms: now + 5, ..Message::default() });
    assert!(!list.cut);
}

#[test]
fn a_range_has_both_its_ends() {
    let mut shard = Shard::registered(&[]);
    assert_eq!(offsets(&shard.query(1, 10).unwrap()), [0; 0]);
    shard.fill(10);
    assert_eq!(offsets(&shard.query(2, 5).unwrap()), [2, 3, 4, 5]);
    assert_eq!(offsets(&shard.query(5, 5).unwrap()), [5]);
    assert_eq!(offsets(&shard.query(5, 2).unwrap()), [0; 0]);
    assert_eq!(offsets(&shard.query(-5, 2).unwrap()), [1, 2]);
    assert_eq!(offsets(&shard.query(9, 200).unwrap()), [9, 10]);
    assert_eq!(offsets(&shard.query(11, 200).unwrap()), [0; 0]);
    assert_eq!(offsets(&shard.query(i64::MIN, i64::MAX).unwrap()), range(1, 10));
}

#[test]
fn the_latest_come_oldest_first() {
    let mut shard = Shard::registered(&[]);
    assert_eq!(offsets(&shard.latest(5).unwrap()), [0; 0]);
    shard.fill(10);
    assert_eq!(offsets(&shard.latest(3).unwrap()), [8, 9, 10]);
    assert_eq!(offsets(&shard.latest(i64::MAX).unwrap()), range(1, 10));
    for length in [0, -1, i64::MIN] {
        assert_eq!(offsets(&shard.latest(length).unwrap()), [0; 0]);
    }
}

#[test]
fn retention_is_exact_and_moves_no_offset() {
    let mut shard = Shard::registered(&[]);
    shard.fill(RETENTION as usize);
    assert_eq!(offsets(&shard.query(1, i64::MAX).unwrap()), range(1, RETENTION));
    shard.fill(1);
    assert_eq!(offsets(&shard.query(1, i64::MAX).unwrap()), range(2, RETENTION + 1));
    let described = shard.describe();
    assert_eq!((described.first_offset, described.next_offset), (2, RETENTION + 2));
    assert_eq!(described.retention, RETENTION as u32);
    shard.check_cost();
}

#[test]
fn an_endpoint_can_have_its_own_retention() {
    let mut shard = Shard::registered(&[("retention", "4"), ("max_retention", "6")]);
    shard.fill(10);
    assert_eq!(offsets(&shard.latest(100).unwrap()), range(7, 10));
    shard.retain(6).unwrap();
    shard.fill(1);
    assert_eq!(offsets(&shard.latest(100).unwrap()), range(7, 11));
    shard.fill(2);
    assert_eq!(offsets(&shard.latest(100).unwrap()), range(8, 13));
    shard.retain(1).unwrap();
    assert_eq!(offsets(&shard.latest(100).unwrap()), [13]);
    shard.fill(1);
    assert_eq!(offsets(&shard.latest(100).unwrap()), [14]);
    shard.retain(0).unwrap();
    shard.fill(9);
    assert_eq!(offsets(&shard.latest(100).unwrap()), range(20, 23));
    assert_eq!(refused(shard.retain(7)).0, 3);
    shard.check_cost();
}

#[test]
fn an_answer_has_at_most_a_mebibyte() {
    let mut shard = Shard::registered(&[]);
    for _ in 0..40 {
        shard.post(0, vec![b'x'; 65_000]).unwrap();
    }
    let from_first = shard.query(1, 40).unwrap();
    assert_eq!((offsets(&from_first), from_first.cut), (range(1, 16), true));
    let newest = shard.latest(40).unwrap();
    assert_eq!((offsets(&newest), newest.cut), (range(25, 40), true));
    assert!(!shard.query(17, 30).unwrap().cut);
    assert!(from_first.encoded_len() <= 1 << 20 && newest.encoded_len() <= 1 << 20);
}

#[test]
fn an_endpoint_that_is_registered_again_is_a_new_one() {
    let mut shard = Shard::registered(&[]);
    shard.join(7).unwrap();
    shard.fill(3);
    shard.unreg(1).unwrap();
    shard.check_cost();
    shard.reg(1).unwrap();
    assert_eq!(shard.members(0, 0), [0; 0]);
    assert_eq!(shard.post(0, "x").unwrap().offset, 1);
}

#[test]
fn requests_that_do_not_decode_name_the_field_and_change_nothing() {
    let mut shard = Shard::registered(&[]);
    let before = shard.inner.save();
    let calls = [
        method::REG,
        method::UNREG,
        method::SEND,
        method::POST,
        method::JOIN,
        method::LEAVE,
        method::CONFIGURE,
        method::MUTE,
        method::UNMUTE,
    ];
    for method in calls {
        let (status, text) = refused(shard.inner.call(method, b"\x0a\xff"));
        assert_eq!(status, 13, "{method}: {text}");
        assert!(text.starts_with("the request does not decode: "), "{text}");
    }
    for method in [method::QUERY, method::LATEST, method::MEMBERS, method::PRESENCE, method::DESCRIBE] {
        assert_eq!(refused(shard.inner.query(method, b"\x08")).0, 13, "{method}");
    }
    assert_eq!(refused(shard.inner.subscribe(1, method::SUBSCRIBE, b"\x08")).0, 13);
    assert_eq!(refused(shard.inner.subscribe(2, method::SEND, b"")).0, 12);
    assert_eq!(refused(shard.inner.call(method::QUERY, b"")).0, 12);
    assert_eq!(refused(shard.inner.query("proto.ChatService/No", b"")).0, 12);
    assert_eq!(shard.inner.save().bytes, before.bytes);
}
