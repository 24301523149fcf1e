//! Health: what of a node does not work at present, for `/readyz`, the metrics and the log.
//!
//! Each part says of itself when it fails and when it works again. The log gets a line at the beginning, one now and then
//! as long as it lasts, and one at the end, however often it is tried meanwhile.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use tracing::{error, info};

use super::metrics::{MetricsError, add};

/// How often the log is told of a failure that lasts.
const REPEAT_EVERY: Duration = Duration::from_secs(30);

/// What does not work on a node. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// By part. There are as many as there are names in this program.
    failing: Mutex<BTreeMap<&'static str, Failing>>,
    metrics: Option<(IntGaugeVec, IntCounterVec)>,
}

#[derive(Debug)]
struct Failing {
    why: String,
    since: Instant,
    told: Instant,
    tries: u64,
}

/// A part of a node that can fail. Clones are the same part.
#[derive(Debug, Clone)]
pub struct Part {
    health: Health,
    name: &'static str,
    fails: Arc<AtomicBool>,
}

impl Health {
    /// Everything works so far; the metrics `hotseat_disk_failing` and `hotseat_disk_errors_total` say what does not.
    ///
    /// # Errors
    /// If a name is taken: a programming error, found by the first test that starts a node.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let (failing, errors) = ("hotseat_disk_failing", "hotseat_disk_errors_total");
        let help = "Whether a part of the node cannot write to its disk at present.";
        let failing = add(registry, failing, IntGaugeVec::new(Opts::new(failing, help), &["part"]))?;
        let help = "Writes to disk that failed, by the part of the node; each is tried again.";
        let errors = add(registry, errors, IntCounterVec::new(Opts::new(errors, help), &["part"]))?;
        let shared = Shared { failing: Mutex::default(), metrics: Some((failing, errors)) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The part of this name, which works so far.
    pub fn part(&self, name: &'static str) -> Part {
        if let Some((failing, errors)) = &self.shared.metrics {
            failing.with_label_values(&[name]).set(0);
            errors.with_label_values(&[name]).inc_by(0);
        }
        Part { health: self.clone(), name, fails: Arc::default() }
    }

    /// What does not work, a line each: part, reason, and for how long.
    pub fn failing(&self) -> Vec<String> {
        let line = |(part, it): (&&str, &Failing)| {
            format!("{part}: {} (for {} s, {} tries)", it.why, it.since.elapsed().as_secs(), it.tries)
        };
        self.lock().iter().map(line).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Failing>> {
        // The map is whole at every step, so a panic elsewhere does not spoil it.
        self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Part {
    /// A part of no node: it is told in the log alone.
    fn default() -> Self {
        Health::default().part("disk")
    }
}

impl Part {
    /// It has failed, `what` says at what and `why` names file and reason; it is tried again.
    pub fn failed(&self, what: &str, why: &dyn Display) {
        let why = format!("{what}: {why}");
        let mut failing = self.health.lock();
        let now = Instant::now();
        let part = self.name;
        match failing.get_mut(part) {
            None => {
                error!(part, "{why}");
                failing.insert(part, Failing { why, since: now, told: now, tries: 1 });
            }
            Some(known) => {
                known.tries += 1;
                known.why = why;
                if known.told.elapsed() >= REPEAT_EVERY {
                    known.told = now;
                    let (failing_for_s, tries) = (known.since.elapsed().as_secs(), known.tries);
                    error!(part, failing_for_s, tries, "still: {}", known.why);
                }
            }
        }
        self.fails.store(true, Ordering::Relaxed);
        if let Some((failing, errors)) = &self.health.shared.metrics {
            failing.with_label_values(&[part]).set(1);
            errors.with_label_values(&[part]).inc();
        }
    }

    /// Whether it has failed and not worked since.
    pub fn fails(&self) -> bool {
        self.fails.load(Ordering::Relaxed)
    }

    /// It has worked.
    #[inline]
    pub fn works(&self) {
        if self.fails() {
            self.recovered();
        }
    }

    #[cold]
    fn recovered(&self) {
        self.fails.store(false, Ordering::Relaxed);
        let Some(was) = self.health.lock().remove(self.name) else { return };
        let (part, failed_for_ms) = (self.name, was.since.elapsed().as_millis());
        info!(part, failed_for_ms, tries = was.tries, "works again");
        if let Some((failing, _)) = &self.health.shared.metrics {
            failing.with_label_values(&[part]).set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_named_until_it_works() {
        let registry = Registry::new();
        let health = Health::register(&registry).unwrap();
        let (one, two) = (health.part("journal"), health.part("profiles"));
        assert!(health.failing().is_empty());
        one.works();
        for _ in 0..3 {
            one.failed("journal not written", &"/data/journal: no space");
        }
        two.failed("profiles not written", &"it is read-only");
        let lines = health.failing();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("journal: journal not written: /data/journal: no space (for 0 s, 3 tries")
        );
        one.clone().works();
        assert_eq!(health.failing().len(), 1);
        two.works();
        assert!(health.failing().is_empty());
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("hotseat_disk_errors_total{part=\"journal\"} 3"), "{text}");
        assert!(text.contains("hotseat_disk_failing{part=\"journal\"} 0"), "{text}");
    }
}
