//! A cluster at its edges: an etcd that comes late or forgets everything, and keys that no node has written.

use std::time::Duration;

use etcd_client::{Client as EtcdClient, GetOptions as EtcdGetOptions};
use hotseat_client::{Client, ClientError, Login};
use hotseat_packet::code;
use serde_json::json;

use crate::arena::ping;
use crate::cluster::{Cluster, HOMES, home_of, lossless};
use crate::guests::guests;
use crate::world::{PATIENCE, eventually};

/// Lines of a node's log that say this.
fn said(cluster: &mut Cluster, node: &str, words: &str) -> usize {
    cluster.node(node).lines().iter().filter(|line| line.contains(words)).count()
}

async fn put(etcd: &mut EtcdClient, key: &str, value: impl Into<Vec<u8>>) {
    etcd.put(format!("/test/{key}"), value, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_has_forgotten_everything_costs_nobody_anything() {
    let mut cluster = Cluster::two_hosts(&["agent-1"]).await;
    let bots = cluster.bots("agent-1", 60, "--home", 10);
    cluster.playing(60).await;
    cluster.etcd.restart_empty().await;
    cluster.settled(&["game-1", "game-2"]).await;
    cluster.add("game-3", "game");
    cluster.settled(&["game-1", "game-2", "game-3"]).await;
    lossless(&bots.report().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_wait_for_an_etcd_that_comes_late() {
    let mut cluster = Cluster::without_etcd(&guests().v1).await;
    let nodes = ["game-1", "agent-1"];
    cluster.launch("game-1", "game", &[]);
    cluster.launch("agent-1", "agent", &[]);
    for node in nodes {
        cluster.node(node).wait("word of etcd", |node| {
            node.lines().iter().any(|line| line.contains("etcd is away, asking again and again"))
        });
    }
    // Not one of them lets anybody in, and they say so once, however often they ask.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for node in nodes {
        assert!(cluster.node(node).events().iter().all(|event| event["address"].is_null()), "{node}");
        assert_eq!(said(&mut cluster, node, "etcd is away"), 1, "{:?}", cluster.node(node).lines());
    }
    cluster.etcd.restart().await;
    cluster.node("game-1").listens(2);
    cluster.node("agent-1").listens(3);
    cluster.settled(&["game-1"]).await;
    lossless(&cluster.bots("agent-1", 20, "--home", 3).report().await, 20);
    for node in nodes {
        assert_eq!(said(&mut cluster, node, "etcd answers"), 1, "{:?}", cluster.node(node).lines());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_home_rooms_that_is_none_is_refused() {
    let cluster = Cluster::start().await;
    let mut etcd = cluster.etcd.client().await;
    for wrong in ["many", "0", "65537", "-1", ""] {
        put(&mut etcd, "cluster/home-rooms", wrong).await;
        let dir = tempfile::tempdir().unwrap();
        let mut command = cluster.command("game-1", "snowflake", &dir);
        let anywhere = "127.0.0.1:0";
        command.args(["--grpc-listen", anywhere, "--admin-listen", anywhere]);
        let told = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let words = format!("etcd says the cluster has {wrong:?} home rooms, allowed are 1 to 65536");
        crate::process::Told::from(told).failed(1, &[&words]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_node_has_written_disturbs_nobody() {
    let mut cluster = Cluster::start().await;
    let mut etcd = cluster.etcd.client().await;
    let odd = home_of("odd");
    // A claim of nobody, under no lease, and one that is no text.
    put(&mut etcd, &format!("rooms/home/{odd}"), "nobody").await;
    let binary = (0..HOMES).find(|home| *home != odd).unwrap();
    put(&mut etcd, &format!("rooms/home/{binary}"), [0xFF, 0xFE]).await;
    for key in ["rooms/home/x", "rooms/home/999999", "rooms/home/", "nodes/garbage", "backends/chat/x"] {
        put(&mut etcd, key, "\0 garbage").await;
    }
    put(&mut etcd, "nodes/", "{}").await;
    put(&mut etcd, "machine-ids/3", "garbage").await;
    cluster.add("game-1", "game");
    cluster.add("agent-1", "agent");
    let claimed = async |count: usize| {
        let etcd = cluster.etcd.client().await;
        eventually("claims", async || {
            let all = EtcdGetOptions::new().with_prefix();
            let found = etcd.clone().get("/test/rooms/home/", Some(all)).await.unwrap();
            (found.kvs().iter().filter(|claim| claim.value().starts_with(b"game-1/")).count() == count)
                .then_some(())
        })
        .await;
    };
    claimed(HOMES as usize - 2).await;
    let device = (0..).map(|number| format!("bot-{number}"));
    let free = |device: &String| ![odd, binary].contains(&home_of(device));
    let mut players = Vec::new();
    for device in device.filter(free).take(20) {
        players.push(cluster.login("agent-1", &device).await);
    }
    let mut stuck = Client::connect(cluster.agent("agent-1")).await.unwrap().with_timeout(PATIENCE);
    let refused = stuck.login(&Login::device("odd")).await;
    assert!(matches!(refused, Err(ClientError::Refused { code: code::BUSY, .. })), "{refused:?}");
    for (id, player) in players.iter_mut().enumerate() {
        ping(player, i32::try_from(id).unwrap()).await;
    }
    // Once what is wrong is gone, all is well.
    for home in [odd, binary] {
        etcd.delete(format!("/test/rooms/home/{home}"), None).await.unwrap();
    }
    claimed(HOMES as usize).await;
    ping(&mut cluster.login("agent-1", "odd").await, 1).await;
    for node in ["game-1", "agent-1"] {
        assert_eq!(said(&mut cluster, node, "panicked"), 0, "{:?}", cluster.node(node).lines());
        // The log is not filled with it.
        assert!(cluster.node(node).lines().len() < 100, "{:?}", cluster.node(node).lines());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_there_is_given_nothing() {
    let mut cluster = Cluster::start().await;
    cluster.add("game-1", "game");
    cluster.add("agent-1", "agent");
    cluster.settled(&["game-1"]).await;
    let bots = cluster.bots("agent-1", 20, "--home", 4);
    // Half of the rooms are to be its own.
    let ghost = json!({
        "id": "ghost", "roles": ["game"], "grpc": "127.0.0.1:1", "admin": "127.0.0.1:1", "listen": null,
        "version": "0", "link": 1, "started_ms": 0, "draining": false, "sessions": 0, "rooms": 0, "players": 0,
        "plugins": {},
    });
    put(&mut cluster.etcd.client().await, "nodes/ghost", ghost.to_string()).await;
    lossless(&bots.report().await, 20);
    cluster.settled(&["game-1"]).await;
    let told = said(&mut cluster, "game-1", "not handed over");
    // Why is told, and not of each room at each look.
    assert!((1..30).contains(&told), "{told} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_another_secret_gets_to_no_host() {
    let mut cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let secret = |name: &str, letter: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, letter.repeat(40)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (secret("right", "r"), secret("wrong", "w"));
    cluster.add_with("game-1", "game", &["--peer-token-file", &right]);
    cluster.add_with("agent-1", "agent", &["--peer-token-file", &right]);
    cluster.add_with("agent-2", "agent", &["--peer-token-file", &wrong]);
    cluster.settled(&["game-1"]).await;
    let mut stranger = Client::connect(cluster.agent("agent-2")).await.unwrap().with_timeout(PATIENCE);
    let refused = stranger.login(&Login::device("stranger")).await;
    assert!(matches!(refused, Err(ClientError::Refused { code: code::BUSY, .. })), "{refused:?}");
    ping(&mut cluster.login("agent-1", "friend").await, 1).await;
    // The agent has asked a hundred times, and told why it got nowhere, now and then.
    let lines = cluster.node("agent-2").lines();
    let told = lines.iter().filter(|line| line.contains("not this cluster's")).count();
    assert!((1..10).contains(&told), "{told} times: {lines:?}");
    for node in ["game-1", "agent-1", "agent-2"] {
        let lines = cluster.node(node).lines();
        assert!(
            lines.iter().all(|line| !line.contains("wwwwwwww") && !line.contains("rrrrrrrr")),
            "{lines:?}"
        );
        assert!(lines.len() < 100, "{lines:?}");
    }
}
