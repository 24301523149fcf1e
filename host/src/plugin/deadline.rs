//! Deadline: a guest's time counts while it runs, not while its thread waits for a core.
//!
//! The deadline clock counts wall time, which on a crowded machine also passes for a guest that does not get to run.
//! So the budget is given in halves: at the end of the first one the thread's processor time is noted, and at the end
//! of each further one a guest that has used half of it or more is over its deadline, while another one gets half a
//! budget more. A guest that loops is stopped after one budget.

use std::time::Duration;

use super::engine::EPOCH;

/// Half budgets that a starved call gets at most; then its deadline is past whatever it used.
const EXTENSIONS: u32 = 40;

/// The budget of the call that runs.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    half: u64,
    used: Option<Duration>,
    extensions: u32,
}

impl Deadline {
    /// Begins a call; the ticks to set the engine's deadline to.
    #[inline]
    pub(super) fn begin(&mut self, budget_ms: u64) -> u64 {
        let period = u64::try_from(EPOCH.as_millis()).expect("the period is a millisecond").max(1);
        // One more than its length, since the first tick is under way already.
        self.half = budget_ms.div_ceil(2 * period) + 1;
        self.used = None;
        self.extensions = 0;
        self.half
    }

    /// The time granted is up: the ticks to go on for, none if the call is over its deadline.
    pub(super) fn expired(&mut self) -> Option<u64> {
        self.expired_at(thread_time())
    }

    fn expired_at(&mut self, now: Option<Duration>) -> Option<u64> {
        // Where the system does not tell, wall time must do.
        let spent = match (self.used, now) {
            (None, Some(now)) => {
                self.used = Some(now);
                return Some(self.half);
            }
            (None, None) => {
                self.used = Some(Duration::ZERO);
                return Some(self.half);
            }
            (Some(before), Some(now)) => now.saturating_sub(before),
            (Some(_), None) => Duration::MAX,
        };
        let half = EPOCH * u32::try_from(self.half).unwrap_or(u32::MAX);
        self.extensions += 1;
        if spent >= half / 2 || self.extensions > EXTENSIONS {
            return None;
        }
        self.used = now;
        Some(self.half)
    }
}

/// Processor time of this thread so far, as Linux counts it (`proc(5)`, `schedstat`: first field, nanoseconds).
fn thread_time() -> Option<Duration> {
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
    fn a_loop_is_over_after_one_budget() {
        let mut deadline = Deadline::default();
        assert_eq!(deadline.begin(50), 26);
        assert_eq!(deadline.expired_at(ms(1000)), Some(26));
        assert_eq!(deadline.expired_at(ms(1025)), None);
    }

    #[test]
    fn a_starved_call_goes_on_but_not_for_ever() {
        let mut deadline = Deadline::default();
        deadline.begin(50);
        let mut grants = 0;
        while deadline.expired_at(ms(1000 + grants)).is_some() {
            grants += 1;
        }
        assert_eq!(grants, u64::from(EXTENSIONS) + 1);
    }

    #[test]
    fn without_processor_time_the_wall_clock_decides() {
        let mut deadline = Deadline::default();
        deadline.begin(50);
        assert_eq!(deadline.expired_at(None), Some(26));
        assert_eq!(deadline.expired_at(None), None);
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
