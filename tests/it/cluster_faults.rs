//! What fails in the middle of something: a push while its player moves house, a snowflake that freezes, a coordinator
//! that dies.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hotseat::proto::cluster::players_client::PlayersClient;
use hotseat::proto::cluster::{PushReply, PushRequest};
use hotseat::proto::original::snowflake::NullRequest;
use hotseat::proto::original::snowflake_service_client::SnowflakeServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::arena::ping;
use crate::cluster::Cluster;
use crate::cluster_moves::PUSHED;
use crate::guests::{guests, services};
use crate::process::{Told, channel, hotseat, operate};
use crate::world::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn pushes_find_a_player_whose_room_changes_hosts() {
    let mut cluster = Cluster::two_hosts(&["agent-1"]).await;
    let (mut alice, user) = cluster.player_of("agent-1", "game-1", "alice").await;
    let mut players = PlayersClient::new(channel(cluster.node("game-2").grpc()));
    let done = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&done);
    let pushing = tokio::spawn(async move {
        let mut pushed = 0_u32;
        while !over.load(Ordering::Relaxed) {
            let payload = pushed.to_be_bytes().to_vec().into();
            let reply = players.push(PushRequest { user, opcode: PUSHED.into(), payload }).await;
            // She is connected all the time.
            assert_eq!(reply.unwrap().into_inner(), PushReply { connected: true }, "push {pushed}");
            pushed += 1;
        }
        pushed
    });
    cluster.drain("game-1");
    cluster.settled(&["game-2"]).await;
    cluster.add("game-3", "game");
    cluster.settled(&["game-2", "game-3"]).await;
    done.store(true, Ordering::Relaxed);
    let pushed = pushing.await.unwrap();
    assert!(pushed > 100, "{pushed}");
    for number in 0..pushed {
        assert_eq!(alice.wait_for(PUSHED).await.unwrap(), number.to_be_bytes(), "of {pushed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snowflake_that_freezes_gives_no_id_of_its_heir() {
    let mut cluster = Cluster::start().await;
    let number = ["--machine-id", "7"];
    cluster.add_with("ids-1", "snowflake", &number);
    let mut frozen = SnowflakeServiceClient::new(channel(cluster.node("ids-1").grpc()));
    let mut ids = BTreeSet::new();
    assert!(ids.insert(id_of(&mut frozen).await));
    cluster.node("ids-1").signal("STOP");
    // Asked while it could: it answers when it wakes.
    let late: Vec<_> = (0..50)
        .map(|_| {
            let mut client = frozen.clone();
            tokio::spawn(async move { client.get_uuid(NullRequest {}).await })
        })
        .collect();
    cluster.launch("ids-2", "snowflake", &number);
    cluster.node("ids-2").listens(2);
    let mut heir = SnowflakeServiceClient::new(channel(cluster.node("ids-2").grpc()));
    for _ in 0..1000 {
        assert!(ids.insert(id_of(&mut heir).await));
    }
    cluster.node("ids-1").signal("CONT");
    for late in late {
        let status = late.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    for _ in 0..1000 {
        assert!(ids.insert(id_of(&mut heir).await));
        let status = frozen.get_uuid(NullRequest {}).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    // The number goes back once the heir has gone, and ids go on above the heir's.
    cluster.drain("ids-2");
    let last = *ids.last().unwrap();
    assert!(id_of(&mut frozen).await > last);
}

/// An id, once there is one; all have the machine number 7.
async fn id_of(client: &mut SnowflakeServiceClient<Channel>) -> u64 {
    let got = eventually("an id", async || client.get_uuid(NullRequest {}).await.ok());
    let id = got.await.into_inner().uuid;
    assert_eq!(id >> 12 & 0x3ff, 7, "{id}");
    id
}

/// Whether a node runs a plugin at that version, as `plugin list` says.
pub(crate) async fn runs(admin: &str, label: &str) -> bool {
    operate(admin, &["plugin", "list"]).await.contains(label)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_dies_leaves_hosts_that_agree() {
    let mut cluster = Cluster::two_hosts(&["agent-1"]).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("v2.wasm"), &guests().v2.bytes).unwrap();
    let deploy = |admin: &str| {
        let mut command = hotseat(dir.path());
        command.args(["plugin", "deploy", "game-logic", "v2.wasm", "--cluster", "--admin", admin]);
        command
    };
    let mut alice = cluster.login("agent-1", "alice").await;
    ping(&mut alice, 1).await;
    // One that says nothing for a moment: until then no version goes live.
    cluster.node("game-2").signal("STOP");
    let mut asking =
        deploy(cluster.node("game-1").admin()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(asking.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("game-1: ") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "nothing of game-1");
    }
    cluster.kill("game-1");
    cluster.node("game-2").signal("CONT");
    std::io::copy(&mut said, &mut std::io::sink()).unwrap();
    assert!(!asking.wait().unwrap().success());
    cluster.settled(&["game-2"]).await;
    // Whatever it came to, the next one is none the worse for it; what runs already is no error.
    let admin = cluster.node("game-2").admin().to_owned();
    eventually("a cluster that takes a version", async || {
        let output = deploy(&admin).output().unwrap();
        output.status.success().then_some(())
    })
    .await;
    assert!(runs(&admin, "2.0.0").await);
    cluster.add("game-3", "game");
    let late = cluster.node("game-3").admin().to_owned();
    eventually("version 2", async || runs(&late, "2.0.0").await.then_some(())).await;
    ping(&mut alice, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_take_a_version_for_the_cluster_too() {
    let mut cluster = Cluster::start().await;
    cluster.add("talk-1", "chat,rank");
    cluster.add("talk-2", "chat");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("v2.wasm"), &services().chat_v2.bytes).unwrap();
    let doors = ["talk-1", "talk-2"].map(|node| cluster.node(node).admin().to_owned());
    let told = hotseat(dir.path())
        .args(["plugin", "deploy", "chat", "v2.wasm", "--cluster", "--admin", &doors[0]])
        .output();
    let told = Told::from(told.unwrap());
    for node in ["talk-1: live", "talk-2: live"] {
        assert!(told.err.contains(node), "{}", told.err);
    }
    assert!(told.fine().contains("chat is live"));
    for door in &doors {
        assert!(runs(door, "2.0.0").await, "{door}");
    }
}
