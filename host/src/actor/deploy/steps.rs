//! Steps: a deployment, a roll-back, a probation, from beginning to end.

use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::orders::{Answer, ask_all};
use super::{DeployError, DeployReport, Inner, Step};
use crate::actor::Order;
use crate::actor::artefacts::{Artefacts, Event, EventKind};
use crate::actor::crew::Live;
use crate::plugin::Version;

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

    pub(super) async fn deploy(
        self: Arc<Self>,
        bytes: Arc<[u8]>,
        kind: EventKind,
    ) -> Result<DeployReport, DeployError> {
        let _turn = self.turn.lock().await;
        let live = self.crew.live().ok_or(DeployError::Shutdown)?;
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
                info!(plugin = self.crew.plugin(), %from, %to, rooms, pause_max_us, took_ms, "version deployed");
                tokio::spawn(Self::confirm(Arc::downgrade(&self), self.probation, Arc::clone(to)));
            }
            Err(error) => warn!(plugin = self.crew.plugin(), %error, "version not deployed"),
        }
        result
    }

    pub(super) async fn replace(
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
        let rooms = self.crew.set_live(Live { version: Arc::clone(&version), fallback: Some(fallback) });
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

    pub(super) async fn rollback(self: Arc<Self>) -> Result<DeployReport, DeployError> {
        // What is live is known for sure only while nobody else is at it.
        let turn = self.turn.lock().await;
        let live = self.crew.live().ok_or(DeployError::Shutdown)?;
        if let Some(fallback) = live.fallback {
            let answers = self.revert(&live.version, &fallback).await;
            self.set_step(Step::Idle);
            if let Some((room, Err(why))) = answers.iter().find(|(_, answer)| answer.is_err()) {
                // A room that has outgrown its log cannot go back to what it was handed. All rooms or none.
                self.gather(&live.version).await;
                return Err(DeployError::Swap { room: room.to_string(), why: why.clone() });
            }
            self.record(EventKind::RolledBack, &fallback, "by an operator, on probation");
            let mut pauses: Vec<_> =
                answers.into_iter().filter_map(|(_, answer)| answer.ok().flatten()).collect();
            pauses.sort();
            info!(plugin = self.crew.plugin(), from = %live.version, to = %fallback, "version rolled back");
            let (from, compile) = (live.version, Duration::ZERO);
            return Ok(DeployReport { from, to: fallback, pauses, rehearsed: 0, compile, unchanged: false });
        }
        let previous = {
            let artefacts = self.artefacts();
            let digest = artefacts.lives().get(1).copied().ok_or(DeployError::NoPrevious)?;
            artefacts.load(&digest)?
        };
        drop(turn);
        self.deploy(previous, EventKind::RolledBack).await
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
        let _turn = deployer.turn.lock().await;
        let Some(live) = deployer.crew.live() else { return };
        if live.version.digest() != version.digest() || live.fallback.is_none() {
            return;
        }
        deployer.gather(&version).await;
        deployer.set_step(Step::Idle);
        info!(plugin = deployer.crew.plugin(), %version, "probation passed");
    }
}
