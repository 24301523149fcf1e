//! Steps: a deployment, a roll-back, a probation, from beginning to end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hotseat_build::Digest;
use tokio::sync::OwnedMutexGuard;
use tracing::{error, info, warn};

use super::commands::{Course, ask, ask_all};
use super::rehearsal::Rehearsed;
use super::{Consent, DeployError, DeployReport, Inner, Load, Prepared, Step};
use crate::actor::ActorCommand;
use crate::actor::artefacts::{Artefacts, Event, EventKind};
use crate::actor::group::{ActorHandle, Live};
use crate::plugin::Version;

/// How long what a plan has got ready is good for a deployment.
const PLANNED: Duration = Duration::from_secs(60);

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
        self.group.metrics().deploys.with_label_values(&[kind.name()]).inc();
        let event = Event {
            at_ms: crate::snowflake::now_ms(),
            kind,
            digest: version.digest().to_string(),
            label: version.label(),
            size_bytes: version.bytes().len() as u64,
            reason: reason.to_owned(),
        };
        if let Err(error) = self.artefacts().record(event) {
            error!(plugin = self.group.plugin(), %error, "history not written");
        }
    }

    /// Compiles an artefact, which ends if the caller goes away, and puts it live, which does not. With `over` only if
    /// that version is still live then. `place` is kept until all is done.
    pub(super) async fn deploy(
        self: Arc<Self>,
        bytes: Arc<[u8]>,
        consent: Consent,
        kind: EventKind,
        over: Option<Digest>,
        place: Option<OwnedMutexGuard<()>>,
    ) -> Result<DeployReport, DeployError> {
        let live = self.group.live().ok_or(DeployError::Shutdown)?;
        if Digest::of(&bytes) == live.version.digest() {
            return Ok(DeployReport::unchanged(live.version));
        }
        let started = Instant::now();
        let planned = self.take_planned(&bytes, &consent, &live);
        let version = match &planned {
            Some(planned) => Arc::clone(&planned.version),
            None => match self.prepare(bytes).await {
                Ok(version) => version,
                Err(error) => {
                    let result = Err(error);
                    self.tell(&result, started);
                    return result;
                }
            },
        };
        let task = tokio::spawn(async move {
            let _place = place;
            self.put_live(version, planned, consent, kind, over, started).await
        });
        task.await?
    }

    async fn put_live(
        self: Arc<Self>,
        version: Arc<Version>,
        planned: Option<Prepared>,
        consent: Consent,
        kind: EventKind,
        over: Option<Digest>,
        started: Instant,
    ) -> Result<DeployReport, DeployError> {
        let _turn = self.turn.lock().await;
        let live = self.group.live().ok_or(DeployError::Shutdown)?;
        if version.digest() == live.version.digest() {
            return Ok(DeployReport::unchanged(live.version));
        }
        if over.is_some_and(|over| over != live.version.digest()) {
            return Err(DeployError::Overtaken(live.version.to_string()));
        }
        let ready = match planned.filter(|planned| planned.over == live.version.digest()) {
            Some(planned) => self.claimed(planned),
            None if kind == EventKind::RolledBack => {
                match self.try_ready(&version, &live.version, consent).await {
                    Err(DeployError::Rehearsal(why)) => return self.give_back(live, &version, why).await,
                    ready => ready,
                }
            }
            None => self.prepare_all(version, &live.version, consent).await,
        };
        self.go_live(&live, ready, kind, started).await
    }

    /// Hands over to a version that is ready, and begins its probation.
    async fn go_live(
        self: &Arc<Self>,
        live: &Live,
        ready: Result<Prepared, DeployError>,
        kind: EventKind,
        started: Instant,
    ) -> Result<DeployReport, DeployError> {
        let result = match ready {
            Ok(ready) => self.cut_over(live, ready, kind).await,
            Err(error) => Err(error),
        };
        let probation = result.is_ok() && !self.terms.probation.is_zero();
        self.set_step(if probation { Step::Probation } else { Step::Idle });
        self.tell(&result, started);
        if let Ok(report) = &result {
            tokio::spawn(Self::confirm(Arc::downgrade(self), self.terms.probation, Arc::clone(&report.to)));
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
                info!(plugin = self.group.plugin(), %from, %to, rooms, pause_max_us, took_ms, "version deployed");
            }
            Err(error) => warn!(plugin = self.group.plugin(), %error, "version not deployed"),
        }
    }

    /// Gets a version ready and says what its deployment would do.
    pub(super) async fn plan(&self, bytes: Arc<[u8]>, consent: Consent) -> Result<DeployReport, DeployError> {
        let version = self.prepare(bytes).await?;
        let _turn = self.turn.lock().await;
        let live = self.group.live().ok_or(DeployError::Shutdown)?.version;
        if version.digest() == live.digest() {
            return Ok(DeployReport::unchanged(live));
        }
        let before = *self.step();
        let ready = self.prepare_all(version, &live, consent).await;
        self.set_step(before);
        // Nothing is taken by a plan.
        let ready = Prepared { claim: None, ..ready? };
        let report = DeployReport {
            from: live,
            to: Arc::clone(&ready.version),
            pauses: Vec::new(),
            rehearsed: ready.rehearsed,
            compile: ready.version.compile_time(),
            unchanged: false,
            way_back: Some(ready.way_back.clone()),
            set_aside: names(&ready.aside),
            load: Load::default(),
            expected_pause: ready.pause,
        };
        *self.planned() = Some((ready, Instant::now()));
        Ok(report)
    }

    /// As [`super::Deployer::set_aside`].
    pub(super) async fn set_aside(
        &self,
        bytes: Arc<[u8]>,
        consent: Consent,
    ) -> Result<Vec<String>, DeployError> {
        let report = self.plan(bytes, consent).await?;
        let _turn = self.turn.lock().await;
        let aside = self.planned().take().map_or_else(Vec::new, |(planned, _)| planned.aside);
        self.set_all_aside(&aside).await?;
        Ok(report.set_aside)
    }

    async fn set_all_aside(&self, rooms: &[ActorHandle]) -> Result<(), DeployError> {
        for room in rooms {
            if let Some(Err(why)) = ask(room, ActorCommand::SetAside).await {
                return Err(DeployError::Swap { room: room.name.to_string(), why });
            }
        }
        Ok(())
    }

    fn planned(&self) -> MutexGuard<'_, Option<(Prepared, Instant)>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a plan of a moment ago has got ready, if this is it.
    fn take_planned(&self, bytes: &[u8], consent: &Consent, live: &Live) -> Option<Prepared> {
        let (planned, at) = self.planned().take()?;
        let same = planned.version.digest() == Digest::of(bytes) && planned.over == live.version.digest();
        (same && planned.consent == *consent && at.elapsed() < PLANNED).then_some(planned)
    }

    fn claimed(&self, planned: Prepared) -> Result<Prepared, DeployError> {
        let claim = Some(Arc::new(self.names.claim(&planned.version)?));
        Ok(Prepared { claim, ..planned })
    }

    /// Everything between the compilation and a cut: its names claimed, rehearsed over `live`, kept.
    pub(super) async fn prepare_all(
        &self,
        version: Arc<Version>,
        live: &Arc<Version>,
        consent: Consent,
    ) -> Result<Prepared, DeployError> {
        let ready = self.try_ready(&version, live, consent).await;
        if let Err(error @ (DeployError::Rehearsal(_) | DeployError::Taken(_) | DeployError::Pause { .. })) =
            &ready
        {
            self.record(EventKind::Refused, &version, &error.to_string());
        }
        ready
    }

    async fn try_ready(
        &self,
        version: &Arc<Version>,
        live: &Arc<Version>,
        consent: Consent,
    ) -> Result<Prepared, DeployError> {
        let claim = Some(Arc::new(self.names.claim(version)?));
        self.set_step(Step::Rehearsing);
        let Rehearsed { rooms: rehearsed, back, aside, pause } =
            self.rehearse(live, version, &consent).await?;
        self.artefacts().store(&version.digest(), version.bytes())?;
        let way_back = self.way_back(back);
        info!(plugin = self.group.plugin(), over = %live, %version, rehearsed, %way_back, "version ready");
        let (version, over) = (Arc::clone(version), live.digest());
        Ok(Prepared { version, over, rehearsed, way_back, consent, aside, claim, pause })
    }

    /// Hands all rooms over. If one cannot, all are back where they were.
    pub(super) async fn cut_over(
        self: &Arc<Self>,
        live: &Live,
        ready: Prepared,
        kind: EventKind,
    ) -> Result<DeployReport, DeployError> {
        // The names are claimed until the version is live.
        let Prepared { version, rehearsed, way_back, aside, claim: _claim, pause: expected_pause, .. } =
            ready;
        self.set_step(Step::Swapping);
        self.set_all_aside(&aside).await?;
        if self.terms.window.is_zero() {
            self.note_closed("rollback_window_ms = 0");
        }
        let before = || Some(Arc::clone(&live.version));
        let (fallback, earlier) = (before(), before());
        let rooms = self.group.set_live(Live { version: Arc::clone(&version), fallback, earlier });
        let journal = &self.group.world().journal;
        let course = ask_all(journal, rooms, |answer| ActorCommand::Swap(Arc::clone(&version), answer)).await;
        if let Some((room, why)) = course.failed() {
            let error = DeployError::Swap { room, why };
            self.revert(&version, &live.version).await;
            self.record(EventKind::Refused, &version, &error.to_string());
            return Err(error);
        }
        self.record(kind, &version, "");
        let cut = self.cuts.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::spawn(Self::close_way_back(Arc::downgrade(self), self.terms.window, cut));
        let (from, compile, pauses) = (Arc::clone(&live.version), version.compile_time(), course.pauses());
        let load = Load::of(&course);
        let way_back = Some(way_back);
        self.set_way_back(way_back.clone());
        let set_aside = names(&aside);
        Ok(DeployReport {
            from,
            to: version,
            pauses,
            rehearsed,
            compile,
            unchanged: false,
            way_back,
            set_aside,
            load,
            expected_pause,
        })
    }

    pub(super) async fn rollback(&self) -> Result<RolledBack, DeployError> {
        // What is live is known for sure only while nobody else is at it.
        let _turn = self.turn.lock().await;
        let live = self.group.live().ok_or(DeployError::Shutdown)?;
        if let Some(fallback) = live.fallback {
            let why = "by an operator, on probation";
            let report = self.take_back(live.version, fallback, EventKind::RolledBack, why).await?;
            return Ok(RolledBack::Done(report));
        }
        let artefacts = self.artefacts();
        let digest = artefacts.lives().get(1).copied().ok_or(DeployError::NoPrevious)?;
        Ok(RolledBack::Again { artefact: artefacts.load(&digest)?, over: live.version.digest() })
    }

    /// The version before does not take the present state, `why`; what it handed over it still takes, if that is kept.
    async fn give_back(
        &self,
        live: Live,
        version: &Version,
        why: String,
    ) -> Result<DeployReport, DeployError> {
        match live.earlier.filter(|earlier| earlier.digest() == version.digest()) {
            Some(earlier) => {
                info!(plugin = self.group.plugin(), to = %earlier, why, "the state is not taken, inputs are replayed");
                // Another plugin may have taken a name that it declares.
                let _claim = self.names.claim(&earlier)?;
                let why = "by an operator, with all inputs since";
                self.take_back(live.version, earlier, EventKind::RolledBack, why).await
            }
            None => {
                self.set_step(Step::Idle);
                let error = DeployError::NoWayBack { to: version.label(), why, closed: self.why_closed() };
                self.record(EventKind::Refused, version, &error.to_string());
                warn!(plugin = self.group.plugin(), %error, "version not rolled back");
                Err(error)
            }
        }
    }

    /// Takes every room back to what a version on probation replaced, or leaves all of them on it.
    pub(super) async fn take_back(
        &self,
        from: Arc<Version>,
        to: Arc<Version>,
        kind: EventKind,
        why: &str,
    ) -> Result<DeployReport, DeployError> {
        let course = self.revert(&from, &to).await;
        self.set_step(Step::Idle);
        if let Some((room, why)) = course.failed() {
            // A room that has outgrown its log cannot go back to what it was handed. All rooms or none.
            self.gather(&from, false).await;
            return Err(DeployError::Swap { room, why });
        }
        self.record(kind, &to, why);
        info!(plugin = self.group.plugin(), %from, %to, "version rolled back");
        let (pauses, compile, load) = (course.pauses(), Duration::ZERO, Load::of(&course));
        self.set_way_back(None);
        let (way_back, set_aside) = (None, Vec::new());
        Ok(DeployReport {
            from,
            to,
            pauses,
            rehearsed: 0,
            compile,
            unchanged: false,
            way_back,
            set_aside,
            load,
            expected_pause: Duration::ZERO,
        })
    }

    /// Takes every room back from `bad` to `good`.
    pub(super) async fn revert(&self, bad: &Arc<Version>, good: &Arc<Version>) -> Course {
        self.set_step(Step::Reverting);
        let rooms = self.group.set_live(Live::settled(Arc::clone(good)));
        let journal = &self.group.world().journal;
        let course =
            ask_all(journal, rooms.clone(), |answer| ActorCommand::Revert(Arc::clone(good), answer)).await;
        for room in rooms {
            // One that had not gone over yet may keep what an older way back takes. One that has ended needs no word.
            let _ = room.commands.send(ActorCommand::Confirm { keep: false }).await;
        }
        self.note_closed("a version that went live since was taken back");
        info!(plugin = self.group.plugin(), from = %bad, to = %good, rooms = course.answers.len(), "rooms taken back");
        course
    }
}

fn names(rooms: &[ActorHandle]) -> Vec<String> {
    rooms.iter().map(|room| room.name.to_string()).collect()
}
