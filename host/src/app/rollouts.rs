//! Rollouts: the cluster's versions of a node's plugins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::membership::Membership;
use crate::actor::deploy::Deployer;
use crate::cluster::rollout::{Rollout, RolloutParts};
use crate::config::Config;

/// One for each plugin; none on a node by itself.
pub(super) fn rollouts(
    config: &Config,
    membership: &Membership,
    deployers: &BTreeMap<String, Deployer>,
) -> BTreeMap<String, Rollout> {
    let rollout = |deployer: &Deployer| {
        Rollout::new(RolloutParts {
            node: Arc::clone(&membership.node),
            discovery: membership.discovery.clone(),
            placement: membership.placement.clone(),
            dialer: membership.dialer.clone(),
            deployer: deployer.clone(),
            probation: Duration::from_millis(config.probation_ms),
        })
    };
    let shared = deployers.iter().filter(|_| membership.is_shared());
    shared.map(|(name, deployer)| (name.clone(), rollout(deployer))).collect()
}

/// Begins to bring the plugins to the cluster's versions, until `stop` fires.
pub(super) fn follow(
    rollouts: &BTreeMap<String, Rollout>,
    membership: &Membership,
    stop: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let rollouts = rollouts.values().cloned();
    rollouts.map(|it| tokio::spawn(it.follow(membership.discovery.clone(), stop.clone()))).collect()
}
