//! Entry: what a process in a simulated cluster tells the others of itself, under its node's name
//! (`app::Membership`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hotseat::cluster::LINK_VERSION;
use hotseat::cluster::node::{self, NodeInfo};
use hotseat::cluster::node_name::{self, TAKEN_GRACE};
use hotseat::cluster::rollout::Standing;
use hotseat::discovery::Discovery;
use hotseat::game::registry::Registry;
use hotseat::journal::Dormant;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::network::address;
use crate::node::Given;
use crate::{HOMES, TTL};

/// How long a node's name is waited for, and how often a node tells how it does.
const PATIENCE: Duration = TTL.saturating_add(TAKEN_GRACE);
const TELL: Duration = Duration::from_secs(2);

impl Given {
    fn info(&self, draining: bool, behind: bool, registry: &Registry, dormant: &Dormant) -> NodeInfo {
        let (dormant, holds) = node::homes_held(registry, dormant);
        NodeInfo {
            id: self.node.clone(),
            process: self.process.to_string(),
            roles: vec!["game".into()],
            grpc: address(self.process),
            admin: String::new(),
            listen: None,
            version: "0".into(),
            link: LINK_VERSION,
            started_ms: self.process,
            draining,
            behind,
            dormant,
            holds,
            sessions: 0,
            rooms: 0,
            players: 0,
            plugins: BTreeMap::new(),
            home_rooms: HOMES,
        }
    }

    /// Takes the node's name, as `app::Membership::take_name`.
    pub(crate) async fn take_name(
        &self,
        discovery: &Discovery,
        registry: &Registry,
        dormant: &Dormant,
    ) -> Result<()> {
        Ok(node_name::take(discovery, &self.info(false, true, registry, dormant), PATIENCE).await?)
    }

    /// Completes when another process has the node's name; who that is.
    pub(crate) async fn cast_out(&self, discovery: &Discovery) -> String {
        node_name::taken(discovery, self.process, PATIENCE).await
    }

    /// As `app::Membership::stand`.
    pub(crate) async fn stand(
        self,
        discovery: Discovery,
        registry: Arc<Registry>,
        dormant: Dormant,
        mut draining: watch::Receiver<bool>,
        mut standing: watch::Receiver<Standing>,
        stop: CancellationToken,
    ) {
        let mut told = self.info(false, true, &registry, &dormant);
        let place = node_name::keep(&discovery, &told);
        loop {
            let behind = standing.borrow_and_update().behind;
            let now = self.info(*draining.borrow_and_update(), behind, &registry, &dormant);
            if now != told {
                place.update(now.write());
                told = now;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = draining.changed() => {}
                Ok(()) = standing.changed() => {}
                () = sleep(TELL) => {}
            }
        }
    }
}
