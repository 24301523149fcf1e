//! Actor: one guest with everything that lets it be swapped, rebuilt and kept; what rooms and shards have in common.
//!
//! A [`Crew`] is all actors of one plugin and the version they run; [`deploy`] replaces it under them. What an actor
//! is for, rooms and players or shards and streams, is not known here.

pub mod artefacts;
mod clock;
mod crew;
pub mod deploy;
mod keeping;
mod lines;
pub mod metrics;
pub mod names;
mod order;
mod sandbox;
mod services;
mod spread;
mod strikes;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

pub use clock::Clock;
pub use crew::{Crew, CrewParts, EnlistError, Live};
pub use keeping::keep;
pub(crate) use order::Order;
pub(crate) use sandbox::{Outcome, Sandbox, SwapError};
pub use sandbox::{Replica, Start, World};
pub use services::{Address, ServiceError, Services};
pub(crate) use services::{IN_FLIGHT_MAX, Raw, Reply, Request};
pub(crate) use spread::spread;
pub(crate) use strikes::Strikes;

use crate::blocking;
use crate::plugin::{Fault, Input, Version};
use crate::telemetry::log_limit::limited;

/// Orders an actor may have waiting; the deployer sends one and awaits it.
pub(crate) const ORDERS: usize = 4;

/// An actor in which nothing has happened for so long is idle, ms.
const IDLE_MS: u64 = 5_000;

/// One guest, and how it obeys.
pub(crate) struct Actor {
    pub(crate) name: Arc<str>,
    pub(crate) crew: Arc<Crew>,
    pub(crate) sandbox: Sandbox,
    clock: Clock,
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
    pub(crate) fn new(crew: Arc<Crew>, name: Arc<str>, mut sandbox: Sandbox) -> Self {
        let clock = crew.clock().not_before(sandbox.env().now_ms());
        Self { name, crew, sandbox, clock, changed: false }
    }

    /// Hands one input to the guest.
    pub(crate) fn deliver(&mut self, now_ms: u64, input: &Input<'_>) -> Delivered {
        self.crew.count(input);
        let mut outcome = self.sandbox.deliver(now_ms, input);
        loop {
            match outcome {
                Outcome::Done => return Delivered::Done,
                Outcome::Answered(body) => return Delivered::Answered(body),
                Outcome::Refused { code, text } => return Delivered::Refused { code, text },
                Outcome::Skipped(fault) => {
                    let version = Arc::clone(self.sandbox.version());
                    self.log_fault(&version, input, &fault);
                    if let Input::Timer { id } = *input {
                        // Gone back in time, the guest would have it fire again at once.
                        self.sandbox.env().take_timer(id);
                    }
                    return Delivered::Failed(fault);
                }
                Outcome::Reverted { fault, from, then } => {
                    self.log_fault(&from, input, &fault);
                    self.changed = true;
                    self.crew.report(&from, &fault);
                    outcome = *then;
                }
                Outcome::Lost(error) => {
                    return Delivered::Lost(format!("the guest cannot be rebuilt: {error}"));
                }
            }
        }
    }

    fn log_fault(&self, version: &Arc<Version>, input: &Input<'_>, fault: &Fault) {
        self.crew.count_fault(fault);
        let frames = fault.frames.join(" < ");
        let (plugin, actor, input) = (self.crew.plugin(), &*self.name, input.kind());
        limited!(warn, plugin, actor, actor, version = %version, input, %fault, frames, "guest failed");
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
    pub(crate) fn obey(&mut self, order: Order) -> Result<(), String> {
        match order {
            Order::Snapshot(answer) => {
                let snapshot = blocking::in_place(|| self.sandbox.snapshot());
                let lost = lost(snapshot.as_ref().err());
                // The asker may have given up; the actor does not mind.
                let _ = answer.send(snapshot.map_err(|error| error.to_string()));
                lost
            }
            Order::Swap(to, answer) => {
                let (result, lost) = self.change(&to, |sandbox| sandbox.swap(&to));
                let _ = answer.send(result);
                lost
            }
            Order::Revert(to, answer) => {
                let (result, lost) = self.change(&to, |sandbox| sandbox.revert(&to));
                let _ = answer.send(result);
                lost
            }
            Order::Checkpoint => self.checkpoint_if_new(),
            Order::Rewrite => {
                blocking::in_place(|| self.sandbox.rewrite()).or_else(|error| lost(Some(&error)))
            }
            Order::Rest => self.rest(),
            Order::Confirm => {
                self.sandbox.confirm();
                Ok(())
            }
            Order::Stop => Ok(()),
        }
    }

    fn change(
        &mut self,
        to: &Version,
        change: impl FnOnce(&mut Sandbox) -> Result<(), SwapError>,
    ) -> (Result<Duration, String>, Result<(), String>) {
        if self.sandbox.version().digest() == to.digest() {
            return (Ok(Duration::ZERO), Ok(()));
        }
        let from = Arc::clone(self.sandbox.version());
        let started = Instant::now();
        let result = blocking::in_place(|| change(&mut self.sandbox));
        let pause = started.elapsed();
        match result {
            Ok(()) => {
                self.changed = true;
                self.crew.metrics().swap_pause.observe(pause.as_secs_f64());
                self.crew.metrics().swaps.with_label_values(&["done"]).inc();
                debug!(actor = %self.name, %from, %to, pause_us = pause.as_micros(), "version swapped");
                (Ok(pause), Ok(()))
            }
            Err(error) => {
                self.crew.metrics().swaps.with_label_values(&["kept"]).inc();
                warn!(actor = %self.name, version = %from, %error, "stays on its version");
                let lost = lost(Some(&error));
                (Err(error.to_string()), lost)
            }
        }
    }

    /// The present state becomes the base.
    ///
    /// # Errors
    /// Why the actor is lost and has to end.
    pub(crate) fn checkpoint(&mut self) -> Result<(), String> {
        match blocking::in_place(|| self.sandbox.checkpoint()) {
            Ok(()) => Ok(()),
            Err(error) => {
                warn!(actor = %self.name, %error, "no snapshot");
                lost(Some(&error))
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
        match self.sandbox.rest() {
            Ok(true) => self.crew.metrics().idle_snapshots.inc(),
            Ok(false) => {}
            Err(error) => {
                limited!(warn, self.crew.plugin(), &self.name, actor = %self.name, %error, "no snapshot");
                return lost(Some(&error));
            }
        }
        Ok(())
    }

    /// Replaces the log by a snapshot if it has outgrown its bounds.
    ///
    /// # Errors
    /// Why the actor is lost and has to end.
    pub(crate) fn trim(&mut self) -> Result<(), String> {
        match self.sandbox.trim() {
            Ok(()) => Ok(()),
            Err(error) => {
                let (plugin, actor, version) = (self.crew.plugin(), &*self.name, self.sandbox.version());
                limited!(warn, plugin, actor, actor, %version, %error, "no snapshot");
                lost(Some(&error))?;
                if self.sandbox.overgrown() {
                    return Err(format!("its state cannot be saved: {error}"));
                }
                Ok(())
            }
        }
    }
}

fn lost(error: Option<&SwapError>) -> Result<(), String> {
    match error {
        Some(SwapError::Lost(error)) => Err(format!("its guest is lost: {error}")),
        _ => Ok(()),
    }
}
