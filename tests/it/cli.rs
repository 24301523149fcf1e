//! `hotseat plugin` against a running node, and the other commands.

use std::path::PathBuf;
use std::process::Command;

use hotseat_build::Artefact;
use serde_json::Value;
use tempfile::TempDir;

use crate::arena::ping;
use crate::guests::{guests, versioned};
use crate::process::{Told, hotseat, run};
use crate::world::World;

/// A shell in a directory with a few artefacts, and a node to talk to.
struct Shell {
    dir: TempDir,
    admin: String,
}

impl Shell {
    fn new(admin: &str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), admin: admin.to_owned() }
    }

    fn file(&self, name: &str, artefact: &Artefact) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, &artefact.bytes).unwrap();
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = hotseat(self.dir.path());
        command.arg("plugin").args(args).env("HOTSEAT_ADMIN", &self.admin);
        command
    }

    /// `hotseat plugin ARGS`.
    async fn plugin(&self, args: &[&str]) -> Told {
        let mut command = self.command(args);
        tokio::task::spawn_blocking(move || command.output().unwrap().into()).await.unwrap()
    }

    /// `hotseat plugin ARGS --json`.
    async fn json(&self, args: &[&str]) -> Value {
        let text = self.plugin(&[args, &["--json"]].concat()).await.fine();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_lists_deploys_rolls_back_and_looks_back() {
    let world = World::start(&guests().v1).await;
    let mut alice = world.client("alice").await;
    let shell = Shell::new(&world.admin_addr());
    shell.file("v2.wasm", &guests().v2);

    let list = shell.plugin(&["list"]).await.fine();
    let row = list.lines().nth(1).unwrap();
    assert!(list.starts_with("NAME") && row.starts_with("game-logic") && row.contains("1.0.0"), "{list}");

    let deploy = shell.plugin(&["deploy", "game-logic", "v2.wasm"]).await.fine();
    for word in ["game-logic is live", "1.0.0", "2.0.0", "1 swapped, 1 rehearsed", "pause"] {
        assert!(deploy.contains(word), "{deploy:?} does not say {word:?}");
    }
    let again = shell.plugin(&["deploy", "game-logic", "v2.wasm"]).await.fine();
    assert!(again.contains("runs 2.0.0") && again.contains("nothing to do"), "{again}");

    let rollback = shell.plugin(&["rollback", "game-logic"]).await.fine();
    assert!(rollback.contains("2.0.0") && rollback.contains("1.0.0"), "{rollback}");
    ping(&mut alice, 5).await;

    let history = shell.plugin(&["history", "game-logic"]).await.fine();
    let kinds: Vec<_> = history.lines().skip(1).map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    assert!(history.lines().count() == 4, "{history}");
    for kind in ["started", "deployed", "rolled-back"] {
        assert!(history.contains(kind), "{kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_for_machines() {
    let world = World::start(&guests().v1).await;
    let _alice = world.client("alice").await;
    let shell = Shell::new(&world.admin_addr());
    shell.file("v2.wasm", &guests().v2);
    let digest = guests().v2.digest.to_string();

    let deploy = shell.json(&["deploy", "game-logic", "v2.wasm"]).await;
    assert_eq!((&deploy["to"]["digest"], &deploy["unchanged"]), (&digest.clone().into(), &false.into()));
    assert_eq!((&deploy["rooms"], &deploy["from"]["label"]), (&1.into(), &"1.0.0".into()));
    let list = shell.json(&["list"]).await;
    let plugin = &list["plugins"][0];
    assert_eq!((&plugin["live"]["digest"], &plugin["players"]), (&digest.clone().into(), &1.into()));
    assert_eq!(plugin["previous"]["label"], "1.0.0");
    let history = shell.json(&["history", "game-logic"]).await;
    let kinds: Vec<_> = history["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["started", "deployed"]);
    let inspect = shell.json(&["inspect", "v2.wasm"]).await;
    assert_eq!((&inspect["digest"], &inspect["refusal"]), (&digest.into(), &Value::Null));
    let rollback = shell.json(&["rollback", "game-logic"]).await;
    assert_eq!(rollback["to"]["label"], "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_says_why_and_what_to_do() {
    let world = World::start(&guests().v1).await;
    let _alice = world.client("alice").await;
    let shell = Shell::new(&world.admin_addr());
    shell.file("bad-migration.wasm", &guests().bad_migration);
    std::fs::write(shell.dir.path().join("text.wasm"), b"hello").unwrap();

    let table: [(&[&str], &[&str]); 7] = [
        (
            &["deploy", "game-logic", "bad-migration.wasm"],
            &["refused in rehearsal", "broken on purpose", "next:"],
        ),
        (&["deploy", "game-logic", "text.wasm"], &["deploy refused", "not a WebAssembly file", "next:"]),
        (&["deploy", "game-logic", "none.wasm"], &["cannot read none.wasm", "next:"]),
        (&["deploy", "chat", "bad-migration.wasm"], &["game-logic", "chat", "next:"]),
        (&["rollback", "game-logic"], &["no earlier version", "next:"]),
        (&["rollback", "chat"], &["\"chat\"", "hotseat plugin list"]),
        (&["history", "chat"], &["\"chat\"", "hotseat plugin list"]),
    ];
    for (args, words) in table {
        shell.plugin(args).await.failed(1, words);
    }
    assert_eq!(world.live().await, "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_inspected_without_a_node() {
    let shell = Shell::new("127.0.0.1:1");
    shell.file("game.wasm", &versioned(&guests().v1, 8));
    let told = shell.plugin(&["inspect", "game.wasm"]).await.fine();
    for word in ["game-logic", "8.0.0", "tick_hz = 20", "hotseat:plugin/players@0.1.0", "fine"] {
        assert!(told.contains(word), "{told:?} does not say {word:?}");
    }
    std::fs::write(shell.dir.path().join("text.wasm"), b"hello").unwrap();
    shell.plugin(&["inspect", "text.wasm"]).await.failed(1, &["text.wasm is no plugin", "next:"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_there_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let shell = Shell::new(&free);
    shell.file("game.wasm", &guests().v1);
    let commands: [&[&str]; 4] = [
        &["list"],
        &["history", "game-logic"],
        &["rollback", "game-logic"],
        &["deploy", "game-logic", "game.wasm"],
    ];
    for args in commands {
        shell.plugin(args).await.failed(1, &["no node answers at", &free, "next:"]);
    }
    // A client's port is no operator's door.
    let world = World::start(&guests().v1).await;
    let shell = Shell::new(&world.listen());
    shell.plugin(&["list"]).await.failed(1, &[&world.listen(), "next:"]);
}

#[test]
fn the_help_names_every_command_and_setting() {
    let help = run(&["--help"]).fine();
    for command in
        ["run", "plugin", "service", "cluster", "session", "build", "new", "dev", "bots", "demo", "replay"]
    {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {help}");
        assert!(run(&[command, "--help"]).fine().contains("Usage: "), "{command}");
    }
    let help = run(&["run", "--help"]).fine();
    for flag in ["--listen", "--grpc-listen", "--admin-listen", "--data-dir", "--roles", "--plugin", "--auth"]
    {
        assert!(help.contains(flag), "{flag}");
    }
    assert!(run(&["--version"]).fine().starts_with("hotseat "));
}
