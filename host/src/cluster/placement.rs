//! Placement: which host has which home room, as far as this node knows.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::node::NodeInfo;
use crate::discovery::{Discovery, View};
use crate::game::registry::Registry;

/// Where the claims on home rooms stand: `rooms/home/7` = the [`Owner`].
pub const HOMES: &str = "rooms/home/";
/// Where rooms of plugins stand that have left the host they are named after: the [`Owner`] of each at
/// `rooms/moved/ROOM@NODE`.
pub const MOVED: &str = "rooms/moved/";
/// Where nodes stand.
pub const NODES: &str = "nodes/";

/// Who has a room: a process of a node. `NODE/PROCESS` in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The node's id.
    pub node: String,
    /// What tells this process from others of the same node; see [`NodeInfo::process`].
    pub process: String,
}

impl Owner {
    /// Reads what stands there; none if it is no text.
    pub fn read(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (node, process) = text.split_once('/').unwrap_or((text, ""));
        Some(Self { node: node.to_owned(), process: process.to_owned() })
    }

    /// In the form in which it stands there.
    pub fn write(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.process)
    }
}

/// What is known of rooms and nodes; follows the cluster.
#[derive(Debug, Clone)]
pub struct Placement {
    homes: watch::Receiver<Arc<View>>,
    moved: watch::Receiver<Arc<View>>,
    nodes: watch::Receiver<Arc<View>>,
}

impl Placement {
    /// Follows what `discovery` sees.
    pub fn new(discovery: &Discovery) -> Self {
        Self { homes: discovery.watch(HOMES), moved: discovery.watch(MOVED), nodes: discovery.watch(NODES) }
    }

    /// The node that has claimed a home room.
    pub fn owner(&self, home: u32) -> Option<String> {
        let view = self.homes.borrow();
        let entry = view.entries.get(&format!("{HOMES}{home}"))?;
        Owner::read(&entry.value).map(|owner| owner.node)
    }

    /// All claims: owner and revision by room. What is no number is not ours to read.
    pub fn claims(&self) -> HashMap<u32, (Owner, u64)> {
        let view = self.homes.borrow();
        let claim = |(key, entry): (&String, &crate::discovery::Entry)| {
            let home = key.strip_prefix(HOMES)?.parse().ok()?;
            Some((home, (Owner::read(&entry.value)?, entry.revision)))
        };
        view.entries.iter().filter_map(claim).collect()
    }

    /// The node that has a room of a plugin, `ROOM@NODE`: the one it has moved to, or the one it is named after.
    pub fn host_of(&self, room: &str) -> Option<String> {
        let view = self.moved.borrow();
        match view.entries.get(&format!("{MOVED}{room}")) {
            Some(entry) => Owner::read(&entry.value).map(|owner| owner.node),
            None => Registry::node_of(room).map(str::to_owned),
        }
    }

    /// Rooms of plugins that have moved: owner and revision by name.
    pub fn moved(&self) -> HashMap<String, (Owner, u64)> {
        let view = self.moved.borrow();
        let room = |(key, entry): (&String, &crate::discovery::Entry)| {
            Some((key.strip_prefix(MOVED)?.to_owned(), (Owner::read(&entry.value)?, entry.revision)))
        };
        view.entries.iter().filter_map(room).collect()
    }

    /// A node, if it is there.
    pub fn node(&self, id: &str) -> Option<NodeInfo> {
        let view = self.nodes.borrow();
        NodeInfo::read(&view.entries.get(&format!("{NODES}{id}"))?.value).ok()
    }

    /// All nodes, in the order of their ids.
    pub fn nodes(&self) -> Vec<NodeInfo> {
        let view = self.nodes.borrow();
        view.entries.values().filter_map(|entry| NodeInfo::read(&entry.value).ok()).collect()
    }

    /// Whether what is known is up to date.
    pub fn is_fresh(&self) -> bool {
        self.homes.borrow().fresh && self.moved.borrow().fresh && self.nodes.borrow().fresh
    }

    /// Completes when something has changed since the last call. Cancel safe.
    pub async fn changed(&mut self) {
        let (homes, moved, nodes) = (&mut self.homes, &mut self.moved, &mut self.nodes);
        tokio::select! {
            biased;
            Ok(()) = moved.changed() => {}
            Ok(()) = homes.changed() => {}
            Ok(()) = nodes.changed() => {}
            else => std::future::pending().await,
        }
    }
}

/// The host that is to have a room: the one of the highest hash with it (rendezvous hashing), so that a host that
/// comes or goes moves no more rooms than its own. None without hosts.
pub fn rendezvous<'a>(room: impl AsRef<[u8]>, hosts: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let weight = |host: &&str| {
        let hash = Sha256::new().chain_update(room.as_ref()).chain_update(host).finalize();
        // Hosts of one weight are told apart by name.
        (<[u8; 8]>::try_from(&hash[..8]).map(u64::from_be_bytes).unwrap_or(0), (*host).to_owned())
    };
    hosts.max_by_key(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [&str; 4] = ["game-1", "game-2", "game-3", "game-4"];

    #[test]
    fn rooms_are_spread_evenly() {
        let mut rooms = HashMap::<_, u32>::new();
        for home in 0..4096 {
            *rooms.entry(rendezvous(u32::to_be_bytes(home), HOSTS.into_iter()).unwrap()).or_default() += 1;
        }
        for host in HOSTS {
            // Of 1,024 on average; four standard deviations of a fair draw are 111.
            assert!((913..1135).contains(&rooms[host]), "{rooms:?}");
        }
    }

    #[test]
    fn a_host_that_leaves_moves_its_own_rooms_and_no_others() {
        for home in 0..1000 {
            let before = rendezvous(u32::to_be_bytes(home), HOSTS.into_iter()).unwrap();
            let after =
                rendezvous(u32::to_be_bytes(home), HOSTS.into_iter().filter(|host| *host != "game-2"))
                    .unwrap();
            assert!(before == after || before == "game-2", "{home}: {before} to {after}");
        }
        assert_eq!(rendezvous([0; 4], std::iter::empty()), None);
    }
}
