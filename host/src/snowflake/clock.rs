//! Clock: the time ids are made of. It follows the system's clock and never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::generator::TIME_END_MS;

/// Milliseconds since 1970; 0 if the clock stands before that.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// Where the time comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The system's clocks.
    System,
    /// A clock that stands, for replays: milliseconds since 1970.
    Standing(u64),
    /// A clock that is told, for tests.
    FakeClock(Arc<FakeClock>),
}

/// What a [`Clock::FakeClock`] shows.
#[derive(Debug, Default)]
pub struct FakeClock {
    /// Milliseconds since 1970; may be set back.
    pub wall_ms: AtomicU64,
    /// Milliseconds since some moment; rises, as the time since boot does.
    pub mono_ms: AtomicU64,
}

impl FakeClock {
    /// A clock that shows this time.
    pub fn at(wall_ms: u64) -> Arc<Self> {
        Arc::new(Self { wall_ms: AtomicU64::new(wall_ms), mono_ms: AtomicU64::new(0) })
    }

    /// Time passes, in milliseconds.
    pub fn pass(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::Relaxed);
        self.mono_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Somebody sets the clock, in milliseconds since 1970.
    pub fn set(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
    }
}

/// A clock that never goes back: when the system's is set back, it goes on at the pace of the monotonic one; when the
/// system's is set forward, it follows.
#[derive(Debug)]
pub(super) struct Steady {
    clock: Clock,
    started: Instant,
    /// The most that the wall clock has been ahead of the monotonic one, milliseconds.
    lead_ms: AtomicI64,
}

/// One reading of a [`Steady`] clock, milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Since 1970.
    pub(super) ms: u64,
    /// Of the monotonic clock.
    pub(super) mono_ms: u64,
}

impl Steady {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, started: Instant::now(), lead_ms: AtomicI64::new(0) }
    }

    pub(super) fn stands(&self) -> bool {
        matches!(self.clock, Clock::Standing(_))
    }

    #[inline]
    pub(super) fn read(&self) -> Reading {
        let (wall, mono) = match &self.clock {
            Clock::System => {
                (now_ms(), u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
            }
            Clock::Standing(ms) => return Reading { ms: *ms, mono_ms: 0 },
            Clock::FakeClock(told) => {
                (told.wall_ms.load(Ordering::Relaxed), told.mono_ms.load(Ordering::Relaxed))
            }
        };
        // Signed: the monotonic clock may be ahead of a wall clock that was never set.
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let mut lead = self.lead_ms.load(Ordering::Relaxed);
        // A clock that shows a time the format cannot hold is not believed.
        if wall < TIME_END_MS && signed(wall) - signed(mono) > lead {
            lead = signed(wall) - signed(mono);
            lead = lead.max(self.lead_ms.fetch_max(lead, Ordering::Relaxed));
        }
        Reading { ms: lead.saturating_add_unsigned(mono).max(0).cast_unsigned(), mono_ms: mono }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_goes_on_at_its_pace_and_one_set_forward_is_followed() {
        let told = FakeClock::at(1_000_000);
        let clock = Steady::new(Clock::FakeClock(Arc::clone(&told)));
        assert_eq!(clock.read().ms, 1_000_000);
        told.set(995_000);
        told.pass(10);
        assert_eq!(clock.read().ms, 1_000_010);
        told.set(2_000_000);
        assert_eq!(clock.read().ms, 2_000_000);
        told.set(1_000_000);
        told.pass(7);
        assert_eq!(clock.read().ms, 2_000_007);
    }

    #[test]
    fn a_time_beyond_the_format_is_not_believed() {
        let told = FakeClock::at(1_000_000);
        let clock = Steady::new(Clock::FakeClock(Arc::clone(&told)));
        clock.read();
        told.set(1 << 41);
        told.pass(1);
        assert_eq!(clock.read().ms, 1_000_001);
        told.set(u64::MAX - 1);
        assert_eq!(clock.read().ms, 1_000_001);
    }
}
