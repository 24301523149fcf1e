//! Announcement: what a node tells the others about itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;

use super::Membership;
use crate::actor::deploy::Deployer;
use crate::cluster::LINK_VERSION;
use crate::cluster::node::{self, NodeInfo};
use crate::cluster::rollout::Standing;
use crate::config::{Config, Role};
use crate::game::registry::Registry;
use crate::journal::Dormant;

/// What a node tells about itself.
pub(in crate::app) struct Announcement {
    pub(in crate::app) info: NodeInfo,
    pub(in crate::app) sessions: Option<Arc<AtomicU64>>,
    pub(in crate::app) registry: Option<Arc<Registry>>,
    pub(in crate::app) deployers: BTreeMap<String, Deployer>,
    /// What its journal holds that has not been taken up.
    pub(in crate::app) dormant: Dormant,
    /// How the node stands towards the cluster's version of the game, if it runs one.
    pub(in crate::app) standing: Option<watch::Receiver<Standing>>,
}

impl Announcement {
    /// Completes when the node stands otherwise than before. Cancel safe.
    pub(in crate::app) async fn stands(&mut self) {
        let changed = match &mut self.standing {
            Some(standing) => standing.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            std::future::pending().await
        }
    }

    /// As [`NodeInfo::dormant`] and [`NodeInfo::holds`] tell them.
    fn homes(&self) -> (String, String) {
        let Some(registry) = &self.registry else { return Default::default() };
        node::homes_held(registry, &self.dormant)
    }

    /// What the node is before it has done anything.
    pub(in crate::app) fn first(&self) -> NodeInfo {
        let (dormant, holds) = self.homes();
        NodeInfo { dormant, holds, ..self.info.clone() }
    }

    /// What it is at present.
    pub(in crate::app) fn now(&self, draining: bool) -> NodeInfo {
        let (dormant, holds) = self.homes();
        NodeInfo {
            draining,
            dormant,
            holds,
            behind: self.standing.as_ref().is_some_and(|standing| standing.borrow().behind),
            ..self.info.at_present(self.sessions.as_deref(), self.registry.as_deref(), &self.deployers)
        }
    }
}

/// What this node is, before it has done anything.
pub(in crate::app) fn info(
    config: &Config,
    membership: &Membership,
    started_ms: u64,
    (listen, grpc, admin): (Option<SocketAddr>, String, SocketAddr),
) -> NodeInfo {
    NodeInfo {
        id: membership.owner.node.clone(),
        process: membership.owner.process.clone(),
        roles: config.roles.iter().map(ToString::to_string).collect(),
        grpc,
        admin: admin.to_string(),
        listen: listen.map(|listen| listen.to_string()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        link: LINK_VERSION,
        started_ms,
        draining: false,
        dormant: String::new(),
        holds: String::new(),
        home_rooms: membership.homes.count(),
        behind: config.etcd_host.is_some() && config.roles.contains(&Role::Game),
        sessions: 0,
        rooms: 0,
        players: 0,
        plugins: BTreeMap::new(),
    }
}
