//! Overdue: whether a deadline that has passed may be acted on.
//!
//! A process that stood still (a stopped container, a machine out of memory) finds all of its deadlines passed at once
//! when it goes on, while what the other side said in time lies unread in the sockets. So nobody is held to a deadline
//! before the node has looked once more, and the time in which it did not run counts for nobody.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// A timer that fires later than this after its time: the process, or its machine, stood still.
pub(crate) const LATE: Duration = Duration::from_millis(500);

/// Long enough for everything that has come to be read before the next look.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What has been done about a deadline that has passed.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    looked: bool,
}

impl Overdue {
    /// The deadline has passed, and the timer that shows it fired `late` after its time. None if it may be acted on;
    /// else after how long to look again: no longer than `limit`, which is what the other side has at other times.
    pub(crate) fn again(&mut self, late: Duration, limit: Duration) -> Option<Duration> {
        let looked = std::mem::replace(&mut self.looked, true);
        if late > LATE {
            // The other side may have stood still as well, and gets as long to be heard again.
            return Some(late.min(limit).max(POLL_INTERVAL));
        }
        (!looked).then_some(POLL_INTERVAL)
    }

    /// What was awaited has come.
    pub(crate) fn met(&mut self) {
        self.looked = false;
    }
}

/// What `work` comes to within `limit`, in which the time that the process stood still does not count. Cancel safe if
/// `work` is.
pub(crate) async fn within<F: Future + Unpin>(limit: Duration, work: &mut F) -> Option<F::Output> {
    let mut overdue = Overdue::default();
    let mut due = Instant::now() + limit;
    loop {
        if let Ok(output) = timeout_at(due, &mut *work).await {
            return Some(output);
        }
        let now = Instant::now();
        due = now + overdue.again(now.saturating_duration_since(due), limit)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_deadline_is_acted_on_at_the_second_look_in_time() {
        let mut overdue = Overdue::default();
        assert_eq!(overdue.again(Duration::ZERO, 3 * SECOND), Some(POLL_INTERVAL));
        assert_eq!(overdue.again(LATE, 3 * SECOND), None);
        overdue.met();
        assert_eq!(overdue.again(LATE, 3 * SECOND), Some(POLL_INTERVAL));
    }

    #[test]
    fn time_in_which_the_process_stood_still_counts_for_nobody() {
        let mut overdue = Overdue::default();
        assert_eq!(overdue.again(2 * SECOND, 3 * SECOND), Some(2 * SECOND));
        assert_eq!(
            overdue.again(8 * SECOND, 3 * SECOND),
            Some(3 * SECOND),
            "and again, and no longer than it may take"
        );
        assert_eq!(overdue.again(Duration::ZERO, 3 * SECOND), None);
    }

    #[tokio::test]
    async fn what_never_comes_is_not_awaited_for_ever() {
        let limit = Duration::from_millis(20);
        assert_eq!(within(limit, &mut std::future::pending::<()>()).await, None);
        assert_eq!(within(limit, &mut std::future::ready(7)).await, Some(7));
    }
}
