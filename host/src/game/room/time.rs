//! Time: what a room does without anybody sending anything.

use std::time::Duration;

use tokio::time::Instant;

use super::{BATCH, Room};
use crate::plugin::Input;

/// Timers that are due later than this in a turn wait for the next one.
const TURN: Duration = Duration::from_millis(2);

impl Room {
    /// The next moment at which something is due without anybody sending anything.
    pub(super) fn due(&mut self) -> Option<Instant> {
        let ticks = !self.seats.is_empty() || self.ticks.when_empty();
        let tick = if ticks { self.ticks.due() } else { None };
        let timer = self.actor.next_timer();
        [tick, timer, self.absent.due()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self) {
        let now = self.actor.begin_turn();
        if self.absent.due().is_some_and(|due| due <= now) {
            self.give_up_absent(now);
        }
        let now_ms = self.actor.ms_at(now);
        // A timer set for "now" by a timer's own handler waits for the next round, so this ends.
        for _ in 0..BATCH {
            match self.actor.sandbox.env().next_timer() {
                Some((due_ms, id)) if due_ms <= now_ms && self.closing.is_none() => {
                    self.deliver(now_ms, &Input::Timer { id });
                    self.settle(now_ms);
                }
                _ => break,
            }
            if now.elapsed() > TURN {
                break;
            }
        }
        if (!self.seats.is_empty() || self.ticks.when_empty())
            && self.closing.is_none()
            && let Some(step) = self.ticks.step(now)
        {
            self.registry.metrics.ticks_skipped.inc_by(step.skipped);
            self.deliver(now_ms, &Input::Tick { dt_ms: step.dt_ms });
            self.settle(now_ms);
        }
        self.trim();
    }
}
