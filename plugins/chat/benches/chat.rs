//! What a post costs natively: decoding, filter, encoding, log, and one effect with all channels. The test host copies
//! what is sent; it delivers nothing, because it does not know the streams of a shard that was loaded.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

use chat::{Chat, V1};
use hotseat_guest::testing::{Setup, TestShard};
use hotseat_services::chat::{Consumer, Id, Message, NEW_ONLY, method};
use prost::Message as _;

const ROUNDS: usize = 5;

fn main() {
    let mut out = std::io::stdout().lock();
    let mut line = |text: String| writeln!(out, "{text}").expect("stdout takes a line");
    for (subscribers, posts) in [(0, 200_000), (1, 200_000), (100, 200_000), (10_000, 20_000)] {
        for words in ["", "bad,worse,worst"] {
            let ns = best(subscribers, words, posts);
            let filter = if words.is_empty() { "no filter" } else { "3 words" };
            line(format!(
                "post to {subscribers:>6} subscribers, {filter:>9}: {ns:>7.0} ns, {:>9.0} posts/s",
                1e9 / ns
            ));
        }
    }
    let full = full_shard(1_000);
    let started = Instant::now();
    let snapshot = full.save();
    let saved = started.elapsed();
    let started = Instant::now();
    let loaded = TestShard::<Chat<V1>>::load(&snapshot).expect("loads");
    line(format!(
        "save and load of 1,000 endpoints with 1,024 messages of 32 bytes ({:.1} MiB): {:.0} ms, {:.0} ms",
        snapshot.bytes.len() as f64 / f64::from(1 << 20),
        saved.as_secs_f64() * 1e3,
        started.elapsed().as_secs_f64() * 1e3
    ));
    assert_eq!(black_box(&loaded).state().cost(), full.state().cost());
}

/// Time of one post, in nanoseconds: the best round.
fn best(subscribers: u64, words: &str, posts: u32) -> f64 {
    let mut shard = open();
    shard.call(method::REG, &Id { id: 1 }.encode_to_vec()).expect("registers");
    for channel in 1..=subscribers {
        let consumer = Consumer { id: 1, from: NEW_ONLY, user: channel };
        shard.subscribe(channel, method::SUBSCRIBE, &consumer.encode_to_vec()).expect("subscribes");
    }
    let setup = Setup::new().config("words", words);
    let mut shard: TestShard<Chat<V1>> = setup.load_shard(&shard.save()).expect("loads");
    let body = b"a message of thirty-two bytes...".to_vec();
    let message = Message { id: 1, body, ..Message::default() }.encode_to_vec();
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..posts {
            black_box(shard.call(method::POST, black_box(&message))).expect("is accepted");
            black_box(shard.effects());
        }
        best = best.min(started.elapsed().as_secs_f64() * 1e9 / f64::from(posts));
    }
    best
}

fn full_shard(endpoints: u64) -> TestShard<Chat<V1>> {
    let mut shard = open();
    for id in 1..=endpoints {
        shard.call(method::REG, &Id { id }.encode_to_vec()).expect("registers");
        let message = Message { id, body: vec![b'x'; 32], ..Message::default() }.encode_to_vec();
        for _ in 0..1_024 {
            shard.call(method::SEND, &message).expect("is accepted");
        }
    }
    shard
}

fn open() -> TestShard<Chat<V1>> {
    TestShard::open("chat#0").expect("opens")
}
