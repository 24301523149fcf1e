//! Name: which process has a node's id.

use std::time::Duration;

use crate::cluster::node::NodeInfo;
use crate::discovery::Discovery;

/// Draws what tells this process from others of the same node.
pub(super) fn process() -> String {
    format!("{:016x}", getrandom::u64().unwrap_or_else(|_| crate::snowflake::now_ms()))
}

/// Completes when another process has this node's name for certain; where that one is reached. One that was
/// started before this one may be dead, and its entry is given the time to end.
pub(super) async fn taken(discovery: &Discovery, started_ms: u64, patience: Duration) -> String {
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
