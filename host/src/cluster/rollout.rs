//! Rollout: one version of a plugin for the whole cluster.
//!
//! What is to run is a record in etcd ([`record`]). The node that an operator asks (coordinator) proposes a version; every
//! node that runs the plugin gets it ready and says so (follower); once all are ready one write makes it live, and each
//! node cuts over when it sees that. If one refuses, the proposal is withdrawn; if one cannot cut over, or the version
//! fails there on probation, one write takes all of them back. A node that comes later runs what the record says.

mod coordinator;
mod fetch;
mod follower;
mod ready;
pub mod record;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

pub use self::fetch::Shelf;
use self::follower::Follower;
use self::record::{Record, Status};
use self::table::Table;
use super::placement::Placement;
use crate::actor::deploy::{DeployError, DeployReport, Deployer};
use crate::discovery::{Discovery, DiscoveryError};
use crate::peer::Dialer;

/// Why the cluster's version did not change. It runs on, on every node, unless the text says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// This node would not take it; no other one was asked.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// A node did not get ready, or was not heard of in time; nothing was changed anywhere.
    #[error("refused by the cluster: {0}")]
    Withdrawn(String),
    /// It was live, and all nodes went back.
    #[error("taken back from the whole cluster: {0}")]
    TakenBack(String),
    /// One at a time.
    #[error("node {coordinator} is rolling {label} out: wait for it")]
    Busy {
        /// What is being rolled out.
        label: String,
        /// By whom.
        coordinator: String,
    },
    /// What this node runs is not the cluster's version yet.
    #[error("this node does not run the cluster's version {0} yet: wait, or ask another node")]
    Behind(String),
    /// There is no earlier one.
    #[error("the cluster has no earlier version to go back to")]
    NoPrevious,
    /// Somebody else has changed the record.
    #[error("another deployment was faster; what the cluster runs now is {0}")]
    Overtaken(String),
    /// It is live, not all nodes could cut over, and the others cannot go back.
    #[error("the cluster runs {label} now, and not all of its nodes do: {why}")]
    Apart {
        /// The label of the version that is live.
        label: String,
        /// The nodes that do not run it, and why the others stay on it.
        why: String,
    },
    /// It was live, and etcd has lost what it knew of it.
    #[error("etcd has lost the record of it: see with `hotseat cluster status` what the nodes run")]
    Lost,
    /// Etcd.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// What stands in etcd is no record.
    #[error("etcd entry {key} is no record ({why}): remove it, and the next deployment writes a new one")]
    Record {
        /// Its key, with the cluster's prefix.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The node is going down.
    #[error("the node is shutting down")]
    Shutdown,
}

/// As [`DeployError`]'s.
impl From<JoinError> for RolloutError {
    fn from(error: JoinError) -> Self {
        match DeployError::from(error) {
            DeployError::Shutdown => Self::Shutdown,
            error => Self::Deploy(error),
        }
    }
}

/// How this node stands towards the cluster's version of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// It has not reached the cluster's version since it was started, and is to have no rooms.
    pub behind: bool,
    /// A version is being rolled out or is on probation: rooms had better stay where they are.
    pub busy: bool,
}

/// How far the nodes are.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What the cluster runs, and is to run; none if nothing was ever rolled out.
    pub record: Option<Record>,
    /// The nodes that run the plugin, by id.
    pub nodes: BTreeMap<String, Status>,
}

/// What a rollout did.
#[derive(Debug, Clone)]
pub struct RolloutReport {
    /// On the node that was asked.
    pub here: DeployReport,
    /// Nodes that run it now.
    pub nodes: usize,
}

/// The cluster's versions of one plugin, as one node sees and moves them. Cheap to clone.
#[derive(Clone)]
pub struct Rollout {
    inner: Arc<Inner>,
}

struct Inner {
    node: Arc<str>,
    table: Table,
    deployer: Deployer,
    dialer: Dialer,
    placement: Placement,
    probation: Duration,
    standing: watch::Sender<Standing>,
    /// What this node's last cut-over did, and in which rollout.
    report: Mutex<Option<(u64, DeployReport)>>,
    /// Held while this node coordinates.
    turn: tokio::sync::Mutex<()>,
}

/// What a [`Rollout`] is made of.
pub struct RolloutParts {
    /// This node.
    pub node: Arc<str>,
    /// Etcd.
    pub discovery: Discovery,
    /// The nodes there are.
    pub placement: Placement,
    /// How they are reached.
    pub dialer: Dialer,
    /// The plugin.
    pub deployer: Deployer,
    /// How long a version that this node rolls out is on probation.
    pub probation: Duration,
}

impl Rollout {
    /// Begins to watch the plugin's record. Nothing is done before [`Self::follow`].
    pub fn new(parts: RolloutParts) -> Self {
        let RolloutParts { node, discovery, placement, dialer, deployer, probation } = parts;
        let table = Table::new(&discovery, deployer.name());
        let standing = watch::Sender::new(Standing { behind: true, busy: false });
        let (report, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        let inner = Inner { node, table, deployer, dialer, placement, probation, standing, report, turn };
        Self { inner: Arc::new(inner) }
    }

    /// Brings this node to the cluster's version and keeps it there, until `stop` fires. To be run once the node stands
    /// among the others.
    pub async fn follow(self, discovery: Discovery, stop: CancellationToken) {
        Follower::new(self.inner, &discovery).run(stop).await;
    }

    /// How this node stands.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing.subscribe()
    }

    /// How far the nodes are, as this one knows.
    pub fn progress(&self) -> Progress {
        Progress { record: self.inner.table.record(), nodes: self.inner.table.nodes() }
    }

    /// Whether the cluster says what this node runs, so that nobody may say otherwise to this node alone.
    pub fn governs(&self) -> bool {
        self.inner.table.record().is_some_and(|record| record.live.is_some() || record.next.is_some())
    }

    /// Puts an artefact live on every node, or on none. Cancel safe: once begun it runs to its end.
    ///
    /// # Errors
    /// See [`RolloutError`].
    pub async fn deploy(&self, artefact: Vec<u8>, any_pause: bool) -> Result<RolloutReport, RolloutError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.deploy(artefact.into(), any_pause).await });
        task.await?
    }

    /// Goes back, on every node or on none, to the version that the cluster ran before: while the present one is on
    /// probation to the state it was handed, with everything that came since. Cancel safe, as [`Self::deploy`].
    ///
    /// # Errors
    /// See [`RolloutError`].
    pub async fn rollback(&self) -> Result<RolloutReport, RolloutError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.rollback().await });
        task.await?
    }
}

impl Inner {
    fn keep_report(&self, rollout: u64, report: DeployReport) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some((rollout, report));
    }

    fn report(&self, rollout: u64) -> Option<DeployReport> {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        report.filter(|(of, _)| *of == rollout).map(|(_, report)| report)
    }
}
