//! Entry: what a process in a simulated cluster tells the others of itself, under its node's name
//! (`app::Membership`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hotseat::cluster::LINK_VERSION;
use hotseat::cluster::node::{self, NodeInfo};
use hotseat::cluster::placement::NODES;
use hotseat::cluster::rollout::Standing;
use hotseat::discovery::{Discovery, DiscoveryError, Hold, Written};
use hotseat::game::Homes;
use hotseat::journal::Dormant;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::HOMES;
use crate::network::address;
use crate::node::Given;

/// How long a node's name is waited for, and between two looks at it.
const NAME: Duration = Duration::from_secs(9);
const LOOK: Duration = Duration::from_millis(500);
const TELL: Duration = Duration::from_secs(2);

impl Given {
    fn info(&self, draining: bool, behind: bool, homes: &Homes, dormant: &Dormant) -> NodeInfo {
        let (dormant, holds) = node::homes_held(homes, dormant);
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

    /// As `app::Membership::take_name`.
    pub(crate) async fn take_name(
        &self,
        discovery: &Discovery,
        homes: &Homes,
        dormant: &Dormant,
    ) -> Result<()> {
        let key = format!("{NODES}{}", self.node);
        let deadline = Instant::now() + NAME;
        loop {
            match discovery.create(&key, self.info(false, true, homes, dormant).write(), Hold::Lease).await {
                Ok(Written::Done(_)) => return Ok(()),
                Ok(Written::Refused(Some(_))) if Instant::now() > deadline => bail!("its name is taken"),
                Ok(Written::Refused(_))
                | Err(DiscoveryError::Away { .. } | DiscoveryError::NoLease { .. }) => {}
                Err(error) => return Err(error).context("its name"),
            }
            sleep(LOOK).await;
        }
    }

    /// As `app::Membership::stand`.
    pub(crate) async fn stand(
        self,
        discovery: Discovery,
        homes: Arc<Homes>,
        dormant: Dormant,
        mut draining: watch::Receiver<bool>,
        mut standing: watch::Receiver<Standing>,
        stop: CancellationToken,
    ) {
        let mut told = self.info(false, true, &homes, &dormant);
        let place = discovery.register(&format!("{NODES}{}", self.node), told.write());
        loop {
            let behind = standing.borrow_and_update().behind;
            let now = self.info(*draining.borrow_and_update(), behind, &homes, &dormant);
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
