//! Actor group: all actors of one plugin, and the version they run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hotseat_build::Durability;
use prometheus::IntCounter;
use tokio::sync::mpsc;
use tracing::debug;

use super::budget::{PluginBudget, Shares};
use super::caps::Caps;
use super::clock::Clock;
use super::command::ActorCommand;
use super::metrics::ActorMetrics;
use super::report::Report;
use super::sandbox::World;
use crate::plugin::{Env, Fault, Input, Version};

/// All actors of one plugin.
pub struct ActorGroup {
    plugin: String,
    /// A name that any of its actors could have; what a new version is tried as.
    rehearsal_name: Arc<str>,
    wit_world: &'static str,
    clock: Clock,
    world: World,
    metrics: ActorMetrics,
    budget: PluginBudget,
    caps: Caps,
    calls: [IntCounter; Input::KINDS.len()],
    faults: AtomicU64,
    reports: mpsc::Sender<Report>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    members: BTreeMap<Arc<str>, ActorHandle>,
    live: Option<Live>,
    stopped: bool,
}

/// What the actors run.
#[derive(Debug, Clone)]
pub struct Live {
    /// The version of new actors.
    pub version: Arc<Version>,
    /// The version before it, while this one is on probation.
    pub fallback: Option<Arc<Version>>,
    /// The version that every actor can be given back to with all that it was told since; also beyond probation.
    pub earlier: Option<Arc<Version>>,
}

impl Live {
    /// A version that there is no way back from by what was kept.
    pub(super) fn settled(version: Arc<Version>) -> Self {
        Self { version, fallback: None, earlier: None }
    }
}

/// How to reach an actor with commands.
#[derive(Debug, Clone)]
pub(crate) struct ActorHandle {
    pub(crate) name: Arc<str>,
    pub(crate) commands: mpsc::Sender<ActorCommand>,
}

/// Why there can be no further actor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Nothing to run.
    #[error("no version of the plugin {0} is live")]
    NoVersion(String),
    /// Nothing begins any more.
    #[error("the node is shutting down")]
    Stopped,
}

/// What a crew is made of.
pub struct ActorGroupParts {
    /// The plugin's name.
    pub plugin: String,
    /// A name that any of its actors could have.
    pub rehearsal_name: Arc<str>,
    /// The world of `wit/` that its versions are for.
    pub wit_world: &'static str,
    /// What its guests get.
    pub world: World,
    /// The time its actors live by.
    pub clock: Clock,
    /// Counters.
    pub metrics: ActorMetrics,
    /// What processor time its actors may use.
    pub shares: Shares,
    /// What its manifests may ask for.
    pub caps: Caps,
    /// Where actors report to the deployer.
    pub reports: mpsc::Sender<Report>,
}

impl ActorGroup {
    /// A crew without actors.
    pub fn new(parts: ActorGroupParts) -> Arc<Self> {
        let ActorGroupParts {
            plugin,
            rehearsal_name,
            wit_world,
            world,
            clock,
            metrics,
            shares,
            caps,
            reports,
        } = parts;
        let calls = Input::KINDS.map(|kind| metrics.calls.with_label_values(&[kind]));
        Arc::new(Self {
            budget: PluginBudget::new(shares, metrics.budgets.of(&plugin)),
            caps,
            plugin,
            rehearsal_name,
            wit_world,
            clock,
            world,
            metrics,
            calls,
            faults: AtomicU64::new(0),
            reports,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every step, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plugin's name.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    pub(crate) fn rehearsal_name(&self) -> &Arc<str> {
        &self.rehearsal_name
    }

    pub(crate) fn wit_world(&self) -> &'static str {
        self.wit_world
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    pub(crate) fn metrics(&self) -> &ActorMetrics {
        &self.metrics
    }

    pub(crate) fn caps(&self) -> &Caps {
        &self.caps
    }

    pub(crate) fn budget(&self) -> &PluginBudget {
        &self.budget
    }

    /// A new actor's world, with a seed that no other one shares. Its time is the present: what is set in `open` for later
    /// is due later.
    pub(crate) fn new_env(&self) -> Env {
        let mut env = Env::new(self.world.ids.seed());
        env.advance(self.clock().ms_at(tokio::time::Instant::now()));
        env
    }

    /// Counts a guest call.
    #[inline]
    pub(crate) fn count(&self, input: &Input<'_>) {
        self.calls[input.kind_index()].inc();
    }

    /// Counts an actor whose state was set aside.
    pub(crate) fn count_set_aside(&self) {
        self.metrics.set_aside.inc();
    }

    /// Counts a fault.
    pub(crate) fn count_fault(&self, fault: &Fault) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        self.metrics.faults.with_label_values(&[fault.kind.name()]).inc();
    }

    /// Faults of the plugin's guests since the start, of all kinds.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Tells the deployer that a version has failed. It may be on probation.
    pub(crate) fn report(&self, version: &Arc<Version>, fault: &Fault) {
        // A full queue already holds more reports than a roll-back needs.
        let report = Report::Fault { version: Arc::clone(version), fault: fault.clone() };
        if self.reports.try_send(report).is_err() {
            debug!(%version, "fault report dropped, others are waiting");
        }
    }

    /// Tells the deployer that an actor can no longer be given back.
    pub(crate) fn report_no_way_back(&self, version: &Arc<Version>, actor: &Arc<str>, why: String) {
        let report = Report::NoWayBack { version: Arc::clone(version), actor: Arc::clone(actor), why };
        // A full queue is one of faults, which end the way back too.
        if self.reports.try_send(report).is_err() {
            debug!(%version, %actor, "report dropped, others are waiting");
        }
    }

    /// What the actors run, if a version is live.
    pub fn live(&self) -> Option<Live> {
        self.state().live.clone()
    }

    /// Actors begin on this version, which nobody has tried on them: for simulations, where versions are the same ones all
    /// the time.
    pub fn begin(&self, version: Arc<Version>) {
        self.set_live(Live::settled(version));
    }

    /// Sets what new actors run and returns those that are there, so that none is missed in between.
    pub(crate) fn set_live(&self, live: Live) -> Vec<ActorHandle> {
        let fsync_ms = live.version.manifest().limits.fsync_ms;
        self.world.journal.sync_every(&self.plugin, Duration::from_millis(fsync_ms.into()));
        let mut state = self.state();
        state.live = Some(live);
        state.members.values().cloned().collect()
    }

    /// A new actor: from now on commands reach it. What it is to run.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub(crate) fn register(
        &self,
        name: &Arc<str>,
        commands: mpsc::Sender<ActorCommand>,
    ) -> Result<Live, RegisterError> {
        let mut state = self.state();
        if state.stopped {
            return Err(RegisterError::Stopped);
        }
        let live = state.live.clone().ok_or_else(|| RegisterError::NoVersion(self.plugin.clone()))?;
        state.members.insert(Arc::clone(name), ActorHandle { name: Arc::clone(name), commands });
        Ok(live)
    }

    /// The actor has ended.
    pub(crate) fn remove(&self, name: &Arc<str>) {
        self.state().members.remove(name);
    }

    /// The actors that are there.
    pub(crate) fn members(&self) -> Vec<ActorHandle> {
        self.state().members.values().cloned().collect()
    }

    /// How many actors are there.
    pub fn len(&self) -> usize {
        self.state().members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells all actors to end; none begins from now on.
    pub async fn stop(&self) {
        let members: Vec<_> = {
            let mut state = self.state();
            state.stopped = true;
            state.members.values().cloned().collect()
        };
        for handle in members {
            // One that has ended takes no commands.
            let _ = handle.commands.send(ActorCommand::Stop).await;
        }
    }

    /// Whether there is an actor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.state().members.contains_key(name)
    }

    /// Tells an actor to write its base to the journal anew; false if it is not there.
    pub(crate) async fn rewrite(&self, name: &str) -> bool {
        let handle = self.state().members.get(name).cloned();
        match handle {
            // One that ends at this moment forgets itself.
            Some(handle) => {
                let _ = handle.commands.send(ActorCommand::Rewrite).await;
                true
            }
            None => false,
        }
    }

    /// What of its actors survives the process.
    pub(crate) fn durability(&self) -> Option<Durability> {
        let manifest = self.live().map(|Live { version, .. }| version.manifest().limits.durability);
        self.world.durability.or(manifest)
    }
}
