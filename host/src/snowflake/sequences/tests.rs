use std::collections::BTreeSet;

use prometheus::Registry;
use tokio::task::JoinSet;

use super::*;
use crate::discovery::Hold;

fn options() -> SequenceOptions {
    SequenceOptions { create: false, waiting: 65_536, timeout: Duration::from_secs(20) }
}

fn sequences(discovery: &Discovery, options: SequenceOptions) -> Sequences {
    let metrics = SnowflakeMetrics::register(&Registry::new()).unwrap();
    Sequences::new(discovery.clone(), options, metrics)
}

async fn table(key: &str, value: &str) -> Discovery {
    let discovery = Discovery::embedded();
    discovery.put(key, value.into(), Hold::Forever).await.unwrap();
    discovery
}

async fn value(discovery: &Discovery, key: &str) -> String {
    let entry = discovery.get(key).await.unwrap().unwrap();
    String::from_utf8(entry.value.to_vec()).unwrap()
}

/// The fifth of the acceptance cases, over two instances.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_number_of_callers_get_exactly_one_to_n() {
    let discovery = table("seqs/userid", "0").await;
    let both = [sequences(&discovery, options()), sequences(&discovery, options())];
    let mut callers = JoinSet::new();
    for caller in 0..200 {
        let sequences = both[caller % 2].clone();
        callers.spawn(async move {
            let mut numbers = Vec::new();
            for _ in 0..50 {
                numbers.push(sequences.next("userid", 1).await.unwrap());
            }
            assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            numbers
        });
    }
    let mut numbers: Vec<_> = callers.join_all().await.concat();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=10_000).collect::<Vec<_>>());
    assert_eq!(value(&discovery, "seqs/userid").await, "10000");
    let swaps = both.iter().map(|sequences| sequences.shared.metrics.swaps.get()).sum::<u64>();
    assert!(swaps < 10_000, "{swaps} writes: nobody shared one");
    assert!(both.iter().all(|sequences| sequences.shared.metrics.waiting.get() == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_and_single_numbers_fill_the_sequence_without_a_gap() {
    let discovery = table("seqs/s", "41").await;
    let sequences = sequences(&discovery, options());
    let mut callers = JoinSet::new();
    for count in 1..=100 {
        let sequences = sequences.clone();
        callers.spawn(async move {
            let first = sequences.next("s", count).await.unwrap();
            first..first + i64::from(count)
        });
    }
    let numbers: BTreeSet<i64> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!((numbers.len(), numbers.first(), numbers.last()), (5050, Some(&42), Some(&5091)));
}

#[tokio::test]
async fn a_sequence_that_is_not_there_is_missing_or_made() {
    let discovery = Discovery::embedded();
    let without = sequences(&discovery, options());
    let error = without.next("new", 1).await.unwrap_err();
    assert_eq!(error, SequenceError::Missing);
    assert_eq!(error.to_string(), "Key not exists, need to create first");
    assert_eq!(discovery.get("seqs/new").await.unwrap(), None);

    let with = sequences(&discovery, SequenceOptions { create: true, ..options() });
    assert_eq!(with.next("new", 3).await.unwrap(), 1);
    assert_eq!(without.next("new", 1).await.unwrap(), 4);
    // Removed by hand, it begins anew: both knew another value.
    let entry = discovery.get("seqs/new").await.unwrap().unwrap();
    assert!(discovery.remove("seqs/new", entry.revision).await.unwrap());
    assert_eq!(without.next("new", 1).await.unwrap_err(), SequenceError::Missing);
    assert_eq!(with.next("new", 1).await.unwrap(), 1);
}

#[tokio::test]
async fn a_value_that_is_no_number_is_named_and_left_alone() {
    let sound = table("seqs/fine", "0").await;
    let sequences = sequences(&sound, options());
    assert_eq!(sequences.next("fine", 1).await.unwrap(), 1);
    for bad in ["", "seven", " 7", "7\n", "9223372036854775808", "1e3"] {
        for key in ["seqs/bad", "seqs/fine"] {
            sound.put(key, bad.into(), Hold::Forever).await.unwrap();
            let error = sequences.next(&key["seqs/".len()..], 1).await.unwrap_err();
            assert_eq!(error, SequenceError::Malformed { key: format!("/{key}"), value: bad.into() });
            assert!(error.to_string().starts_with("malformed value: "), "{error}");
            assert_eq!(value(&sound, key).await, bad);
        }
    }
    sound.put("seqs/bad", vec![0xff; 100], Hold::Forever).await.unwrap();
    assert!(matches!(sequences.next("bad", 1).await, Err(SequenceError::Malformed { .. })));
    // Repaired, it goes on; whatever the original took for a number is one.
    for (good, next) in [("-3", -2), ("+5", 6), ("007", 8)] {
        sound.put("seqs/bad", good.into(), Hold::Forever).await.unwrap();
        assert_eq!(sequences.next("bad", 1).await.unwrap(), next);
    }
}

#[tokio::test]
async fn beyond_64_bits_it_says_so_and_gives_what_fits() {
    let discovery = table("seqs/s", &(i64::MAX - 3).to_string()).await;
    let sequences = sequences(&discovery, options());
    let error = sequences.next("s", 4).await.unwrap_err();
    assert_eq!(error, SequenceError::Full { key: "/seqs/s".into(), value: i64::MAX - 3, count: 4 });
    assert_eq!(sequences.next("s", 3).await.unwrap(), i64::MAX - 2);
    let error = sequences.next("s", 1).await.unwrap_err().to_string();
    assert_eq!(error, "\"/seqs/s\" has reached 9223372036854775807: 1 more do not fit into 64 bits");
}

#[tokio::test]
async fn names_and_counts_have_bounds() {
    let sequences = sequences(&Discovery::embedded(), SequenceOptions { create: true, ..options() });
    let long = "n".repeat(NAME_MAX_BYTES + 1);
    for (name, count) in
        [("", 1), (&*long, 1), ("a/b", 1), ("a\0", 1), ("a\n", 1), ("a", 0), ("a", COUNT_MAX + 1)]
    {
        let error = sequences.next(name, count).await.unwrap_err();
        assert!(matches!(&error, SequenceError::Invalid(text) if text.contains("allowed")), "{error}");
    }
    for name in ["a", &long[1..], "user id", "ж.1-2_3:4"] {
        assert_eq!(sequences.next(name, COUNT_MAX).await.unwrap(), 1, "{name}");
    }
}

#[tokio::test]
async fn more_callers_than_may_wait_are_refused() {
    let discovery = table("seqs/s", "0").await;
    let sequences = sequences(&discovery, SequenceOptions { waiting: 2, ..options() });
    // On one thread nothing is served before all have asked.
    let (a, b, c) = tokio::join!(sequences.next("s", 1), sequences.next("s", 1), sequences.next("s", 1));
    assert_eq!((a, b, c), (Ok(1), Ok(2), Err(SequenceError::Crowded(2))));
    assert_eq!(sequences.next("s", 1).await, Ok(3));
}

#[tokio::test]
async fn who_goes_away_before_it_is_served_takes_no_number() {
    let discovery = table("seqs/s", "0").await;
    let sequences = sequences(&discovery, options());
    for _ in 0..100 {
        let asked = sequences.next("s", 1);
        // Asked once, and dropped.
        let _ = timeout(Duration::ZERO, asked).await;
    }
    // On one thread the worker has not run in between, or only for nobody.
    let first = sequences.next("s", 1).await.unwrap();
    assert!(first <= 101, "{first}");
    assert_eq!(sequences.next("s", 1).await.unwrap(), first + 1);
    assert_eq!(sequences.shared.room.available_permits(), options().waiting);
}

#[tokio::test]
async fn names_nobody_waits_for_are_forgotten() {
    let discovery = Discovery::embedded();
    let sequences = sequences(&discovery, SequenceOptions { create: true, ..options() });
    for name in 0..LANES_MAX + 10 {
        assert_eq!(sequences.next(&name.to_string(), 1).await, Ok(1));
    }
    assert!(sequences.shared.lanes().len() <= LANES_MAX);
    assert_eq!(sequences.next("0", 1).await, Ok(2));
}
