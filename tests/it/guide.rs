//! The five-minute guide: from nothing to one's own rule change, live in a running game.

use std::path::{Path, PathBuf};
use std::process::Command;

use hotseat_client::Client;
use hotseat_packet::Reader;

use crate::guests::guests;
use crate::process::{hotseat, run, tool};
use crate::world::{World, ask};

const ADD: u16 = 1201;
const TOTAL: u16 = 1202;

/// Where the guide's crate is written and built: the same place in every run, so that its dependencies are built
/// once.
fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide")
}

/// A tool of the guide in the new crate's directory, building apart from whatever built this test.
fn at(mut command: Command, dir: &Path) -> Command {
    command.current_dir(dir).env("CARGO_TARGET_DIR", place().join("target")).env_remove("RUSTFLAGS");
    command
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Adds a point; what the player has then.
async fn add(client: &mut Client, points: u8) -> u32 {
    let total = ask(client, ADD, &[points], TOTAL).await;
    let mut reader = Reader::new(&total);
    reader.u64().unwrap();
    reader.u32().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_nothing_to_a_rule_of_ones_own_in_a_running_game() {
    let dir = place().join("my-game");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::create_dir_all(place()).unwrap();
    // hotseat new my-game
    let made = tool(hotseat(&place()).args(["new", "my-game"]));
    assert!(made.contains("wrote my-game") && made.contains("cargo test"), "{made}");
    // cd my-game && cargo test
    let tested = tool(at(cargo(), &dir).arg("test"));
    assert!(tested.contains("the_next_version_keeps_the_points ... ok"), "{tested}");
    // hotseat build
    let built = tool(&mut at(hotseat(&dir), &dir).arg("build"));
    assert!(built.contains("game-logic 0.1.0"), "{built}");
    let file = place().join("target/plugins/game-logic.wasm");

    // A node that has played something else so far takes it, and a player plays it.
    let world = World::start(&guests().v1).await;
    let admin = world.admin_addr();
    let deploy = |what: &'static str| {
        let mut command = at(hotseat(&dir), &dir);
        command.args(["plugin", "--admin", &admin, "deploy", "game-logic"]).arg(&file);
        let told = tool(&mut command);
        assert!(told.contains("game-logic is live"), "{what}: {told}");
    };
    tokio::task::block_in_place(|| deploy("the template"));
    let mut alice = world.client("alice").await;
    assert_eq!(add(&mut alice, 3).await, 3);

    // The rule change: one number.
    let lib = dir.join("src/lib.rs");
    let source = std::fs::read_to_string(&lib).unwrap();
    assert!(source.contains("const FACTOR: u32 = 1;"));
    std::fs::write(&lib, source.replace("const FACTOR: u32 = 1;", "const FACTOR: u32 = 10;")).unwrap();
    tokio::task::block_in_place(|| {
        tool(&mut at(hotseat(&dir), &dir).args(["build", "--version", "0.2.0"]));
        deploy("the change");
    });
    // Same player, same connection, the points still there, the new rule live.
    assert_eq!(add(&mut alice, 3).await, 33);
    assert_eq!(world.live().await, "0.2.0");
}

#[test]
fn a_name_or_place_that_will_not_do_is_refused() {
    run(&["new", "My_Game"]).failed(1, &["\"My_Game\"", "a-z", "next:"]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "").unwrap();
    let path = dir.path().to_str().unwrap();
    run(&["new", "my-game", "--dir", path]).failed(1, &["is not empty", "next:"]);
    run(&["build", path]).failed(1, &["plugin.toml", "next:"]);
}

#[test]
fn a_crate_that_does_not_compile_says_so_with_the_compilers_words() {
    let dir = place().join("broken");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::create_dir_all(place()).unwrap();
    let path = dir.to_str().unwrap();
    run(&["new", "broken", "--dir", path]).fine();
    std::fs::write(dir.join("src/lib.rs"), "hotseat_guest::export!(NoSuchGame);\n").unwrap();
    let told = at(hotseat(&dir), &dir).arg("build").output().unwrap();
    crate::process::Told::from(told).failed(1, &["NoSuchGame", "does not compile", "next:"]);
}
