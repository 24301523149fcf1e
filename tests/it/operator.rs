//! `hotseat cluster` and `hotseat session`: what an operator sees of a cluster and does to it.

use std::path::Path;

use game_logic::messages::ENTER_ACK;
use hotseat::game::Homes;
use hotseat::proto::cluster::PushRequest;
use hotseat::proto::cluster::players_client::PlayersClient;
use hotseat_client::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::arena::{enter, ping};
use crate::cluster::Cluster;
use crate::game_stream::Play;
use crate::guests::guests;
use crate::process::{Told, channel, hotseat};
use crate::world::{World, eventually};

/// A shell with a node to talk to.
struct Shell {
    dir: TempDir,
    admin: String,
}

impl Shell {
    fn new(world: &World) -> Self {
        Self::at(&world.admin_addr())
    }

    fn at(admin: &str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), admin: admin.to_owned() }
    }

    /// `hotseat ARGS`.
    async fn run(&self, args: &[&str]) -> Told {
        let mut command = hotseat(self.dir.path());
        command.args(args).env("HOTSEAT_ADMIN", &self.admin);
        tokio::task::spawn_blocking(move || command.output().unwrap().into()).await.unwrap()
    }

    /// `hotseat ARGS --json`.
    async fn json(&self, args: &[&str]) -> Value {
        let text = self.run(&[args, &["--json"]].concat()).await.fine();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// `hotseat session move`.
    async fn send(&self, user: u64, to: &str) -> Told {
        self.run(&["session", "move", "--user", &user.to_string(), "--to", to]).await
    }
}

/// Sees that it came to an arena by itself.
async fn arrived(client: &mut Client, arena: &str) {
    let ack = client.wait_for(ENTER_ACK).await.unwrap();
    let ack = <game_logic::messages::EnterAck as hotseat_packet::Message>::from_bytes(&ack).unwrap();
    assert_eq!(ack.arena, arena);
}

fn file(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_by_itself_shows_itself() {
    let world = World::start(&guests().v1).await;
    let _alice = world.client("alice").await;
    let shell = Shell::new(&world);
    let told = shell.run(&["cluster", "status"]).await.fine();
    let digest = guests().v1.digest.to_string();
    for word in ["NODE", "agent,game", "by itself", &world.listen(), &digest[..12], " up "] {
        assert!(told.contains(word), "{told:?} does not say {word:?}");
    }
    let status = shell.json(&["cluster", "status"]).await;
    let node = &status["nodes"][0];
    assert_eq!(node["id"], file(world.data_dir(), "node-id"));
    assert_eq!(
        (&status["shared"], &status["fresh"], &status["home_rooms"]),
        (&false.into(), &true.into(), &1.into())
    );
    assert_eq!((&node["players"], &node["rooms"], &node["sessions"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!((&node["homes"], &node["draining"], &node["link"]), (&1.into(), &false.into(), &1.into()));
    assert_eq!(node["grpc"], world.grpc_addr());
    assert_eq!(node["plugins"][0]["digest"], digest);

    shell.run(&["cluster", "drain"]).await.failed(1, &["drain refused", "by itself", "next:"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_is_sent_to_a_room_and_home() {
    let world = World::start(&guests().v1).await;
    let (mut alice, user) = world.player("alice").await;
    let mut bob = world.client("bob").await;
    assert_eq!(enter(&mut bob, "x").await.arena, "x");
    let shell = Shell::new(&world);

    let told = shell.send(user, "arena/x").await.fine();
    assert_eq!(told.trim(), format!("user {user} goes from home/0 to arena/x"));
    arrived(&mut alice, "x").await;
    ping(&mut alice, 1).await;
    let node = file(world.data_dir(), "node-id");
    let reply = shell.json(&["session", "move", "--user", &user.to_string(), "--to", &node]).await;
    assert_eq!((&reply["from"], &reply["to"]), (&"arena/x".into(), &"home/0".into()));
    ping(&mut alice, 2).await;
    shell.send(user, "home").await.failed(1, &["in room home/0 already", "next:"]);

    for (who, to, words) in [
        (user, "arena/none", ["no room arena/none", "next:"]),
        (user, "arena/x@nowhere", ["no node nowhere", "next:"]),
        (user, "", ["no room is named", "next:"]),
        (user + 1, "home", ["is not connected", "next:"]),
        (0, "home", ["user 0 is nobody", "next:"]),
    ] {
        shell.send(who, to).await.failed(1, &words);
    }
    ping(&mut alice, 3).await;
}

fn row<'a>(status: &'a Value, node: &str) -> &'a Value {
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|row| row["id"] == node).unwrap_or_else(|| panic!("no {node} in {status:#}"))
}

/// Users whose home rooms these hosts have, one each.
async fn users_of(cluster: &Cluster, hosts: [&str; 2]) -> [u64; 2] {
    let discovery = cluster.etcd.discovery(3);
    let view = discovery.watch("rooms/home/");
    let homes = Homes::single_node(256);
    eventually("all claims", async || (view.borrow().entries.len() == 256).then_some(())).await;
    let view = view.borrow();
    hosts.map(|host| {
        let owner = |user| view.entries[&format!("rooms/home/{}", homes.of(user))].value.clone();
        (1..1000).find(|user| crate::cluster::owner(&owner(*user)) == host).unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn players_are_reached_and_moved_wherever_they_are() {
    let mut cluster = Cluster::start().await;
    for (name, roles) in [("game-1", "game"), ("game-2", "game"), ("agent-1", "agent")] {
        cluster.add(name, roles);
    }
    cluster.settled(&["game-1", "game-2"]).await;
    let [near, far] = users_of(&cluster, ["game-1", "game-2"]).await;

    // An agent of the original asks the first host for both of them.
    let first = channel(cluster.node("game-1").grpc());
    let mut plays = [Play::of(&first, near).await, Play::of(&first, far).await];
    for play in &mut plays {
        play.lives(1).await;
    }
    // Any node finds both.
    for node in ["game-1", "game-2", "agent-1"] {
        let mut players = PlayersClient::new(channel(cluster.node(node).grpc()));
        for (user, play) in [near, far].into_iter().zip(&mut plays) {
            let push = PushRequest { user, opcode: 2001, payload: node.as_bytes().into() };
            assert!(players.push(push).await.unwrap().into_inner().connected, "{user} from {node}");
            assert_eq!(play.wait_for(2001).await, node.as_bytes());
        }
        let nobody = PushRequest { user: u64::MAX >> 1, opcode: 2001, payload: Vec::new().into() };
        assert!(!players.push(nobody).await.unwrap().into_inner().connected);
    }

    // From whichever node an operator asks: to a room of the other host, on from there, and home.
    let shells = ["agent-1", "game-2", "game-1"].map(|node| Shell::at(cluster.node(node).admin()));
    plays[1].enter("x").await;
    let told = shells[0].send(near, "arena/x@game-2").await.fine();
    assert!(told.contains("to arena/x@game-2"), "{told}");
    plays[0].wait_for(ENTER_ACK).await;
    plays[0].lives(2).await;
    shells[1].send(near, "arena/x").await.failed(1, &["in room arena/x already"]);
    shells[1].send(near, "game-2").await.failed(1, &["ROOM@game-2", "at game-1"]);
    shells[2].send(near, "arena/x@game-3").await.failed(1, &["no node game-3"]);
    shells[2].send(near, "game-1").await.fine();
    plays[0].lives(3).await;
    shells[1].send(far, "home").await.fine();

    // A host is emptied with its players, and takes them again.
    let status = shells[0].json(&["cluster", "status"]).await;
    assert_eq!(
        (&status["shared"], &status["fresh"], &status["unclaimed"]),
        (&true.into(), &true.into(), &0.into())
    );
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(row(&status, "agent-1")["roles"], serde_json::json!(["agent"]));
    let told = shells[2].run(&["cluster", "drain"]).await.fine();
    assert!(told.contains("handed over"), "{told}");
    cluster.settled(&["game-2"]).await;
    let text = shells[0].run(&["cluster", "status"]).await.fine();
    assert!(text.contains("256 home rooms, 0 of them at no host") && text.contains("etcd answers"), "{text}");
    assert_eq!(row(&shells[0].json(&["cluster", "status"]).await, "game-2")["homes"], 256);
    for play in &mut plays {
        play.lives(4).await;
    }
    shells[1].run(&["cluster", "drain"]).await.failed(1, &["no other host takes", "--undo"]);
    for shell in &shells[1..] {
        assert!(shell.run(&["cluster", "drain", "--undo"]).await.fine().contains("takes rooms again"));
    }
    cluster.settled(&["game-1", "game-2"]).await;
    for play in &mut plays {
        play.lives(5).await;
    }
}
