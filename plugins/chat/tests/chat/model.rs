//! One endpoint against the simplest model there is: a list of all that was ever posted.

use std::collections::BTreeMap;

use chat::{V1, V2};
use proptest::prelude::*;

use crate::support::{Shard, offsets, range};

const RETENTION: i64 = 8;

#[derive(Debug, Clone)]
enum Step {
    /// So many messages of so many bytes each.
    Post {
        count: usize,
        bytes: usize,
    },
    /// From an offset relative to the next one.
    Subscribe {
        back: i64,
    },
    NewOnly,
    /// Which of the open streams.
    Unsubscribe(prop::sample::Index),
    Reload,
    Advance(u64),
    Query {
        from: i64,
        length: i64,
    },
    Latest(i64),
    Retain(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..6_usize, prop_oneof![Just(0), 1..100_usize, 100_000..250_000_usize])
            .prop_map(|(count, bytes)| Step::Post { count, bytes }),
        3 => (-3..12_i64).prop_map(|back| Step::Subscribe { back }),
        1 => Just(Step::NewOnly),
        2 => any::<prop::sample::Index>().prop_map(Step::Unsubscribe),
        1 => Just(Step::Reload),
        2 => (0..25_u64).prop_map(Step::Advance),
        1 => (-2..40_i64, -1..10_i64).prop_map(|(from, length)| Step::Query { from, length }),
        1 => (-1..12_i64).prop_map(Step::Latest),
        1 => (5..12_u32).prop_map(Step::Retain),
    ]
}

/// What a stream should have got so far, and what it has.
struct Stream {
    from: i64,
    got: Vec<i64>,
}

/// The model: everything ever posted, and what is kept of it.
struct Run {
    shard: Shard,
    /// Length of each body, by offset from 1.
    posted: Vec<usize>,
    first: i64,
    retention: i64,
    streams: BTreeMap<u64, Stream>,
    /// Whether retention was ever lowered: that may end a lagging stream, nothing else may.
    lowered: bool,
}

impl Run {
    fn new() -> Self {
        let retention = RETENTION.to_string();
        let shard = Shard::registered(&[("retention", &retention), ("max_body_bytes", "262144")]);
        Self {
            shard,
            posted: Vec::new(),
            first: 1,
            retention: RETENTION,
            streams: BTreeMap::new(),
            lowered: false,
        }
    }

    fn next(&self) -> i64 {
        self.posted.len() as i64 + 1
    }

    fn drop_old(&mut self) {
        self.first = self.first.max(self.next() - self.retention);
    }

    fn subscribe(&mut self, from: i64) {
        let channel = self.shard.subscribe(from);
        let next = self.next();
        let from = if from == -1 { next } else { from.clamp(self.first, next) };
        self.streams.insert(channel, Stream { from, got: Vec::new() });
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Post { count, bytes } => {
                for _ in 0..count {
                    let posted = self.shard.post(0, vec![b'x'; bytes]).unwrap();
                    assert_eq!(posted.offset, self.next());
                    self.posted.push(bytes);
                    self.drop_old();
                }
            }
            Step::Subscribe { back } => self.subscribe(self.next() - back),
            Step::NewOnly => self.subscribe(-1),
            Step::Unsubscribe(which) if !self.streams.is_empty() => {
                self.collect();
                let channel = *which.get(&self.streams.keys().copied().collect::<Vec<_>>());
                let stream = self.streams.remove(&channel).unwrap();
                self.check(&stream, false);
                if self.shard.ended(channel).is_none() {
                    self.shard.inner.unsubscribe(channel);
                }
            }
            Step::Unsubscribe(_) => {}
            Step::Reload => {
                let shard = std::mem::replace(&mut self.shard, Shard::open());
                self.shard = shard.swap::<V1>().unwrap();
                self.shard.check_cost();
            }
            Step::Advance(ms) => self.shard.inner.advance(ms),
            Step::Query { from, length } => {
                let (to, expected) = (from + length, from.max(self.first));
                let list = self.shard.query(from, to).unwrap();
                let expected = range(expected, to.min(self.next() - 1));
                assert_eq!(offsets(&list), expected[..list.messages.len()]);
                assert!(list.cut || list.messages.len() == expected.len());
            }
            Step::Latest(length) => {
                let list = self.shard.latest(length).unwrap();
                let expected = range(self.first.max(self.next() - length.max(0)), self.next() - 1);
                assert_eq!(offsets(&list), expected[expected.len() - list.messages.len()..]);
                assert!(list.cut || list.messages.len() == expected.len());
            }
            Step::Retain(retention) => {
                self.shard.retain(retention).unwrap();
                self.lowered |= i64::from(retention) < self.retention;
                self.retention = retention.into();
                self.drop_old();
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        for (channel, stream) in &mut self.streams {
            for message in self.shard.got(*channel) {
                assert_eq!(self.posted[message.offset as usize - 1], message.body.len());
                stream.got.push(message.offset);
            }
        }
    }

    /// A stream got what it asked for, in order: all of it, or at least nothing else.
    fn check(&self, stream: &Stream, complete: bool) {
        let expected = range(stream.from, self.next() - 1);
        assert_eq!(stream.got, expected[..stream.got.len().min(expected.len())]);
        assert!(!complete || stream.got.len() == expected.len(), "{} of {expected:?}", stream.got.len());
    }

    fn finish(&mut self) {
        self.shard.inner.advance(10_000);
        self.collect();
        for (channel, stream) in &self.streams {
            let ended = self.shard.ended(*channel);
            assert!(ended.is_none() || self.lowered, "{ended:?}");
            self.check(stream, ended.is_none());
        }
        let described = self.shard.describe();
        assert_eq!((described.first_offset, described.next_offset), (self.first, self.next()));
        let before = self.shard.latest(100).unwrap();
        let shard = std::mem::replace(&mut self.shard, Shard::open()).swap::<V2>().unwrap();
        assert_eq!(shard.latest(100).unwrap(), before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_stream_sees_exactly_its_sequence(steps in prop::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
        }
        run.finish();
    }
}
