//! Other languages: the examples of `docs/other-languages.md` are built by their own tools, packed, played and swapped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hotseat_client::{Client, Login};
use hotseat_packet::opcode::CLIENT_ERROR_ACK;
use hotseat_packet::{ErrorInfo, Message as _};
use tempfile::TempDir;

use crate::guests::root;
use crate::process::{Process, Told, hotseat, operate, run};

const ADD: u16 = 2001;
const TOTAL: u16 = 2002;
const FAIL: u16 = 2003;

/// Where `cargo xtask test` installs the tools.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("languages")
}

/// A copy of an example with the contract beside it, as an author has it.
fn example(language: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(root().join("examples").join(language)).unwrap().flatten() {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    Told::from(hotseat(dir.path()).args(["wit", "-o", "wit"]).output().unwrap()).fine();
    assert!(dir.path().join("wit/game-logic.wit").is_file());
    let modules = tools().join("javascript/node_modules");
    std::os::unix::fs::symlink(modules, dir.path().join("node_modules")).unwrap();
    dir
}

/// A command with the tools in its path.
fn with_tools(dir: &Path) -> Command {
    let mut command = hotseat(dir);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", tools().join("python/bin").display()));
    command
}

#[track_caller]
fn fine(command: &mut Command) -> String {
    let told = Told::from(command.output().unwrap());
    assert_eq!(told.code, Some(0), "needs the tools that `cargo xtask test` installs: {}", told.err);
    told.out
}

async fn totals(client: &mut Client, add: u8, total: &str) {
    client.send(ADD, &[add]).await.unwrap();
    assert_eq!(client.wait_for(TOTAL).await.unwrap(), total.as_bytes());
}

async fn refused(client: &mut Client, op: u16, code: i32) {
    client.send(op, b"").await.unwrap();
    let info = ErrorInfo::from_bytes(&client.wait_for(CLIENT_ERROR_ACK).await.unwrap()).unwrap();
    assert_eq!(info.code, code, "{}", info.msg);
}

/// Builds, plays, fails, swaps; `thrown` is what the log has of the failure.
async fn plays(language: &str, thrown: &[&str]) {
    let dir = example(language);
    let begun = Instant::now();
    fine(with_tools(dir.path()).arg("build"));
    eprintln!("{language}: built in {:?}", begun.elapsed());
    let file = dir.path().join("target/plugins/game-logic.wasm");
    let told = run(&["plugin", "inspect", file.to_str().unwrap()]).fine();
    assert!(told.contains("verdict   fine"), "{told}");

    let (begun, data) = (Instant::now(), tempfile::tempdir().unwrap());
    let mut command = hotseat(data.path());
    command.arg("run").arg(format!("--plugin=game-logic={}", file.display()));
    let mut node = Process::launched(&mut command, data);
    node.listens(3);
    eprintln!("{language}: started in {:?}", begun.elapsed());
    let mut client = Client::connect(node.clients()).await.unwrap().with_timeout(Duration::from_secs(20));
    client.login(&Login::device("alice")).await.unwrap();
    totals(&mut client, 5, "5").await;
    refused(&mut client, ADD, 1000).await;
    refused(&mut client, 2004, 1001).await;
    // The host's own code for a guest that failed; the state is that of before.
    refused(&mut client, FAIL, 16).await;
    totals(&mut client, 2, "7").await;
    node.wait("the error's text", |node| {
        let lines = node.lines();
        let has = |line: &String| line.contains("\"ERROR\"") && thrown.iter().all(|word| line.contains(word));
        lines.iter().any(has)
    });

    // The same component under another manifest: packed by hand, and swapped in under the player.
    let manifest = std::fs::read_to_string(dir.path().join("plugin.toml")).unwrap();
    let next = dir.path().join("next.toml");
    std::fs::write(&next, manifest.replace("1.0.0", "2.0.0")).unwrap();
    let (game, packed) = (dir.path().join("target/game.wasm"), dir.path().join("next.wasm"));
    let [game, next, packed] = [game, next, packed].map(|path| path.display().to_string());
    run(&["plugin", "pack", &game, "--manifest", &next, "-o", &packed]).fine();
    let told = operate(node.admin(), &["plugin", "deploy", "game-logic", &packed]).await;
    assert!(told.contains("2.0.0"), "{told}");
    totals(&mut client, 3, "10").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_game_in_c() {
    plays("c", &["nonsense"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_game_in_javascript() {
    plays("javascript", &["TypeError", "game.js"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_game_in_python() {
    plays("python", &["KeyError", "nonsense", "game.py"]).await;
}

#[test]
fn what_cannot_be_packed_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("x.wasm");
    std::fs::write(&module, wat::parse_str("(module (memory (export \"memory\") 1))").unwrap()).unwrap();
    let manifest = root().join("examples/c/plugin.toml");
    let (module, manifest) = (module.to_str().unwrap(), manifest.to_str().unwrap());
    run(&["plugin", "pack", module, "--manifest", manifest])
        .failed(1, &["cannot be packed", "lifecycle@0.1.0", "function `open`"]);
    let nothing = run(&["plugin", "pack", module, "--manifest", "/nowhere/plugin.toml"]);
    nothing.failed(1, &["cannot be packed", "/nowhere/plugin.toml"]);
}
