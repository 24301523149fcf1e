//! Metrics of the ports that speak HTTP.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::telemetry::metrics::{MetricsError, add};

/// What ports count, each under its name (`admin`, `grpc`).
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    /// Connections that are open.
    pub connections: IntGaugeVec,
    /// Connections that were cut, by why: `handshake`, `idle`, `stalled`.
    pub cut: IntCounterVec,
    /// Large requests that are received or served.
    pub uploads: IntGaugeVec,
    /// Requests that were refused half received, by why: `stalled`, `waited` (in vain for their turn).
    pub refused: IntCounterVec,
}

impl HttpMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If a name is taken: a programming error, found by the first test that starts a node.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let gauge = |name, help| add(registry, name, IntGaugeVec::new(Opts::new(name, help), &["port"]));
        let counter =
            |name, help| add(registry, name, IntCounterVec::new(Opts::new(name, help), &["port", "why"]));
        Ok(Self {
            connections: gauge("hotseat_http_connections", "Connections that are open")?,
            cut: counter("hotseat_http_connections_cut_total", "Connections that the node has cut")?,
            uploads: gauge(
                "hotseat_http_uploads",
                "Requests of more than 64 KiB that are received or served",
            )?,
            refused: counter("hotseat_http_requests_refused_total", "Requests refused half received")?,
        })
    }
}
