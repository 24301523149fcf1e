//! Operations: what docs/operations.md shows for a cluster, done with other ports.

use std::collections::BTreeMap;
use std::process::Command;

use tempfile::TempDir;

use crate::cluster::settled;
use crate::etcd::{Etcd, free_port};
use crate::guests::{guests, lock, root, services};
use crate::process::{Process, Told, hotseat};

/// The shell lines of a section of the page.
fn lines_of(section: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, rest) = page.split_once(&format!("## {section}\n")).unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    block.lines().map(str::to_owned).collect()
}

/// Its words, with every port replaced by a free one of this run.
fn words(line: &str, ports: &mut BTreeMap<String, u16>) -> Vec<String> {
    let word = |word: &str| match word.strip_prefix("127.0.0.1:") {
        Some(port) => {
            let port = *ports.entry(port.to_owned()).or_insert_with(free_port);
            format!("127.0.0.1:{port}")
        }
        None => word.to_owned(),
    };
    line.trim_end_matches(" &").split_whitespace().skip(1).map(word).collect()
}

fn with_plugins(command: &mut Command, roles: &str, dir: &TempDir) {
    let plugins = [("game", &guests().v1), ("rank", &services().rank), ("chat", &services().chat)];
    for (role, plugin) in plugins {
        if roles.contains(role) {
            let name = if role == "game" { "game-logic" } else { role };
            let file = dir.path().join(format!("{name}.wasm"));
            std::fs::write(&file, &plugin.bytes).unwrap();
            command.arg(format!("--plugin={name}={}", file.display()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_of_the_page_on_operations_comes_up_and_plays() {
    let _turn = tokio::task::spawn_blocking(|| lock("cluster")).await.unwrap();
    let etcd = Etcd::start().await;
    let here = tempfile::tempdir().unwrap();
    let mut ports = BTreeMap::new();
    let mut nodes = Vec::new();
    let (mut asked, mut played) = (false, false);
    for line in lines_of("A cluster by hand") {
        match line.split_whitespace().take(2).collect::<Vec<_>>()[..] {
            ["etcd", "&"] | ["export", "ETCD_HOST=127.0.0.1:2379"] => {}
            ["hotseat", "run"] => {
                let dir = tempfile::tempdir().unwrap();
                let words = words(&line, &mut ports);
                let roles = words[2].clone();
                let mut command = hotseat(here.path());
                command.args(words).env("ETCD_HOST", etcd.addr());
                with_plugins(&mut command, &roles, &dir);
                let doors = if roles.contains("agent") { 3 } else { 2 };
                let mut node = Process::as_given(&mut command, dir);
                node.listens(doors);
                nodes.push(node);
            }
            ["hotseat", "cluster"] => {
                let listed = settled(&etcd, "", &["game-1", "game-2"]);
                listed.await;
                let words = words(&line, &mut ports);
                let told = Told::from(hotseat(here.path()).args(words).output().unwrap()).fine();
                for node in ["game-1", "game-2", "ids-1", "talk-1", "agent-1", "agent-2"] {
                    assert!(told.contains(node), "{told}");
                }
                asked = true;
            }
            ["hotseat", "bots"] => {
                let mut words = words(&line, &mut ports);
                let time = words.iter_mut().find(|word| *word == "30s").unwrap();
                "2s".clone_into(time);
                words.extend(["--clients".into(), "20".into()]);
                Told::from(hotseat(here.path()).args(words).output().unwrap()).fine();
                played = true;
            }
            _ => panic!("docs/operations.md shows {line:?}, which this test does not do"),
        }
    }
    assert!(asked && played && nodes.len() == 6);
}
