//! The five-minute guide: from nothing to one's own rule change, live in a running game.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hotseat_client::Client;
use hotseat_packet::Reader;

use crate::guests::{guests, lock, root};
use crate::process::{Process, hotseat, run, tool};
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

/// `hotseat dev .` in one terminal, `cargo run --example play` in another, and a rule changed between them.
fn dev(dir: &Path) {
    let mut command = at(hotseat(dir), dir);
    let mut dev = Process::of(command.args(["dev", "."]), tempfile::tempdir().unwrap());
    let mut player = at(cargo(), dir)
        .args(["run", "--example", "play", "--", dev.clients(), "guide"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(player.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("playing as user "));
    // "user U has M points, everyone together T": each adds one.
    let mut points = || {
        let line = lines.next().unwrap();
        line.split(' ')
            .nth(3)
            .and_then(|points| points.parse::<u32>().ok())
            .unwrap_or_else(|| panic!("{line}"))
    };
    assert_eq!((points(), points()), (1, 2));
    set_factor(dir, 1, 10);
    dev.wait("swap", |dev| dev.lines().iter().any(|line| line.starts_with("swapped 1 room")));
    // From the first that is counted by the new rule on, ten times; none is lost on the way.
    let (mut last, mut tens) = (2, 0);
    while tens < 2 {
        let now = points();
        assert!([1, 10].contains(&(now - last)) && (tens == 0 || now - last == 10), "{now} after {last}");
        tens += u32::from(now - last == 10);
        last = now;
    }
    set_factor(dir, 10, 1);
    player.kill().unwrap();
    player.wait().unwrap();
    dev.signal("INT");
    assert_eq!(dev.ended().code(), Some(0));
}

fn set_factor(dir: &Path, from: u32, to: u32) {
    let lib = dir.join("src/lib.rs");
    let source = std::fs::read_to_string(&lib).unwrap();
    let line = |factor| format!("const FACTOR: u32 = {factor};");
    assert!(source.contains(&line(from)));
    std::fs::write(&lib, source.replace(&line(from), &line(to))).unwrap();
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
    let _lock = tokio::task::block_in_place(|| lock("guide.lock"));
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
    dev(&dir);
    // hotseat build
    let built = tool(at(hotseat(&dir), &dir).arg("build"));
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
    set_factor(&dir, 1, 10);
    tokio::task::block_in_place(|| {
        tool(at(hotseat(&dir), &dir).args(["build", "--version", "0.2.0"]));
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
    let _lock = lock("guide.lock");
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

/// Commands of the README that CI runs.
const BY_CI: [&str; 3] = ["cargo xtask demo", "cargo xtask test", "cargo xtask build"];

/// Commands of the README that the tests here run, in a directory and with addresses of their own.
const BY_TESTS: [&str; 14] = [
    "etcd",
    "export ETCD_HOST=127.0.0.1:2379",
    "export PATH=\"$PWD/target/release:$PATH\"",
    "hotseat new my-game",
    "cd my-game",
    "cargo test",
    "hotseat dev .",
    "cargo run --example play",
    "hotseat build",
    "hotseat plugin deploy game-logic target/plugins/game-logic.wasm",
    "hotseat plugin history game-logic",
    "hotseat plugin rollback game-logic",
    "hotseat plugin list",
    "hotseat plugin inspect target/plugins/game-logic.wasm",
];

#[test]
fn every_command_of_the_readme_is_run_by_a_test() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let mut seen = 0;
    for line in blocks.flat_map(str::lines) {
        let command = line.split(" #").next().unwrap().trim().trim_end_matches(" &");
        seen += 1;
        if BY_CI.contains(&command) || BY_TESTS.contains(&command) || command.is_empty() {
            continue;
        }
        let Some(args) = command.strip_prefix("hotseat ") else {
            panic!("README.md shows {command:?}, which no test runs");
        };
        // Settings and options are checked as they stand, short of binding those addresses.
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret.key"), "a secret of thirty-two bytes or more").unwrap();
        let short = if args.starts_with("run") { "--print-config" } else { "--help" };
        let args = args.split(' ').filter(|arg| *arg != short).chain([short]);
        crate::process::Told::from(hotseat(dir.path()).args(args).output().unwrap()).fine();
    }
    assert!(seen > 10, "{seen}");
}
