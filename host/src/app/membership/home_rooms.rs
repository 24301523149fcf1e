//! Home rooms: how many the cluster has, which all of its nodes must agree on.
//!
//! The first node writes the number down, and every other one takes it from there. An etcd that has lost its
//! data does not change it: the nodes that run write it again, and of two numbers the one of the node that
//! was started first counts.

use std::time::Duration;

use tracing::{debug, warn};

use crate::app::StartError;
use crate::cluster::node::NodeInfo;
use crate::cluster::placement::{NODES, Placement};
use crate::discovery::{Discovery, DiscoveryError, Entry, Hold, Written};

/// Where the number is written down.
const KEY: &str = "cluster/home-rooms";

/// The number of a cluster whose first node says none.
const DEFAULT: u32 = 256;

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Why a node has no number of home rooms.
#[derive(Debug, thiserror::Error)]
pub enum HomeRoomsError {
    /// What is written down in etcd is no number.
    #[error("etcd says the cluster has {found:?} home rooms, allowed are 1 to 65536")]
    Number {
        /// What stands there.
        found: String,
    },
    /// The cluster has another number than the operator has said.
    #[error(
        "cluster_home_rooms = {ours}, but the cluster has {found}: leave the setting out, or set it to {found}; the number \
         of a cluster is not changed once there is data"
    )]
    Other {
        /// What this node was to have.
        ours: u32,
        /// What the cluster has.
        found: u32,
    },
}

/// The cluster's number, for a node that starts. `ours` is what its operator has said, if anything.
///
/// # Errors
/// [`HomeRoomsError`], or etcd's.
pub(in crate::app) async fn agree(discovery: &Discovery, ours: Option<u32>) -> Result<u32, StartError> {
    let same = |found: u32| match ours {
        Some(ours) if ours != found => Err(HomeRoomsError::Other { ours, found }),
        _ => Ok(found),
    };
    let mut nodes = discovery.watch(NODES);
    loop {
        match discovery.get(KEY).await {
            Ok(Some(entry)) => return Ok(same(read(&entry)?)?),
            Ok(None) => {}
            Err(DiscoveryError::Away { .. } | DiscoveryError::NoLease { .. }) => {
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        // Etcd may have lost it: nodes that are there know it.
        let known = match tokio::time::timeout(POLL_INTERVAL, nodes.wait_for(|view| view.fresh)).await {
            Ok(Ok(view)) => {
                first(view.entries.values().filter_map(|entry| NodeInfo::read(&entry.value).ok()))
            }
            _ => continue,
        };
        let count = match known {
            Some((_, known)) => same(known)?,
            None => ours.unwrap_or(DEFAULT),
        };
        match discovery.create(KEY, count.to_string().into_bytes(), Hold::Forever).await {
            Ok(Written::Done(_)) => return Ok(count),
            Ok(Written::Refused(_)) | Err(DiscoveryError::Away { .. } | DiscoveryError::NoLease { .. }) => {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Keeps the number `count` written down in etcd while this node runs with it. Returns the reason why the
/// node cannot go on once the cluster turns out to have another number. Cancel safe.
pub(in crate::app) async fn keep(discovery: &Discovery, placement: &Placement, count: u32) -> String {
    let mut view = discovery.watch(KEY);
    loop {
        let seen = view.borrow_and_update().clone();
        if seen.fresh && placement.is_fresh() {
            let entry = seen.entries.get(KEY);
            let found = entry.and_then(|entry| read(entry).ok());
            let right = first(placement.nodes().into_iter());
            match (found, right) {
                (Some(found), _) if found == count => {}
                (_, Some((node, right))) if right != count => {
                    return format!(
                        "the cluster has {right} home rooms, as node {node} says, and this node was started with {count}: \
                         start it again, without cluster_home_rooms or with {right}"
                    );
                }
                // The nodes are not known yet.
                (Some(_), None) => {}
                _ => write(discovery, entry, count).await,
            }
        }
        tokio::select! {
            Ok(()) = view.changed() => {}
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
    }
}

async fn write(discovery: &Discovery, standing: Option<&Entry>, count: u32) {
    let found =
        standing.map(|entry| String::from_utf8_lossy(&entry.value).chars().take(40).collect::<String>());
    let value = count.to_string().into_bytes();
    let written = match standing {
        Some(entry) => discovery.replace(KEY, entry.revision, value, Hold::Forever).await,
        None => discovery.create(KEY, value, Hold::Forever).await,
    };
    match written {
        Ok(Written::Done(_)) => {
            warn!(count, found, "etcd had lost the number of home rooms, it is written again")
        }
        // Another node was faster, or etcd is away: the next look tells.
        Ok(Written::Refused(_)) => {}
        Err(error) => debug!(%error, "number of home rooms not written again"),
    }
}

/// The number of the node that was started first, and its id.
fn first(nodes: impl Iterator<Item = NodeInfo>) -> Option<(String, u32)> {
    let nodes = nodes.filter(|node| node.home_rooms > 0);
    let first = nodes.min_by(|one, other| (one.started_ms, &one.id).cmp(&(other.started_ms, &other.id)))?;
    Some((first.id, first.home_rooms))
}

fn read(entry: &Entry) -> Result<u32, HomeRoomsError> {
    let text = String::from_utf8_lossy(&entry.value).into_owned();
    let count = text.parse().ok().filter(|count| (1..=65_536).contains(count));
    count.ok_or(HomeRoomsError::Number { found: text.chars().take(40).collect() })
}
