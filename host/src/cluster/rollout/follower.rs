//! Follower: brings this node to what the record says, one plugin each, and says how far it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::fetch::{fetch, holders};
use super::ready::Ready;
use super::record::{Next, NodeStep, Record, Release, Status, shortened};
use super::table::Table;
use super::{Inner, Standing};
use crate::actor::artefacts::EventKind;
use crate::actor::deploy::{Consent, DeployError, DeployReport, Prepared, Reverted, Step};
use crate::discovery::{Discovery, Registration};
use crate::snowflake::now_ms;

/// Between two looks while something is under way.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Between two looks otherwise.
const IDLE: Duration = Duration::from_secs(30);

/// Between two tries to reach the cluster's version: doubles from one to the other.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// How long a coordinator must be missed until it is taken for gone. One that has lost its lease, as all do when etcd is
/// away for a while, is back within that.
const MISSED: Duration = Duration::from_secs(5);

/// How often the step of a deployment under way is looked at.
const STEP: Duration = Duration::from_millis(50);

/// One plugin of this node.
pub(super) struct Follower {
    inner: Arc<Inner>,
    table: Table,
    place: Registration,
    status: Status,
    /// The record as this node saw it last.
    seen: Option<Record>,
    /// What it can cut over to, and in which rollout.
    ready: Option<(u64, Ready)>,
    reverted: watch::Receiver<Option<Reverted>>,
    /// A version that failed here on probation, not yet told.
    fault: Option<Reverted>,
    /// The rollout that cannot be reached alone: when to try again, and how long to wait then.
    retry: Option<(u64, Instant, Duration)>,
    /// The rollout whose probation lasts, since when.
    probation: Option<(u64, Instant)>,
    /// The rollout whose coordinator is not there, since when.
    missed: Option<(u64, Instant)>,
}

impl Follower {
    pub(super) fn new(inner: Arc<Inner>, discovery: &Discovery) -> Self {
        let table = inner.table.clone();
        let digest = inner.deployer.live().map_or(hotseat_build::Digest([0; 32]), |live| live.digest());
        let status = Status {
            rollout: 0,
            digest,
            step: NodeStep::Idle,
            reason: String::new(),
            rooms: 0,
            pause_max_us: 0,
            at_ms: now_ms(),
        };
        let place = discovery.register(&table.node_key(&inner.node), written(&status));
        let reverted = inner.deployer.reverted();
        let (seen, ready, fault, retry, probation, missed) = (None, None, None, None, None, None);
        Self { inner, table, place, status, seen, ready, reverted, fault, retry, probation, missed }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let again = if self.table.is_fresh() { self.act().await } else { POLL_INTERVAL };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.table.changed() => {}
                Ok(()) = self.reverted.changed() => self.fault = self.reverted.borrow_and_update().clone(),
                () = tokio::time::sleep(again) => {}
            }
        }
    }

    /// Does what there is to do; when to look again.
    async fn act(&mut self) -> Duration {
        if self.inner.deployer.step() == Step::Reverting {
            // A version has failed here. What of it is to be told is known in a moment.
            return STEP;
        }
        if self.reverted.has_changed().unwrap_or(false) {
            self.fault = self.reverted.borrow_and_update().clone();
        }
        let record = self.table.record();
        if let Some(seen) = self.seen.take_if(|seen| seen.is_later_than(record.as_ref())) {
            self.write_again(seen).await;
            return POLL_INTERVAL;
        }
        self.seen.clone_from(&record);
        let Some(record) = record else {
            self.stand(false, false);
            self.say(0, NodeStep::Idle, "");
            return IDLE;
        };
        if let Some(fault) = self.fault.take() {
            self.tell_fault(&record, fault).await;
            return POLL_INTERVAL;
        }
        let again = match &record.live {
            Some(wanted) if !self.runs(wanted) => self.converge(&record, wanted).await,
            _ => self.keep(&record).await,
        };
        match &record.next {
            Some(next) if self.is_abandoned(next).await => {
                let why = format!("coordinator {} is gone", next.coordinator);
                let rollout = next.rollout;
                if let Ok(true) = self.table.change(|record| record?.withdrawn(rollout, &why)).await {
                    let plugin = self.inner.deployer.name();
                    warn!(plugin, rollout, label = next.release.label, why, "proposal withdrawn");
                }
            }
            Some(next) if self.status.rollout != next.rollout => self.get_ready(&record, next).await,
            _ => {}
        }
        if record.next.is_some() { POLL_INTERVAL } else { again }
    }

    /// Etcd has lost the record, or has an older one, as after a restore.
    async fn write_again(&mut self, seen: Record) {
        let plugin = self.inner.deployer.name();
        match self.table.change(|record| seen.is_later_than(record).then(|| seen.clone())).await {
            Ok(true) => warn!(
                plugin,
                rollout = seen.rollout,
                "etcd had lost the plugin's record, it is written again"
            ),
            Ok(false) => {}
            Err(error) => {
                warn!(plugin, %error, "the plugin's record, which etcd had lost, is not written again yet");
                self.seen = Some(seen);
            }
        }
    }

    fn runs(&self, release: &Release) -> bool {
        self.inner.deployer.live().is_some_and(|live| live.digest() == release.digest)
    }

    /// This node runs what it is to run.
    async fn keep(&mut self, record: &Record) -> Duration {
        self.retry = None;
        let busy = record.next.is_some() || record.probation_ms > 0;
        self.stand(false, busy);
        if record.next.is_none() {
            self.ready = None;
            let step = if record.live.is_some() { NodeStep::Live } else { NodeStep::Idle };
            self.say(record.rollout, step, "");
        }
        let Some(live) = &record.live else { return IDLE };
        if record.probation_ms == 0 {
            self.probation = None;
            self.inner.deployer.pass(live.digest).await;
            return IDLE;
        }
        // Whoever's time is over first ends it for all.
        let lasted = since(&mut self.probation, record.rollout).elapsed();
        let left = Duration::from_millis(record.probation_ms).saturating_sub(lasted);
        if !left.is_zero() {
            return left.min(IDLE);
        }
        let rollout = record.rollout;
        if let Err(error) = self.table.change(|record| record?.passed(rollout)).await {
            warn!(plugin = self.inner.deployer.name(), %error, "end of a probation not written");
        }
        POLL_INTERVAL
    }

    /// A version has failed here and is gone here; now from the cluster too.
    async fn tell_fault(&mut self, record: &Record, fault: Reverted) {
        if record.live.as_ref().is_none_or(|live| live.digest != fault.version) {
            return;
        }
        let (rollout, why) = (record.rollout, self.blame(&fault.why));
        self.say(rollout, NodeStep::Refused, &fault.why);
        // What is seen of the record may be old for a moment: this node does not run that version again by itself meanwhile.
        self.retry = Some((rollout, Instant::now() + RETRY.0, RETRY.0));
        match self.table.change(|record| record?.taken_back(rollout, &why, true, now_ms())).await {
            Ok(true) => {
                warn!(plugin = self.inner.deployer.name(), rollout, why, "version taken back everywhere");
            }
            // Its probation has passed, or another node was faster.
            Ok(false) => {}
            Err(error) => {
                warn!(plugin = self.inner.deployer.name(), %error, "failure on probation not written yet");
                self.fault = Some(fault);
            }
        }
    }

    /// Cuts over to what is live: with the others if it got ready with them, else by itself.
    async fn converge(&mut self, record: &Record, wanted: &Release) -> Duration {
        let rollout = record.rollout;
        let behind = self.inner.standing.borrow().behind;
        self.stand(behind, true);
        if let Some((_, ready)) = self.ready.take_if(|(ready, _)| *ready == rollout) {
            self.say(rollout, NodeStep::Swapping, "");
            let Err(error) = self.cut_over(record, wanted, ready).await else { return POLL_INTERVAL };
            let why = self.blame(&error.to_string());
            self.say(rollout, NodeStep::Refused, &error.to_string());
            match self.table.change(|record| record?.taken_back(rollout, &why, false, now_ms())).await {
                Ok(_) => {
                    warn!(plugin = self.inner.deployer.name(), rollout, why, "cannot cut over, all go back")
                }
                Err(error) => {
                    warn!(plugin = self.inner.deployer.name(), rollout, why, %error, "cannot cut over");
                }
            }
            return POLL_INTERVAL;
        }
        let waits = match self.retry {
            Some((of, at, waits)) if of == rollout => {
                let left = at.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    return left;
                }
                waits
            }
            _ => RETRY.0,
        };
        match self.converge_alone(record, wanted).await {
            Ok(()) => POLL_INTERVAL,
            Err(why) => {
                let (plugin, label) = (self.inner.deployer.name(), &wanted.label);
                error!(plugin, rollout, label, why, "this node cannot run the cluster's version");
                self.say(rollout, NodeStep::Refused, &why);
                self.retry = Some((rollout, Instant::now() + waits, (2 * waits).min(RETRY.1)));
                waits
            }
        }
    }

    async fn converge_alone(&mut self, record: &Record, wanted: &Release) -> Result<(), String> {
        let back = record.kind != EventKind::Deployed;
        let fallback = self.inner.deployer.fallback();
        let ready = if back && fallback.is_some_and(|fallback| fallback.digest() == wanted.digest) {
            Ready::Back
        } else {
            let prepared = self.prepare(record.rollout, wanted, true).await;
            if self.reverted.has_changed().unwrap_or(false) {
                // It was live here until it failed, a moment ago: the others are to hear of that first.
                return Ok(());
            }
            Ready::of(prepared, back && self.inner.deployer.keeps(wanted.digest))?
        };
        self.say(record.rollout, NodeStep::Swapping, "");
        self.cut_over(record, wanted, ready).await.map_err(|error| error.to_string())?;
        let plugin = self.inner.deployer.name();
        info!(plugin, rollout = record.rollout, label = wanted.label, "this node runs the cluster's version");
        Ok(())
    }

    async fn cut_over(&mut self, record: &Record, to: &Release, ready: Ready) -> Result<(), DeployError> {
        let deployer = &self.inner.deployer;
        let why = record.failed.as_ref().filter(|_| record.kind == EventKind::Reverted);
        let report = match ready {
            Ready::Next(prepared) => deployer.apply(prepared, record.kind, record.probation_ms > 0).await?,
            Ready::Back => {
                let why = why.map_or("by an operator, for the cluster", |failed| &*failed.reason);
                deployer.go_back(to.digest, record.kind, why.to_owned()).await?
            }
            Ready::Same => DeployReport::unchanged(deployer.live().ok_or(DeployError::Shutdown)?),
        };
        self.status.rooms = report.pauses.len() as u64;
        self.status.pause_max_us = u64::try_from(report.pause(100).as_micros()).unwrap_or(u64::MAX);
        self.inner.keep_report(record.rollout, report);
        self.say(record.rollout, NodeStep::Live, "");
        Ok(())
    }

    /// Gets what is proposed ready, or says why not.
    async fn get_ready(&mut self, record: &Record, next: &Next) {
        self.ready = None;
        (self.status.rooms, self.status.pause_max_us) = (0, 0);
        let fallback = self.inner.deployer.fallback();
        let undo = next.kind == EventKind::RolledBack
            && record.probation_ms > 0
            && fallback.is_some_and(|fallback| fallback.digest() == next.release.digest)
            && self.inner.deployer.keeps_not(next.release.digest).await.is_none();
        let ready = if self.runs(&next.release) {
            Ok(Ready::Same)
        } else if undo {
            Ok(Ready::Back)
        } else {
            let prepared = self.prepare(next.rollout, &next.release, next.any_pause).await;
            match next.kind {
                EventKind::RolledBack => {
                    Ready::back(prepared, &self.inner.deployer, next.release.digest).await
                }
                _ => prepared.map(Ready::Next),
            }
        };
        match ready {
            Ok(ready) => {
                self.ready = Some((next.rollout, ready));
                self.say(next.rollout, NodeStep::Ready, "");
            }
            Err(why) => {
                let (plugin, rollout) = (self.inner.deployer.name(), next.rollout);
                warn!(plugin, rollout, label = next.release.label, why, "proposed version refused here");
                self.say(rollout, NodeStep::Refused, &why);
            }
        }
    }

    /// Fetches a version unless it is here, compiles and rehearses it. Rooms may stand still for `any` time then.
    async fn prepare(&mut self, rollout: u64, release: &Release, any: bool) -> Result<Prepared, String> {
        let inner = Arc::clone(&self.inner);
        let kept = inner.deployer.artefact(release.digest).await.unwrap_or_else(|error| {
            warn!(plugin = inner.deployer.name(), %error, "kept artefact cannot be read, another node is asked");
            None
        });
        let bytes = match kept {
            Some(bytes) => bytes,
            None => {
                self.say(rollout, NodeStep::Fetching, "");
                let holders = holders(&inner, self.table.clone(), release).await;
                fetch(&inner.dialer, &holders, inner.deployer.name(), release).await?
            }
        };
        self.say(rollout, NodeStep::Compiling, "");
        let mut preparing = std::pin::pin!(inner.deployer.prepare(bytes, Consent::to_pause(any)));
        loop {
            tokio::select! {
                biased;
                prepared = &mut preparing => return prepared.map_err(|error| error.to_string()),
                () = tokio::time::sleep(STEP) => {
                    // What waits for this node is not kept waiting by a compilation, which ends here.
                    if self.reverted.has_changed().unwrap_or(false) {
                        return Err("the live version failed here meanwhile".into());
                    }
                    if self.table.record().is_some_and(|record| record.is_past(rollout)) {
                        return Err("it was withdrawn meanwhile".into());
                    }
                    if inner.deployer.step() == Step::Rehearsing {
                        self.say(rollout, NodeStep::Rehearsing, "");
                    }
                }
            }
        }
    }

    /// Whether nobody decides on a proposal any more.
    async fn is_abandoned(&mut self, next: &Next) -> bool {
        if next.coordinator == *self.inner.node {
            // Ours, and not of this process, or given up for lack of etcd.
            return self.inner.turn.try_lock().is_ok();
        }
        if !self.table.is_gone(&next.coordinator).await {
            self.missed = None;
            return false;
        }
        since(&mut self.missed, next.rollout).elapsed() >= MISSED
    }

    fn blame(&self, why: &str) -> String {
        format!("node {}: {why}", self.inner.node)
    }

    fn stand(&self, behind: bool, busy: bool) {
        let standing = Standing { behind, busy };
        self.inner.standing.send_if_modified(|old| std::mem::replace(old, standing) != standing);
    }

    /// Tells the others, if it is news.
    fn say(&mut self, rollout: u64, step: NodeStep, reason: &str) {
        let digest = self.inner.deployer.live().map_or(self.status.digest, |live| live.digest());
        let now = Status { rollout, step, digest, reason: shortened(reason), ..self.status.clone() };
        if now != self.status {
            self.status = Status { at_ms: now_ms(), ..now };
            self.place.update(written(&self.status));
        }
    }
}

/// Since when something is so in this rollout: from now, if it was not so before.
fn since(known: &mut Option<(u64, Instant)>, rollout: u64) -> Instant {
    match known {
        Some((of, since)) if *of == rollout => *since,
        other => other.insert((rollout, Instant::now())).1,
    }
}

fn written(status: &Status) -> Vec<u8> {
    serde_json::to_vec(status).expect("a status is plain data")
}
