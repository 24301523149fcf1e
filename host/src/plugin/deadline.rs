//! Deadline: a guest's time counts while it runs, not while its thread waits for a core.
//!
//! The deadline clock counts wall time, which on a crowded machine also passes for a guest that does not get to run.
//! So a call is first looked at after two ticks, when the thread's processor time is noted. One that has used a millisecond
//! more is long (`meter.rs`), and one that has used what is left of its budget is over its deadline. Time that a long call
//! waits for its permit is not counted.

use std::time::Duration;

use super::engine::EPOCH;
use super::meter::{LONG, POLL_INTERVAL};

/// A call that does not get to run is given so many times its budget by the clock; then its deadline is past whatever it
/// used.
const PATIENCE: u64 = 20;

/// The budget of the call that runs.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    budget: Duration,
    /// The thread's processor time at the first look.
    noted: Option<Duration>,
    looks: u32,
    long: bool,
    /// Ticks granted so far.
    granted: u64,
}

/// What becomes of a call whose granted time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// It goes on for so many ticks.
    On(u64),
    /// So too, and it turns out to be a long one.
    Long(u64),
    /// It is over its deadline.
    Over,
}

impl Deadline {
    /// Begins a call; the ticks to set the engine's deadline to.
    #[inline]
    pub(super) fn begin(&mut self, budget_ms: u64) -> u64 {
        self.budget = Duration::from_millis(budget_ms);
        self.looks = 0;
        self.granted = POLL_INTERVAL;
        POLL_INTERVAL
    }

    /// The time granted is up.
    pub(super) fn expired(&mut self) -> Expired {
        self.expired_at(thread_time())
    }

    fn expired_at(&mut self, now: Option<Duration>) -> Expired {
        self.looks += 1;
        if self.looks == 1 {
            self.noted = now;
            self.long = false;
            return self.go_on(EPOCH);
        }
        // The ticks before the first look count whole. Where the system does not tell, wall time must do.
        let before = EPOCH * u32::try_from(POLL_INTERVAL).unwrap_or(u32::MAX);
        let used = match (self.noted, now) {
            (Some(noted), Some(now)) => now.saturating_sub(noted),
            _ => EPOCH * u32::try_from(self.granted - POLL_INTERVAL).unwrap_or(u32::MAX),
        };
        let left = self.budget.saturating_sub(before + used);
        let patience = u64::try_from(self.budget.as_millis()).unwrap_or(u64::MAX).saturating_mul(PATIENCE);
        if left.is_zero() || self.granted > patience.max(POLL_INTERVAL + 1) {
            return Expired::Over;
        }
        if self.long || used < LONG {
            // A call that is not long yet is looked at often: it holds a thread of the runtime.
            return self.go_on(if self.long { left } else { EPOCH });
        }
        self.long = true;
        match self.go_on(left) {
            Expired::On(ticks) => Expired::Long(ticks),
            other => other,
        }
    }

    fn go_on(&mut self, time: Duration) -> Expired {
        let ticks = u64::try_from(time.as_nanos().div_ceil(EPOCH.as_nanos())).unwrap_or(u64::MAX).max(1);
        self.granted = self.granted.saturating_add(ticks);
        Expired::On(ticks)
    }
}

/// Processor time of this thread so far, as Linux counts it (`proc(5)`, `schedstat`: first field, nanoseconds).
pub(super) fn thread_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn a_loop_is_long_at_once_and_over_after_one_budget() {
        let mut deadline = Deadline::default();
        for _ in 0..2 {
            assert_eq!(deadline.begin(50), 2);
            assert_eq!(deadline.expired_at(ms(1000)), Expired::On(1));
            assert_eq!(deadline.expired_at(ms(1001)), Expired::Long(47));
            assert_eq!(deadline.expired_at(ms(1048)), Expired::Over);
        }
    }

    #[test]
    fn the_shortest_budget_ends_too() {
        let mut deadline = Deadline::default();
        deadline.begin(1);
        assert_eq!(deadline.expired_at(ms(1000)), Expired::On(1));
        assert_eq!(deadline.expired_at(ms(1001)), Expired::Over);
    }

    #[test]
    fn a_starved_call_is_not_long_and_goes_on_but_not_for_ever() {
        let mut deadline = Deadline::default();
        let mut granted = deadline.begin(50);
        loop {
            match deadline.expired_at(ms(1000)) {
                Expired::On(ticks) => granted += ticks,
                other => break assert_eq!(other, Expired::Over),
            }
        }
        assert!((50 * PATIENCE..=50 * PATIENCE + 2).contains(&granted), "{granted}");
    }

    #[test]
    fn without_processor_time_the_wall_clock_decides() {
        let mut deadline = Deadline::default();
        deadline.begin(50);
        assert_eq!(deadline.expired_at(None), Expired::On(1));
        assert_eq!(deadline.expired_at(None), Expired::Long(47));
        assert_eq!(deadline.expired_at(None), Expired::Over);
    }

    #[test]
    fn a_thread_that_works_uses_time() {
        let before = thread_time().expect("this system counts thread time");
        let mut sum = 0u64;
        while thread_time().expect("it still does") < before + Duration::from_millis(2) {
            sum = sum.wrapping_add(1);
        }
        assert!(sum > 0);
    }
}
