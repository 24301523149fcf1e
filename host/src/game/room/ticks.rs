//! Ticks: a room's steady clock, scheduled from intended time.

use std::time::Duration;

use hotseat_build::Manifest;
use tokio::time::Instant;

/// When the next tick is due. Late ones are skipped, never run in a burst.
#[derive(Debug)]
pub(super) struct Ticks {
    hz: u32,
    when_empty: bool,
    next: Instant,
}

/// One tick to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Steps since the last tick that ran, ms.
    pub(super) dt_ms: u32,
    /// Ticks left out before this one.
    pub(super) skipped: u64,
}

impl Ticks {
    pub(super) fn new(manifest: &Manifest) -> Self {
        Self {
            hz: manifest.limits.tick_hz,
            when_empty: manifest.limits.tick_when_empty,
            next: Instant::now(),
        }
    }

    /// Takes over another version's rate; the beat goes on if it is the same.
    pub(super) fn adopt(&mut self, manifest: &Manifest) {
        self.when_empty = manifest.limits.tick_when_empty;
        if self.hz != manifest.limits.tick_hz {
            self.hz = manifest.limits.tick_hz;
            self.start(Instant::now());
        }
    }

    /// Whether it ticks in an empty room.
    pub(super) fn when_empty(&self) -> bool {
        self.when_empty
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1) / self.hz.max(1)
    }

    /// Begins to count at `now`.
    pub(super) fn start(&mut self, now: Instant) {
        self.next = now + self.period();
    }

    /// The next tick's time; none for a plugin that does not tick.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.hz > 0).then_some(self.next)
    }

    /// The tick to run at `now`, if one is due.
    pub(super) fn step(&mut self, now: Instant) -> Option<Step> {
        let late = now.checked_duration_since(self.due()?)?;
        let period = self.period();
        let skipped = u32::try_from(late.as_nanos() / period.as_nanos()).unwrap_or(u32::MAX);
        let steps = skipped.saturating_add(1);
        self.next += period * steps;
        let dt_ms = u32::try_from((period * steps).as_millis()).unwrap_or(u32::MAX);
        Some(Step { dt_ms, skipped: u64::from(skipped) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(hz: u32, now: Instant) -> Ticks {
        let mut ticks = Ticks { hz, when_empty: false, next: now };
        ticks.start(now);
        ticks
    }

    #[test]
    fn a_late_room_skips_and_keeps_the_beat() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ticks = ticks(20, start);
        assert_eq!(ticks.step(at(49)), None);
        assert_eq!(ticks.step(at(50)), Some(Step { dt_ms: 50, skipped: 0 }));
        assert_eq!(ticks.step(at(260)), Some(Step { dt_ms: 200, skipped: 3 }));
        assert_eq!(ticks.due(), Some(at(300)));
    }

    #[test]
    fn a_plugin_without_ticks_is_never_due() {
        let now = Instant::now();
        assert_eq!(ticks(0, now).due(), None);
    }
}
