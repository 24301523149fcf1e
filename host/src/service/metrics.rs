//! Metrics of services.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::http::metrics::HttpMetrics;
use crate::telemetry::metrics::{MetricsError, add};

/// What services count. Labels never carry an id.
#[derive(Debug, Clone)]
pub struct ServiceMetrics {
    /// Requests by plugin and the gRPC status of their answer.
    pub requests: IntCounterVec,
    /// Shards that serve.
    pub shards: IntGauge,
    /// Shards that cannot, until a version that takes their state is deployed.
    pub shards_down: IntGauge,
    /// Streams that are open.
    pub streams: IntGauge,
    /// Streams cut because their clients did not read.
    pub cut: IntCounter,
    /// Bytes of messages that clients of streams have not read.
    pub unread: IntGauge,
    /// Answers and messages that wait for the disk.
    pub held: IntGauge,
    /// TLS handshakes that came to nothing, by why: `failed`, `timeout`.
    pub handshakes: IntCounterVec,
    /// Requests turned away because who sent them has not shown to be a peer, by why: `missing`, `wrong`.
    pub strangers: IntCounterVec,
    /// The ports'.
    pub http: HttpMetrics,
}

impl ServiceMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If a name is taken: a programming error, found by the first test that starts a node.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let gauge = |name, help| add(registry, name, IntGauge::new(name, help));
        let counter = |name, help| add(registry, name, IntCounter::new(name, help));
        let requests = "hotseat_service_requests_total";
        let requests_opts = Opts::new(requests, "Requests of services, by gRPC status");
        let by_why = |name, help| add(registry, name, IntCounterVec::new(Opts::new(name, help), &["why"]));
        Ok(Self {
            requests: add(registry, requests, IntCounterVec::new(requests_opts, &["plugin", "status"]))?,
            shards: gauge("hotseat_service_shards", "Shards that serve")?,
            shards_down: gauge("hotseat_service_shards_down", "Shards that cannot serve")?,
            streams: gauge("hotseat_service_streams", "Streams that are open")?,
            cut: counter("hotseat_service_streams_cut_total", "Streams whose clients did not read")?,
            unread: gauge("hotseat_service_streams_unread_bytes", "Messages that clients have not read")?,
            held: gauge("hotseat_service_held", "Answers and messages that wait for the disk")?,
            handshakes: by_why(
                "hotseat_grpc_handshakes_refused_total",
                "TLS handshakes that came to nothing",
            )?,
            strangers: by_why("hotseat_grpc_unauthenticated_total", "Requests of who is no peer")?,
            http: HttpMetrics::register(registry)?,
        })
    }
}
