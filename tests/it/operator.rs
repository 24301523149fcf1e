//! `hotseat cluster` and `hotseat session`: what an operator sees of a cluster and does to it.

use std::path::Path;

use game_logic::messages::ENTER_ACK;
use hotseat_client::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::arena::{enter, ping};
use crate::guests::guests;
use crate::process::{Told, hotseat};
use crate::world::World;

/// A shell with a node to talk to.
struct Shell {
    dir: TempDir,
    admin: String,
}

impl Shell {
    fn new(world: &World) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), admin: world.admin_addr() }
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
