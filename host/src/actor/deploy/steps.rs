//! Steps: a deployment, a roll-back, a probation, from beginning to end.

use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hotseat_build::Digest;
use tokio::sync::OwnedMutexGuard;
use tracing::{error, info, warn};

use super::orders::{Answer, ask_all};
use super::{DeployError, DeployReport, Inner, Step};
use crate::actor::Order;
use crate::actor::artefacts::{Artefacts, Event, EventKind};
use crate::actor::crew::Live;
use crate::actor::names::Claim;
use crate::plugin::Version;

/// How a roll-back goes on.
pub(super) enum RolledBack {
    /// It was done on the spot: the version before was at hand.
    Done(DeployReport),
    /// This artefact is to be deployed again, unless `over` is live no longer.
    Again { artefact: Arc<[u8]>, over: Digest },
}

impl Inner {
    pub(super) fn artefacts(&self) -> MutexGuard<'_, Artefacts> {
        self.artefacts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn step(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_step(&self, step: Step) {
        *self.step() = step;
    }

    pub(super) fn record(&self, kind: EventKind, version: &Version, reason: &str) {
        self.crew.metrics().deploys.with_label_values(&[kind.name()]).inc();
        let event = Event {
            at_ms: crate::snowflake::now_ms(),
            kind,
            digest: version.digest().to_string(),
            label: version.label(),
            size_bytes: version.bytes().len() as u64,
            reason: reason.to_owned(),
        };
        if let Err(error) = self.artefacts().record(event) {
            error!(plugin = self.crew.plugin(), %error, "history not written");
        }
    }

    /// Compiles an artefact, which ends if the caller goes away, and puts it live, which does not. With `over` only if
    /// that version is still live then. `place` is kept until all is done.
    pub(super) async fn deploy(
        self: Arc<Self>,
        bytes: Arc<[u8]>,
        kind: EventKind,
        over: Option<Digest>,
        place: Option<OwnedMutexGuard<()>>,
    ) -> Result<DeployReport, DeployError> {
        let live = self.crew.live().ok_or(DeployError::Shutdown)?;
        if Digest::of(&bytes) == live.version.digest() {
            return Ok(DeployReport::unchanged(live.version));
        }
        let started = Instant::now();
        let version = match self.prepare(bytes).await {
            Ok(version) => version,
            Err(error) => {
                let result = Err(error);
                self.tell(&result, started);
                return result;
            }
        };
        let task = tokio::spawn(async move {
            let _place = place;
            self.put_live(version, kind, over, started).await
        });
        task.await.map_err(|_| DeployError::Shutdown)?
    }

    async fn put_live(
        self: Arc<Self>,
        version: Arc<Version>,
        kind: EventKind,
        over: Option<Digest>,
        started: Instant,
    ) -> Result<DeployReport, DeployError> {
        let _turn = self.turn.lock().await;
        let live = self.crew.live().ok_or(DeployError::Shutdown)?;
        if version.digest() == live.version.digest() {
            return Ok(DeployReport::unchanged(live.version));
        }
        if over.is_some_and(|over| over != live.version.digest()) {
            return Err(DeployError::Overtaken(live.version.to_string()));
        }
        let result = match self.make_ready(version).await {
            // The names are claimed until the version is live.
            Ok((version, rehearsed, _claim)) => self.cut_over(&live, version, rehearsed, kind).await,
            Err(error) => Err(error),
        };
        let probation = result.is_ok() && !self.probation.is_zero();
        self.set_step(if probation { Step::Probation } else { Step::Idle });
        self.tell(&result, started);
        if let Ok(report) = &result {
            tokio::spawn(Self::confirm(Arc::downgrade(&self), self.probation, Arc::clone(&report.to)));
        }
        result
    }

    /// Tells operators what became of a deployment.
    pub(super) fn tell(&self, result: &Result<DeployReport, DeployError>, started: Instant) {
        match result {
            Ok(report) => {
                let (from, to) = (&report.from, &report.to);
                let (rooms, took_ms) = (report.pauses.len(), started.elapsed().as_millis());
                let pause_max_us = report.pause(100).as_micros();
                info!(plugin = self.crew.plugin(), %from, %to, rooms, pause_max_us, took_ms, "version deployed");
            }
            Err(error) => warn!(plugin = self.crew.plugin(), %error, "version not deployed"),
        }
    }

    /// Everything between the compilation and a cut: its names claimed, rehearsed, kept. How many rooms it was tried on.
    pub(super) async fn make_ready(
        &self,
        version: Arc<Version>,
    ) -> Result<(Arc<Version>, usize, Claim), DeployError> {
        let claim = match self.names.claim(&version) {
            Ok(claim) => claim,
            Err(error) => {
                let error = DeployError::from(error);
                self.record(EventKind::Refused, &version, &error.to_string());
                return Err(error);
            }
        };
        self.set_step(Step::Rehearsing);
        let rehearsed = match self.rehearse(&version).await {
            Ok(rehearsed) => rehearsed,
            Err(error) => {
                self.record(EventKind::Refused, &version, &error.to_string());
                return Err(error);
            }
        };
        self.artefacts().store(&version.digest(), version.bytes())?;
        Ok((version, rehearsed, claim))
    }

    /// Hands all rooms over. If one cannot, all are back where they were.
    pub(super) async fn cut_over(
        &self,
        live: &Live,
        version: Arc<Version>,
        rehearsed: usize,
        kind: EventKind,
    ) -> Result<DeployReport, DeployError> {
        self.set_step(Step::Swapping);
        let fallback = Arc::clone(&live.version);
        let rooms = self.crew.set_live(Live { version: Arc::clone(&version), fallback: Some(fallback) });
        let answers = ask_all(rooms, |answer| Order::Swap(Arc::clone(&version), answer)).await;
        if let Some((room, Err(why))) = answers.iter().find(|(_, answer)| answer.is_err()) {
            let error = DeployError::Swap { room: room.to_string(), why: why.clone() };
            self.revert(&version, &live.version).await;
            self.record(EventKind::Refused, &version, &error.to_string());
            return Err(error);
        }
        let pauses = pauses(answers);
        self.record(kind, &version, "");
        let (from, compile) = (Arc::clone(&live.version), version.compile_time());
        Ok(DeployReport { from, to: version, pauses, rehearsed, compile, unchanged: false })
    }

    pub(super) async fn rollback(&self) -> Result<RolledBack, DeployError> {
        // What is live is known for sure only while nobody else is at it.
        let _turn = self.turn.lock().await;
        let live = self.crew.live().ok_or(DeployError::Shutdown)?;
        if let Some(fallback) = live.fallback {
            let why = "by an operator, on probation";
            let report = self.take_back(live.version, fallback, EventKind::RolledBack, why).await?;
            return Ok(RolledBack::Done(report));
        }
        let artefacts = self.artefacts();
        let digest = artefacts.lives().get(1).copied().ok_or(DeployError::NoPrevious)?;
        Ok(RolledBack::Again { artefact: artefacts.load(&digest)?, over: live.version.digest() })
    }

    /// Takes every room back to what a version on probation replaced, or leaves all of them on it.
    pub(super) async fn take_back(
        &self,
        from: Arc<Version>,
        to: Arc<Version>,
        kind: EventKind,
        why: &str,
    ) -> Result<DeployReport, DeployError> {
        let answers = self.revert(&from, &to).await;
        self.set_step(Step::Idle);
        if let Some((room, Err(why))) = answers.iter().find(|(_, answer)| answer.is_err()) {
            // A room that has outgrown its log cannot go back to what it was handed. All rooms or none.
            self.gather(&from).await;
            return Err(DeployError::Swap { room: room.to_string(), why: why.clone() });
        }
        self.record(kind, &to, why);
        info!(plugin = self.crew.plugin(), %from, %to, "version rolled back");
        let (pauses, compile) = (pauses(answers), Duration::ZERO);
        Ok(DeployReport { from, to, pauses, rehearsed: 0, compile, unchanged: false })
    }

    /// Takes every room back from `bad` to `good`.
    pub(super) async fn revert(&self, bad: &Arc<Version>, good: &Arc<Version>) -> Vec<Answer> {
        self.set_step(Step::Reverting);
        let rooms = self.crew.set_live(Live { version: Arc::clone(good), fallback: None });
        let answers = ask_all(rooms, |answer| Order::Revert(Arc::clone(good), answer)).await;
        info!(plugin = self.crew.plugin(), from = %bad, to = %good, rooms = answers.len(), "rooms taken back");
        answers
    }

    /// Makes `version` live for good, in the rooms too that are on another one.
    pub(super) async fn gather(&self, version: &Arc<Version>) {
        let rooms = self.crew.set_live(Live { version: Arc::clone(version), fallback: None });
        let answers = ask_all(rooms.clone(), |answer| Order::Swap(Arc::clone(version), answer)).await;
        for (room, why) in answers.into_iter().filter_map(|(room, answer)| Some((room, answer.err()?))) {
            error!(plugin = self.crew.plugin(), %room, %version, why, "room runs another version than the node");
        }
        for room in rooms {
            // A room that has ended needs no word.
            let _ = room.orders.send(Order::Confirm).await;
        }
    }

    /// Ends the probation of `version` when its time has come. A node that has ended by then is not kept for it.
    async fn confirm(deployer: Weak<Self>, probation: Duration, version: Arc<Version>) {
        tokio::time::sleep(probation).await;
        let Some(deployer) = deployer.upgrade() else { return };
        deployer.pass(version.digest()).await;
    }

    /// Ends the probation of `version`, if it is on probation.
    pub(super) async fn pass(&self, version: Digest) {
        let _turn = self.turn.lock().await;
        let Some(Live { version: live, fallback: Some(_) }) = self.crew.live() else { return };
        if live.digest() != version {
            return;
        }
        self.gather(&live).await;
        self.set_step(Step::Idle);
        info!(plugin = self.crew.plugin(), version = %live, "probation passed");
    }
}

/// How long the rooms stood still, sorted.
fn pauses(answers: Vec<Answer>) -> Vec<Duration> {
    let mut pauses: Vec<_> = answers.into_iter().filter_map(|(_, answer)| answer.ok().flatten()).collect();
    pauses.sort();
    pauses
}
