//! One version for the cluster: nodes on a real etcd take a version together, or none of them does.

mod ghost;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use hotseat::app::GAME_LOGIC;
use hotseat::config::{Config, Role};
use hotseat::discovery::Hold;
use hotseat::proto::admin::{DeployReply, DeployRequest, ProgressReply, ProgressRequest, RollbackRequest};
use hotseat_build::Artefact;
use tonic::{Code, Response, Status};

use crate::etcd::Etcd;
use crate::guests::{guests, versioned};
use crate::process::{Told, hotseat};
use crate::swap::count;
use crate::world::{World, eventually};

/// How long leases live, seconds.
const TTL: u64 = 5;

/// Where the record stands.
const RECORD: &str = "plugins/game-logic";

/// A node of the cluster of `etcd`.
async fn node(etcd: &Etcd, id: &str, roles: &[Role], plugin: &Artefact, homes: usize) -> World {
    node_with(etcd, id, roles, plugin, homes, |_| {}).await
}

/// As [`node`], with other settings.
async fn node_with(
    etcd: &Etcd,
    id: &str,
    roles: &[Role],
    plugin: &Artefact,
    homes: usize,
    change: impl FnOnce(&mut Config),
) -> World {
    World::with(plugin, |config| {
        (config.etcd_host, config.etcd_prefix) = (Some(etcd.addr()), Some("/test".into()));
        (config.node_id, config.lease_ttl_s) = (Some(id.to_owned()), TTL);
        config.roles = roles.iter().copied().collect();
        config.cluster_home_rooms = Some(homes.try_into().unwrap());
        if !roles.contains(&Role::Game) {
            config.plugin.clear();
        }
        change(config);
    })
    .await
}

/// Two hosts and an agent, once the hosts have all rooms between them.
async fn cluster(etcd: &Etcd, plugin: &Artefact) -> (World, World, World) {
    let one = node(etcd, "game-1", &[Role::Game], plugin, 8).await;
    let two = node(etcd, "game-2", &[Role::Game], plugin, 8).await;
    let agent = node(etcd, "agent-1", &[Role::Agent], plugin, 8).await;
    owners(etcd, 8, &["game-1", "game-2"]).await;
    (one, two, agent)
}

/// Waits until these nodes have all home rooms, each some of them.
async fn owners(etcd: &Etcd, homes: usize, nodes: &[&str]) {
    let discovery = etcd.discovery(TTL);
    let rooms = discovery.watch("rooms/home/");
    let nodes: BTreeSet<_> = nodes.iter().map(ToString::to_string).collect();
    eventually("owners of all rooms", async || {
        let view = rooms.borrow();
        let owners: BTreeSet<_> =
            view.entries.values().map(|entry| crate::cluster::owner(&entry.value)).collect();
        (view.entries.len() == homes && owners == nodes).then_some(())
    })
    .await;
    discovery.close().await;
}

async fn deploy(world: &World, artefact: &Artefact) -> Result<DeployReply, Status> {
    let artefact = artefact.bytes.clone();
    let request = DeployRequest {
        name: GAME_LOGIC.into(),
        artefact,
        cluster: true,
        plan: false,
        ..DeployRequest::default()
    };
    world.admin().await.deploy(request).await.map(Response::into_inner)
}

async fn rollback(world: &World) -> Result<DeployReply, Status> {
    let request = RollbackRequest { name: GAME_LOGIC.into(), cluster: true };
    world.admin().await.rollback(request).await.map(Response::into_inner)
}

async fn progress(world: &World) -> ProgressReply {
    let request = ProgressRequest { name: GAME_LOGIC.into() };
    world.admin().await.progress(request).await.unwrap().into_inner()
}

/// Waits until all of these run the version of that label.
async fn all_live(worlds: &[&World], label: &str) {
    for world in worlds {
        eventually(label, async || (world.live().await == label).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_goes_live_on_every_node_under_its_players_and_back() {
    let etcd = Etcd::start().await;
    let (one, two, agent) = cluster(&etcd, &guests().ledger).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut playing = Vec::new();
    for name in 0..6 {
        let mut client = agent.client(&format!("player {name}")).await;
        let stop = Arc::clone(&stop);
        playing.push(tokio::spawn(async move {
            let (mut seq, mut versions) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                seq += 1;
                let (counted, version) = count(&mut client, seq).await;
                // Nothing is lost and nothing is counted twice, whichever version did it.
                assert_eq!(counted, seq);
                if versions.last() != Some(&version) {
                    versions.push(version);
                }
            }
            versions
        }));
    }
    let reply = deploy(&one, &guests().ledger_v2).await.unwrap();
    assert_eq!((reply.nodes, reply.unchanged, reply.to.unwrap().label), (2, false, "2.0.0".into()));
    all_live(&[&one, &two], "2.0.0").await;
    let told = progress(&two).await;
    assert_eq!((told.live.unwrap().label.as_str(), told.next), ("2.0.0", None));
    let steps: Vec<_> = told.nodes.iter().map(|node| (node.node.as_str(), node.step.as_str())).collect();
    assert_eq!(steps, [("game-1", "live"), ("game-2", "live")]);
    assert!(deploy(&two, &guests().ledger_v2).await.unwrap().unchanged);

    // Version 1 reads no state of version 2: this is the way back of a version on probation.
    let reply = rollback(&two).await.unwrap();
    assert_eq!((reply.nodes, reply.to.unwrap().label), (2, "1.0.0".into()));
    all_live(&[&one, &two], "1.0.0").await;
    stop.store(true, Ordering::Relaxed);
    for versions in join_all(playing).await {
        let versions = versions.unwrap();
        assert!([&[1, 2, 1][..], &[1, 2][..]].contains(&&*versions), "{versions:?}");
    }
    for world in [&one, &two] {
        assert_eq!(world.history().await, ["started 1.0.0", "deployed 2.0.0", "rolled-back 1.0.0"]);
    }
    let status = rollback(&one).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("no earlier version"), "{status}");

    // What the cluster decides, no node decides for itself.
    let alone = DeployRequest {
        name: GAME_LOGIC.into(),
        artefact: guests().ledger_v2.bytes.clone(),
        cluster: false,
        plan: false,
        ..DeployRequest::default()
    };
    let status = one.admin().await.deploy(alone).await.unwrap_err();
    assert!(status.message().contains("use --cluster"), "{status}");
    for world in [agent, one, two] {
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_one_node_refuses_goes_live_nowhere() {
    let etcd = Etcd::start().await;
    let owner = node(&etcd, "game-1", &[Role::Agent, Role::Game], &guests().v1, 1).await;
    owners(&etcd, 1, &["game-1"]).await;
    let _alice = owner.client("alice").await;
    // The one room stays where it is: this one is on its way out, and has no rooms whose state could refuse.
    let other = node(&etcd, "game-2", &[Role::Game], &guests().v1, 1).await;
    let all = async || (progress(&owner).await.nodes.len() == 2).then_some(());
    eventually("two nodes", all).await;
    let with_room = eventually("a home", async || {
        for world in [&owner, &other] {
            if world.metric("hotseat_rooms").await == 1 {
                return Some(world);
            }
        }
        None
    })
    .await;
    let without = if std::ptr::eq(with_room, &owner) { &other } else { &owner };
    let name = if std::ptr::eq(with_room, &owner) { "game-1" } else { "game-2" };
    let status = deploy(without, &guests().bad_migration).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let text = status.message();
    assert!(
        text.starts_with("refused by the cluster: ") && text.contains(&format!("node {name}: ")),
        "{text}"
    );
    assert!(text.contains("home/0"), "{text}");
    for world in [&owner, &other] {
        assert_eq!(world.live().await, "1.0.0");
        let told = progress(world).await;
        assert_eq!((told.live, told.next), (None, None));
        assert_eq!(told.failed.unwrap().label, "4.0.0");
    }
    // The next one is none the worse for it.
    assert_eq!(deploy(with_room, &guests().v2).await.unwrap().nodes, 2);
    all_live(&[&owner, &other], "2.0.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_on_one_node_is_taken_back_on_all() {
    let etcd = Etcd::start().await;
    let (one, two, agent) = cluster(&etcd, &guests().ledger).await;
    let mut clients = Vec::new();
    for name in 0..6 {
        clients.push(agent.client(&format!("player {name}")).await);
    }
    for client in &mut clients {
        assert_eq!(count(client, 1).await, (1, 1));
    }
    assert_eq!(deploy(&two, &guests().ledger_v2).await.unwrap().nodes, 2);
    for client in &mut clients {
        assert_eq!(count(client, 2).await, (2, 2));
    }
    // One message of one player, which traps on version 1 as well: that one is skipped, and it is told.
    clients[0].send(ledger::TRAP, &3u32.to_be_bytes()).await.unwrap();
    crate::world::refusal(&mut clients[0]).await;
    all_live(&[&one, &two], "1.0.0").await;
    for client in &mut clients {
        assert_eq!(count(client, 3).await, (3, 1));
    }
    for world in [&one, &two] {
        assert_eq!(world.history().await, ["started 1.0.0", "deployed 2.0.0", "reverted 1.0.0"]);
    }
    let told = progress(&one).await;
    assert_eq!((told.live.unwrap().label.as_str(), told.failed.unwrap().label.as_str()), ("1.0.0", "2.0.0"));
    assert!(told.reason.contains("node game-") && told.reason.contains("asked for it"), "{}", told.reason);
    // Nobody has to tidy up first.
    assert_eq!(deploy(&one, &versioned(&guests().ledger, 7)).await.unwrap().nodes, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_later_runs_what_the_cluster_runs() {
    let etcd = Etcd::start().await;
    let roles = [Role::Agent, Role::Game];
    let one =
        node_with(&etcd, "game-1", &roles, &guests().ledger, 8, |config| config.probation_ms = 500).await;
    owners(&etcd, 8, &["game-1"]).await;
    let mut clients = Vec::new();
    for name in 0..6 {
        clients.push(one.client(&format!("player {name}")).await);
    }
    assert_eq!(deploy(&one, &guests().ledger_v2).await.unwrap().nodes, 1);
    assert_eq!(deploy(&one, &versioned(&guests().ledger_v2, 5)).await.unwrap().nodes, 1);
    for client in &mut clients {
        assert_eq!(count(client, 1).await, (1, 2));
    }
    let (config, dir) = one.stop_and_keep().await;
    let two = node(&etcd, "game-2", &[Role::Agent, Role::Game], &guests().ledger, 8).await;
    // The one that has the version is away: this one has no rooms and says why.
    let refused = eventually("a refusal", async || {
        let told = progress(&two).await;
        told.nodes.into_iter().find(|node| node.step == "refused")
    })
    .await;
    assert!(refused.reason.contains("no node gives the artefact"), "{}", refused.reason);
    assert_eq!(two.metric("hotseat_cluster_home_rooms").await, 0);
    let one = World::again(config, dir).await.unwrap();
    all_live(&[&one, &two], "5.0.0").await;
    owners(&etcd, 8, &["game-1", "game-2"]).await;
    let mut bob = two.client("bob").await;
    assert_eq!(count(&mut bob, 1).await, (1, 2));
    assert_eq!(two.history().await, ["started 1.0.0", "deployed 5.0.0"]);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_deploy_at_once_one_is_told_so() {
    let etcd = Etcd::start().await;
    let (one, two, _agent) = cluster(&etcd, &guests().ledger).await;
    let (v2, v7) = (&guests().ledger_v2, versioned(&guests().ledger_v2, 7));
    let (first, second) = tokio::join!(deploy(&one, v2), deploy(&two, &v7));
    for status in [&first, &second].into_iter().filter_map(|result| result.as_ref().err()) {
        let text = status.message();
        let said = ["is rolling", "was faster", "does not run the cluster's version"];
        assert!(said.iter().any(|said| text.contains(said)), "{text}");
    }
    assert!(first.is_ok() || second.is_ok());
    let live = progress(&one).await.live.unwrap().label;
    all_live(&[&one, &two], &live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_what_becomes_of_each_node() {
    let etcd = Etcd::start().await;
    let (one, _two, _agent) = cluster(&etcd, &guests().ledger).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("v2.wasm"), &guests().ledger_v2.bytes).unwrap();
    let plugin = async |admin: String, args: &[&str]| {
        let mut command = hotseat(dir.path());
        command.arg("plugin").args(args).env("HOTSEAT_ADMIN", admin);
        tokio::task::spawn_blocking(move || Told::from(command.output().unwrap())).await.unwrap()
    };
    let told = plugin(one.admin_addr(), &["deploy", "game-logic", "v2.wasm", "--cluster"]).await;
    assert_eq!(told.code, Some(0), "{}\n{}", told.out, told.err);
    assert!(told.out.contains("game-logic is live") && told.out.contains("nodes        2"), "{}", told.out);
    for line in ["game-1: live", "game-2: live"] {
        assert!(told.err.contains(line), "{}", told.err);
    }
    let told = plugin(one.admin_addr(), &["rollback", "game-logic", "--cluster"]).await;
    assert!(told.fine().contains("2.0.0"));

    let alone = World::start(&guests().ledger).await;
    let told = plugin(alone.admin_addr(), &["deploy", "game-logic", "v2.wasm", "--cluster"]).await;
    told.failed(1, &["in no cluster", "without --cluster"]);
    assert_eq!(alone.live().await, "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_etcd_and_is_no_record_disturbs_nobody() {
    let etcd = Etcd::start().await;
    let one = node(&etcd, "game-1", &[Role::Agent, Role::Game], &guests().ledger, 4).await;
    owners(&etcd, 4, &["game-1"]).await;
    let mut alice = one.client("alice").await;
    let discovery = etcd.discovery(TTL);
    discovery.ready().await;
    for junk in [&b"\xff\x00"[..], b"{}", b"[1]", br#"{"generation":-1}"#] {
        discovery.put("plugin-nodes/game-logic/junk", junk.to_vec(), Hold::Forever).await.unwrap();
        discovery.put(RECORD, junk.to_vec(), Hold::Forever).await.unwrap();
        let status = deploy(&one, &guests().ledger_v2).await.unwrap_err();
        assert!(status.message().contains("/plugins/game-logic is no record"), "{status}");
    }
    assert_eq!(count(&mut alice, 1).await, (1, 1));
    let entry = discovery.get(RECORD).await.unwrap().unwrap();
    assert!(discovery.remove(RECORD, entry.revision).await.unwrap());
    assert_eq!(deploy(&one, &guests().ledger_v2).await.unwrap().nodes, 1);
    assert_eq!(count(&mut alice, 2).await, (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_goes_back_after_probation_to_a_version_that_reads_no_newer_state() {
    let etcd = Etcd::start().await;
    let roles = [Role::Agent, Role::Game];
    let brief = |config: &mut hotseat::config::Config| (config.probation_ms, config.log_inputs) = (100, 16);
    let one = node_with(&etcd, "game-1", &roles, &guests().ledger, 8, brief).await;
    let two = node_with(&etcd, "game-2", &roles, &guests().ledger, 8, brief).await;
    owners(&etcd, 8, &["game-1", "game-2"]).await;
    let mut clients = Vec::new();
    for name in 0..6 {
        clients.push(one.client(&format!("player {name}")).await);
    }
    assert_eq!(deploy(&two, &guests().ledger_v2).await.unwrap().way_back.unwrap().kind, "inputs");
    for world in [&one, &two] {
        eventually("the end of probation", async || (world.plugin().await.state == "idle").then_some(()))
            .await;
    }
    for client in &mut clients {
        crate::swap_long::count_on(client, 0, 50).await;
    }
    assert_eq!(rollback(&one).await.unwrap().nodes, 2);
    all_live(&[&one, &two], "1.0.0").await;
    for client in &mut clients {
        assert_eq!(count(client, 51).await, (51, 1));
    }
}
