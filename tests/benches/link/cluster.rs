//! Nodes in processes of their own on an etcd of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hotseat::discovery::{Discovery, Options};

use crate::etcd::Etcd;
use crate::node::Node;

const PREFIX: &str = "/bench";
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

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

    /// Waits until these hosts, and no others, have all home rooms, each some.
    pub(crate) async fn settled(&self, hosts: &[&str]) -> Result<()> {
        let discovery = Discovery::etcd(Options {
            endpoints: vec![format!("http://{}", self.etcd.addr())],
            prefix: PREFIX.into(),
            user: None,
            tls: None,
            ttl: Duration::from_secs(self.ttl_s),
        })?;
        let mut view = discovery.watch("rooms/home/");
        let settled = view.wait_for(|view| {
            let mut rooms = BTreeMap::<&[u8], usize>::new();
            for entry in view.entries.values() {
                *rooms.entry(&entry.value).or_default() += 1;
            }
            let all = rooms.values().sum::<usize>() == self.home_rooms;
            all && rooms.keys().copied().eq(hosts.iter().map(|host| host.as_bytes()))
        });
        let settled = tokio::time::timeout(PATIENCE, settled).await;
        settled.context("home rooms find no hosts")?.context("the watch has ended")?;
        discovery.close().await;
        Ok(())
    }
}
