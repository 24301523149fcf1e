//! Orders: what a room can be told between two calls, and how it obeys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::Room;
use crate::game::sandbox::{Sandbox, SwapError};
use crate::plugin::{Snapshot, Version};

/// What a room can be told, between two calls.
#[derive(Debug)]
pub(in crate::game) enum Order {
    /// Write the state down, for a rehearsal.
    Snapshot(oneshot::Sender<Result<Snapshot, String>>),
    /// Hand over to another version; answers how long the room stood still.
    Swap(Arc<Version>, oneshot::Sender<Result<Duration, String>>),
    /// Go back to an earlier version.
    Revert(Arc<Version>, oneshot::Sender<Result<Duration, String>>),
    /// Make the present state the base, so that older journal segments can go.
    Checkpoint,
    /// The present version has proved itself.
    Confirm,
    /// End; the node shuts down.
    Stop,
}

impl Room {
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Snapshot(answer) => {
                let snapshot = tokio::task::block_in_place(|| self.sandbox.snapshot());
                // The asker may have given up; the room does not mind.
                let _ = answer.send(snapshot.map_err(|error| error.to_string()));
            }
            Order::Swap(to, answer) => {
                let result =
                    if self.runs(&to) { Ok(Duration::ZERO) } else { self.change(|room| room.swap(&to)) };
                let _ = answer.send(result);
            }
            Order::Revert(to, answer) => {
                let result =
                    if self.runs(&to) { Ok(Duration::ZERO) } else { self.change(|room| room.revert(&to)) };
                let _ = answer.send(result);
            }
            Order::Checkpoint => self.checkpoint(),
            Order::Confirm => self.sandbox.confirm(),
            Order::Stop => {}
        }
    }

    fn runs(&self, version: &Version) -> bool {
        self.sandbox.version().digest() == version.digest()
    }

    fn change(
        &mut self,
        change: impl FnOnce(&mut Sandbox) -> Result<(), SwapError>,
    ) -> Result<Duration, String> {
        let from = Arc::clone(self.sandbox.version());
        let started = Instant::now();
        let result = tokio::task::block_in_place(|| change(&mut self.sandbox));
        let pause = started.elapsed();
        match result {
            Ok(()) => {
                let to = self.sandbox.version();
                self.ticks.adopt(to.manifest());
                self.registry.metrics.swap_pause.observe(pause.as_secs_f64());
                self.registry.metrics.swaps.with_label_values(&["done"]).inc();
                debug!(room = %self.name, %from, %to, pause_us = pause.as_micros(), "room swapped");
                Ok(pause)
            }
            Err(error) => {
                self.registry.metrics.swaps.with_label_values(&["kept"]).inc();
                warn!(room = %self.name, version = %from, %error, "room stays on its version");
                if let SwapError::Lost(error) = &error {
                    self.closing = Some(format!("the room is lost: {error}"));
                }
                Err(error.to_string())
            }
        }
    }
}
