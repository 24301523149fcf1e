//! What the nodes of a cluster must agree on: who has which name, and how many home rooms there are.

use serde_json::json;

use crate::arena::ping;
use crate::cluster::{Cluster, user_of};
use crate::process::Told;
use crate::world::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_cannot_have_one_name() {
    let mut cluster = Cluster::start().await;
    cluster.add("game-1", "snowflake");
    let dir = tempfile::tempdir().unwrap();
    let mut command = cluster.command("game-1", "snowflake", &dir);
    let anywhere = "127.0.0.1:0";
    command.args(["--grpc-listen", anywhere, "--admin-listen", anywhere]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("node id game-1 is taken by the node at 127.0.0.1:"), "{text}");
    assert!(text.contains("SERVICE_ID"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_host_whose_name_another_process_has_ends_and_plays_for_nobody() {
    let mut cluster = Cluster::two_hosts(&["agent-1"]).await;
    let mut players = Vec::new();
    for number in 0..24 {
        let device = format!("double-{number}");
        players.push((cluster.login("agent-1", &device).await, user_of(&device)));
    }
    cluster.node("game-1").signal("STOP");
    let mut frozen = cluster.take("game-1");
    // One that has a disk of its own; it waits until the lease of the first one is over.
    cluster.change_disks();
    cluster.add("game-1", "game");
    cluster.settled(&["game-1", "game-2"]).await;
    frozen.signal("CONT");
    let status = frozen.ended();
    let said = frozen.lines().join("\n");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another process has its node id, game-1: the one at 127.0.0.1:"), "{said}");
    assert!(said.contains("cannot go on in its cluster"), "{said}");
    assert!(!said.contains("claimed again"), "{said}");
    // The one that has the name has noticed nothing, and each player has one answer.
    cluster.settled(&["game-1", "game-2"]).await;
    for (id, (player, _)) in players.iter_mut().enumerate() {
        ping(player, i32::try_from(id).unwrap()).await;
    }
    assert!(cluster.node("game-1").lines().iter().all(|line| !line.contains("cannot go on")));
}

/// The number of home rooms, as etcd has it.
async fn number(cluster: &Cluster) -> Option<String> {
    let found = cluster.etcd.client().await.get("/test/cluster/home-rooms", None).await.unwrap();
    Some(found.kvs().first()?.value_str().unwrap().to_owned())
}

async fn number_is(cluster: &Cluster, wanted: &str) {
    eventually("the number", async || (number(cluster).await.as_deref() == Some(wanted)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_keep_the_number_of_home_rooms_and_refuse_another() {
    let mut cluster = Cluster::start().await;
    cluster.add_with("game-1", "game", &["--cluster-home-rooms", "8"]);
    number_is(&cluster, "8").await;
    // Etcd loses it; and somebody writes another one.
    cluster.etcd.restart_empty().await;
    number_is(&cluster, "8").await;
    let mut etcd = cluster.etcd.client().await;
    etcd.put("/test/cluster/home-rooms", "256", None).await.unwrap();
    number_is(&cluster, "8").await;
    let said = cluster.node("game-1").lines();
    assert!(said.iter().any(|line| line.contains("the number of home rooms")), "{said:?}");
    // Who says nothing takes it; who says another one does not start.
    cluster.add("agent-1", "agent");
    for device in ["one", "two", "three"] {
        ping(&mut cluster.login("agent-1", device).await, 1).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = cluster.command("game-2", "snowflake", &dir);
    let anywhere = "127.0.0.1:0";
    command.args(["--grpc-listen", anywhere, "--admin-listen", anywhere, "--cluster-home-rooms", "16"]);
    let told = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    Told::from(told).failed(1, &["cluster_home_rooms = 16", "the cluster has 8"]);
    // A node that finds that an older one has another number ends, and says both.
    let older = json!({
        "id": "older", "roles": ["agent"], "grpc": "127.0.0.1:1", "admin": "127.0.0.1:1", "listen": null,
        "version": "0", "link": 1, "started_ms": 0, "draining": false, "sessions": 0, "rooms": 0, "players": 0,
        "plugins": {}, "home_rooms": 16,
    });
    etcd.put("/test/nodes/older", older.to_string(), None).await.unwrap();
    etcd.put("/test/cluster/home-rooms", "16", None).await.unwrap();
    let mut agent = cluster.take("agent-1");
    assert_eq!(agent.ended().code(), Some(1));
    let said = agent.lines().join("\n");
    assert!(said.contains("the cluster has 16 home rooms") && said.contains("started with 8"), "{said}");
}
