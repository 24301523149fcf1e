//! Report: what the bots have seen, and whether it was as it should be.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::tally::{Refusals, Tally, Wait};

/// What a fleet has seen.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Clients that were to play.
    pub clients: usize,
    /// Clients that got in.
    pub came_in: usize,
    /// Clients whose connection held to the end.
    pub kept: usize,
    /// Clients whose connection did not.
    pub disconnected: usize,
    /// From the start until the bots were told to stop.
    pub seconds: f64,
    /// All counters.
    #[serde(flatten)]
    pub total: Tally,
    /// Pings on their way when the bots were told to stop; they were waited for.
    pub unanswered_at_stop: u64,
    /// From ping to answer, over the whole time.
    pub latency: Latency,
    /// The longest any player waited between two notifies.
    pub longest_wait: Option<LongestWait>,
    /// The time between marks.
    pub stretches: Vec<Stretch>,
    /// Error frames by code.
    pub refusals: Vec<RefusalCount>,
    /// What went wrong with connections, the first few.
    pub failures: Vec<String>,
}

/// Percentiles of a time, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub samples: u64,
    /// Half were no longer.
    pub p50_us: u64,
    /// 90 % were no longer.
    pub p90_us: u64,
    /// 99 % were no longer.
    pub p99_us: u64,
    /// 99.9 % were no longer.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Latency {
    pub(super) fn of(times: &Histogram<u64>) -> Self {
        // The upper edge of a histogram's cell may lie above everything that is in it.
        let at = |quantile| times.value_at_quantile(quantile).min(times.max());
        Self {
            samples: times.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: times.max(),
        }
    }
}

/// A wait between two notifies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LongestWait {
    /// How long, milliseconds.
    pub ms: f64,
    /// When it ended, seconds from the fleet's start.
    pub at_s: f64,
}

impl LongestWait {
    pub(super) fn of(wait: Wait) -> Option<Self> {
        let Wait { length, at } = wait;
        (!length.is_zero()).then_some(Self { ms: length.as_secs_f64() * 1e3, at_s: at.as_secs_f64() })
    }
}

/// The time from one mark to the next.
#[derive(Debug, Clone, Serialize)]
pub struct Stretch {
    /// What the mark at its begin said.
    pub label: String,
    /// Begin, seconds from the fleet's start.
    pub from_s: f64,
    /// End, likewise.
    pub to_s: f64,
    /// What was counted in it. Counters lag by up to 0.1 s.
    pub tally: Tally,
    /// From ping to answer, of answers in it.
    pub latency: Latency,
    /// The longest wait that ended in it.
    pub longest_wait: Option<LongestWait>,
}

/// Error frames with one code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalCount {
    /// The code.
    pub code: i32,
    /// Its name, if it is the agent's.
    pub name: Option<&'static str>,
    /// How many came.
    pub count: u64,
    /// The text of the first.
    pub text: String,
}

impl From<(i32, Refusals)> for RefusalCount {
    fn from((code, Refusals { count, text }): (i32, Refusals)) -> Self {
        Self { code, name: hotseat_packet::code::name(code), count, text }
    }
}

impl Report {
    /// True if all clients got in, none was thrown out, every ping was answered once and in order, and nobody saw
    /// a break in time, place, score or moves.
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.facts().iter().all(|fact| fact.fine)
    }

    /// The last stretch: what came after the last mark.
    pub fn last(&self) -> &Stretch {
        self.stretches.last().expect("stopping ends a stretch, so there is one")
    }
}

impl Stretch {
    /// How long it lasted.
    pub fn seconds(&self) -> f64 {
        self.to_s - self.from_s
    }

    /// Answers a second in it.
    pub fn answers_per_s(&self) -> f64 {
        self.tally.answered as f64 / self.seconds().max(1e-3)
    }

    /// Notifies a second in it.
    pub fn notifies_per_s(&self) -> f64 {
        self.tally.notifies as f64 / self.seconds().max(1e-3)
    }
}
