//! Cluster: nodes in processes of their own on a real etcd, with players on them while hosts leave, die and freeze.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use game_logic::messages::{PING_ACK, PING_REQ, Ping};
use hotseat::agent::Authenticator;
use hotseat::cluster::placement::{Owner, rendezvous};
use hotseat::discovery::{Discovery, Options};
use hotseat::game::Homes;
use hotseat_build::Artefact;
use hotseat_client::{Client, ClientError, Login};
use hotseat_packet::{ErrorInfo, Message as _, code};
use serde_json::Value;
use tempfile::TempDir;

use crate::etcd::{Etcd, options};
use crate::guests::{guests, lock, services};
use crate::process::{Process, hotseat, signal};
use crate::world::{PATIENCE, eventually, take_compiled};

/// How long a lease lives here, seconds: the shorter, the sooner a dead host is noticed.
const TTL: u64 = 3;

/// Home rooms of a cluster.
pub(crate) const HOMES: u32 = 256;

/// A cluster of processes.
pub(crate) struct Cluster {
    pub(crate) etcd: Etcd,
    shared: TempDir,
    disks: Vec<TempDir>,
    nodes: BTreeMap<String, Process>,
    /// What game hosts play.
    game: &'static Artefact,
    /// One at a time: what a few processes need of two cores is much already.
    _turn: std::fs::File,
}

impl Cluster {
    /// An etcd and no nodes.
    pub(crate) async fn start() -> Self {
        Self::of(&guests().v1).await
    }

    /// As [`Self::start`], for hosts that play another game.
    pub(crate) async fn of(game: &'static Artefact) -> Self {
        let mut cluster = Self::without_etcd(game).await;
        cluster.etcd.restart().await;
        cluster
    }

    /// Hosts `game-1` and `game-2` with all rooms at their places, and these agents.
    pub(crate) async fn two_hosts(agents: &[&str]) -> Self {
        Self::start().await.with_two_hosts(agents).await
    }

    /// The same for a cluster that has been made another way.
    pub(crate) async fn with_two_hosts(mut self, agents: &[&str]) -> Self {
        self.add("game-1", "game");
        self.add("game-2", "game");
        agents.iter().for_each(|agent| self.add(agent, "agent"));
        self.settled(&["game-1", "game-2"]).await;
        self
    }

    /// As [`Self::of`], before etcd runs.
    pub(crate) async fn without_etcd(game: &'static Artefact) -> Self {
        let turn = tokio::task::spawn_blocking(|| lock("cluster")).await.unwrap();
        let (etcd, shared) = (Etcd::stopped(), tempfile::tempdir().unwrap());
        Self { etcd, shared, disks: Vec::new(), nodes: BTreeMap::new(), game, _turn: turn }
    }

    /// A command that runs one more node.
    pub(crate) fn command(&self, name: &str, roles: &str, dir: &TempDir) -> Command {
        let mut command = hotseat(dir.path());
        command.args(["run", "--roles", roles, "--node-id", name, "--etcd-host", &self.etcd.addr()]);
        command.args(["--etcd-prefix", "/test", "--lease-ttl-s", &TTL.to_string(), "--shared-dir"]);
        command.arg(self.shared.path()).env("HOTSEAT_PLAYER_MOVES_PER_S", "1000");
        if roles.contains("game") {
            let file = dir.path().join("game.wasm");
            std::fs::write(&file, &self.game.bytes).unwrap();
            command.arg(format!("--plugin=game-logic={}", file.display()));
        }
        for plugin in [&services().rank, &services().chat] {
            let name = &plugin.manifest.name;
            if roles.contains(name.as_str()) {
                let file = dir.path().join(format!("{name}.wasm"));
                std::fs::write(&file, &plugin.bytes).unwrap();
                command.arg(format!("--plugin={name}={}", file.display()));
            }
        }
        take_compiled(&dir.path().join("hotseat-data"));
        command
    }

    /// One more node, once it listens.
    pub(crate) fn add(&mut self, name: &str, roles: &str) {
        self.add_with(name, roles, &[]);
    }

    /// As [`Self::add`], with other settings.
    pub(crate) fn add_with(&mut self, name: &str, roles: &str, args: &[&str]) {
        self.launch(name, roles, args);
        self.node(name).listens(if roles.contains("agent") { 3 } else { 2 });
    }

    /// As [`Self::add_with`], whether it comes to listen or not.
    pub(crate) fn launch(&mut self, name: &str, roles: &str, args: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let mut command = self.command(name, roles, &dir);
        self.nodes.insert(name.to_owned(), Process::launched(command.args(args), dir));
    }

    pub(crate) fn node(&mut self, name: &str) -> &mut Process {
        self.nodes.get_mut(name).unwrap()
    }

    /// A node is told to end, and ends.
    pub(crate) fn drain(&mut self, name: &str) {
        let mut node = self.nodes.remove(name).unwrap();
        node.signal("TERM");
        assert!(node.ended().success(), "{:?}", node.lines());
        // Its rooms had somewhere to go, and its agents have heard where.
        assert!(node.lines().iter().all(|line| !line.contains("in time")), "{:?}", node.lines());
    }

    /// A node dies.
    pub(crate) fn kill(&mut self, name: &str) {
        let mut node = self.nodes.remove(name).unwrap();
        node.signal("KILL");
        node.ended();
    }

    /// Nodes that are launched from now on share another disk than those before.
    pub(crate) fn change_disks(&mut self) {
        self.disks.push(std::mem::replace(&mut self.shared, tempfile::tempdir().unwrap()));
    }

    /// A node, which the cluster has nothing to do with any more.
    pub(crate) fn take(&mut self, name: &str) -> Process {
        self.nodes.remove(name).unwrap()
    }

    /// These nodes are sent a signal that ends them, all at once, and end.
    pub(crate) fn end_all(&mut self, names: &[&str], signal: &str) {
        let mut nodes: Vec<_> = names.iter().map(|name| self.take(name)).collect();
        nodes.iter().for_each(|node| node.signal(signal));
        for node in &mut nodes {
            node.ended();
        }
    }

    /// Waits until each of these hosts has the home rooms that are to be its own, and nobody else has any.
    pub(crate) async fn settled(&self, hosts: &[&str]) {
        settled(&self.etcd, "/test", hosts).await;
    }

    /// Waits until so many players are seated, as the hosts tell.
    pub(crate) async fn playing(&self, least: u64) {
        playing(&self.etcd, "/test", least).await;
    }

    /// A player at `agent` whose home room is `host`'s now, and its user id.
    pub(crate) async fn player_of(&self, agent: &str, host: &str, device: &str) -> (Client, u64) {
        for number in 0..256 {
            let device = format!("{device}-{number}");
            if self.host_of(user_of(&device)).await == host {
                return self.player(agent, &device).await;
            }
        }
        panic!("no home room at {host}");
    }

    /// The host that has a user's home room, once one has.
    pub(crate) async fn host_of(&self, user: u64) -> String {
        let (etcd, home) = (self.etcd.client().await, Homes::clustered(HOMES).of(user));
        let key = format!("/test/rooms/home/{home}");
        eventually("an owner", async || {
            let found = etcd.clone().get(key.as_str(), None).await.unwrap();
            Some(owner(found.kvs().first()?.value()))
        })
        .await
    }

    pub(crate) fn agent(&self, name: &str) -> &str {
        self.nodes[name].clients()
    }

    pub(crate) async fn login(&self, agent: &str, device: &str) -> Client {
        self.player(agent, device).await.0
    }

    /// A player at `agent`, and its user id.
    pub(crate) async fn player(&self, agent: &str, device: &str) -> (Client, u64) {
        let mut client = Client::connect(self.agent(agent)).await.unwrap().with_timeout(PATIENCE);
        let user = client.login(&Login::device(device)).await.unwrap();
        (client, user)
    }

    /// Bots that play at an agent, in its own process.
    pub(crate) fn bots(&self, agent: &str, clients: u32, play: &str, seconds: u32) -> Bots {
        let dir = tempfile::tempdir().unwrap();
        let child = hotseat(dir.path())
            .args(["bots", "--json", "--agent", self.agent(agent), play])
            .args([
                "--clients",
                &clients.to_string(),
                "--duration",
                &format!("{seconds}s"),
                "--prefix",
                agent,
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Bots { child, _dir: dir }
    }
}

impl Drop for Cluster {
    /// A test that fails shows what its nodes said last.
    #[expect(clippy::print_stdout, reason = "what is printed is shown for failed tests alone")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (name, node) in &self.nodes {
                let lines = node.lines();
                let last = &lines[lines.len().saturating_sub(30)..];
                println!("{name}:\n{}", last.join("\n"));
            }
        }
    }
}

/// The node that a claim names.
pub(crate) fn owner(claim: &[u8]) -> String {
    Owner::read(claim).unwrap().node
}

/// Waits until each of these hosts has the home rooms that are to be its own, and nobody else has any.
pub(crate) async fn settled(etcd: &Etcd, prefix: &str, hosts: &[&str]) {
    let discovery = discovery(etcd, prefix);
    let view = discovery.watch("rooms/home/");
    eventually("all home rooms claimed", async || {
        let view = view.borrow();
        let at_home = |home: u32| {
            let entry = view.entries.get(&format!("rooms/home/{home}"))?;
            (owner(&entry.value) == rendezvous(home.to_be_bytes(), hosts.iter().copied())?).then_some(())
        };
        (0..HOMES).try_for_each(at_home)
    })
    .await;
}

/// Waits until so many players are seated, as the hosts tell.
pub(crate) async fn playing(etcd: &Etcd, prefix: &str, least: u64) {
    let discovery = discovery(etcd, prefix);
    let watch = discovery.watch("nodes/");
    eventually("players", async || {
        let view = watch.borrow();
        let info = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
        let players = view.entries.values().filter_map(|entry| info(&entry.value)?["players"].as_u64());
        (players.sum::<u64>() >= least).then_some(())
    })
    .await;
}

/// What nodes below `prefix` tell. What it watches ends with it.
pub(crate) fn discovery(etcd: &Etcd, prefix: &str) -> Discovery {
    Discovery::etcd(Options { prefix: prefix.into(), ..options(&etcd.url(), TTL) }).unwrap()
}

/// The user that logs in as that device.
pub(crate) fn user_of(device: &str) -> u64 {
    Authenticator::Dev.check(Login::device(device).info()).unwrap().0
}

/// The home room of the user that logs in as that device.
pub(crate) fn home_of(device: &str) -> u32 {
    Homes::clustered(HOMES).of(user_of(device))
}

/// Bots at work.
pub(crate) struct Bots {
    child: Child,
    _dir: TempDir,
}

impl Bots {
    /// Tells them to end now.
    pub(crate) async fn end(self) -> Value {
        signal(&self.child, "INT");
        self.report().await
    }

    pub(crate) async fn report(self) -> Value {
        let output = tokio::task::spawn_blocking(|| self.child.wait_with_output().unwrap()).await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub(crate) fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// Nobody was disconnected; nothing came twice, or in another order.
#[track_caller]
pub(crate) fn whole(report: &Value, clients: u64) {
    assert_eq!(number(report, "kept"), clients, "{report:#}");
    for name in ["duplicated", "out_of_order", "unasked", "errors", "odd_frames"] {
        assert_eq!(number(report, name), 0, "{name}: {report:#}");
    }
    assert!(number(report, "answered") > clients, "{report:#}");
}

/// And nothing was lost, or went back.
#[track_caller]
pub(crate) fn lossless(report: &Value, clients: u64) {
    whole(report, clients);
    let never = [
        "lost",
        "moves_lost",
        "ticks_missed",
        "ticks_repeated",
        "scores_fallen",
        "positions_jumped",
        "moves_undone",
    ];
    for name in never {
        assert_eq!(number(report, name), 0, "{name}: {report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_a_host_that_dies_go_on_elsewhere_from_its_journal() {
    let mut cluster = Cluster::two_hosts(&["agent-1"]).await;
    let bots = cluster.bots("agent-1", 60, "--home", 12);
    cluster.node("game-2").wait("rooms", |node| node.lines().len() > 3);
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.kill("game-1");
    cluster.settled(&["game-2"]).await;
    let report = bots.report().await;
    whole(&report, 60);
    // What was on its way to or from the host, or not yet on its disk, at the moment it died. A tick or two that had been
    // seen may be done again.
    assert!(number(&report, "lost") <= 60, "{report:#}");
    assert!(number(&report, "reseated") > 10, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_stand_still_while_etcd_is_frozen_and_lose_nothing() {
    let mut cluster = Cluster::two_hosts(&["agent-1"]).await;
    let bots = cluster.bots("agent-1", 60, "--home", 300);
    cluster.playing(60).await;
    let said = |node: &Process, what: &str| node.lines().iter().filter(|line| line.contains(what)).count();
    for times in 1..=3 {
        cluster.etcd.freeze();
        let host = cluster.node("game-1");
        host.wait("word that rooms stand still", |node| said(node, "the lease is not certain") >= times);
        cluster.etcd.thaw();
        // And away it is again, before all rooms are claimed under the new lease.
        cluster.node("game-1").wait("another lease", |node| said(node, "lease held") > times);
    }
    cluster.settled(&["game-1", "game-2"]).await;
    lossless(&bots.end().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_freezes_past_its_lease_never_plays_on_beside_its_heir() {
    let mut cluster = Cluster::two_hosts(&["agent-1"]).await;
    let bots = cluster.bots("agent-1", 60, "--home", 14);
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.node("game-1").signal("STOP");
    cluster.settled(&["game-2"]).await;
    cluster.node("game-1").signal("CONT");
    cluster.node("game-1").wait("word of lost rooms", |node| {
        node.lines().iter().any(|line| line.contains("home rooms lost to other hosts"))
    });
    // It gets its rooms back as any host that comes.
    cluster.settled(&["game-1", "game-2"]).await;
    whole(&bots.report().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_one_session_in_the_whole_cluster() {
    let cluster = Cluster::two_hosts(&["agent-1", "agent-2"]).await;
    for device in ["tablet", "phone", "console", "watch"] {
        let mut first = cluster.login("agent-1", device).await;
        let mut second = cluster.login("agent-2", device).await;
        let frame = first.recv().await.unwrap();
        let error = ErrorInfo::from_bytes(&frame.payload).unwrap();
        assert_eq!(error.code, code::DUPLICATE_LOGIN, "{device}: {error:?}");
        assert!(matches!(first.recv().await, Err(ClientError::Closed { .. })), "{device}");
        let ping = Ping { id: 7 }.to_bytes().unwrap();
        second.send(PING_REQ, &ping).await.unwrap();
        assert_eq!(second.wait_for(PING_ACK).await.unwrap(), ping);
    }
}
