//! Nodes in processes of their own on an etcd of their own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hotseat::cluster::placement::Owner;
use hotseat::discovery::{Discovery, Options, View};

use crate::etcd::Etcd;
use crate::node::Node;

const PREFIX: &str = "/bench";
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rooms that have not changed hosts for so long stay where they are.
const QUIET: Duration = Duration::from_secs(1);

pub(crate) struct Cluster {
    // In the order in which they are to end.
    nodes: BTreeMap<String, Node>,
    etcd: Etcd,
    shared: tempfile::TempDir,
    ttl_s: u64,
    home_rooms: usize,
}

impl Cluster {
    /// An etcd and no nodes; their leases live for `ttl_s` seconds.
    pub(crate) fn start(ttl_s: u64, home_rooms: usize) -> Result<Self> {
        let (etcd, shared) = (Etcd::start()?, tempfile::tempdir()?);
        Ok(Self { nodes: BTreeMap::new(), etcd, shared, ttl_s, home_rooms })
    }

    /// One more node, once it listens.
    pub(crate) fn add(&mut self, name: &str, role: &str) -> Result<()> {
        let shared = self.shared.path().to_str().context("a directory's name")?;
        let (ttl, rooms) = (self.ttl_s.to_string(), self.home_rooms.to_string());
        let arguments = [
            ["--roles", role],
            ["--node-id", name],
            ["--etcd-host", self.etcd.addr()],
            ["--etcd-prefix", PREFIX],
            ["--lease-ttl-s", &ttl],
            ["--cluster-home-rooms", &rooms],
            ["--shared-dir", shared],
        ];
        let plugins: &[&str] = if role == "game" { &["game-logic"] } else { &[] };
        self.nodes.insert(name.to_owned(), Node::start(plugins, arguments.as_flattened())?);
        Ok(())
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.get(name).with_context(|| format!("no node {name}"))
    }

    /// Waits until these hosts, and no others, have all home rooms, each some, and none has changed hosts for a while.
    /// Returns when the last one did.
    pub(crate) async fn settled(&self, hosts: &[&str]) -> Result<Instant> {
        let discovery = Discovery::etcd(Options {
            endpoints: vec![format!("http://{}", self.etcd.addr())],
            prefix: PREFIX.into(),
            user: None,
            tls: None,
            ttl: Duration::from_secs(self.ttl_s),
        })?;
        let mut view = discovery.watch("rooms/home/");
        let settled = async {
            let mut since = Instant::now();
            loop {
                let settled = self.is_settled(&view.borrow_and_update(), hosts);
                match tokio::time::timeout(QUIET, view.changed()).await {
                    Ok(changed) => changed.context("the watch has ended")?,
                    Err(_) if settled => return anyhow::Ok(since),
                    Err(_) => continue,
                }
                since = Instant::now();
            }
        };
        let settled = tokio::time::timeout(PATIENCE, settled).await;
        let stand = || {
            let (view, rooms) = (view.borrow(), rooms(&view.borrow()));
            format!("home rooms not settled on {hosts:?}: fresh {}, {rooms:?}", view.fresh)
        };
        let since = settled.with_context(stand)??;
        discovery.close().await;
        Ok(since)
    }

    fn is_settled(&self, view: &View, hosts: &[&str]) -> bool {
        let rooms = rooms(view);
        rooms.values().sum::<usize>() == self.home_rooms && rooms.keys().eq(hosts)
    }
}

/// How many home rooms each host has claimed.
fn rooms(view: &View) -> BTreeMap<String, usize> {
    let mut rooms = BTreeMap::new();
    for entry in view.entries.values() {
        let owner = Owner::read(&entry.value).map(|owner| owner.node);
        *rooms.entry(owner.unwrap_or_default()).or_default() += 1;
    }
    rooms
}
