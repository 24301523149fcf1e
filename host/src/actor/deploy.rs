//! Deploy: a new version under live rooms.
//!
//! Verified, compiled, linked and rehearsed while the old version plays on; then cut over room by room, each
//! between two of its calls; then watched for a while. A step that fails leaves everything as it was. One
//! deployment at a time; it runs in a task of its own, so a caller that goes away does not stop it half-way.

mod orders;
mod phases;
mod rehearsal;
mod start;
mod steps;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hotseat_build::Digest;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

pub use self::phases::{Prepared, Reverted};
pub use self::start::DeployerParts;
use self::steps::RolledBack;
use super::artefacts::{ArtefactError, Artefacts, Event, EventKind};
use super::crew::{Crew, Live};
use super::names::{Names, TakenError};
use crate::plugin::{Engine, Fault, Version, VersionError};

/// The steps of a swap; shown to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing under way.
    Idle,
    /// The artefact is checked, compiled and linked.
    Compiling,
    /// Live state is tried on it.
    Rehearsing,
    /// Rooms hand over.
    Swapping,
    /// It is live and watched.
    Probation,
    /// It is taken back.
    Reverting,
}

impl Step {
    /// Its name for operators.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Compiling => "compiling",
            Self::Rehearsing => "rehearsing",
            Self::Swapping => "swapping",
            Self::Probation => "probation",
            Self::Reverting => "reverting",
        }
    }
}

/// Why a version did not go live. The version before it runs on, in every room.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Not a plugin for this node.
    #[error("refused: {0}")]
    Version(#[from] VersionError),
    /// The manifest names another plugin.
    #[error("refused: the artefact's manifest names the plugin {found:?}, not {wanted:?}")]
    Name {
        /// In the manifest.
        found: String,
        /// In the request.
        wanted: String,
    },
    /// It is for another world.
    #[error("refused: the artefact is for the world {found:?}, the plugin {plugin} runs in {wanted:?}")]
    World {
        /// In the manifest.
        found: String,
        /// The plugin's name.
        plugin: String,
        /// What it has to be.
        wanted: &'static str,
    },
    /// It declares a gRPC service that somebody else serves.
    #[error("refused: {0}")]
    Taken(#[from] TakenError),
    /// Nothing of what was live on this data directory can be started.
    #[error("none of the versions in the data directory can be started: {0}")]
    NoneStarts(String),
    /// No such plugin on this node.
    #[error("no plugin {0:?} on this node")]
    Unknown(String),
    /// Live state, or a new room, does not work on it.
    #[error("refused in rehearsal: {0}")]
    Rehearsal(String),
    /// A room could not be handed over; all rooms are back on the version before.
    #[error("taken back: room {room} could not be handed over: {why}")]
    Swap {
        /// The first such room.
        room: String,
        /// Why.
        why: String,
    },
    /// What was live when it was rehearsed is live no longer.
    #[error("refused: {0} went live meanwhile; deploy again")]
    Overtaken(String),
    /// There is nothing to go back to.
    #[error("there is no earlier version to go back to")]
    NoPrevious,
    /// The data directory does not take it.
    #[error("cannot be stored: {0}")]
    Store(#[from] ArtefactError),
    /// The node is going down.
    #[error("the node is shutting down")]
    Shutdown,
}

/// What a deployment did.
#[derive(Debug, Clone)]
pub struct DeployReport {
    /// The version before.
    pub from: Arc<Version>,
    /// The version now.
    pub to: Arc<Version>,
    /// How long each room stood still, sorted.
    pub pauses: Vec<Duration>,
    /// Rooms whose state was tried beforehand.
    pub rehearsed: usize,
    /// Compiling, or loading compiled code.
    pub compile: Duration,
    /// It was live already.
    pub unchanged: bool,
}

impl DeployReport {
    /// Of a deployment that had nothing to do.
    pub(crate) fn unchanged(live: Arc<Version>) -> Self {
        let (from, to, pauses) = (Arc::clone(&live), live, Vec::new());
        Self { from, to, pauses, rehearsed: 0, compile: Duration::ZERO, unchanged: true }
    }

    /// The pause that `percent` of the rooms did not exceed.
    pub fn pause(&self, percent: usize) -> Duration {
        let at = (self.pauses.len() * percent).div_ceil(100).saturating_sub(1);
        self.pauses.get(at).copied().unwrap_or_default()
    }
}

/// Deploys versions of one plugin. Cheap to clone.
#[derive(Clone)]
pub struct Deployer {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    crew: Arc<Crew>,
    names: Names,
    probation: Duration,
    artefacts: Mutex<Artefacts>,
    /// Why it came up on an older version than the one that was live; empty if it did not.
    fell_back: String,
    /// The version it came up on.
    started: Digest,
    step: Mutex<Step>,
    /// Compilations under way.
    compiling: AtomicUsize,
    /// Held while a version is compiled and deployed: versions go live in the order in which they were sent, and one is
    /// compiled at a time. A roll-back does not wait for it.
    queue: Arc<tokio::sync::Mutex<()>>,
    /// Held while rooms change their version or are about to; never for a compilation.
    turn: tokio::sync::Mutex<()>,
    /// The last version that was taken back because it failed.
    reverted: watch::Sender<Option<Reverted>>,
}

impl Deployer {
    /// The plugin's name.
    pub fn name(&self) -> &str {
        self.inner.crew.plugin()
    }

    /// The plugin's actors.
    pub fn crew(&self) -> &Arc<Crew> {
        &self.inner.crew
    }

    /// Why the plugin came up on an older version than the one that was live last, if it did and that one still runs.
    pub fn fell_back(&self) -> Option<&str> {
        let inner = &self.inner;
        let still = inner.crew.live().is_some_and(|live| live.version.digest() == inner.started);
        Some(&*inner.fell_back).filter(|why| still && !why.is_empty())
    }

    /// What is under way.
    pub fn step(&self) -> Step {
        match *self.inner.step() {
            Step::Idle | Step::Probation if self.inner.compiling.load(Ordering::Relaxed) > 0 => {
                Step::Compiling
            }
            step => step,
        }
    }

    /// The events so far, oldest first.
    pub fn history(&self) -> Vec<Event> {
        self.inner.artefacts().events().to_vec()
    }

    /// The digest a roll-back would go to.
    pub fn previous(&self) -> Option<Event> {
        let artefacts = self.inner.artefacts();
        let digest = artefacts.lives().get(1)?.to_string();
        artefacts.events().iter().rev().find(|event| event.digest == digest).cloned()
    }

    /// Puts an artefact live.
    ///
    /// Cancel safe: a caller that goes away ends the compilation, and nothing has changed; once that is done the
    /// deployment runs to its end whether or not the caller waits.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn deploy(&self, artefact: Vec<u8>) -> Result<DeployReport, DeployError> {
        let place = Arc::clone(&self.inner.queue).lock_owned().await;
        Arc::clone(&self.inner).deploy(artefact.into(), EventKind::Deployed, None, Some(place)).await
    }

    /// Goes back to the version that was live before the present one: while that one is on probation to the state
    /// it handed over with everything that came since, later by an ordinary hand-over of the present state.
    ///
    /// Waits for no compilation. Cancel safe, as [`Self::deploy`].
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn rollback(&self) -> Result<DeployReport, DeployError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.rollback().await });
        match task.await.map_err(|_| DeployError::Shutdown)?? {
            RolledBack::Done(report) => Ok(report),
            RolledBack::Again { artefact, over } => {
                Arc::clone(&self.inner).deploy(artefact, EventKind::RolledBack, Some(over), None).await
            }
        }
    }

    /// Watches for faults of a version on probation and takes it back. Ends with the last sender of reports.
    pub async fn watch(self, mut faults: mpsc::Receiver<(Arc<Version>, Fault)>) {
        while let Some((version, fault)) = faults.recv().await {
            let _turn = self.inner.turn.lock().await;
            let Some(Live { version: live, fallback }) = self.inner.crew.live() else { continue };
            if live.digest() != version.digest() {
                continue;
            }
            let Some(fallback) = fallback else {
                // The probation ended before word came of a room that had gone back by itself.
                self.inner.gather(&live).await;
                continue;
            };
            warn!(plugin = self.inner.crew.plugin(), from = %live, to = %fallback, %fault, "version failed on probation");
            let result = self.inner.revert(&live, &fallback).await;
            let failed = result.iter().filter(|(_, result)| result.is_err()).count();
            if failed > 0 {
                error!(plugin = self.inner.crew.plugin(), rooms = failed, "rooms could not be taken back");
            }
            let why = format!("{live} failed: {fault}");
            self.inner.record(EventKind::Reverted, &fallback, &why);
            // Told before the step is over: who sees neither sees the version that runs.
            self.inner.reverted.send_replace(Some(Reverted { version: live.digest(), why }));
            self.inner.set_step(Step::Idle);
        }
    }
}
