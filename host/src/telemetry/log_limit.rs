//! Log limit: lines that guests, clients or other nodes can cause are written now and then, and counted otherwise.
//!
//! Each place that writes such a line has a limit of its own, so a flood of one kind of line hides no other. Within a
//! window a limit admits so many lines from one source (a room, a host), so many from one plugin, and so many from the
//! whole process. What is left out is counted in `hotseat_log_lines_suppressed_total`, and the next line of the kind
//! says how many there were.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

/// Lines left out, of all kinds. One for the process, as the log is.
pub(crate) static SUPPRESSED: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Log lines left out because there were too many of their kind";
    IntCounter::new("hotseat_log_lines_suppressed_total", help).expect("the name is well formed")
});

/// How many lines of one kind may be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// The window.
    pub(crate) window: Duration,
    /// From one source in a window.
    pub(crate) source: u32,
    /// From one plugin.
    pub(crate) plugin: u32,
    /// From all.
    pub(crate) node: u32,
}

impl Rate {
    /// What the host says about guests and clients: enough to see what goes on, in rooms by the thousand too.
    pub(crate) const HOST: Self = Self { window: Duration::from_secs(1), source: 2, plugin: 5, node: 10 };
}

/// The limit of one kind of line.
#[derive(Debug)]
pub(crate) struct LogLimit {
    rate: Rate,
    state: LazyLock<Mutex<State>>,
}

/// What has been written in the present windows. A source or plugin is in here only if a line of it was admitted, so there
/// are never more of them than lines of two windows.
#[derive(Debug, Default)]
struct State {
    node: Lines,
    plugins: HashMap<String, Lines>,
    sources: HashMap<String, Lines>,
    /// Lines left out since the last one that was admitted.
    suppressed: u64,
}

/// Lines of a window.
#[derive(Debug, Clone, Copy, Default)]
struct Lines {
    since: Option<Instant>,
    count: u32,
}

impl Lines {
    fn is_over(&self, now: Instant, window: Duration) -> bool {
        self.since.is_none_or(|since| now.saturating_duration_since(since) >= window)
    }

    fn has_space(&self, now: Instant, window: Duration, most: u32) -> bool {
        self.is_over(now, window) || self.count < most
    }

    fn add(&mut self, now: Instant, window: Duration) {
        if self.is_over(now, window) {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count += 1;
    }
}

impl LogLimit {
    /// A limit that has admitted nothing yet.
    pub(crate) const fn new(rate: Rate) -> Self {
        Self { rate, state: LazyLock::new(Mutex::default) }
    }

    /// Whether a line may be written now that `source` causes, which belongs to `plugin` (empty if to none); if so, how
    /// many have been left out since the last one.
    pub(crate) fn admit(&self, plugin: &str, source: &str) -> Option<u64> {
        self.admit_at(Instant::now(), plugin, source)
    }

    fn admit_at(&self, now: Instant, plugin: &str, source: &str) -> Option<u64> {
        let Rate { window, source: per_source, plugin: per_plugin, node } = self.rate;
        // Counts are whole at every step, so a panic elsewhere does not spoil them.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let space = |lines: Option<&Lines>, most| lines.is_none_or(|it| it.has_space(now, window, most));
        let admitted = state.node.has_space(now, window, node)
            && space(state.plugins.get(plugin), per_plugin)
            && space(state.sources.get(source), per_source);
        if !admitted {
            state.suppressed += 1;
            SUPPRESSED.inc();
            return None;
        }
        if state.node.is_over(now, window) {
            state.plugins.retain(|_, lines| !lines.is_over(now, window));
            state.sources.retain(|_, lines| !lines.is_over(now, window));
        }
        state.node.add(now, window);
        for (lines, key) in [(&mut state.plugins, plugin), (&mut state.sources, source)] {
            lines.entry(key.to_owned()).or_default().add(now, window);
        }
        Some(std::mem::take(&mut state.suppressed))
    }
}

/// Writes a line that guests or clients can cause, if its limit admits it:
/// `limited!(warn, plugin, source, field = value, "message")`. `suppressed` says how many were left out before.
macro_rules! limited {
    ($level:ident, $plugin:expr, $source:expr, $($line:tt)+) => {{
        use $crate::telemetry::log_limit::{LogLimit, Rate};
        static LIMIT: LogLimit = LogLimit::new(Rate::HOST);
        if let Some(suppressed) = LIMIT.admit($plugin, $source) {
            tracing::$level!(suppressed = (suppressed > 0).then_some(suppressed), $($line)+);
        }
    }};
}
pub(crate) use limited;

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { window: Duration::from_secs(1), source: 2, plugin: 3, node: 5 };

    fn admitted(limit: &LogLimit, now: Instant, plugin: &str, source: &str, tries: u32) -> usize {
        (0..tries).filter(|_| limit.admit_at(now, plugin, source).is_some()).count()
    }

    #[test]
    fn a_source_a_plugin_and_the_node_have_their_share_and_the_rest_is_counted() {
        let (limit, now) = (LogLimit::new(RATE), Instant::now());
        assert_eq!(admitted(&limit, now, "game", "room/1", 4096), 2);
        assert_eq!(admitted(&limit, now, "game", "room/2", 4096), 1, "the plugin's share is used up");
        assert_eq!(admitted(&limit, now, "rank", "shard/1", 4096), 2);
        assert_eq!(admitted(&limit, now, "chat", "shard/1", 4096), 0, "the node's share is used up");
        let later = now + RATE.window;
        // Those before have been told with the lines that were admitted since.
        assert_eq!(limit.admit_at(later, "game", "room/1"), Some(2 * 4096 - 2));
        assert_eq!(limit.admit_at(later, "game", "room/1"), Some(0));
        assert_eq!(limit.admit_at(later, "game", "room/1"), None);
    }

    #[test]
    fn sources_are_forgotten() {
        let (limit, begin) = (LogLimit::new(RATE), Instant::now());
        for second in 0..1000 {
            let now = begin + RATE.window * second;
            for source in 0..100 {
                limit.admit_at(now, "game", &format!("room/{second}/{source}"));
            }
        }
        let state = limit.state.lock().unwrap();
        assert!(state.sources.len() <= 10 && state.plugins.len() == 1, "{state:?}");
    }
}
