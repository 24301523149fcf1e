//! Operations: what docs/operations.md shows for a cluster, done with other ports.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::cluster::{playing, settled, user_of};
use crate::etcd::{Etcd, free_port};
use crate::guests::{guests, lock, root, services};
use crate::process::{Process, Told, hotseat, signal};

/// The shell lines of a section of the page, without what is said about them.
fn lines_of(section: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, rest) = page.split_once(&format!("## {section}\n")).unwrap();
    let (section, _) = rest.split_once("\n### ").unwrap();
    let blocks = section.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let line = |line: &str| line.split(" #").next().unwrap().trim().to_owned();
    blocks.flat_map(str::lines).map(line).collect()
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
    let plugins = here.path().join("target/plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::write(plugins.join("game-logic-v2.wasm"), &guests().v2.bytes).unwrap();
    let mut ports = BTreeMap::new();
    let (mut nodes, mut bots, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines_of("A cluster by hand") {
        let command = line.split_whitespace().take(2).collect::<Vec<_>>();
        if let ["etcd", "&"] | ["export", "ETCD_HOST=127.0.0.1:2379"] = command[..] {
            continue;
        }
        let mut words = words(&line, &mut ports);
        let mut hotseat = hotseat(here.path());
        match command[..] {
            ["hotseat", "run"] => {
                let (roles, dir) = (words[2].clone(), tempfile::tempdir().unwrap());
                hotseat.args(words).env("ETCD_HOST", etcd.addr());
                with_plugins(&mut hotseat, &roles, &dir);
                let doors = if roles.contains("agent") { 3 } else { 2 };
                let mut node = Process::as_given(&mut hotseat, dir);
                node.listens(doors);
                nodes.push(node);
            }
            ["hotseat", "bots"] => {
                // Until they are told to end.
                *words.iter_mut().find(|word| *word == "60s").unwrap() = "300s".to_owned();
                hotseat.args(words).stdout(Stdio::piped()).stderr(Stdio::null());
                bots.push(hotseat.spawn().unwrap());
            }
            ["hotseat", "cluster" | "session" | "plugin"] => {
                if bots.is_empty() {
                    settled(&etcd, "", &["game-1", "game-2"]).await;
                } else {
                    playing(&etcd, "", 221).await;
                }
                let output = tokio::task::spawn_blocking(move || hotseat.args(words).output().unwrap());
                told.push(Told::from(output.await.unwrap()).fine());
            }
            _ => panic!("docs/operations.md shows {line:?}, which this test does not do"),
        }
    }
    let [up, there, home, live, drained, after] = &told[..] else { panic!("{told:?}") };
    for node in ["game-1", "game-2", "ids-1", "talk-1", "agent-1", "agent-2"] {
        assert!(up.contains(node) && after.contains(node), "{up}{after}");
    }
    let guest = format!("user {}", user_of("guest-0"));
    assert!(there.contains(&guest) && there.contains("arena/bots-0@game-1"), "{there}");
    assert!(home.contains(&guest), "{home}");
    assert!(live.contains("game-logic is live"), "{live}");
    assert!(drained.contains("handed over"), "{drained}");
    assert!(after.contains("draining"), "{after}");
    assert!(bots.len() == 3 && nodes.len() == 6);
    for child in bots {
        signal(&child, "INT");
        Told::from(child.wait_with_output().unwrap()).fine();
    }
}
