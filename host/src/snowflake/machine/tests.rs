use std::path::Path;

use prometheus::Registry;
use tempfile::TempDir;
use tokio::time::sleep;

use super::super::{Clock, FILE, FakeClock, SequenceOptions};
use super::super::{IdsError, Parts, Snowflake, SnowflakeError};
use super::*;

const NOW: u64 = 1_700_000_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

fn parts<'a>(discovery: &Discovery, node: &str, dir: &Path, registry: &'a Registry) -> Parts<'a> {
    Parts {
        discovery: discovery.clone(),
        node_id: node.to_owned(),
        data_dir: dir.to_owned(),
        machine_id: None,
        patience: Duration::from_millis(50),
        sequences: SequenceOptions { create: false, waiting: 10, timeout: PATIENCE },
        clock: Clock::System,
        registry,
    }
}

/// A node's ids, with a clock to tell.
struct Node {
    snowflake: Snowflake,
    clock: Arc<FakeClock>,
    dir: TempDir,
}

impl Node {
    async fn start(discovery: &Discovery, node: &str, wall_ms: u64) -> Self {
        Self::again(discovery, node, wall_ms, tempfile::tempdir().unwrap()).await
    }

    async fn again(discovery: &Discovery, node: &str, wall_ms: u64, dir: TempDir) -> Self {
        let (registry, clock) = (Registry::new(), FakeClock::at(wall_ms));
        let parts = parts(discovery, node, dir.path(), &registry);
        let parts = Parts { clock: Clock::FakeClock(Arc::clone(&clock)), ..parts };
        let snowflake = super::super::start(parts).await.unwrap();
        Self { snowflake, clock, dir }
    }

    fn id(&self) -> u64 {
        self.snowflake.ids().reserve(1).unwrap().first()
    }
}

async fn eventually<T>(what: &str, mut seen: impl AsyncFnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            match seen().await {
                Some(seen) => return seen,
                None => sleep(Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("no {what}"))
}

async fn mark(discovery: &Discovery, number: u16) -> Option<u64> {
    let entry = discovery.get(&format!("{MARKS}{number}")).await.unwrap()?;
    Some(Mark::read(&entry.value).unwrap().mark_ms)
}

async fn set_mark(discovery: &Discovery, number: u16, mark_ms: u64) {
    let mark = Mark { mark_ms, node: "somebody".to_owned(), process: 1 };
    discovery.put(&format!("{MARKS}{number}"), mark.bytes(), Hold::Forever).await.unwrap();
}

#[tokio::test]
async fn each_node_takes_the_lowest_free_number_and_the_one_it_had_again() {
    let table = Discovery::embedded();
    let [a, b] = [Node::start(&table, "a", NOW).await, Node::start(&table, "b", NOW).await];
    assert_eq!((a.snowflake.machine(), b.snowflake.machine()), (Some(0), Some(1)));
    assert_eq!((a.id() >> 12 & 1023, b.id() >> 12 & 1023), (0, 1));
    let Node { snowflake, dir, .. } = b;
    snowflake.close().await;
    a.snowflake.close().await;
    assert_eq!(table.get("machine-ids/0").await.unwrap(), None);
    let b = Node::again(&table, "b", NOW, dir).await;
    assert_eq!(b.snowflake.machine(), Some(1));
}

#[tokio::test]
async fn of_two_nodes_with_one_number_the_second_says_who_has_it_and_waits() {
    let (table, dir, registry) = (Discovery::embedded(), tempfile::tempdir().unwrap(), Registry::new());
    let first = Node::start(&table, "game-1", NOW).await;
    let second =
        Snowflake::begin(Parts { machine_id: Some(0), ..parts(&table, "game-2", dir.path(), &registry) });
    let second = second.unwrap();
    let error = second.held().await.unwrap_err();
    assert!(matches!(&error, SnowflakeError::Taken { number: 0, holder } if holder == "game-1"), "{error}");
    assert_eq!(error.to_string(), "machine number 0 (machine_id, 0 to 1023) is held by node \"game-1\"");
    let Err(IdsError::NoMachine(why)) = second.ids().reserve(1) else { panic!("it has no number") };
    assert!(why.contains("game-1"), "{why}");
    assert!(second.ids().generator().reserve_for_guests(1).is_err());

    let last = first.id();
    first.snowflake.close().await;
    eventually("number", async || second.held().await.ok()).await;
    assert!(second.ids().reserve(1).unwrap().first() > last);
}

#[tokio::test]
async fn numbers_the_format_does_not_have_are_refused() {
    let (table, registry) = (Discovery::embedded(), Registry::new());
    let parts = Parts { machine_id: Some(1024), ..parts(&table, "a", Path::new("."), &registry) };
    assert!(matches!(Snowflake::begin(parts), Err(SnowflakeError::Number(1024))));
}

#[tokio::test]
async fn after_a_crash_ids_go_on_above_the_mark_though_the_clock_is_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for (crash, wall_ms) in [NOW, NOW - 5000, NOW - 3_600_000, NOW].into_iter().enumerate() {
        let table = Discovery::embedded_at(&dir.path().join("table")).unwrap();
        let node =
            Node::again(&table, "a", wall_ms, TempDir::with_prefix_in("node", dir.path()).unwrap()).await;
        let ids: Vec<_> = node.snowflake.ids().reserve(10_000).unwrap().collect();
        assert!(ids[0] > last && ids.is_sorted(), "crash {crash}: {} after {last}", ids[0]);
        last = ids[9999];
        // Nothing is given back.
        drop(node);
    }
    // Crash after crash the mark keeps its distance of the clock, but for a few seconds.
    assert!(last >> 22 < NOW + LEAD_MS + 4 * RESERVE_MS, "{}", (last >> 22) - NOW);
}

#[tokio::test]
async fn at_an_orderly_end_the_mark_comes_down_to_the_last_id() {
    let table = Discovery::embedded();
    let node = Node::start(&table, "a", NOW).await;
    let last = node.id();
    assert_eq!(mark(&table, 0).await, Some(NOW + LEAD_MS));
    let ids = Arc::clone(node.snowflake.ids());
    node.snowflake.close().await;
    assert_eq!(mark(&table, 0).await, Some(NOW + 1));
    assert!(ids.reserve(1).is_err());
    assert!(ids.generator().reserve_for_guests(1).is_err());
    let node = Node::again(&table, "a", NOW - 5000, node.dir).await;
    assert_eq!(node.id() >> 22, NOW + 1);
    assert!(node.id() > last);
}

#[tokio::test]
async fn another_holder_begins_above_the_mark() {
    let table = Discovery::embedded();
    set_mark(&table, 0, NOW + 7_200_000).await;
    let node = Node::start(&table, "b", NOW - 3_600_000).await;
    assert_eq!(node.id() >> 22, NOW + 7_200_000);
    assert!(mark(&table, 0).await > Some(NOW + 7_200_000));
}

#[tokio::test]
async fn the_own_memory_counts_when_the_table_has_forgotten() {
    let node = Node::start(&Discovery::embedded(), "a", NOW).await;
    let last = node.id();
    let dir = node.dir;
    drop(node.snowflake);
    assert!(dir.path().join(FILE).is_file());
    let node = Node::again(&Discovery::embedded(), "a", NOW - 5000, dir).await;
    assert!(node.id() > last);
    // A number that somebody else may have had, as far as such a table knows: begun beyond what may be issued of it.
    let forgetful = Discovery::embedded();
    forgetful.create("machine-ids/0", b"?".to_vec(), Hold::Lease).await.unwrap();
    let dir = node.dir;
    drop(node.snowflake);
    let node = Node::again(&forgetful, "a", NOW, dir).await;
    assert_eq!((node.snowflake.machine(), node.id() >> 22), (Some(1), NOW + LEAD_MS));
}

#[tokio::test]
async fn a_malformed_mark_is_named_and_its_number_left_out() {
    let table = Discovery::embedded();
    for (number, bad) in
        ["yesterday", r#"{"mark_ms":2199023255552,"node":"a","process":1}"#, "{}"].iter().enumerate()
    {
        table.put(&format!("{MARKS}{number}"), (*bad).into(), Hold::Forever).await.unwrap();
    }
    let node = Node::start(&table, "a", NOW).await;
    assert_eq!(node.snowflake.machine(), Some(3));

    let (dir, registry) = (tempfile::tempdir().unwrap(), Registry::new());
    let parts = Parts { machine_id: Some(0), ..parts(&table, "b", dir.path(), &registry) };
    let error = super::super::start(parts).await.unwrap_err();
    assert_eq!(error.to_string(), "entry \"/machine-marks/0\" is malformed: \"yesterday\" is no mark");
}

#[tokio::test]
async fn a_lost_lease_stops_callers_at_once_and_guests_go_on_with_what_is_secured() {
    let table = Discovery::embedded();
    let node = Node::start(&table, "a", NOW).await;
    let last = node.id();
    table.close().await;
    let error = node.snowflake.ids().reserve(1).unwrap_err();
    assert_eq!(error, IdsError::NoMachine("the lease is lost".to_owned()));
    assert_eq!(error.to_string(), "no machine number is held: the lease is lost");
    eventually("loss", async || node.snowflake.machine().is_none().then_some(())).await;
    node.clock.pass(3_600_000);
    let guests: Vec<_> = node.snowflake.ids().generator().reserve_for_guests(10_000).unwrap().collect();
    assert!(guests[0] > last);
    assert!(guests[9999] >> 22 < mark(&table, 0).await.unwrap());
}

#[tokio::test]
async fn a_claim_taken_away_by_hand_is_lost_and_claimed_again() {
    let table = Discovery::embedded();
    let node = Node::start(&table, "a", NOW).await;
    let last = node.id();
    let claim = table.get("machine-ids/0").await.unwrap().unwrap();
    table.replace("machine-ids/0", claim.revision, b"mine".to_vec(), Hold::Lease).await.unwrap();
    eventually("another number", async || (node.snowflake.machine() == Some(1)).then_some(())).await;
    let next = node.id();
    assert!(next > last);
    assert_eq!(next >> 12 & 1023, 1);
}

#[tokio::test]
async fn a_mark_changed_by_somebody_else_costs_the_number_and_no_id() {
    let table = Discovery::embedded();
    let node = Node::start(&table, "a", NOW).await;
    let last = node.id();
    set_mark(&table, 0, NOW + 1_000_000).await;
    node.clock.pass(10_000);
    eventually("loss", async || (node.snowflake.ids().metrics().lost.get() == 1).then_some(())).await;
    let next = eventually("an id", async || node.snowflake.ids().reserve(1).ok()).await.first();
    assert!(next > last);
    assert_eq!((next >> 12 & 1023, next >> 22), (0, NOW + 1_000_000));
}

#[tokio::test]
async fn the_mark_moves_on_with_the_clock_and_with_the_ids() {
    let table = Discovery::embedded();
    let node = Node::start(&table, "a", NOW).await;
    node.clock.pass(60_000);
    // Beyond the mark there is nothing, until it has moved.
    let next = node.snowflake.ids().take(1).await.unwrap().first();
    assert_eq!(next >> 22, NOW + 60_000);
    assert_eq!(mark(&table, 0).await, Some(NOW + 60_000 + LEAD_MS));
    // Guests may run ahead of the clock up to the mark, and it moves before they are there.
    let generator = node.snowflake.ids().generator();
    generator.reserve_for_guests(4096 * 14_000).unwrap();
    eventually("a higher mark", async || {
        (mark(&table, 0).await > Some(NOW + 60_000 + LEAD_MS)).then_some(())
    })
    .await;
}
