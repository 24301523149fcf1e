//! Metrics of a journal.

use prometheus::{IntCounter, IntGauge, Registry};

use crate::telemetry::metrics::{MetricsError, add};

/// What a journal counts.
#[derive(Debug, Clone)]
pub struct JournalMetrics {
    /// Bytes written to segments.
    pub written: IntCounter,
    /// Bytes of bases that rooms were asked to write anew so that old segments could go.
    pub rewritten: IntCounter,
    /// Bytes that wait to be written.
    pub waiting: IntGauge,
    /// Bytes of all segments.
    pub size: IntGauge,
    /// Of these, bytes of bases that count.
    pub bases: IntGauge,
}

impl JournalMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If a name is taken: a programming error, found by the first test that starts a node.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let counter = |name, help| add(registry, name, IntCounter::new(name, help));
        let gauge = |name, help| add(registry, name, IntGauge::new(name, help));
        Ok(Self {
            written: counter("hotseat_journal_written_bytes_total", "Bytes written to the journal.")?,
            rewritten: counter(
                "hotseat_journal_rewritten_bytes_total",
                "Bytes of bases that were written anew so that old segments of the journal could go.",
            )?,
            waiting: gauge("hotseat_journal_waiting_bytes", "Bytes that wait to be written to the journal.")?,
            size: gauge("hotseat_journal_bytes", "Bytes of the journal's segments.")?,
            bases: gauge("hotseat_journal_bases_bytes", "Bytes of the bases that the journal has to keep.")?,
        })
    }
}

impl Default for JournalMetrics {
    /// Of no node.
    fn default() -> Self {
        Self::register(&Registry::new()).expect("a new registry takes every name once")
    }
}
