//! Clock: wall time that never jumps while the process runs.

use tokio::time::Instant;

/// The time rooms live by: milliseconds since 1970 as they were at the start, moved on by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// Reads the wall clock, once.
    pub fn start() -> Self {
        Self { started: Instant::now(), started_ms: crate::snowflake::now_ms() }
    }

    /// A clock that shows `ms` now.
    pub fn at(ms: u64) -> Self {
        Self { started: Instant::now(), started_ms: ms }
    }

    /// This clock, or one that goes on from `ms` if this one is not there yet. For an actor that comes from a process whose
    /// clock was ahead: its time would stand still until this one has caught up, and its timers with it.
    #[must_use]
    pub fn not_before(&self, ms: u64) -> Self {
        let now = Instant::now();
        if self.ms_at(now) < ms { Self { started: now, started_ms: ms } } else { *self }
    }

    /// The time at `instant`.
    pub fn ms_at(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.started).as_millis();
        self.started_ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// The first instant at which [`Self::ms_at`] is `ms` or more.
    pub fn instant_of(&self, ms: u64) -> Instant {
        self.started + std::time::Duration::from_millis(ms.saturating_sub(self.started_ms))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_actor_from_a_clock_ahead_lives_on_at_its_own_time() {
        let (clock, day) = (Clock::start(), 86_400_000);
        let ahead = clock.started_ms + day;
        let later = clock.not_before(ahead);
        let begun = later.started;
        assert_eq!(later.ms_at(begun + Duration::from_millis(250)), ahead + 250);
        assert_eq!(later.instant_of(ahead + 250), begun + Duration::from_millis(250));
        // One from a clock behind goes by this one.
        let same = clock.not_before(clock.started_ms - day);
        assert_eq!((same.started, same.started_ms), (clock.started, clock.started_ms));
    }
}
