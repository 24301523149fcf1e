//! Metrics: what a node counts, in one registry.
//!
//! Every name and label is written down here, so that two roles cannot disagree about one. Hot counters are
//! plain atomics, added to once per socket read or write, not per frame.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use super::health::Health;
use super::log_limit;

/// Why the metrics could not be set up or written.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A name is taken or malformed: a mistake in this program.
    #[error("metric {name} cannot be registered: {source}")]
    Register {
        /// The metric's name.
        name: &'static str,
        /// The registry's reason.
        source: prometheus::Error,
    },
}

/// All metrics of a node.
#[derive(Debug)]
pub struct Metrics {
    /// Where they are registered; other parts add theirs.
    pub registry: Registry,
    /// What does not work at present.
    pub health: Health,
    /// The agent's.
    pub agent: AgentMetrics,
}

impl Metrics {
    /// A fresh registry with everything at zero.
    ///
    /// # Errors
    /// [`MetricsError::Register`] if two metrics share a name.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let agent = AgentMetrics::register(&registry)?;
        add(&registry, "hotseat_log_lines_suppressed_total", Ok(log_limit::SUPPRESSED.clone()))?;
        let health = Health::register(&registry)?;
        Ok(Self { registry, health, agent })
    }

    /// The registry in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        let families = self.registry.gather();
        // It fails on a family without a value only, and the registry gathers none.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

/// What the agent counts.
#[derive(Debug)]
pub struct AgentMetrics {
    /// `hotseat_agent_accepted_total`: connections taken from the listener, refused ones included.
    pub accepted: IntCounter,
    /// `hotseat_agent_refused_total{reason}`: connections turned away at a cap.
    pub refused: IntCounterVec,
    /// `hotseat_agent_accept_errors_total`: failed accepts, such as no file descriptor left.
    pub accept_errors: IntCounter,
    /// `hotseat_agent_closed_total{reason}`: sessions that ended, and why.
    pub closed: IntCounterVec,
    /// `hotseat_agent_errors_total{code}`: error frames sent; the plugin's own codes are all `plugin`.
    pub errors: IntCounterVec,
    /// `hotseat_agent_leaves_lost_total`: sessions whose room did not take the news that they had left.
    pub leaves_lost: IntCounter,
    /// `hotseat_agent_frames_in_total`: whole frames read.
    pub frames_in: IntCounter,
    /// `hotseat_agent_frames_out_total`: whole frames queued for writing.
    pub frames_out: IntCounter,
    /// `hotseat_agent_bytes_in_total`: bytes read from sockets.
    pub bytes_in: IntCounter,
    /// `hotseat_agent_bytes_out_total`: bytes written to sockets.
    pub bytes_out: IntCounter,
    /// `hotseat_agent_reads_held_total`: times a session stopped reading because its room's mailbox was full.
    pub reads_held: IntCounter,
    /// `hotseat_agent_sessions`: open connections.
    pub sessions: IntGauge,
    /// `hotseat_agent_logged_in`: those of them that sit in a room.
    pub logged_in: IntGauge,
    /// `hotseat_agent_attach_seconds`: from an accepted login to a seat in the home room.
    pub attach_seconds: Histogram,
}

/// Bounds of `attach_seconds`: from one queue hop to the time limit of an attach.
const ATTACH_BUCKETS: [f64; 9] = [0.000_1, 0.000_5, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 5.0];

impl AgentMetrics {
    fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let counter = |name, help| add(registry, name, IntCounter::new(name, help));
        let gauge = |name, help| add(registry, name, IntGauge::new(name, help));
        let by = |name, help, label| add(registry, name, IntCounterVec::new(Opts::new(name, help), &[label]));
        let attach = "hotseat_agent_attach_seconds";
        let attach_opts = HistogramOpts::new(attach, "From an accepted login to a seat in the home room.")
            .buckets(ATTACH_BUCKETS.to_vec());
        Ok(Self {
            accepted: counter("hotseat_agent_accepted_total", "Connections taken from the listener.")?,
            refused: by("hotseat_agent_refused_total", "Connections turned away at a cap.", "reason")?,
            accept_errors: counter("hotseat_agent_accept_errors_total", "Failed accepts.")?,
            closed: by("hotseat_agent_closed_total", "Sessions that ended, and why.", "reason")?,
            errors: by("hotseat_agent_errors_total", "Error frames sent.", "code")?,
            leaves_lost: counter(
                "hotseat_agent_leaves_lost_total",
                "Sessions whose room did not take the news that they had left.",
            )?,
            frames_in: counter("hotseat_agent_frames_in_total", "Whole frames read.")?,
            frames_out: counter("hotseat_agent_frames_out_total", "Whole frames queued for writing.")?,
            bytes_in: counter("hotseat_agent_bytes_in_total", "Bytes read from sockets.")?,
            bytes_out: counter("hotseat_agent_bytes_out_total", "Bytes written to sockets.")?,
            reads_held: counter(
                "hotseat_agent_reads_held_total",
                "Times a session stopped reading because its room's mailbox was full.",
            )?,
            sessions: gauge("hotseat_agent_sessions", "Open connections.")?,
            logged_in: gauge("hotseat_agent_logged_in", "Sessions that sit in a room.")?,
            attach_seconds: add(registry, attach, Histogram::with_opts(attach_opts))?,
        })
    }
}

/// Registers a metric under `name`; for this file and for the other parts' metrics.
///
/// # Errors
/// [`MetricsError::Register`] if the name is taken or malformed.
pub fn add<M: Collector + Clone + 'static>(
    registry: &Registry,
    name: &'static str,
    metric: Result<M, prometheus::Error>,
) -> Result<M, MetricsError> {
    metric
        .and_then(|metric| {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        })
        .map_err(|source| MetricsError::Register { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_rendered_under_its_name() {
        let metrics = Metrics::new().unwrap();
        metrics.agent.accepted.inc();
        metrics.agent.closed.with_label_values(&["idle"]).inc_by(3);
        let text = metrics.render();
        assert!(text.contains("\nhotseat_agent_accepted_total 1\n"), "{text}");
        assert!(text.contains("hotseat_agent_closed_total{reason=\"idle\"} 3"), "{text}");
        assert!(text.contains("# TYPE hotseat_agent_attach_seconds histogram"), "{text}");
    }

    #[test]
    fn a_taken_name_is_named() {
        let metrics = Metrics::new().unwrap();
        let name = "hotseat_agent_sessions";
        let again = add(&metrics.registry, name, IntGauge::new(name, "again"));
        assert!(
            again.unwrap_err().to_string().starts_with("metric hotseat_agent_sessions cannot be registered")
        );
    }
}
