//! Ids and sequences of a cluster: `proto.SnowflakeService` over TCP, on a real etcd.

use std::collections::BTreeSet;
use std::time::Duration;

use hotseat::discovery::{Discovery, Hold};
use hotseat::proto::original::snowflake::{Count, Key, Keys, NullRequest};
use hotseat::proto::original::snowflake_service_client::SnowflakeServiceClient;
use hotseat::proto::original::snowflake_service_server::SnowflakeServiceServer;
use hotseat::snowflake::{Clock, Parts, SequenceOptions, Snowflake, SnowflakeError};
use prometheus::Registry;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};

use crate::etcd::{Etcd, Way, options};
use crate::world::{PATIENCE, eventually};

type Client = SnowflakeServiceClient<Channel>;

/// A lease this short, so that tests do not wait for its end for long; seconds.
const TTL_S: u64 = 2;
const DEADLINE: Duration = Duration::from_millis(700);

/// One snowflake of a cluster, and its door.
struct Node {
    snowflake: Snowflake,
    discovery: Discovery,
    client: Client,
    dir: TempDir,
    _door: JoinSet<()>,
}

struct Wanted {
    name: &'static str,
    machine_id: Option<u32>,
    create: bool,
    deadline: Duration,
}

const ANY: Wanted = Wanted { name: "flake-1", machine_id: None, create: false, deadline: PATIENCE };

impl Node {
    /// One that may not have a number yet.
    async fn begin(discovery: Discovery, wanted: Wanted, dir: TempDir) -> Self {
        let sequences = SequenceOptions { create: wanted.create, waiting: 10_000, timeout: wanted.deadline };
        let snowflake = Snowflake::begin(Parts {
            discovery: discovery.clone(),
            node_id: wanted.name.to_owned(),
            data_dir: dir.path().to_owned(),
            machine_id: wanted.machine_id,
            patience: Duration::from_millis(500),
            sequences,
            clock: Clock::System,
            registry: &Registry::new(),
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = SnowflakeServiceServer::new(snowflake.service());
        let mut door = JoinSet::new();
        door.spawn(async move {
            let server = Server::builder().add_service(service);
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        let client = Client::new(Channel::from_shared(url).unwrap().connect().await.unwrap());
        Self { snowflake, discovery, client, dir, _door: door }
    }

    /// One that has a number.
    async fn start(etcd: &Etcd, wanted: Wanted) -> Self {
        let node = Self::begin(etcd.discovery(TTL_S), wanted, tempfile::tempdir().unwrap()).await;
        node.held().await;
        node
    }

    async fn held(&self) {
        eventually("machine number", async || self.snowflake.held().await.ok()).await;
    }

    async fn next(&self, name: &str) -> Result<i64, Status> {
        next(self.client.clone(), name).await
    }

    async fn id(&self) -> Result<u64, Status> {
        Ok(self.client.clone().get_uuid(NullRequest {}).await?.into_inner().uuid)
    }

    async fn put(&self, key: &str, value: &str) {
        self.discovery.put(key, value.into(), Hold::Forever).await.unwrap();
    }
}

async fn next(mut client: Client, name: &str) -> Result<i64, Status> {
    Ok(client.next(Key { name: name.to_owned() }).await?.into_inner().value)
}

/// `callers` of each node ask `each` times.
async fn ask(nodes: &[&Node], name: &'static str, callers: usize, each: usize) -> Vec<i64> {
    let mut asking = JoinSet::new();
    for client in nodes.iter().flat_map(|node| std::iter::repeat_n(&node.client, callers)) {
        let client = client.clone();
        asking.spawn(async move {
            let mut numbers = Vec::new();
            for _ in 0..each {
                let end = Instant::now() + PATIENCE;
                numbers.push(loop {
                    match next(client.clone(), name).await {
                        Ok(number) => break number,
                        // Etcd on a busy machine may be late; then it is asked again.
                        Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
                    }
                    assert!(Instant::now() < end, "no number");
                });
            }
            assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            numbers
        });
    }
    asking.join_all().await.concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_two_nodes_get_exactly_one_to_n() {
    let etcd = Etcd::start().await;
    let a = Node::start(&etcd, Wanted { create: true, ..ANY }).await;
    let b = Node::start(&etcd, Wanted { name: "flake-2", create: true, ..ANY }).await;
    a.put("seqs/userid", "0").await;
    for name in ["userid", "made-on-demand"] {
        let mut numbers = ask(&[&a, &b], name, 40, 20).await;
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=1600).collect::<Vec<_>>(), "{name}");
    }
    // The original's shape: decimal text, so that other tools read it.
    let mut client = etcd.client().await;
    let kept = client.get("/test/seqs/userid", None).await.unwrap();
    assert_eq!(kept.kvs()[0].value(), b"1600");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_two_nodes_are_told_apart_by_the_machine() {
    let etcd = Etcd::start().await;
    let a = Node::start(&etcd, ANY).await;
    let b = Node::start(&etcd, Wanted { name: "flake-2", ..ANY }).await;
    let c = Node::start(&etcd, Wanted { name: "flake-3", machine_id: Some(1023), ..ANY }).await;
    let now_ms = hotseat::snowflake::now_ms();
    let mut all = BTreeSet::new();
    for (node, machine) in [(&a, 0), (&b, 1), (&c, 1023)] {
        let one = node.id().await.unwrap();
        let many = node.client.clone().get_uui_ds(Count { count: 4096 }).await.unwrap().into_inner().uuids;
        assert!(one < many[0] && many.is_sorted_by(|a, b| a < b));
        for id in many.into_iter().chain([one]) {
            assert_eq!((id >> 63, id >> 12 & 1023), (0, machine));
            assert!((id >> 22).abs_diff(now_ms) < 10_000, "{} is not near {now_ms}", id >> 22);
            assert!(all.insert(id));
        }
    }
    for count in [0, 4097] {
        let refused = a.client.clone().get_uui_ds(Count { count }).await.unwrap_err();
        assert_eq!((refused.code(), refused.message().contains("1 to 4096")), (Code::InvalidArgument, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_sequence_is_told_apart() {
    let etcd = Etcd::start().await;
    let node = Node::start(&etcd, ANY).await;
    let missing = node.next("nobody-made-it").await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(missing.message(), "Key not exists, need to create first");

    node.put("seqs/odd", "12 monkeys").await;
    let malformed = node.next("odd").await.unwrap_err();
    assert_eq!(malformed.code(), Code::FailedPrecondition);
    let text = "malformed value: \"/test/seqs/odd\" is \"12 monkeys\", no whole number";
    assert_eq!(malformed.message(), text);

    for bad in ["", "a/b", "a\n", &"n".repeat(257)] {
        assert_eq!(node.next(bad).await.unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
    }
    node.put("seqs/full", &(i64::MAX - 1).to_string()).await;
    assert_eq!(node.next("full").await.unwrap(), i64::MAX);
    assert_eq!(node.next("full").await.unwrap_err().code(), Code::OutOfRange);

    node.put("seqs/batch", "10").await;
    let batch = async |count| {
        let keys = Keys { name: "batch".into(), count };
        node.client.clone().next_batch(keys).await.map(|values| values.into_inner())
    };
    let values = batch(65_536).await.unwrap();
    assert_eq!((values.first, values.count), (11, 65_536));
    assert_eq!(batch(1).await.unwrap().first, 65_547);
    for count in [0, 65_537] {
        assert_eq!(batch(count).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_etcd_is_unavailable_within_the_deadline_and_gives_no_number_twice() {
    let etcd = Etcd::start().await;
    let a = Node::start(&etcd, Wanted { deadline: DEADLINE, ..ANY }).await;
    let b = Node::start(&etcd, Wanted { name: "flake-2", deadline: DEADLINE, ..ANY }).await;
    a.put("seqs/s", "0").await;
    let mut numbers = ask(&[&a, &b], "s", 8, 10).await;
    // Callers in the middle of it: some swaps are under way when etcd stops, with an outcome that nobody knows.
    let mut asking = JoinSet::new();
    for client in [&a, &b].into_iter().flat_map(|node| std::iter::repeat_n(&node.client, 8)) {
        let client = client.clone();
        asking.spawn(async move {
            let mut numbers = Vec::new();
            loop {
                let asked = Instant::now();
                match next(client.clone(), "s").await {
                    Ok(number) => numbers.push(number),
                    Err(status) => {
                        assert_eq!(status.code(), Code::Unavailable, "{status}");
                        return (numbers, asked.elapsed());
                    }
                }
            }
        });
    }
    etcd.freeze();
    for (given, took) in asking.join_all().await {
        numbers.extend(given);
        assert!(took >= DEADLINE && took < DEADLINE + Duration::from_secs(5), "{took:?}");
    }
    etcd.thaw();
    numbers.extend(ask(&[&a, &b], "s", 8, 10).await);
    let distinct: BTreeSet<_> = numbers.iter().collect();
    assert_eq!(distinct.len(), numbers.len());
    assert!(*distinct.first().copied().unwrap() >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_at_the_start_calls_are_unavailable_until_it_is_there() {
    let mut etcd = Etcd::stopped();
    let node = Node::begin(
        etcd.discovery(TTL_S),
        Wanted { deadline: DEADLINE, ..ANY },
        tempfile::tempdir().unwrap(),
    )
    .await;
    assert_eq!(node.id().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(node.next("s").await.unwrap_err().code(), Code::Unavailable);
    etcd.restart().await;
    node.held().await;
    node.id().await.unwrap();
    node.put("seqs/s", "6").await;
    assert_eq!(eventually("number", async || node.next("s").await.ok()).await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_told_to_have_one_number_do_not() {
    let etcd = Etcd::start().await;
    let first = Node::start(&etcd, Wanted { machine_id: Some(7), ..ANY }).await;
    let wanted = Wanted { name: "flake-2", machine_id: Some(7), ..ANY };
    let second = Node::begin(etcd.discovery(TTL_S), wanted, tempfile::tempdir().unwrap()).await;
    let error = second.snowflake.held().await.unwrap_err();
    assert!(matches!(&error, SnowflakeError::Taken { number: 7, holder } if holder == "flake-1"), "{error}");
    let refused = second.id().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("flake-1"), "{refused}");
    // Once the first one ends, it is free.
    let last = first.id().await.unwrap();
    first.snowflake.close().await;
    second.held().await;
    assert!(second.id().await.unwrap() > last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cut_off_stops_before_another_has_its_number() {
    let etcd = Etcd::start().await;
    let way = Way::to(&etcd).await;
    let discovery = Discovery::etcd(options(&way.url(), TTL_S)).unwrap();
    let cut_off = Node::begin(discovery, Wanted { machine_id: Some(7), ..ANY }, tempfile::tempdir().unwrap());
    let cut_off = cut_off.await;
    cut_off.held().await;
    let wanted = Wanted { name: "flake-2", machine_id: Some(7), ..ANY };
    let heir = Node::begin(etcd.discovery(TTL_S), wanted, tempfile::tempdir().unwrap()).await;
    assert!(heir.snowflake.held().await.is_err());

    way.cut();
    let mut last = 0;
    let refused = eventually("refusal", async || match cut_off.id().await {
        Ok(id) => {
            assert!(id > last);
            last = id;
            None
        }
        Err(status) => Some(status),
    })
    .await;
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(heir.id().await.is_err(), "both have the number");
    heir.held().await;
    let inherited = heir.id().await.unwrap();
    assert!(inherited > last);
    // Rooms of the node that is cut off go on with what was secured for them, and nobody else gets that.
    let rooms: Vec<_> =
        cut_off.snowflake.ids().generator().reserve_for_guests(4096 * 1000).unwrap().collect();
    assert!(rooms[0] > last);
    assert!(rooms[rooms.len() - 1] < inherited);
    assert!(cut_off.id().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_was_away_and_comes_back_empty_costs_no_id_twice() {
    let mut etcd = Etcd::start().await;
    let a = Node::start(&etcd, ANY).await;
    let b = Node::start(&etcd, Wanted { name: "flake-2", ..ANY }).await;
    let before = [a.id().await.unwrap(), b.id().await.unwrap()];
    etcd.restart_empty().await;
    for (node, before) in [(&a, before[0]), (&b, before[1])] {
        let after = eventually("id", async || node.id().await.ok()).await;
        assert!(after > before);
    }
    let etcd_client = etcd.client().await;
    for number in [0, 1] {
        let key = format!("/test/machine-marks/{number}");
        let mut client = etcd_client.clone();
        eventually("mark", async || (client.get(&*key, None).await.unwrap().count() == 1).then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_again_has_its_number_again_and_goes_on_above() {
    let etcd = Etcd::start().await;
    let other = Node::start(&etcd, ANY).await;
    let node = Node::start(&etcd, Wanted { name: "flake-2", ..ANY }).await;
    assert_eq!((other.snowflake.machine(), node.snowflake.machine()), (Some(0), Some(1)));
    let last = node.id().await.unwrap();
    let Node { snowflake, discovery, dir, .. } = node;
    other.snowflake.close().await;
    snowflake.close().await;
    discovery.close().await;
    let node = Node::begin(etcd.discovery(TTL_S), Wanted { name: "flake-2", ..ANY }, dir).await;
    node.held().await;
    assert_eq!(node.snowflake.machine(), Some(1));
    assert!(node.id().await.unwrap() > last);
    assert!(node.dir.path().join(hotseat::snowflake::FILE).is_file());
}
