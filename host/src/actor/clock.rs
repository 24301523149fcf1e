//! Clock: wall time that never jumps while the process runs.

use std::time::Instant;

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
