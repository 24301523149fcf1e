//! Node name: which process has a node's id in the cluster, told by the node's entry.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

use super::node::NodeInfo;
use super::placement::NODES;
use crate::discovery::{Discovery, DiscoveryError, Hold, Registration, Written};

/// Between two looks at a name that is taken, and at a table that is away.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Beyond the time to live of a lease, so long is a name waited for that another process has.
pub const TAKEN_GRACE: Duration = Duration::from_secs(5);

/// Why a process does not get its node's name.
#[derive(Debug, thiserror::Error)]
pub enum NodeNameError {
    /// Another process has it, and goes on having it.
    #[error(
        "node id {node} is taken by the node at {holder}: stop that one, or take another node_id (SERVICE_ID)"
    )]
    Taken {
        /// The name.
        node: String,
        /// Where the other one is reached.
        holder: String,
    },
    /// The table does not take the entry.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}

/// Draws what tells this process from others of the same node.
pub fn process() -> String {
    format!("{:016x}", getrandom::u64().unwrap_or_else(|_| crate::snowflake::now_ms()))
}

fn key(node: &str) -> String {
    format!("{NODES}{node}")
}

/// Takes the name `info.id` for this process, which has to be its own from then on: see [`keep`]. Waits `patience` for
/// the entry of another process to end, and for as long as it takes for etcd to answer. Cancel safe.
///
/// # Errors
/// See [`NodeNameError`].
pub async fn take(discovery: &Discovery, info: &NodeInfo, patience: Duration) -> Result<(), NodeNameError> {
    let (key, node) = (key(&info.id), &info.id);
    let deadline = Instant::now() + patience;
    let mut said = false;
    loop {
        match discovery.create(&key, info.write(), Hold::Lease).await {
            Ok(Written::Done(_)) => return Ok(()),
            // The answer to an earlier attempt was lost.
            Ok(Written::Refused(Some(entry))) if NodeInfo::same_process(&entry.value, &info.write()) => {
                return Ok(());
            }
            Ok(Written::Refused(Some(entry))) => {
                let holder = NodeInfo::read(&entry.value).map(|info| info.grpc).unwrap_or_default();
                if Instant::now() > deadline {
                    return Err(NodeNameError::Taken { node: node.clone(), holder });
                }
                if !said {
                    info!(node, holder, "node id is taken, waiting for its lease to end");
                    said = true;
                }
            }
            Ok(Written::Refused(None))
            | Err(DiscoveryError::Away { .. } | DiscoveryError::NoLease { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Keeps the node's entry up as this process's own, until the registration is dropped.
pub fn keep(discovery: &Discovery, info: &NodeInfo) -> Registration {
    discovery.register_own(&key(&info.id), info.write(), NodeInfo::same_process)
}

/// Completes when another process has this node's name for certain; where that one is reached. One that was
/// started before this one may be dead, and its entry is given `patience` to end. Cancel safe.
pub async fn taken(discovery: &Discovery, started_ms: u64, patience: Duration) -> String {
    let mut taken = discovery.taken();
    loop {
        let holder = taken.borrow_and_update().as_ref().map(|entry| NodeInfo::read(entry));
        let wait = match holder {
            Some(Ok(info)) if info.started_ms > started_ms => return info.grpc,
            Some(_) => patience,
            None => Duration::MAX,
        };
        let change = tokio::time::timeout(wait, taken.wait_for(|taken| taken.is_none()));
        match change.await.map(|free| free.map(drop)) {
            Err(_) => {
                let holder = taken.borrow().as_ref().map(|entry| NodeInfo::read(entry));
                return holder.and_then(Result::ok).map(|info| info.grpc).unwrap_or_default();
            }
            Ok(Ok(())) => {
                if taken.changed().await.is_err() {
                    std::future::pending().await
                }
            }
            // A table that nobody shares.
            Ok(Err(_)) => std::future::pending().await,
        }
    }
}
