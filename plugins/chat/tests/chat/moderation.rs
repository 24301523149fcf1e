//! Mutes, the rate limit, the word filter.

use crate::support::{Shard, refused};

#[test]
fn a_mute_ends_at_its_time() {
    let mut shard = Shard::registered(&[]);
    let until = shard.inner.now_ms() + 100;
    shard.mute(7, until).unwrap();
    assert_eq!(refused(shard.post(7, "x")), (7, format!("user 7 is muted until {until} ms since 1970")));
    shard.post(8, "x").unwrap();
    assert_eq!(shard.describe().muted, 1);
    shard.inner.advance(100);
    assert_eq!(shard.describe().muted, 0);
    shard.post(7, "x").unwrap();
    shard.check_cost();
}

#[test]
fn a_mute_without_end_is_lifted() {
    let mut shard = Shard::registered(&[]);
    shard.mute(7, 0).unwrap();
    shard.inner.advance(1_000_000_000);
    assert_eq!(refused(shard.post(7, "x")), (7, "user 7 is muted".into()));
    shard.unmute(7).unwrap();
    shard.unmute(7).unwrap();
    shard.post(7, "x").unwrap();
    shard.check_cost();
}

#[test]
fn a_mute_is_for_a_user_and_from_now_on() {
    let mut shard = Shard::registered(&[]);
    let now = shard.inner.now_ms();
    assert_eq!(
        refused(shard.mute(7, now)),
        (3, format!("until {now} ms is not allowed: must be 0 or above {now}"))
    );
    assert_eq!(refused(shard.mute(0, 0)).0, 3);
    assert_eq!(refused(shard.unmute(0)).0, 3);
}

#[test]
fn a_sender_that_is_too_fast_has_to_wait() {
    let mut shard = Shard::registered(&[("messages_per_minute", "30"), ("burst", "2")]);
    shard.post(7, "x").unwrap();
    shard.post(7, "x").unwrap();
    let refusal = (8, "user 7 posts more than 30 messages a minute: wait for 2000 ms".into());
    assert_eq!(refused(shard.post(7, "x")), refusal);
    assert_eq!(refused(shard.post(7, "x")), refusal, "what is refused costs no token");
    shard.post(8, "x").unwrap();
    shard.fill(100);
    shard.inner.advance(2_000);
    assert_eq!(shard.post(7, "x").unwrap().offset, 104);
    assert_eq!(refused(shard.post(7, "x")), refusal);
    let mut shard = shard.swap::<chat::V1>().unwrap();
    assert_eq!(refused(shard.post(7, "x")), refusal, "buckets are part of the state");
}

#[test]
fn listed_words_are_masked_for_everybody() {
    let mut shard = Shard::registered(&[("words", "fuck,\n傻瓜")]);
    let channel = shard.subscribe(-1);
    shard.post(0, "Fuck you，fuck you sisters!").unwrap();
    shard.post(7, "傻瓜").unwrap();
    shard.post(7, b"fuck \xff").unwrap();
    let texts: Vec<Vec<u8>> = shard.got(channel).into_iter().map(|message| message.body).collect();
    assert_eq!(texts[0], "**** you，**** you sisters!".as_bytes());
    assert_eq!(texts[1], b"**");
    assert_eq!(texts[2], b"fuck \xff", "what is no text passes");
    let kept: Vec<Vec<u8>> =
        shard.latest(9).unwrap().messages.into_iter().map(|message| message.body).collect();
    assert_eq!(kept, texts);
}
