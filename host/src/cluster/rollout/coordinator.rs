//! Coordinator: the node that an operator asked brings a version to all nodes, or to none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hotseat_build::Digest;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::record::{Next, NodeStep, Record, Release};
use super::table::Table;
use super::{Inner, RolloutError, RolloutReport};
use crate::actor::artefacts::EventKind;
use crate::actor::deploy::{Consent, DeployReport};
use crate::snowflake::now_ms;

/// How long the nodes may take to get ready: to fetch 64 MiB and compile them on a slow machine.
const READY: Duration = Duration::from_secs(60);

/// How long they may take to cut over once they are.
const LIVE: Duration = Duration::from_secs(60);

/// Between two looks at etcd if no word comes from it.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

impl Inner {
    pub(super) async fn deploy(
        &self,
        artefact: Arc<[u8]>,
        any_pause: bool,
    ) -> Result<RolloutReport, RolloutError> {
        // Before the turn is taken: a roll-back does not wait for a compilation.
        self.deployer.compile(Arc::clone(&artefact)).await?;
        let _turn = self.turn.lock().await;
        let record = self.table.get().await?;
        let live = self.current(record.as_ref())?;
        let digest = Digest::of(&artefact);
        // A first rollout of what runs here is one: other nodes may run something else.
        if record.as_ref().is_some_and(|record| runs(record, digest)) {
            return Ok(RolloutReport { here: live, nodes: self.running(digest) });
        }
        let release = match digest == live.to.digest() {
            true => self.release(&live),
            // What does not work here is no one else's trouble. It is on disk before anybody asks for it.
            false => {
                let ready = self.deployer.prepare(artefact, Consent::to_pause(any_pause)).await?;
                let (label, size_bytes) = (ready.label(), ready.size_bytes());
                Release { digest, label, size_bytes, from: self.node.to_string() }
            }
        };
        let probation_ms = u64::try_from(self.probation.as_millis()).unwrap_or(u64::MAX);
        self.roll_out(&live, release, EventKind::Deployed, (probation_ms, any_pause)).await
    }

    pub(super) async fn rollback(&self) -> Result<RolloutReport, RolloutError> {
        let _turn = self.turn.lock().await;
        let record = self.table.get().await?;
        let live = self.current(record.as_ref())?;
        let record = record.ok_or(RolloutError::NoPrevious)?;
        let release = record.previous.first().cloned().ok_or(RolloutError::NoPrevious)?;
        let back = record.probation_ms > 0;
        let probation = if back { Duration::ZERO } else { self.probation };
        let probation_ms = u64::try_from(probation.as_millis()).unwrap_or(u64::MAX);
        self.roll_out(&live, release, EventKind::RolledBack, (probation_ms, true)).await
    }

    /// What this node runs, if it is what the cluster runs: a report in which nothing was done.
    fn current(&self, record: Option<&Record>) -> Result<DeployReport, RolloutError> {
        if let Some(next) = record.and_then(|record| record.next.as_ref()) {
            return Err(busy(next));
        }
        let live = self.deployer.live().ok_or(RolloutError::Shutdown)?;
        match record.and_then(|record| record.live.as_ref()) {
            Some(wanted) if wanted.digest != live.digest() && !self.is_lost(wanted) => {
                Err(RolloutError::Behind(wanted.label.clone()))
            }
            _ => Ok(DeployReport::unchanged(live)),
        }
    }

    /// Whether no node runs what the cluster is to run: then any of them may say what comes next.
    fn is_lost(&self, wanted: &Release) -> bool {
        !self.table.nodes().values().any(|status| status.digest == wanted.digest)
    }

    fn running(&self, digest: Digest) -> usize {
        self.table.nodes().values().filter(|status| status.digest == digest).count()
    }

    /// What this node runs.
    fn release(&self, live: &DeployReport) -> Release {
        let version = &live.to;
        Release {
            digest: version.digest(),
            label: version.label(),
            size_bytes: version.bytes().len() as u64,
            from: self.node.to_string(),
        }
    }

    async fn roll_out(
        &self,
        live: &DeployReport,
        release: Release,
        kind: EventKind,
        terms: (u64, bool),
    ) -> Result<RolloutReport, RolloutError> {
        let label = release.label.clone();
        let rollout = self.propose(live, release, kind, terms).await?;
        info!(plugin = self.deployer.name(), rollout, label, "version proposed to the cluster");
        let result = match self.until_ready(rollout).await {
            Ok(nodes) => self.go_live(rollout, nodes).await,
            Err(why) => self.withdraw(rollout, why).await,
        };
        match &result {
            Ok(nodes) => {
                info!(plugin = self.deployer.name(), rollout, label, nodes, "cluster runs a new version");
            }
            Err(error) => warn!(plugin = self.deployer.name(), rollout, label, %error, "rollout failed"),
        }
        let here = self.report(rollout).unwrap_or_else(|| live.clone());
        result.map(|nodes| RolloutReport { here, nodes })
    }

    /// Writes the proposal; gives the rollout's number.
    async fn propose(
        &self,
        live: &DeployReport,
        release: Release,
        kind: EventKind,
        (probation_ms, any_pause): (u64, bool),
    ) -> Result<u64, RolloutError> {
        let next = Next {
            rollout: 0,
            release: release.clone(),
            coordinator: self.node.to_string(),
            over: self.release(live),
            kind,
            probation_ms,
            any_pause,
        };
        let seen = self.table.get().await?;
        let (generation, stood) =
            seen.as_ref().map_or((0, None), |record| (record.generation, record.live.clone()));
        if let Some(wanted) =
            stood.filter(|wanted| wanted.digest != live.to.digest() && !self.is_lost(wanted))
        {
            return Err(RolloutError::Overtaken(wanted.label));
        }
        // Not upon a record that this has not been thought out for.
        let same = |record: Option<&Record>| record.map_or(0, |record| record.generation) == generation;
        let propose =
            |record: Option<&Record>| same(record).then(|| Record::proposed(record, next.clone())).flatten();
        if self.table.change(propose).await? {
            return Ok(generation + 1);
        }
        // Ours, if the answer to our write was lost.
        let record = self.table.get().await?;
        match record.as_ref().and_then(|record| record.next.as_ref()) {
            Some(next) if next.coordinator == *self.node && next.rollout == generation + 1 => {
                Ok(generation + 1)
            }
            Some(next) => Err(busy(next)),
            None => {
                let live = record.and_then(|record| record.live).map(|live| live.label);
                Err(RolloutError::Overtaken(live.unwrap_or_else(|| "what each node was started with".into())))
            }
        }
    }

    /// Waits until all nodes are ready: which ones. Or why it will not be.
    async fn until_ready(&self, rollout: u64) -> Result<BTreeSet<String>, String> {
        let mut table = self.table.clone();
        let deadline = Instant::now() + READY;
        loop {
            // One look at the record: between two it may come to be proposed.
            let record = table.record().filter(|_| table.is_fresh());
            let next = record.as_ref().and_then(|record| record.next.as_ref());
            if next.is_some_and(|next| next.rollout == rollout) {
                let nodes = table.nodes();
                let of = |node: &str| nodes.get(node).filter(|status| status.rollout == rollout);
                let waiting: Vec<_> = nodes
                    .keys()
                    .map(String::as_str)
                    .filter(|node| of(node).is_none_or(|status| status.step != NodeStep::Ready))
                    .collect();
                let refused = |node: &&str| of(node).is_some_and(|status| status.step == NodeStep::Refused);
                if let Some(node) = waiting.iter().copied().find(refused) {
                    let why = of(node).map_or("", |status| &*status.reason);
                    return Err(format!("node {node}: {why}"));
                }
                if waiting.is_empty() && nodes.contains_key(&*self.node) {
                    return Ok(nodes.into_keys().collect());
                }
                if Instant::now() >= deadline {
                    return Err(format!("not ready within {READY:?}: {}", waiting.join(", ")));
                }
            } else if let Some(record) = record.filter(|record| record.generation >= rollout) {
                let why = record.failure(rollout).map(|failed| failed.reason.clone());
                return Err(why.unwrap_or_else(|| "it was withdrawn by another node".into()));
            } else if Instant::now() >= deadline {
                return Err(format!("etcd was away for {READY:?}"));
            }
            wait(&mut table).await;
        }
    }

    /// Makes it live and waits until all of these nodes run it; how many.
    async fn go_live(&self, rollout: u64, nodes: BTreeSet<String>) -> Result<usize, RolloutError> {
        let changed = self.table.change(|record| record?.flipped(rollout, now_ms())).await;
        if !matches!(changed, Ok(true)) {
            // It may be done all the same, if the answer was lost; or somebody took this node for dead.
            let record = self.table.get().await?.ok_or(RolloutError::Shutdown)?;
            if record.rollout != rollout {
                let why = record.failure(rollout).map(|failed| failed.reason.clone());
                return match changed {
                    Err(error) => Err(error),
                    Ok(_) => Err(RolloutError::Withdrawn(why.unwrap_or_default())),
                };
            }
        }
        let mut table = self.table.clone();
        let deadline = Instant::now() + LIVE;
        loop {
            let record = table.record().filter(|record| table.is_fresh() && record.generation > rollout);
            if let Some(record) = record {
                if let Some(failed) = record.failure(rollout) {
                    return Err(RolloutError::TakenBack(failed.reason.clone()));
                }
                if record.rollout != rollout {
                    return Err(RolloutError::Overtaken(
                        record.live.map(|live| live.label).unwrap_or_default(),
                    ));
                }
                // Nodes that are gone drop out: they will run what the record says when they are back.
                let statuses = table.nodes();
                let waits = |node: &&String| match statuses.get(*node) {
                    Some(status) => status.rollout != rollout || status.step != NodeStep::Live,
                    // What this one answers is what it knows of itself.
                    None => **node == *self.node,
                };
                let waiting: Vec<_> = nodes.iter().filter(waits).cloned().collect();
                if waiting.is_empty() {
                    return Ok(statuses.values().filter(|status| status.rollout == rollout).count());
                }
                if Instant::now() >= deadline {
                    let why = format!("not live within {LIVE:?}: {}", waiting.join(", "));
                    let back = |record: Option<&Record>| record?.taken_back(rollout, &why, false, now_ms());
                    return Err(match self.table.change(back).await? {
                        true => RolloutError::TakenBack(why),
                        false => RolloutError::Apart {
                            label: record.live.map(|it| it.label).unwrap_or_default(),
                            why,
                        },
                    });
                }
            } else if Instant::now() >= deadline {
                return Err(RolloutError::Lost);
            }
            wait(&mut table).await;
        }
    }

    /// Nothing comes of it, anywhere.
    async fn withdraw(&self, rollout: u64, why: String) -> Result<usize, RolloutError> {
        if !self.table.change(|record| record?.withdrawn(rollout, &why)).await? {
            let record = self.table.get().await?;
            let reason = record.as_ref().and_then(|record| record.failure(rollout));
            if let Some(failed) = reason {
                return Err(RolloutError::Withdrawn(failed.reason.clone()));
            }
        }
        Err(RolloutError::Withdrawn(why))
    }
}

fn runs(record: &Record, digest: Digest) -> bool {
    record.live.as_ref().is_some_and(|live| live.digest == digest)
}

fn busy(next: &Next) -> RolloutError {
    RolloutError::Busy { label: next.release.label.clone(), coordinator: next.coordinator.clone() }
}

async fn wait(table: &mut Table) {
    // Whether it is a change or the time that ends the wait, the caller looks.
    let _ = timeout(POLL_INTERVAL, table.changed()).await;
}
