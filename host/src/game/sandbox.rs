//! Sandbox: a room's guest together with what it takes to rebuild it.
//!
//! The state of a room is a base (how it began, or a snapshot) and the log of the inputs since. A guest that
//! faults is thrown away and rebuilt from both without the input that broke it; a version that faults on
//! probation is replaced by the one before it in the same way, and the input is tried again there. Rebuilding
//! releases no effects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;

use crate::plugin::{
    Effect, Effects, Env, Fault, Input, Instance, LoadError, Records, Snapshot, Verdict, Version,
};
use crate::snowflake::Generator;

/// Inputs that a rebuild may leave out because they fault in it, before it gives up. More than one happens only
/// when an older version replays what a newer one has handled.
const SKIPS_MAX: usize = 8;

/// On probation the log must reach back to the hand-over, so it may grow this many times longer before the room
/// gives that up.
const PROBATION_STRETCH: usize = 4;

/// What a node gives to all its guests.
#[derive(Clone)]
pub struct World {
    /// Ids of this node.
    pub ids: Arc<Generator>,
    /// The plugin's settings.
    pub settings: Arc<BTreeMap<String, String>>,
    /// How many inputs a room's log holds before a new snapshot replaces it.
    pub log_inputs: usize,
    /// How many bytes.
    pub log_bytes: usize,
}

/// A room's guest, its base and its log.
pub(super) struct Sandbox {
    world: World,
    room: Arc<str>,
    args: Arc<[u8]>,
    instance: Instance,
    base: Base,
    log: Records,
    /// The version to go back to while the present one is on probation.
    fallback: Option<Arc<Version>>,
    /// A snapshot that failed is not tried again before the log is this long.
    next_snapshot: usize,
}

#[derive(Clone)]
struct Base {
    begin: Begin,
    env: Env,
}

#[derive(Clone)]
enum Begin {
    Open,
    Load(Snapshot),
}

/// What became of an input.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The guest handled it; its effects wait to be released.
    Done,
    /// The guest refused it.
    Refused { code: i32, text: String },
    /// The guest failed on it and stands where it stood before. Nothing of it happened.
    Skipped(Fault),
    /// The version on probation failed on it; the version before it has taken over. `then` is what became of the
    /// input there.
    Reverted { fault: Fault, from: Arc<Version>, then: Box<Outcome> },
    /// The guest failed and cannot be rebuilt: the room is lost.
    Lost(LoadError),
}

/// Why a room is not on the version it was asked to run. It runs the one it had, unless the text says otherwise.
#[derive(Debug, thiserror::Error)]
pub(super) enum SwapError {
    /// The present version cannot write its state down.
    #[error("the live version cannot save its state: {0}")]
    Save(Fault),
    /// The new version does not take the state over.
    #[error("the state is not taken over: {0}")]
    Load(LoadError),
    /// The room cannot be rebuilt at all.
    #[error("the room is lost: {0}")]
    Lost(LoadError),
}

impl Sandbox {
    /// Opens a new room. What it asked for in `open` waits to be released.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(super) fn open(
        world: World,
        version: &Arc<Version>,
        fallback: Option<Arc<Version>>,
        room: Arc<str>,
        args: Arc<[u8]>,
        env: Env,
    ) -> Result<Self, LoadError> {
        let base = Base { begin: Begin::Open, env };
        let instance = begin(&world, version, &room, &args, &base)?;
        let next_snapshot = world.log_inputs;
        Ok(Self { world, room, args, instance, base, log: Records::default(), fallback, next_snapshot })
    }

    /// The version that runs.
    pub(super) fn version(&self) -> &Arc<Version> {
        self.instance.version()
    }

    /// The guest's world.
    pub(super) fn env(&mut self) -> &mut Env {
        self.instance.env()
    }

    /// What the last input made the guest ask for.
    pub(super) fn effects(&mut self) -> &mut Effects {
        self.instance.effects()
    }

    /// Hands one input to the guest.
    #[inline]
    pub(super) fn deliver(&mut self, now_ms: u64, input: &Input<'_>) -> Outcome {
        self.instance.env().advance(now_ms);
        let at_ms = self.instance.env().now_ms;
        let mark = self.log.mark();
        self.log.push(at_ms, input);
        match run(&mut self.instance, at_ms, input, None) {
            Ok(verdict) => {
                if !self.instance.drawn().is_empty() {
                    self.log.push_ids(at_ms, self.instance.drawn());
                }
                match verdict {
                    Verdict::Done => Outcome::Done,
                    Verdict::Refused { code, text } => Outcome::Refused { code, text },
                }
            }
            Err(fault) => {
                self.log.cut(mark);
                tokio::task::block_in_place(|| self.recover(fault, now_ms, input))
            }
        }
    }

    fn recover(&mut self, fault: Fault, now_ms: u64, input: &Input<'_>) -> Outcome {
        let Some(fallback) = self.fallback.take() else {
            let version = Arc::clone(self.version());
            return match self.rebuild(&version) {
                Ok(()) => Outcome::Skipped(fault),
                Err(error) => Outcome::Lost(error),
            };
        };
        let from = Arc::clone(self.version());
        match self.rebuild(&fallback) {
            Ok(()) => {
                let then = Box::new(self.deliver(now_ms, input));
                Outcome::Reverted { fault, from, then }
            }
            Err(error) => Outcome::Lost(error),
        }
    }

    /// Builds the room anew from base and log on `version`.
    fn rebuild(&mut self, version: &Arc<Version>) -> Result<(), LoadError> {
        let mut skips = BTreeSet::new();
        loop {
            let mut instance = begin(&self.world, version, &self.room, &self.args, &self.base)?;
            match replay(&mut instance, &self.log, &skips) {
                Ok(()) => {
                    self.instance = instance;
                    self.drop_inputs(&skips);
                    return Ok(());
                }
                Err((at, fault)) if skips.len() < SKIPS_MAX => {
                    warn!(room = %self.room, version = %version, input = at, %fault, "replayed input skipped");
                    skips.insert(at);
                }
                Err((_, fault)) => return Err(fault.into()),
            }
        }
    }

    fn drop_inputs(&mut self, skips: &BTreeSet<usize>) {
        if skips.is_empty() {
            return;
        }
        let mut kept = Records::default();
        for (at, (at_ms, input, ids)) in self.log.iter().flatten().enumerate() {
            if !skips.contains(&at) {
                kept.push(at_ms, &input);
                if !ids.is_empty() {
                    kept.push_ids(at_ms, &ids);
                }
            }
        }
        self.log = kept;
    }

    /// Replaces the log by a snapshot if it has grown past its bounds. To be called between inputs.
    ///
    /// # Errors
    /// The fault of a guest that cannot save; the room has been rebuilt and goes on with its log, unless it is lost.
    pub(super) fn trim(&mut self) -> Result<(), SwapError> {
        let stretch = if self.fallback.is_some() { PROBATION_STRETCH } else { 1 };
        let inputs = self.log.inputs();
        if inputs < self.next_snapshot.saturating_mul(stretch)
            && self.log.bytes() < self.world.log_bytes.saturating_mul(stretch)
        {
            return Ok(());
        }
        let snapshot = tokio::task::block_in_place(|| self.snapshot());
        match snapshot {
            Ok(snapshot) => {
                self.rebase(snapshot);
                self.fallback = None;
                Ok(())
            }
            Err(error) => {
                self.next_snapshot = inputs.saturating_add(self.world.log_inputs);
                Err(error)
            }
        }
    }

    /// Whether the log has outgrown every bound because the guest cannot save its state.
    pub(super) fn overgrown(&self) -> bool {
        self.next_snapshot > self.world.log_inputs.saturating_mul(2 * PROBATION_STRETCH)
    }

    fn rebase(&mut self, snapshot: Snapshot) {
        self.base = Base { begin: Begin::Load(snapshot), env: self.instance.env().clone() };
        self.log.clear();
        self.next_snapshot = self.world.log_inputs;
    }

    /// The room's state as the guest writes it now.
    ///
    /// # Errors
    /// [`SwapError::Save`] if the guest fails at it (the room has been rebuilt), [`SwapError::Lost`].
    pub(super) fn snapshot(&mut self) -> Result<Snapshot, SwapError> {
        self.instance.save().map_err(|fault| {
            let version = Arc::clone(self.version());
            match self.rebuild(&version) {
                Ok(()) => SwapError::Save(fault),
                Err(error) => SwapError::Lost(error),
            }
        })
    }

    /// Hands the room over to another version, between two inputs. The present version stays at hand for
    /// [`Self::revert`] until [`Self::confirm`].
    ///
    /// # Errors
    /// See [`SwapError`].
    pub(super) fn swap(&mut self, to: &Arc<Version>) -> Result<(), SwapError> {
        let snapshot = self.snapshot()?;
        let env = self.instance.env().clone();
        let base = Base { begin: Begin::Load(snapshot.clone()), env };
        let next = begin(&self.world, to, &self.room, &self.args, &base).map_err(SwapError::Load)?;
        let old = Arc::clone(self.version());
        self.rebase(snapshot);
        self.instance = next;
        self.fallback = Some(old);
        Ok(())
    }

    /// Goes back to an earlier version: from the state it handed over and the inputs since, or, if that is no
    /// longer there, by an ordinary hand-over.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub(super) fn revert(&mut self, to: &Arc<Version>) -> Result<(), SwapError> {
        match self.fallback.take() {
            Some(fallback) if fallback.digest() == to.digest() => self.rebuild(to).map_err(SwapError::Lost),
            _ => {
                self.swap(to)?;
                self.fallback = None;
                Ok(())
            }
        }
    }

    /// Ends the probation of the present version.
    pub(super) fn confirm(&mut self) {
        self.fallback = None;
    }
}

/// Makes an instance and brings it to where `base` says.
fn begin(
    world: &World,
    version: &Arc<Version>,
    room: &Arc<str>,
    args: &[u8],
    base: &Base,
) -> Result<Instance, LoadError> {
    let env = base.env.clone();
    let mut instance = Instance::new(version, Arc::clone(room), env, &world.ids, &world.settings)?;
    match &base.begin {
        Begin::Load(snapshot) => instance.load(snapshot)?,
        Begin::Open => {
            instance.open(room, args)?;
            settle(&mut instance);
        }
    }
    Ok(instance)
}

/// Runs the logged inputs but the skipped ones; an error names the input that faulted.
fn replay(instance: &mut Instance, log: &Records, skips: &BTreeSet<usize>) -> Result<(), (usize, Fault)> {
    instance.set_replaying(true);
    for (at, record) in log.iter().enumerate() {
        let (at_ms, input, ids) = record.expect("a log in memory reads back as it was written");
        if !skips.contains(&at) {
            run(instance, at_ms, &input, Some(ids)).map_err(|fault| (at, fault))?;
        }
    }
    instance.effects().clear();
    instance.set_replaying(false);
    Ok(())
}

/// One call with everything it does to the guest's world, the same when live and when replayed.
#[inline]
fn run(
    instance: &mut Instance,
    at_ms: u64,
    input: &Input<'_>,
    recorded: Option<Vec<u64>>,
) -> Result<Verdict, Fault> {
    let env = instance.env();
    env.advance(at_ms);
    match input {
        Input::Join { user, profile: Some(bytes) } => env.set_profile(*user, Arc::from(*bytes)),
        Input::Timer { id } => env.take_timer(*id),
        _ => {}
    }
    instance.draw(recorded);
    let verdict = instance.call(input)?;
    settle(instance);
    if let Input::Leave { user, .. } = input {
        instance.env().drop_profile(*user);
    }
    Ok(verdict)
}

/// Carries out the effects that change the guest's own world.
#[inline]
fn settle(instance: &mut Instance) {
    if instance.effects().is_empty() {
        return;
    }
    let effects = std::mem::take(instance.effects());
    let env = instance.env();
    env.apply_timers(&effects);
    for effect in effects.iter() {
        if let Effect::PutProfile { user, bytes } = effect {
            env.set_profile(user, Arc::from(bytes));
        }
    }
    *instance.effects() = effects;
}
