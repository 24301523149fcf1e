//! Actor: one guest with everything that lets it be swapped, rebuilt and kept; what rooms and shards have in
//! common.
//!
//! A [`ActorGroup`] is all actors of one plugin and the version they run; [`deploy`] replaces it under them.
//! What an actor is for, rooms and players or shards and streams, is not known here.

pub mod artefacts;
mod budget;
mod caps;
mod checkpoints;
mod clock;
mod command;
pub mod deploy;
mod ending;
mod fault_window;
mod group;
mod lines;
pub mod metrics;
pub mod names;
mod report;
mod sandbox;
mod services;
mod spread;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, warn};

pub use budget::Shares;
use budget::{Accounted, Budget, sending_ns};
pub use caps::{Caps, TooMuchAsked};
pub use checkpoints::keep;
pub use clock::Clock;
pub(crate) use command::{ActorCommand, HandOver, RehearsalInput, Weight};
pub(crate) use fault_window::FaultWindow;
pub use group::{ActorGroup, ActorGroupParts, Live, RegisterError};
pub use report::Report;
pub(crate) use sandbox::{Outcome, RestoreError, Sandbox, SwapError};
pub use sandbox::{Replica, Start, World};
pub use services::{Address, ServiceError, Services};
pub(crate) use services::{IN_FLIGHT_MAX, Raw, Reply, Request};
pub(crate) use spread::spread;

use crate::blocking;
use crate::plugin::{Fault, GAME_WORLD, Input, Version};
use crate::telemetry::log_limit::limited;

/// Orders an actor may have waiting; the deployer sends one and awaits it.
pub(crate) const COMMANDS: usize = 4;

/// An actor in which nothing has happened for so long is idle, ms.
const IDLE_MS: u64 = 5_000;

/// One guest, and how it obeys.
pub(crate) struct Actor {
    pub(crate) name: Arc<str>,
    pub(crate) group: Arc<ActorGroup>,
    pub(crate) sandbox: Sandbox,
    clock: Clock,
    budget: Budget,
    /// The turn that is under way: when it began, and what its frames cost beyond it, nanoseconds.
    turn: Option<Instant>,
    sending_ns: u64,
    /// The version has changed since somebody last asked.
    changed: bool,
}

/// What became of an input, all told.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// The guest handled it; its effects wait to be released.
    Done,
    /// So too, and it left a response.
    Answered(Vec<u8>),
    /// The guest refused it.
    Refused { code: i32, text: String },
    /// The guest failed on it and stands where it stood before.
    Failed(Fault),
    /// The guest failed and cannot be rebuilt: why. The actor has to end.
    Lost(String),
}

impl Actor {
    pub(crate) fn new(group: Arc<ActorGroup>, name: Arc<str>, mut sandbox: Sandbox) -> Self {
        let clock = group.clock().not_before(sandbox.env().now_ms());
        if let Some(Live { version, earlier: Some(earlier), .. }) = group.live()
            && version.digest() == sandbox.version().digest()
        {
            sandbox.open_way_back(&earlier);
        }
        let budget = Budget::new();
        Self { name, group, sandbox, clock, budget, turn: None, sending_ns: 0, changed: false }
    }

    /// A turn begins: what the actor does until [`Self::end_turn`] counts against its share, and must not wait.
    pub(crate) fn begin_turn(&mut self) -> Instant {
        let now = Instant::now();
        self.sandbox.meter().begin_turn();
        self.turn = Some(now);
        now
    }

    /// A frame of so many bytes goes to so many sessions.
    #[inline]
    pub(crate) fn sends(&mut self, sessions: usize, bytes: usize) {
        self.sending_ns = self.sending_ns.saturating_add(sending_ns(sessions, bytes));
    }

    /// The turn, if there was one, is over. What it has used.
    ///
    /// # Errors
    /// Why the actor has to end: it asks for more than its share and does not stop.
    pub(crate) fn end_turn(&mut self) -> Result<Duration, String> {
        let Some(began) = self.turn.take() else { return Ok(Duration::ZERO) };
        let now = Instant::now();
        let meter = self.sandbox.meter();
        let mut used = meter.end_turn(began.into_std(), now.into_std());
        used.ran += Duration::from_nanos(std::mem::take(&mut self.sending_ns));
        let names = (self.group.plugin(), &*self.name);
        match self.budget.account(now, used, self.group.budget(), meter, names) {
            Accounted::Fine => Ok(used.ran),
            Accounted::TooMuch(why) => Err(why),
        }
    }

    /// Until when the actor takes nothing in, because it has used too much.
    pub(crate) fn resting(&mut self) -> Option<Instant> {
        self.budget.rest()?;
        self.budget.wake(Instant::now());
        self.budget.rest()
    }

    /// Hands one input to the guest.
    pub(crate) fn deliver(&mut self, now_ms: u64, input: &Input<'_>) -> Delivered {
        self.group.count(input);
        let mut outcome = self.sandbox.deliver(now_ms, input);
        loop {
            match outcome {
                Outcome::Done => return Delivered::Done,
                Outcome::Answered(body) => return Delivered::Answered(body),
                Outcome::Refused { code, text } => return Delivered::Refused { code, text },
                Outcome::Skipped(fault) => {
                    let version = Arc::clone(self.sandbox.version());
                    self.log_fault(&version, input, &fault);
                    self.tell_back_lost();
                    if let Input::Timer { id } = *input {
                        // Gone back in time, the guest would have it fire again at once.
                        self.sandbox.env().take_timer(id);
                    }
                    return Delivered::Failed(fault);
                }
                Outcome::Reverted { fault, from, then } => {
                    self.log_fault(&from, input, &fault);
                    self.changed = true;
                    self.group.report(&from, &fault);
                    outcome = *then;
                }
                Outcome::Lost(error) => {
                    return Delivered::Lost(self.give_up(format!("the guest cannot be rebuilt: {error}")));
                }
            }
        }
    }

    fn log_fault(&self, version: &Arc<Version>, input: &Input<'_>, fault: &Fault) {
        self.group.count_fault(fault);
        let frames = fault.frames.join(" < ");
        let (plugin, actor, input) = (self.group.plugin(), &*self.name, input.kind());
        limited!(warn, plugin, actor, actor, version = %version, input, %fault, frames, "guest failed");
    }

    /// Tells the deployer if the way back to the version before has ended.
    fn tell_back_lost(&mut self) {
        if let Some(why) = self.sandbox.take_back_lost() {
            let version = self.sandbox.version();
            warn!(actor = %self.name, %version, why, "what going back takes is no longer kept");
            self.group.report_no_way_back(version, &self.name, why);
        }
    }

    /// The time, as guests are told it.
    pub(crate) fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    /// The same at another moment.
    pub(crate) fn ms_at(&self, instant: Instant) -> u64 {
        self.clock.ms_at(instant)
    }

    /// When the next timer is due.
    pub(crate) fn next_timer(&mut self) -> Option<Instant> {
        let (due_ms, _) = self.sandbox.env().next_timer()?;
        Some(self.clock.instant_of(due_ms))
    }

    /// Whether the version has changed since the last time this was asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Does as it is told, between two inputs.
    ///
    /// # Errors
    /// Why the actor is lost and has to end.
    pub(crate) fn handle_command(&mut self, order: ActorCommand) -> Result<(), String> {
        match order {
            ActorCommand::Snapshot(answer) => {
                let snapshot = blocking::in_place(|| self.sandbox.snapshot());
                let lost = self.lost(snapshot.as_ref().err());
                let sample = match snapshot {
                    Err(SwapError::Save(why)) => {
                        Ok(RehearsalInput::Log { past: self.sandbox.past(), why: why.to_string() })
                    }
                    snapshot => snapshot.map(RehearsalInput::State).map_err(|error| error.to_string()),
                };
                // The asker may have given up; the actor does not mind.
                let _ = answer.send(sample);
                lost
            }
            ActorCommand::SetAside(answer) => {
                let why = "it was set aside by an operator".to_owned();
                match blocking::in_place(|| self.set_aside(&why)) {
                    Ok(()) => {
                        let _ = answer.send(Ok(()));
                        Err(why)
                    }
                    Err(error) => {
                        let _ = answer.send(Err(error));
                        Ok(())
                    }
                }
            }
            ActorCommand::Weigh(answer) => {
                let _ = answer.send(Ok(self.sandbox.weigh()));
                Ok(())
            }
            ActorCommand::Swap(to, answer) => {
                let (result, lost) = self.change(&to, |sandbox| sandbox.swap(&to));
                let _ = answer.send(result);
                lost
            }
            ActorCommand::Revert(to, answer) => {
                let (result, lost) = self.change(&to, |sandbox| sandbox.revert(&to));
                let _ = answer.send(result);
                lost
            }
            ActorCommand::Keeps(version, answer) => {
                let _ = answer.send(Ok(self.sandbox.keeps(version)));
                Ok(())
            }
            ActorCommand::Checkpoint => self.checkpoint_if_new(),
            ActorCommand::Rewrite => {
                let rewritten = blocking::in_place(|| self.sandbox.rewrite());
                self.tell_back_lost();
                self.lost(rewritten.as_ref().err())
            }
            ActorCommand::Rest => self.rest(),
            ActorCommand::Confirm { keep } => {
                self.sandbox.confirm(keep);
                Ok(())
            }
            ActorCommand::Stop => Ok(()),
        }
    }

    fn change(
        &mut self,
        to: &Version,
        change: impl FnOnce(&mut Sandbox) -> Result<(), SwapError>,
    ) -> (Result<HandOver, String>, Result<(), String>) {
        if self.sandbox.version().digest() == to.digest() {
            return (Ok(HandOver::default()), Ok(()));
        }
        let from = Arc::clone(self.sandbox.version());
        let started = Instant::now();
        let result = blocking::in_place(|| change(&mut self.sandbox));
        let pause = started.elapsed();
        match result {
            Ok(()) => {
                self.changed = true;
                self.group.metrics().swap_pause.observe(pause.as_secs_f64());
                self.group.metrics().swaps.with_label_values(&["done"]).inc();
                debug!(actor = %self.name, %from, %to, pause_us = pause.as_micros(), "version swapped");
                (Ok(HandOver { pause, bytes: self.sandbox.weight() }), Ok(()))
            }
            Err(error) => {
                self.group.metrics().swaps.with_label_values(&["kept"]).inc();
                warn!(actor = %self.name, version = %from, %error, "stays on its version");
                let lost = self.lost(Some(&error));
                (Err(error.to_string()), lost)
            }
        }
    }

    /// The present state becomes the base.
    ///
    /// # Errors
    /// Why the actor is lost and has to end.
    pub(crate) fn checkpoint(&mut self) -> Result<(), String> {
        let kept = blocking::in_place(|| self.sandbox.checkpoint());
        self.tell_back_lost();
        match kept {
            Ok(()) => Ok(()),
            Err(error) => {
                warn!(actor = %self.name, %error, "no snapshot");
                self.lost(Some(&error))
            }
        }
    }

    /// The same if anything has happened since the base that the journal has.
    ///
    /// # Errors
    /// Why the actor is lost and has to end.
    pub(crate) fn checkpoint_if_new(&mut self) -> Result<(), String> {
        if self.sandbox.is_new() { self.checkpoint() } else { Ok(()) }
    }

    /// The present state becomes the base if nothing has happened for a while.
    fn rest(&mut self) -> Result<(), String> {
        let idle_ms = self.now_ms().saturating_sub(self.sandbox.env().now_ms);
        if idle_ms < IDLE_MS {
            return Ok(());
        }
        let rested = self.sandbox.rest();
        self.tell_back_lost();
        match rested {
            Ok(true) => self.group.metrics().idle_snapshots.inc(),
            Ok(false) => {}
            Err(error) => {
                limited!(warn, self.group.plugin(), &self.name, actor = %self.name, %error, "no snapshot");
                return self.lost(Some(&error));
            }
        }
        Ok(())
    }

    /// Replaces the log by a snapshot if it has outgrown its bounds.
    ///
    /// # Errors
    /// Why the actor is lost and has to end.
    pub(crate) fn trim(&mut self) -> Result<(), String> {
        let trimmed = self.sandbox.trim();
        if !matches!(trimmed, Ok(false)) {
            self.tell_back_lost();
        }
        match trimmed {
            Ok(_) => Ok(()),
            Err(error) => {
                let (plugin, actor, version) = (self.group.plugin(), &*self.name, self.sandbox.version());
                limited!(warn, plugin, actor, actor, %version, %error, "no snapshot");
                self.lost(Some(&error))?;
                if self.sandbox.overgrown() {
                    return Err(self.give_up(format!("its state cannot be saved: {error}")));
                }
                Ok(())
            }
        }
    }

    /// Counts what an operation on the whole state has met; an error if the actor is lost.
    fn lost(&mut self, error: Option<&SwapError>) -> Result<(), String> {
        match error {
            Some(SwapError::Save(fault) | SwapError::Unsaved { fault, .. }) => {
                self.group.count_fault(fault);
                Ok(())
            }
            Some(SwapError::Lost(error)) => Err(self.give_up(format!("its guest is lost: {error}"))),
            _ => Ok(()),
        }
    }

    /// The actor has to end: why. What it was is not lost with it.
    fn give_up(&mut self, why: String) -> String {
        // A shard that is down is kept as it is, and waits for a version that takes it.
        if self.group.wit_world() == GAME_WORLD
            && let Err(error) = blocking::in_place(|| self.set_aside(&why))
        {
            error!(actor = %self.name, why, error, "room cannot be set aside, its state is lost");
        }
        why
    }

    /// Leaves base and log in a file beside the journal.
    fn set_aside(&mut self, why: &str) -> Result<(), String> {
        let version = self.sandbox.version();
        let past = self.sandbox.past();
        let set_aside = self.group.world().journal.set_aside(&self.name, &past);
        let file = set_aside.map_err(|error| error.to_string())?;
        self.group.count_set_aside();
        error!(actor = %self.name, %version, why, file = %file.display(), "room set aside; `hotseat replay` reads the file");
        Ok(())
    }
}
