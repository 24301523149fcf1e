//! Deploy: a new version under live rooms.
//!
//! Verified, compiled, linked and rehearsed while the old version plays on; then cut over room by room, each
//! between two of its calls; then watched for a while. A step that fails leaves everything as it was. One
//! deployment at a time; it runs in a task of its own, so a caller that goes away does not stop it half-way.

mod orders;
mod phases;
mod rehearsal;
mod steps;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

pub use self::phases::{Prepared, Reverted};
use super::artefacts::{ArtefactError, Artefacts, Event, EventKind};
use super::crew::{Crew, Live};
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
    probation: Duration,
    artefacts: Mutex<Artefacts>,
    step: Mutex<Step>,
    /// Held for the length of a deployment or roll-back.
    turn: tokio::sync::Mutex<()>,
    /// The last version that was taken back because it failed.
    reverted: watch::Sender<Option<Reverted>>,
}

impl Deployer {
    /// Starts the plugin: the version that was live last, or `first` if that one has never been live here.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn start(
        engine: Engine,
        crew: Arc<Crew>,
        artefacts: Artefacts,
        first: Arc<[u8]>,
        probation: Duration,
    ) -> Result<Self, DeployError> {
        let digest = hotseat_build::Digest::of(&first);
        let last = artefacts.lives().first().copied();
        let bytes = match last {
            Some(last) if artefacts.knows(&digest) => artefacts.load(&last)?,
            _ => first,
        };
        let inner = Inner {
            engine,
            crew,
            probation,
            artefacts: Mutex::new(artefacts),
            step: Mutex::new(Step::Idle),
            turn: tokio::sync::Mutex::new(()),
            reverted: watch::Sender::new(None),
        };
        let inner = Arc::new(inner);
        let version = inner.prepare(bytes).await?;
        inner.rehearse_opening(&version).await?;
        inner.artefacts().store(&version.digest(), version.bytes())?;
        inner.record(EventKind::Started, &version, "");
        inner.crew.set_live(Live { version: Arc::clone(&version), fallback: None });
        info!(plugin = inner.crew.plugin(), %version, "plugin started");
        Ok(Self { inner })
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        self.inner.crew.plugin()
    }

    /// The plugin's actors.
    pub fn crew(&self) -> &Arc<Crew> {
        &self.inner.crew
    }

    /// What is under way.
    pub fn step(&self) -> Step {
        *self.inner.step()
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
    /// Cancel safe: once begun it runs to its end whether or not the caller waits.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn deploy(&self, artefact: Vec<u8>) -> Result<DeployReport, DeployError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.deploy(artefact.into(), EventKind::Deployed).await });
        task.await.map_err(|_| DeployError::Shutdown)?
    }

    /// Goes back to the version that was live before the present one: while that one is on probation to the state
    /// it handed over with everything that came since, later by an ordinary hand-over of the present state.
    ///
    /// Cancel safe, as [`Self::deploy`].
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn rollback(&self) -> Result<DeployReport, DeployError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.rollback().await });
        task.await.map_err(|_| DeployError::Shutdown)?
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
