//! Who is found, by what stands in the table.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::discovery::Hold;

const PATIENCE: Duration = Duration::from_secs(20);

type Fixed = BTreeMap<String, Vec<String>>;

fn backends(discovery: &Discovery, fixed: &Fixed, allowed: Option<&[&str]>) -> Backends {
    let allowed = allowed.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Backends::new(discovery, fixed, allowed, Dialer::default()).unwrap()
}

async fn put(table: &Discovery, key: &str, value: &str) -> u64 {
    table.put(key, value.into(), Hold::Lease).await.unwrap()
}

/// Waits until a service has these ids.
async fn has(backends: &Backends, service: &str, ids: &[&str]) -> Arc<[Backend]> {
    let mut all = backends.subscribe(service);
    let wanted = all.wait_for(|all| all.iter().map(|backend| &*backend.id).eq(ids.iter().copied()));
    let found = timeout(PATIENCE, wanted).await.unwrap_or_else(|_| panic!("not {ids:?}")).unwrap();
    Arc::clone(&found)
}

#[tokio::test]
async fn each_has_its_turn_and_a_static_table_counts_too() {
    let table = Discovery::embedded();
    let fixed: Fixed =
        [("rank".to_owned(), vec!["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:1".to_owned()])].into();
    let backends = backends(&table, &fixed, None);
    assert_eq!(&*backends.pick("rank").unwrap().addr, "http://127.0.0.1:1");
    assert!(backends.pick("chat").is_none());
    put(&table, "backends/rank/a", "10.0.0.1:1").await;
    put(&table, "backends/rank/b", "[::1]:1").await;
    has(&backends, "rank", &["a", "b", "http://127.0.0.1:1"]).await;
    let mut turns: Vec<_> = (0..300).map(|_| backends.pick("rank").unwrap().id).collect();
    turns.sort();
    let counts: Vec<_> = turns.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    assert_eq!(counts, [100, 100, 100]);
    assert_eq!(&*backends.by_id("rank", "b").unwrap().addr, "[::1]:1");
    assert!(backends.by_id("rank", "c").is_none());
}

#[tokio::test]
async fn changes_are_followed_and_what_is_the_same_is_no_change() {
    let table = Discovery::embedded();
    let backends = backends(&table, &Fixed::new(), None);
    let mut all = backends.subscribe("rank");
    assert!(all.borrow_and_update().is_empty());
    put(&table, "backends/rank/a", "h:1").await;
    let first = has(&backends, "rank", &["a"]).await;
    all.borrow_and_update();
    for _ in 0..10 {
        put(&table, "backends/rank/a", "h:1").await;
    }
    put(&table, "backends/chat/z", "h:9").await;
    has(&backends, "chat", &["z"]).await;
    assert!(!all.has_changed().unwrap(), "the same ten times");
    assert!(Arc::ptr_eq(&first[0].addr, &backends.by_id("rank", "a").unwrap().addr));
    let changed = put(&table, "backends/rank/a", "h:2").await;
    timeout(PATIENCE, all.wait_for(|all| all.len() == 1 && &*all[0].addr == "h:2")).await.unwrap().unwrap();
    assert!(table.remove("backends/rank/a", changed).await.unwrap());
    has(&backends, "rank", &[]).await;
    assert!(backends.pick("rank").is_none());
}

#[tokio::test]
async fn what_is_malformed_or_not_allowed_is_left_out() {
    let table = Discovery::embedded();
    let backends = backends(&table, &Fixed::new(), Some(&["rank"]));
    for (id, value) in [
        ("a", ""),
        ("b", "host"),
        ("c", "host:"),
        ("d", "host:0"),
        ("e", "host:65536"),
        ("f", "http://host:1"),
        ("g", "host:1/x"),
        ("h", "u@host:1"),
        ("i", "[::1:1"),
        ("j", ":1"),
        ("k", "ho st:1"),
        ("l", "host:+1"),
        ("x/y", "host:1"),
    ] {
        put(&table, &format!("backends/rank/{id}"), value).await;
    }
    table.put("backends/rank/m", vec![0xff, b':', b'1'], Hold::Lease).await.unwrap();
    put(&table, "backends/rank", "host:1").await;
    put(&table, "backends//n", "host:1").await;
    put(&table, "backends/chat/a", "host:1").await;
    put(&table, "backends/rank/zz", "host:1").await;
    has(&backends, "rank", &["zz"]).await;
    assert!(backends.pick("chat").is_none());
    // One that is mended is taken.
    put(&table, "backends/rank/a", "host:2").await;
    has(&backends, "rank", &["a", "zz"]).await;
}

#[tokio::test]
async fn a_static_address_that_is_none_is_told() {
    let fixed: Fixed = [("rank".to_owned(), vec!["http://[".to_owned()])].into();
    let error = Backends::new(&Discovery::embedded(), &fixed, None, Dialer::default()).unwrap_err();
    assert_eq!(error.service, "rank");
}
