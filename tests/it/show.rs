//! `hotseat bots` and `hotseat demo`: what visitors see.

use std::path::Path;

use serde_json::Value;

use crate::guests::guests;
use crate::process::{Told, hotseat, run};
use crate::world::World;

/// A command run apart from the runtime of a node in this process.
async fn apart(args: &[&str]) -> Told {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let told = move || run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(told).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_play_and_report() {
    let world = World::start(&guests().v1).await;
    let listen = world.listen();
    let common = ["bots", "--agent", &listen, "--clients", "10", "--duration", "1s", "--ramp", "100ms"];
    let told = apart(&common).await.fine();
    assert!(told.contains("10") && !told.is_empty(), "{told}");
    for how in [&["--home"][..], &["--ping-only", "--rate", "0"], &["--heartbeat"]] {
        let told = apart(&[&common, how, &["--json"]].concat()).await.fine();
        let report: Value = serde_json::from_str(&told).unwrap();
        assert!(report.is_object(), "{report}");
    }
    world.counted("hotseat_agent_sessions", 0).await;
    world.counted("hotseat_players", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_that_get_no_answer_say_so() {
    // Version 3.0.0 traps on every 50th ping, and there is nothing to go back to.
    let world = World::start(&guests().trapping).await;
    let listen = world.listen();
    let args =
        ["bots", "--agent", &listen, "--clients", "2", "--duration", "1s", "--ping-only", "--rate", "0"];
    let told = apart(&args).await;
    assert_eq!(told.code, Some(1), "{}\n{}", told.out, told.err);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let told = apart(&["bots", "--agent", &free, "--clients", "1", "--duration", "1s"]).await;
    assert_eq!(told.code, Some(1), "{}\n{}", told.out, told.err);
    apart(&["bots", "--agent", "192.0.2.1:8888"]).await.failed(1, &["192.0.2.1:8888", "--allow-remote"]);
}

/// The four reference plugins, as `cargo xtask build` leaves them.
fn plugins(dir: &Path) {
    let guests = guests();
    for (name, artefact) in [
        ("game-logic", &guests.v1),
        ("game-logic-v2", &guests.v2),
        ("game-logic-trapping", &guests.trapping),
        ("game-logic-bad-migration", &guests.bad_migration),
    ] {
        std::fs::write(dir.join(name).with_extension("wasm"), &artefact.bytes).unwrap();
    }
}

#[test]
fn the_demo_tells_its_story_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    plugins(dir.path());
    let mut command = hotseat(dir.path());
    command.args([
        "demo",
        "--clients",
        "20",
        "--seconds-per-step",
        "1",
        "--plugins",
        ".",
        "--json",
        "r.json",
    ]);
    let told = Told::from(command.output().unwrap()).fine();
    for word in
        ["v4 refused", "v2 again", "20  of 20", "lost", "duplicated", "out of order", "longest gap", "PASSED"]
    {
        assert!(told.contains(word), "{told:?} does not say {word:?}");
    }
    let report = std::fs::read_to_string(dir.path().join("r.json")).unwrap();
    assert!(serde_json::from_str::<Value>(&report).unwrap().is_object());
}

#[test]
fn a_demo_without_plugins_says_what_to_build() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = hotseat(dir.path());
    command.args(["demo", "--plugins", "."]);
    Told::from(command.output().unwrap()).failed(1, &["game-logic", "next:"]);
}
