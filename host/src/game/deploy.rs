//! Deploy: a new version under live rooms.
//!
//! Verified, compiled, linked and rehearsed while the old version plays on; then cut over room by room, each
//! between two of its calls; then watched for a while. A step that fails leaves everything as it was. One
//! deployment at a time; it runs in a task of its own, so a caller that goes away does not stop it half-way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::artefacts::{ArtefactError, Artefacts, Event, EventKind};
use super::registry::{Live, Registry, RoomHandle};
use super::room::Order;
use crate::plugin::{Engine, Fault, Instance, Snapshot, Version, VersionError};

/// Rooms whose state is tried on the new version before the cut.
const REHEARSE_MAX: usize = 16;

/// How long a room may take to answer an order before the deployment gives it up.
const PATIENCE: Duration = Duration::from_secs(10);

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
    name: String,
    engine: Engine,
    registry: Arc<Registry>,
    probation: Duration,
    artefacts: Mutex<Artefacts>,
    step: Mutex<Step>,
    /// Held for the length of a deployment or roll-back.
    turn: tokio::sync::Mutex<()>,
}

impl Deployer {
    /// Starts the plugin: the version that was live last, or `first` if that one has never been live here.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn start(
        name: &str,
        engine: Engine,
        registry: Arc<Registry>,
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
            name: name.to_owned(),
            engine,
            registry,
            probation,
            artefacts: Mutex::new(artefacts),
            step: Mutex::new(Step::Idle),
            turn: tokio::sync::Mutex::new(()),
        };
        let inner = Arc::new(inner);
        let version = inner.prepare(bytes).await?;
        inner.rehearse_opening(&version).await?;
        inner.artefacts().store(&version.digest(), version.bytes())?;
        inner.record(EventKind::Started, &version, "");
        inner.registry.set_live(Live { version: Arc::clone(&version), fallback: None });
        info!(plugin = name, %version, "plugin started");
        Ok(Self { inner })
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.inner.name
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
            let Some(Live { version: live, fallback: Some(fallback) }) = self.inner.registry.live() else {
                continue;
            };
            if live.digest() != version.digest() {
                continue;
            }
            warn!(plugin = self.inner.name, from = %live, to = %fallback, %fault, "version failed on probation");
            let result = self.inner.revert(&live, &fallback).await;
            let failed = result.iter().filter(|(_, result)| result.is_err()).count();
            if failed > 0 {
                error!(plugin = self.inner.name, rooms = failed, "rooms could not be taken back");
            }
            self.inner.record(EventKind::Reverted, &fallback, &format!("{live} failed: {fault}"));
            self.inner.set_step(Step::Idle);
        }
    }
}

impl Inner {
    fn artefacts(&self) -> MutexGuard<'_, Artefacts> {
        self.artefacts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_step(&self, step: Step) {
        *self.step() = step;
    }

    fn record(&self, kind: EventKind, version: &Version, reason: &str) {
        self.registry.metrics.deploys.with_label_values(&[kind.name()]).inc();
        let event = Event {
            at_ms: crate::snowflake::now_ms(),
            kind,
            digest: version.digest().to_string(),
            label: version.label(),
            size_bytes: version.bytes().len() as u64,
            reason: reason.to_owned(),
        };
        if let Err(error) = self.artefacts().record(event) {
            error!(plugin = self.name, %error, "history not written");
        }
    }

    async fn deploy(self: Arc<Self>, bytes: Arc<[u8]>, kind: EventKind) -> Result<DeployReport, DeployError> {
        let _turn = self.turn.lock().await;
        let live = self.registry.live().ok_or(DeployError::Shutdown)?;
        if hotseat_build::Digest::of(&bytes) == live.version.digest() {
            let (from, to) = (Arc::clone(&live.version), live.version);
            let pauses = Vec::new();
            return Ok(DeployReport {
                from,
                to,
                pauses,
                rehearsed: 0,
                compile: Duration::ZERO,
                unchanged: true,
            });
        }
        let started = Instant::now();
        let result = self.replace(&live, bytes, kind).await;
        let probation = result.is_ok() && !self.probation.is_zero();
        self.set_step(if probation { Step::Probation } else { Step::Idle });
        match &result {
            Ok(report) => {
                let (from, to) = (&report.from, &report.to);
                let (rooms, took_ms) = (report.pauses.len(), started.elapsed().as_millis());
                let pause_max_us = report.pause(100).as_micros();
                info!(plugin = self.name, %from, %to, rooms, pause_max_us, took_ms, "version deployed");
                tokio::spawn(Arc::clone(&self).confirm(Arc::clone(to)));
            }
            Err(error) => warn!(plugin = self.name, %error, "version not deployed"),
        }
        result
    }

    async fn replace(
        self: &Arc<Self>,
        live: &Live,
        bytes: Arc<[u8]>,
        kind: EventKind,
    ) -> Result<DeployReport, DeployError> {
        self.set_step(Step::Compiling);
        let version = self.prepare(bytes).await?;
        self.set_step(Step::Rehearsing);
        let rehearsed = match self.rehearse(&version).await {
            Ok(rehearsed) => rehearsed,
            Err(error) => {
                self.record(EventKind::Refused, &version, &error.to_string());
                return Err(error);
            }
        };
        self.artefacts().store(&version.digest(), version.bytes())?;
        self.set_step(Step::Swapping);
        let fallback = Arc::clone(&live.version);
        let rooms = self.registry.set_live(Live { version: Arc::clone(&version), fallback: Some(fallback) });
        let answers = ask_all(rooms, |answer| Order::Swap(Arc::clone(&version), answer)).await;
        if let Some((room, Err(why))) = answers.iter().find(|(_, answer)| answer.is_err()) {
            let error = DeployError::Swap { room: room.to_string(), why: why.clone() };
            self.revert(&version, &live.version).await;
            self.record(EventKind::Refused, &version, &error.to_string());
            return Err(error);
        }
        let mut pauses: Vec<_> =
            answers.into_iter().filter_map(|(_, answer)| answer.ok().flatten()).collect();
        pauses.sort();
        self.record(kind, &version, "");
        let (from, compile) = (Arc::clone(&live.version), version.compile_time());
        Ok(DeployReport { from, to: version, pauses, rehearsed, compile, unchanged: false })
    }

    async fn rollback(self: Arc<Self>) -> Result<DeployReport, DeployError> {
        let live = self.registry.live().ok_or(DeployError::Shutdown)?;
        if let Some(fallback) = live.fallback {
            let _turn = self.turn.lock().await;
            let answers = self.revert(&live.version, &fallback).await;
            self.record(EventKind::RolledBack, &fallback, "by an operator, on probation");
            self.set_step(Step::Idle);
            let mut pauses: Vec<_> =
                answers.into_iter().filter_map(|(_, answer)| answer.ok().flatten()).collect();
            pauses.sort();
            info!(plugin = self.name, from = %live.version, to = %fallback, "version rolled back");
            let (from, compile) = (live.version, Duration::ZERO);
            return Ok(DeployReport { from, to: fallback, pauses, rehearsed: 0, compile, unchanged: false });
        }
        let previous = {
            let artefacts = self.artefacts();
            let digest = artefacts.lives().get(1).copied().ok_or(DeployError::NoPrevious)?;
            artefacts.load(&digest)?
        };
        self.deploy(previous, EventKind::RolledBack).await
    }

    /// Compiles on a thread that may block; the runtime's workers go on.
    async fn prepare(&self, bytes: Arc<[u8]>) -> Result<Arc<Version>, DeployError> {
        let engine = self.engine.clone();
        let prepare = tokio::task::spawn_blocking(move || Version::prepare(&engine, bytes));
        let version = prepare.await.map_err(|_| DeployError::Shutdown)??;
        if version.manifest().name != self.name {
            let found = version.manifest().name.clone();
            return Err(DeployError::Name { found, wanted: self.name.clone() });
        }
        Ok(Arc::new(version))
    }

    /// Tries live state on the new version, or a new room where there is none.
    async fn rehearse(&self, version: &Arc<Version>) -> Result<usize, DeployError> {
        let mut rooms = self.registry.handles();
        // The sample is spread over the rooms, whatever order they come in.
        let step = rooms.len().div_ceil(REHEARSE_MAX).max(1);
        rooms = rooms.into_iter().step_by(step).collect();
        let mut rehearsed = 0;
        for room in rooms {
            let name = Arc::clone(&room.name);
            let Some(snapshot) = ask(&room, Order::Snapshot).await else { continue };
            let snapshot = snapshot
                .map_err(|why| DeployError::Rehearsal(format!("room {name} cannot be saved: {why}")))?;
            self.rehearse_loading(version, &name, snapshot).await?;
            rehearsed += 1;
        }
        if rehearsed == 0 {
            self.rehearse_opening(version).await?;
        }
        Ok(rehearsed)
    }

    async fn rehearse_loading(
        &self,
        version: &Arc<Version>,
        room: &Arc<str>,
        snapshot: Snapshot,
    ) -> Result<(), DeployError> {
        let name = Arc::clone(room);
        let load = self.shadow(version, room, move |shadow| {
            shadow.load(&snapshot).map_err(|error| error.to_string())?;
            shadow.save().map(drop).map_err(|fault| format!("cannot be saved again: {fault}"))
        });
        load.await?.map_err(|why| DeployError::Rehearsal(format!("state of room {name}: {why}")))
    }

    async fn rehearse_opening(&self, version: &Arc<Version>) -> Result<(), DeployError> {
        let room: Arc<str> = "home/0".into();
        let open = self.shadow(version, &room, |shadow| {
            shadow.open("home/0", &[]).map_err(|error| error.to_string())?;
            shadow.save().map(drop).map_err(|fault| format!("cannot be saved: {fault}"))
        });
        open.await?.map_err(|why| DeployError::Rehearsal(format!("a new room: {why}")))
    }

    /// Runs something on an instance that nobody else sees, on a thread that may block.
    async fn shadow(
        &self,
        version: &Arc<Version>,
        room: &Arc<str>,
        run: impl FnOnce(&mut Instance) -> Result<(), String> + Send + 'static,
    ) -> Result<Result<(), String>, DeployError> {
        let (version, room) = (Arc::clone(version), Arc::clone(room));
        let (world, env) = (self.registry.world().clone(), self.registry.new_env());
        let task = tokio::task::spawn_blocking(move || {
            let shadow = Instance::new(&version, room, env, &world.ids, &world.settings);
            let mut shadow = shadow.map_err(|fault| fault.to_string())?;
            shadow.set_quiet(true);
            run(&mut shadow)
        });
        task.await.map_err(|_| DeployError::Shutdown)
    }

    /// Takes every room back from `bad` to `good`.
    async fn revert(&self, bad: &Arc<Version>, good: &Arc<Version>) -> Vec<Answer> {
        self.set_step(Step::Reverting);
        let rooms = self.registry.set_live(Live { version: Arc::clone(good), fallback: None });
        let answers = ask_all(rooms, |answer| Order::Revert(Arc::clone(good), answer)).await;
        info!(plugin = self.name, from = %bad, to = %good, rooms = answers.len(), "rooms taken back");
        answers
    }

    /// Ends the probation of `version` when its time has come.
    async fn confirm(self: Arc<Self>, version: Arc<Version>) {
        tokio::time::sleep(self.probation).await;
        let _turn = self.turn.lock().await;
        let Some(live) = self.registry.live() else { return };
        if live.version.digest() != version.digest() || live.fallback.is_none() {
            return;
        }
        let rooms = self.registry.set_live(Live { version: Arc::clone(&version), fallback: None });
        for room in rooms {
            // A room that has ended needs no word.
            let _ = room.orders.send(Order::Confirm).await;
        }
        self.set_step(Step::Idle);
        info!(plugin = self.name, %version, "probation passed");
    }
}

/// A room's name and what it answered; no pause if it had ended.
type Answer = (Arc<str>, Result<Option<Duration>, String>);

async fn ask_all(
    rooms: Vec<RoomHandle>,
    order: impl Fn(oneshot::Sender<Result<Duration, String>>) -> Order,
) -> Vec<Answer> {
    join_all(rooms.into_iter().map(|room| {
        let order = &order;
        async move {
            let answer = match ask(&room, order).await {
                Some(answer) => answer.map(Some),
                None => Ok(None),
            };
            (room.name, answer)
        }
    }))
    .await
}

/// Gives a room an order and awaits the answer; none if the room has ended.
async fn ask<T>(
    room: &RoomHandle,
    order: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Order,
) -> Option<Result<T, String>> {
    let (sender, answer) = oneshot::channel();
    room.orders.send(order(sender)).await.ok()?;
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.ok(),
        Err(_) => Some(Err(format!("no answer within {PATIENCE:?}"))),
    }
}
