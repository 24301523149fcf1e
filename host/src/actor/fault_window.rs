//! Fault window: faults counted in a window of time.

use std::time::Duration;

use tokio::time::Instant;

/// The window.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Faults in a window of time.
#[derive(Debug)]
pub(crate) struct FaultWindow {
    since: Instant,
    count: u32,
}

impl FaultWindow {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), count: 0 }
    }

    /// Whether the window of the last one is over.
    pub(crate) fn are_over(&self) -> bool {
        self.since.elapsed() > WINDOW
    }

    /// Counts one; true at the `limit`-th within the window.
    pub(crate) fn count(&mut self, limit: u32) -> bool {
        if self.are_over() {
            *self = Self::new();
        }
        self.count += 1;
        self.count >= limit
    }
}
