//! Sandbox: an actor's guest together with what it takes to rebuild it.
//!
//! The state of a room is a base (how it began, or a snapshot) and the log of the inputs since. A guest that
//! faults is thrown away and rebuilt from both without the input that broke it; a version that faults on
//! probation is replaced by the one before it in the same way, and the input is tried again there. Rebuilding
//! releases no effects.

mod base;
mod checkpoint;
mod dead_letter;
mod rebuild;
mod replica;
mod way_back;

use std::collections::BTreeMap;
use std::sync::Arc;

use hotseat_build::Durability;

use self::base::{Base, Begin};
pub(crate) use self::checkpoint::RestoreError;
use self::rebuild::{begin, run};
pub use self::replica::{Replica, Start};
use self::way_back::WayBack;
use crate::blocking;
use crate::journal::{Cause, DeadLetters, Journal, RollbackStore};
use crate::plugin::{
    Effects, Env, Fault, Input, Instance, LoadError, Meter, Records, Snapshot, Verdict, Version,
};
use crate::snowflake::Generator;

/// A room whose guest cannot save its state keeps so many times the inputs that its log is to hold, and no more.
const UNSAVED_STRETCH: usize = 8;

/// So many bytes of state allow one more input in the log: a large state is written anew less often, and a rebuild replays
/// for about as long as it loads. A leaderboard of a million saves in 6 ns and loads in 16 ns a byte, and an update takes
/// 1.6 µs (`docs/benchmarks.md`): saving adds half to it then, loading and replaying take 0.2 s and 0.15 s.
const BYTES_PER_INPUT: usize = 128;

/// An idle room's state is written for so many bytes of it an input: eight times what is written under load. It saves the
/// next start the replay, and a large state is not written for a few inputs.
const REST_BYTES_PER_INPUT: usize = 8 * BYTES_PER_INPUT;

/// What a node gives to all its guests.
#[derive(Clone)]
pub struct World {
    /// Ids of this node.
    pub ids: Arc<Generator>,
    /// The plugin's settings.
    pub settings: Arc<BTreeMap<String, String>>,
    /// How many inputs a small room's log holds before a new snapshot replaces it.
    pub log_inputs: usize,
    /// How many bytes.
    pub log_bytes: usize,
    /// Where rooms write what survives the process.
    pub journal: Arc<Journal>,
    /// Where inputs go that a guest failed on.
    pub dead_letters: Arc<DeadLetters>,
    /// Where it is kept what rooms were when a version took them over.
    pub rollbacks: Arc<RollbackStore>,
    /// The meter of the actor that this is for; none while it is a plugin's.
    pub meter: Option<Arc<Meter>>,
    /// What survives it, if the operator has decided; else each plugin's manifest says.
    pub durability: Option<Durability>,
}

/// A room's guest, its base and its log.
pub(crate) struct Sandbox {
    world: World,
    room: Arc<str>,
    args: Arc<[u8]>,
    instance: Instance,
    base: Base,
    log: Records,
    /// The way back to the version before the present one, while it is open.
    back: Option<WayBack>,
    /// Why it has ended before its time, until somebody asks.
    back_lost: Option<String>,
    /// How much of the log the journal has, bytes.
    journalled: usize,
    /// The position in the journal behind the last of it.
    position: u64,
    /// Whether this process has written the base to the journal.
    based: bool,
    /// The size of the last snapshot.
    saved_bytes: usize,
    /// A snapshot is due, or tried again after it has failed, when the log has so many inputs or bytes.
    next_snapshot: (usize, usize),
}

/// What became of an input.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The guest handled it; its effects wait to be released.
    Done,
    /// So too, and it left a response.
    Answered(Vec<u8>),
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
pub(crate) enum SwapError {
    /// The present version cannot write its state down.
    #[error("the live version cannot save its state: {0}")]
    Save(Fault),
    /// The present version cannot write its state down, and the new one does not come to it by base and log either.
    #[error("the live version cannot save its state ({fault}), and the new one does not replay it: {why}")]
    Unsaved { fault: Fault, why: LoadError },
    /// The new version does not take the state over.
    #[error("the state is not taken over: {0}")]
    Load(#[from] LoadError),
    /// What was kept for going back is of no use.
    #[error("what is kept of the hand-over cannot be used: {0}")]
    Kept(String),
    /// The room cannot be rebuilt at all.
    #[error("the room is lost: {0}")]
    Lost(LoadError),
}

impl Sandbox {
    /// Opens a new room. What it asked for in `open` waits to be released.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) fn open(
        mut world: World,
        version: &Arc<Version>,
        fallback: Option<Arc<Version>>,
        room: Arc<str>,
        args: Arc<[u8]>,
        env: Env,
    ) -> Result<Self, LoadError> {
        if version.memory().is_full() {
            let max = version.memory().max_bytes();
            return Err(LoadError::Declined(format!(
                "all guests of the node together have their {max} bytes"
            )));
        }
        world.meter = Some(version.meter());
        let base = Base { begin: Begin::Open, env, settings: Arc::clone(&world.settings) };
        let instance = begin(&world, version, &room, &args, &base)?;
        let mut sandbox = Self::new(world, room, args, instance, base, Records::default());
        if let Some(fallback) = fallback {
            sandbox.begin_way_back(fallback, true);
        }
        sandbox.write_base();
        Ok(sandbox)
    }

    fn new(
        world: World,
        room: Arc<str>,
        args: Arc<[u8]>,
        instance: Instance,
        base: Base,
        log: Records,
    ) -> Self {
        let next_snapshot = bounds(&world, &base);
        let (back, back_lost, journalled, position, saved_bytes) = (None, None, 0, 0, 0);
        Self {
            world,
            room,
            args,
            instance,
            base,
            log,
            back,
            back_lost,
            journalled,
            position,
            saved_bytes,
            based: false,
            next_snapshot,
        }
    }

    /// What the guest uses is counted here, whatever version it is.
    pub(crate) fn meter(&self) -> &Meter {
        self.world.meter.as_ref().expect("it is set where a sandbox is made")
    }

    /// The version that runs.
    pub(crate) fn version(&self) -> &Arc<Version> {
        self.instance.version()
    }

    /// The guest's world.
    pub(crate) fn env(&mut self) -> &mut Env {
        self.instance.env()
    }

    /// What the last input made the guest ask for.
    pub(crate) fn effects(&mut self) -> &mut Effects {
        self.instance.effects()
    }

    /// Hands one input to the guest.
    #[inline]
    pub(crate) fn deliver(&mut self, now_ms: u64, input: &Input<'_>) -> Outcome {
        self.instance.env().advance(now_ms);
        let at_ms = self.instance.env().now_ms;
        let mark = self.log.mark();
        if input.changes_state() {
            self.log.push(at_ms, input);
        }
        match run(&mut self.instance, at_ms, input, None) {
            Ok(verdict) => {
                if !self.instance.drawn().is_empty() {
                    self.log.push_ids(at_ms, self.instance.drawn());
                }
                match verdict {
                    Verdict::Done => Outcome::Done,
                    Verdict::Answered(body) => Outcome::Answered(body),
                    Verdict::Refused { code, text } => Outcome::Refused { code, text },
                }
            }
            Err(fault) => {
                self.log.cut(mark);
                blocking::in_place(|| self.recover(fault, now_ms, input))
            }
        }
    }

    fn recover(&mut self, fault: Fault, now_ms: u64, input: &Input<'_>) -> Outcome {
        self.post_input(input, &fault);
        let from = Arc::clone(self.version());
        if let Some(back) = self.back.take_if(|back| back.probation) {
            match self.go_back(&back) {
                Ok(()) => {
                    let then = Box::new(self.deliver(now_ms, input));
                    return Outcome::Reverted { fault, from, then };
                }
                Err(error) => self.lose_way_back(error.to_string()),
            }
        }
        match self.rebuild(&from) {
            Ok(()) => Outcome::Skipped(fault),
            Err(error) => Outcome::Lost(error),
        }
    }

    /// Replaces the log by a snapshot if it has grown past its bounds; true if it did. To be called between inputs.
    ///
    /// # Errors
    /// The fault of a guest that cannot save; the room has been rebuilt and goes on with its log, unless it is lost.
    pub(crate) fn trim(&mut self) -> Result<bool, SwapError> {
        // One that waits for services soon waits for nobody, and then a snapshot has all of it; see `settle`.
        let stretch = if self.instance.env().calls().is_empty() { 1 } else { 2 };
        let (inputs, bytes) = self.next_snapshot;
        if self.log.inputs() < inputs.saturating_mul(stretch)
            && self.log.bytes() < bytes.saturating_mul(stretch)
        {
            return Ok(false);
        }
        let settled = blocking::in_place(|| self.settle());
        if settled.is_err() {
            self.put_off();
        }
        settled.map(|()| true)
    }

    /// What the host keeps with the guest has changed by no input: the base is replaced at the next [`Self::trim`].
    pub(crate) fn outdate_base(&mut self) {
        self.next_snapshot = (0, 0);
    }

    /// A snapshot has failed: the next one is tried when the log has grown by as much again.
    fn put_off(&mut self) {
        let (inputs, bytes) = bounds(&self.world, &self.base);
        self.next_snapshot =
            (self.log.inputs().saturating_add(inputs), self.log.bytes().saturating_add(bytes));
    }

    /// Replaces the log by a snapshot whatever its size, if there is one and the guest can save; true if it did.
    ///
    /// # Errors
    /// As for [`Self::trim`].
    pub(crate) fn rest(&mut self) -> Result<bool, SwapError> {
        let inputs = self.log.inputs();
        // What a later start would have to replay must be worth the writing, and others may need the disk now.
        if inputs.saturating_mul(REST_BYTES_PER_INPUT) < self.base.size() || self.world.journal.is_busy() {
            return Ok(false);
        }
        // A guest that has failed to save is not asked again for nothing.
        let unsaved = self.next_snapshot != bounds(&self.world, &self.base);
        if inputs == 0 || self.spares_base() || unsaved {
            return Ok(false);
        }
        let settled = blocking::in_place(|| self.settle());
        if settled.is_err() {
            self.put_off();
        }
        settled.map(|()| true)
    }

    /// Whether the log has outgrown every bound because the guest cannot save its state.
    pub(crate) fn overgrown(&self) -> bool {
        let (inputs, bytes) = bounds(&self.world, &self.base);
        self.next_snapshot.0 > inputs.saturating_mul(UNSAVED_STRETCH)
            || self.next_snapshot.1 > bytes.saturating_mul(UNSAVED_STRETCH)
    }

    /// Makes the present state the base.
    ///
    /// # Errors
    /// As [`Self::snapshot`], or [`SwapError::Load`].
    fn settle(&mut self) -> Result<(), SwapError> {
        let snapshot = self.snapshot()?;
        let base = self.base_of(snapshot);
        if !self.instance.env().calls().is_empty() {
            // Who waits for services may hold futures, and no snapshot has those. A rebuild from it would go another
            // way than the guest that is live, so the live one goes on from the snapshot too.
            let version = Arc::clone(self.version());
            self.instance =
                begin(&self.world, &version, &self.room, &self.args, &base).map_err(SwapError::Load)?;
        }
        self.rebase(base);
        Ok(())
    }

    fn base_of(&mut self, snapshot: Snapshot) -> Base {
        let settings = Arc::clone(&self.base.settings);
        Base { begin: Begin::Load(snapshot), env: self.instance.env().clone(), settings }
    }

    fn rebase(&mut self, base: Base) {
        self.keep_way_back();
        self.base = base;
        self.log.clear();
        self.next_snapshot = bounds(&self.world, &self.base);
        self.write_base();
    }

    /// About how many bytes a snapshot has: as many as the last one.
    pub(crate) fn weight(&self) -> usize {
        self.saved_bytes.max(self.base.weight())
    }

    /// The room's state as the guest writes it now.
    ///
    /// # Errors
    /// [`SwapError::Save`] if the guest fails at it (the room has been rebuilt), [`SwapError::Lost`].
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot, SwapError> {
        match self.instance.save() {
            Ok(snapshot) => {
                self.saved_bytes = snapshot.bytes.len();
                Ok(snapshot)
            }
            Err(fault) => {
                self.post_unsaved(&fault);
                let version = Arc::clone(self.version());
                match self.rebuild(&version) {
                    Ok(()) => Err(SwapError::Save(fault)),
                    Err(error) => Err(SwapError::Lost(error)),
                }
            }
        }
    }

    /// Hands the room over to another version, between two inputs. The way back to the present one is open until
    /// [`Self::confirm`] closes it.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub(crate) fn swap(&mut self, to: &Arc<Version>) -> Result<(), SwapError> {
        let snapshot = match self.snapshot() {
            Err(SwapError::Save(fault)) => return self.swap_by_log(to, fault),
            snapshot => snapshot?,
        };
        let schema = snapshot.schema;
        let base = self.base_of(snapshot);
        let (base, next) = match begin(&self.world, to, &self.room, &self.args, &base) {
            Ok(next) => (base, next),
            Err(why) => self.begin_below(to, schema, why)?,
        };
        let old = Arc::clone(self.version());
        self.back = None;
        self.rebase(base);
        self.instance = next;
        self.begin_way_back(old, true);
        Ok(())
    }
}

/// How many inputs and bytes the log may hold upon this base: a large state is written anew less often than a small one.
fn bounds(world: &World, base: &Base) -> (usize, usize) {
    (world.log_inputs.max(base.size() / BYTES_PER_INPUT), world.log_bytes.max(base.size()))
}
