//! Budget: the processor time that actors may use, each for itself and all of a plugin together.
//!
//! Time is counted turn by turn (`plugin/meter.rs`) and drains off at the rate that an actor may use. Who has more than a
//! second's worth of it rests before the next turn. When a plugin uses more than its share, its actors rest that use more
//! than an equal part of it; those that use little do not notice. An actor that asks for more than its share for too long
//! is ended, if it has really had a fair part of what there is. One that is held back by its plugin's share asks for what it
//! would use meanwhile only if its turns are long: many rooms with much to do are slow together, and none is ended.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::metrics::BudgetMetrics;
use crate::plugin::{Meter, Used};

/// An actor may use the time of this window at once.
const WINDOW: Duration = Duration::from_secs(1);

/// A plugin as a whole is held to its share within a shorter one: all of its rooms may begin at once.
const PLUGIN_WINDOW: Duration = Duration::from_millis(100);

/// Time is accounted for in steps of this size, so that a short turn costs two readings of the clock.
const STEP: Duration = Duration::from_micros(500);

/// A turn this long is taken for one of a guest that would run on and on, if it is held back by its plugin's share:
/// what a room does sixty times a second must not take as long.
const ENDLESS: Duration = Duration::from_millis(15);

/// The longest rest at a time.
const REST_MAX: Duration = Duration::from_secs(1);

/// A line of the log about one actor or plugin that is over its share, so often at most.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What a frame and a byte cost the node after they have been handed to a session: the system calls that write them. A
/// ping costs 13 µs in all, of which the kernel's sending is about a third for one frame alone (`docs/benchmarks.md`).
/// Nanoseconds.
const FRAME_NS: u64 = 2_000;
/// As [`FRAME_NS`], for each byte: memory is copied into the kernel, and by it.
const BYTE_NS: u64 = 2;

/// What the operator allows, in parts of one core.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// One actor.
    pub actor: f64,
    /// All actors of a plugin.
    pub plugin: f64,
    /// How long an actor may ask for more than its share before it is ended; none: for ever.
    pub close_after: Option<Duration>,
}

impl Default for Shares {
    fn default() -> Self {
        Self { actor: 1.0, plugin: f64::INFINITY, close_after: None }
    }
}

/// What frames of so many bytes cost the node beyond the turn that queued them, nanoseconds.
#[inline]
pub(crate) fn sending_ns(frames: usize, bytes: usize) -> u64 {
    let frames = u64::try_from(frames).unwrap_or(u64::MAX);
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    frames.saturating_mul(FRAME_NS.saturating_add(bytes.saturating_mul(BYTE_NS)))
}

/// Time that has been used and drains off.
#[derive(Debug)]
struct Bucket {
    level: Duration,
    at: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { level: Duration::ZERO, at: now }
    }

    /// More than two windows' worth of `share` is forgotten: what is over has an end.
    fn pour(&mut self, now: Instant, used: Duration, share: f64) {
        let share = share.min(1024.0);
        let passed = now.saturating_duration_since(self.at).as_secs_f64() * share;
        let level = self.level.saturating_sub(Duration::from_secs_f64(passed)).saturating_add(used);
        self.level = level.min(Duration::from_secs_f64(2.0 * share * WINDOW.as_secs_f64()));
        self.at = now;
    }
}

/// The time all actors of a plugin use.
#[derive(Debug)]
pub(crate) struct PluginBudget {
    shares: Shares,
    metrics: BudgetMetrics,
    state: Mutex<PluginState>,
}

#[derive(Debug)]
struct PluginState {
    bucket: Bucket,
    /// The present second, by its number, and how many actors have used something in it and in the one before.
    window: u64,
    began: Instant,
    active: u32,
    active_before: u32,
    told: Option<Instant>,
}

/// Where a plugin stands.
#[derive(Debug, Clone, Copy, Default)]
struct Plugin {
    level: Duration,
    /// The part of each of its actors, while it is over its share.
    part: Option<f64>,
}

impl PluginBudget {
    pub(crate) fn new(shares: Shares, metrics: BudgetMetrics) -> Self {
        let now = Instant::now();
        let (bucket, told) = (Bucket::new(now), None);
        let state = PluginState { bucket, window: 0, began: now, active: 0, active_before: 0, told };
        Self { shares, metrics, state: Mutex::new(state) }
    }

    /// Counts what an actor has used; `seen` is the last window that it was counted in.
    fn add(&self, now: Instant, used: Duration, seen: &mut Option<u64>, plugin: &str) -> Plugin {
        self.metrics.used.inc_by(used.as_secs_f64());
        // The state is whole at every step, so a panic elsewhere does not spoil it.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(state.began);
        if passed >= WINDOW {
            state.active_before = if passed < 2 * WINDOW { state.active } else { 0 };
            (state.window, state.began, state.active) = (state.window + 1, now, 0);
        }
        if *seen != Some(state.window) {
            *seen = Some(state.window);
            state.active += 1;
        }
        let share = self.shares.plugin;
        state.bucket.pour(now, used, share);
        let level = state.bucket.level;
        if level.as_secs_f64() <= share * PLUGIN_WINDOW.as_secs_f64() {
            return Plugin { level, part: None };
        }
        if state.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY) {
            state.told = Some(now);
            warn!(
                plugin,
                share, "the plugin uses more processor time than its share, its busiest rooms wait"
            );
        }
        let actors = f64::from(state.active.max(state.active_before).max(1));
        // What is over already drains off too.
        Plugin { level, part: Some(share / actors) }
    }
}

/// The time one actor uses.
#[derive(Debug)]
pub(crate) struct Budget {
    bucket: Bucket,
    /// What it has used or has waited for.
    asked: Bucket,
    /// Used, and not accounted for yet; and the time by the clock in which it could run.
    pending: Duration,
    held: Duration,
    seen: Option<u64>,
    rest: Option<Instant>,
    /// Since when it asks for more than its share, and how long it could run since.
    over: Option<(Instant, Duration)>,
    told: Option<Instant>,
}

/// What an actor has to do about its use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Accounted {
    /// Nothing, or to rest for a while.
    Fine,
    /// To end: why.
    TooMuch(String),
}

impl Budget {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let bucket = || Bucket::new(now);
        Self {
            bucket: bucket(),
            asked: bucket(),
            pending: Duration::ZERO,
            held: Duration::ZERO,
            seen: None,
            rest: None,
            over: None,
            told: None,
        }
    }

    /// Until when the actor takes nothing in.
    pub(crate) fn rest(&self) -> Option<Instant> {
        self.rest
    }

    /// The rest is over, if it is.
    pub(crate) fn wake(&mut self, now: Instant) {
        if self.rest.is_some_and(|until| until <= now) {
            self.rest = None;
        }
    }

    /// Accounts for a turn. `names` are the plugin's and the actor's, for the log.
    #[inline]
    pub(crate) fn account(
        &mut self,
        now: Instant,
        used: Used,
        all: &PluginBudget,
        meter: &Meter,
        names: (&str, &str),
    ) -> Accounted {
        self.pending += used.ran;
        self.held += used.held;
        if self.pending < STEP && used.waited.is_zero() {
            return Accounted::Fine;
        }
        self.account_step(now, used.waited, all, meter, names)
    }

    #[cold]
    fn account_step(
        &mut self,
        now: Instant,
        waited: Duration,
        all: &PluginBudget,
        meter: &Meter,
        (plugin, actor): (&str, &str),
    ) -> Accounted {
        let used = std::mem::take(&mut self.pending);
        let own = all.shares.actor;
        let Plugin { level, part } = all.add(now, used, &mut self.seen, plugin);
        let (share, window) = match part {
            Some(part) if part < own => (part, PLUGIN_WINDOW),
            _ => (own, WINDOW),
        };
        self.bucket.pour(now, used, share);
        meter.set_standing(level, self.bucket.level);
        let allowed = Duration::from_secs_f64(share * window.as_secs_f64());
        let mut missed = Duration::ZERO;
        if let Some(over) = self.bucket.level.checked_sub(allowed).filter(|over| !over.is_zero()) {
            let rest = Duration::from_secs_f64((over.as_secs_f64() / share).min(REST_MAX.as_secs_f64()));
            self.rest = Some(now + rest);
            all.metrics.rested.inc_by(rest.as_secs_f64());
            // What makes long calls would go on with them; what has much to do would get it done.
            if share < own && used >= ENDLESS {
                missed = rest;
            }
        }
        self.asked.pour(now, used.saturating_add(waited).saturating_add(missed), own);
        let held = std::mem::take(&mut self.held);
        self.judge(now, (held, share), all, meter, actor)
    }

    fn judge(
        &mut self,
        now: Instant,
        (held, share): (Duration, f64),
        all: &PluginBudget,
        meter: &Meter,
        actor: &str,
    ) -> Accounted {
        let own = all.shares.actor;
        let bound = own * WINDOW.as_secs_f64();
        let asked = self.asked.level.as_secs_f64();
        let Some((since, before)) = self.over else {
            if asked > bound {
                self.over = Some((now, Duration::ZERO));
                if self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY) {
                    self.told = Some(now);
                    all.metrics.over.inc();
                    warn!(actor, share = own, "asks for more processor time than its share, and waits");
                }
            }
            return Accounted::Fine;
        };
        if asked < bound / 2.0 {
            self.over = None;
            return Accounted::Fine;
        }
        let held = before + held;
        self.over = Some((since, held));
        let lasts = now.saturating_duration_since(since);
        let (crowd, most) = meter.processor().crowd();
        // Who has had less than half of a fair part of the permits waits because of others. It is the clock that counts here:
        // on a crowded machine whoever holds a permit uses less than a core.
        let fair = (most as f64 / crowd.max(1) as f64).min(share) / 2.0;
        match all.shares.close_after {
            Some(limit) if lasts >= limit && held.as_secs_f64() >= fair * lasts.as_secs_f64() => {
                all.metrics.closed.inc();
                let percent = own * 100.0;
                Accounted::TooMuch(format!(
                    "it asked for more than its share of {percent:.0} % of a core for {} s",
                    limit.as_secs_f64()
                ))
            }
            _ => Accounted::Fine,
        }
    }
}

#[cfg(test)]
mod tests;
