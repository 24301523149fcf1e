//! Deploy: a new version under live rooms.
//!
//! Verified, compiled, linked and rehearsed while the old version plays on; then cut over room by room, each
//! between two of its calls; then watched for a while. A step that fails leaves everything as it was. One
//! deployment at a time; it runs in a task of its own, so a caller that goes away does not stop it half-way.

mod commands;
mod consent;
mod phases;
mod probation;
mod rehearsal;
mod start;
mod steps;
mod way_back;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hotseat_build::Digest;
use tokio::sync::watch;
use tokio::task::JoinError;

use self::commands::Course;
pub use self::consent::Consent;
pub use self::phases::{Prepared, Reverted};
pub use self::start::DeployerParts;
use self::steps::RolledBack;
pub use self::way_back::WayBack;
use super::artefacts::{ArtefactError, Artefacts, Event, EventKind};
use super::caps::TooMuchAsked;
use super::group::ActorGroup;
use super::names::{Names, TakenError};
use crate::plugin::{Engine, Version, VersionError};

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
    /// Its manifest asks for more than the operator allows.
    #[error("refused: {0}")]
    Caps(#[from] TooMuchAsked),
    /// No such plugin on this node.
    #[error("no plugin {0:?} on this node")]
    Unknown(String),
    /// Live state, or a new room, does not work on it.
    #[error("refused in rehearsal: {0}")]
    Rehearsal(String),
    /// Players of some room would wait for too long.
    #[error(
        "refused: room {room} is expected to stand still for {expected_ms} ms while it is handed over, swap_pause_max_ms \
         allows {max_ms}; deploy with accept_pause (--accept-pause) to do it all the same"
    )]
    Pause {
        /// The room that would take longest.
        room: String,
        /// How long it took to save and to load its state in the rehearsal, ms.
        expected_ms: u128,
        /// How long it may take, ms.
        max_ms: u128,
    },
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
    /// The version before does not take the present state, and what it handed over is not kept.
    #[error(
        "cannot go back to {to}: {why}; what it handed over and the inputs since are not kept ({closed}). To go back all \
         the same, deploy a version that writes its state for {to} (`downgrade`), or {to} mended to read the present state"
    )]
    NoWayBack {
        /// The version before.
        to: String,
        /// Why the state is not taken.
        why: String,
        /// Why nothing is kept.
        closed: String,
    },
    /// The data directory does not take it.
    #[error("cannot be stored: {0}")]
    Store(#[from] ArtefactError),
    /// The host's own code failed: a mistake in this program. What was live before goes on as far as it was not replaced.
    #[error(
        "the node failed in the middle of it ({0}), which is no fault of the version: see the node's log"
    )]
    Panicked(String),
    /// The node is going down.
    #[error("the node is shutting down")]
    Shutdown,
}

/// A task that has no result either failed, or was cancelled with the runtime.
impl From<JoinError> for DeployError {
    fn from(error: JoinError) -> Self {
        let Ok(panic) = error.try_into_panic() else { return Self::Shutdown };
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Self::Panicked(text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_else(|| "a panic".to_owned()))
    }
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
    /// Whether and how it can be gone back from; none where nothing new went live.
    pub way_back: Option<WayBack>,
    /// Rooms that did not go to it and were set aside, or have to be.
    pub set_aside: Vec<String>,
    /// What it cost the node and its players.
    pub load: Load,
    /// How long the slowest room was expected to stand still; zero where nothing was rehearsed.
    pub expected_pause: Duration,
}

/// What handing many rooms over costs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// The longest that players waited: those of a room that was handed over, or of any other room of the node.
    pub players_waited: Duration,
    /// Bytes of all states that were handed over.
    pub state_bytes: u64,
    /// Bytes of states that were under way at a time or waited for the disk, at most.
    pub peak_bytes: u64,
}

impl Load {
    fn of(course: &Course) -> Self {
        let (players_waited, state_bytes) = (course.waited(), course.bytes());
        Self { players_waited, state_bytes, peak_bytes: course.peak_bytes as u64 }
    }
}

impl DeployReport {
    /// Of a deployment that had nothing to do.
    pub(crate) fn unchanged(live: Arc<Version>) -> Self {
        let (from, to, pauses) = (Arc::clone(&live), live, Vec::new());
        let (rehearsed, compile, way_back) = (0, Duration::ZERO, None);
        let (set_aside, load, expected_pause) = (Vec::new(), Load::default(), Duration::ZERO);
        let unchanged = true;
        Self { from, to, pauses, rehearsed, compile, unchanged, way_back, set_aside, load, expected_pause }
    }

    /// The pause that `percent` of the rooms did not exceed.
    pub fn pause(&self, percent: usize) -> Duration {
        let at = (self.pauses.len() * percent).div_ceil(100).saturating_sub(1);
        self.pauses.get(at).copied().unwrap_or_default()
    }
}

/// How long a version can be taken back.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// It is watched for so long, and taken back by itself if it fails.
    pub probation: Duration,
    /// What going back takes is kept for so long, or for as long as the probation.
    pub window: Duration,
    /// A deployment is refused if some room is expected to stand still for longer, unless its [`Consent`] says otherwise.
    pub pause_max: Duration,
}

/// Deploys versions of one plugin. Cheap to clone.
#[derive(Clone)]
pub struct Deployer {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    group: Arc<ActorGroup>,
    names: Names,
    terms: Terms,
    artefacts: Mutex<Artefacts>,
    /// Why it came up on an older version than the one that was live; empty if it did not.
    fell_back: String,
    /// The version it came up on.
    started: Digest,
    /// How often a version has replaced another one.
    cuts: AtomicU64,
    /// Why nothing is kept of what rooms were before, if that is so.
    closed: Mutex<String>,
    /// The way back from the live version, as it was when it went live.
    way_back: Mutex<Option<WayBack>>,
    /// What was got ready for a plan.
    planned: Mutex<Option<(Prepared, Instant)>>,
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
        self.inner.group.plugin()
    }

    /// The plugin's actors.
    pub fn group(&self) -> &Arc<ActorGroup> {
        &self.inner.group
    }

    /// Why the plugin came up on an older version than the one that was live last, if it did and that one still runs.
    pub fn fell_back(&self) -> Option<&str> {
        let inner = &self.inner;
        let still = inner.group.live().is_some_and(|live| live.version.digest() == inner.started);
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
        self.deploy_with(artefact, Consent::default()).await
    }

    /// As [`Self::deploy`], with what the operator allows. Rooms that may be set aside and do not go to the new version
    /// end, and a file beside the journal has what they were.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn deploy_with(
        &self,
        artefact: Vec<u8>,
        consent: Consent,
    ) -> Result<DeployReport, DeployError> {
        let place = Arc::clone(&self.inner.queue).lock_owned().await;
        let inner = Arc::clone(&self.inner);
        inner.deploy(artefact.into(), consent, EventKind::Deployed, None, Some(place)).await
    }

    /// Gets a deployment ready, and says what it would do. Nothing is live that was not. The next [`Self::deploy`] of the
    /// same artefact begins from here. Cancel safe, as that.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn plan(&self, artefact: Vec<u8>, consent: Consent) -> Result<DeployReport, DeployError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.plan(artefact.into(), consent).await });
        task.await?
    }

    /// Ends those rooms of `consent.set_aside` that do not go to the version of the artefact, each with a file that has what it was, before
    /// a deployment to the whole cluster. Which ones. Cancel safe, as [`Self::deploy`].
    ///
    /// # Errors
    /// See [`DeployError`]; no room has ended then.
    pub async fn set_aside(&self, artefact: Vec<u8>, consent: Consent) -> Result<Vec<String>, DeployError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.set_aside(artefact.into(), consent).await });
        task.await?
    }

    /// The way back from the live version to the one before, as operators are told: none if there is no version before.
    pub fn way_back(&self) -> Option<String> {
        self.inner.told_way_back()
    }

    /// Goes back to the version that was live before the present one: while that one is on probation to the state
    /// it handed over with everything that came since; later by a hand-over of the present state, if that version reads it
    /// or the present one writes it for that one, and else to what it handed over, as long as that is kept.
    ///
    /// Waits for no compilation. Cancel safe, as [`Self::deploy`].
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn rollback(&self) -> Result<DeployReport, DeployError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.rollback().await });
        match task.await?? {
            RolledBack::Done(report) => Ok(report),
            RolledBack::Again { artefact, over } => {
                let inner = Arc::clone(&self.inner);
                inner.deploy(artefact, Consent::to_any_pause(), EventKind::RolledBack, Some(over), None).await
            }
        }
    }
}
