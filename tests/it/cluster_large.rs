//! Rooms with large states, which other hosts take in pieces or not at all.

use hotseat_client::Client;
use misbehave::{ANSWER, ECHO, FILL, RECALL, STORE};

use crate::cluster::{Cluster, discovery, owner};
use crate::guests::{guests, relabelled};
use crate::process::{Told, hotseat};
use crate::world::eventually;

/// Bytes of the large state: more than a message of gRPC may have had, and more than a manifest allows by
/// itself.
const LARGE: u32 = 70 << 20;

/// Hosts that let a guest work as long as a state of that size takes where nothing is optimised.
const PATIENT: [&str; 2] = ["--plugin-cap", "game-logic.deadline_ms=10000"];

async fn fill(client: &mut Client, bytes: u32) {
    client.send(FILL, &bytes.to_be_bytes()).await.unwrap();
    client.wait_for(FILL + ANSWER).await.unwrap();
}

/// `hotseat cluster drain`, to its end.
async fn drain(cluster: &mut Cluster, node: &str) -> Told {
    let admin = cluster.node(node).admin().to_owned();
    let dir = tempfile::tempdir().unwrap();
    let mut command = hotseat(dir.path());
    command.args(["cluster", "drain", "--admin", &admin]);
    Told::from(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
}

/// Waits until a host has home rooms: another one has heard of it then, and hands them over.
async fn has_rooms(cluster: &Cluster, host: &str) {
    let discovery = discovery(&cluster.etcd, "/test");
    let rooms = discovery.watch("rooms/home/");
    eventually("home rooms of a host", async || {
        rooms.borrow().entries.values().any(|entry| owner(&entry.value) == host).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_room_goes_in_pieces_and_one_that_cannot_go_is_named_and_keeps_none_back() {
    let game = relabelled(&guests().misbehave, |manifest| {
        manifest.limits.memory_mib = 512;
        manifest.limits.snapshot_max_bytes = 256 << 20;
        manifest.limits.deadline_ms = 10_000;
    });
    let mut cluster = Cluster::of(Box::leak(Box::new(game))).await;
    cluster.add_with("game-1", "game", &PATIENT);
    cluster.add_with("game-2", "game", &PATIENT);
    cluster.add("agent-1", "agent");
    cluster.settled(&["game-1", "game-2"]).await;
    let (mut large, _) = cluster.player_of("agent-1", "game-1", "large").await;
    fill(&mut large, LARGE).await;
    let mut small = Vec::new();
    for number in 0..8 {
        let (mut client, user) = cluster.player_of("agent-1", "game-1", &format!("small-{number}")).await;
        client.send(STORE, &user.to_be_bytes()).await.unwrap();
        small.push((client, user));
    }

    let told = drain(&mut cluster, "game-1").await;
    assert!(told.err.contains("handing "), "{}", told.err);
    assert!(told.fine().contains("handed over"));
    cluster.settled(&["game-2"]).await;
    large.send(ECHO, b"here").await.unwrap();
    assert_eq!(large.wait_for(ECHO + ANSWER).await.unwrap(), b"here");

    // A host that takes no room that large, but all the others.
    cluster.add_with("game-3", "game", &[&PATIENT[..], &["--handover-max-bytes", "2097152"]].concat());
    cluster.kill("game-1");
    // A host that game-2 has not heard of yet is no host to it.
    has_rooms(&cluster, "game-3").await;
    let told = drain(&mut cluster, "game-2").await;
    let words = ["1 rooms are open", " stays: game-3: the state of room home/", "takes 2097152 at most"];
    told.failed(1, &words);
    for (client, user) in &mut small {
        client.send(RECALL, &[]).await.unwrap();
        assert_eq!(client.wait_for(RECALL + ANSWER).await.unwrap(), user.to_be_bytes());
        assert_eq!(cluster.host_of(*user).await, "game-3");
    }
    // What stays is played where it is.
    large.send(ECHO, b"still here").await.unwrap();
    assert_eq!(large.wait_for(ECHO + ANSWER).await.unwrap(), b"still here");
}
