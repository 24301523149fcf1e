//! Metrics of guests, swaps and deployments.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::journal::Counters;
use crate::telemetry::metrics::{MetricsError, add};

/// What all actors count. Names follow Prometheus' conventions; labels never carry a room or a user.
#[derive(Debug, Clone)]
pub struct ActorMetrics {
    /// Guest calls by the kind of input.
    pub calls: IntCounterVec,
    /// Faults of guests by kind.
    pub faults: IntCounterVec,
    /// Actors handed over to another version, by outcome.
    pub swaps: IntCounterVec,
    /// Snapshots taken because an actor was idle.
    pub idle_snapshots: IntCounter,
    /// Time an actor stood still for a hand-over, seconds.
    pub swap_pause: Histogram,
    /// Deployments by how they ended.
    pub deploys: IntCounterVec,
    /// Versions that were live in the data directory and could not be started, by plugin.
    pub start_failures: IntCounterVec,
    /// Artefacts compiled, or taken from the cache, by how that ended.
    pub compiles: IntCounterVec,
    /// Bytes kept for going back to the version before.
    pub rollback_bytes: IntGauge,
    /// Rooms that ended and whose state was set aside in a file.
    pub set_aside: IntCounter,
    /// Ways back that ended before their time, by what ended with them: probation or window.
    pub rollback_lost: IntCounterVec,
    /// Service calls by their status.
    pub service_calls: IntCounterVec,
    /// Dead letters.
    pub dead_letters: Counters,
}

impl ActorMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If a name is taken: a programming error, found by the first test that starts a node.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let family =
            |name, help, label| add(registry, name, IntCounterVec::new(Opts::new(name, help), &[label]));
        let counter = |name, help| add(registry, name, IntCounter::new(name, help));
        let pause = "hotseat_swap_pause_seconds";
        let pause_opts = HistogramOpts::new(pause, "Time a room or shard stood still for a hand-over")
            .buckets(vec![0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5]);
        let kept = "hotseat_rollback_bytes";
        Ok(Self {
            idle_snapshots: counter(
                "hotseat_idle_snapshots_total",
                "Snapshots of rooms and shards that were idle",
            )?,
            calls: family("hotseat_guest_calls_total", "Guest calls by kind of input", "kind")?,
            faults: family("hotseat_guest_faults_total", "Faults of guests by kind", "kind")?,
            swaps: family("hotseat_room_swaps_total", "Rooms and shards handed over, by outcome", "outcome")?,
            swap_pause: add(registry, pause, Histogram::with_opts(pause_opts))?,
            deploys: family("hotseat_deploys_total", "Deployments by how they ended", "outcome")?,
            compiles: family("hotseat_compiles_total", "Plugin versions compiled, by outcome", "outcome")?,
            start_failures: family(
                "hotseat_plugin_start_failures_total",
                "Versions that were live before and could not be started with the node",
                "plugin",
            )?,
            set_aside: counter(
                "hotseat_rooms_set_aside_total",
                "Rooms that ended with their state in a file",
            )?,
            rollback_bytes: add(registry, kept, IntGauge::new(kept, "Bytes kept for going back a version"))?,
            rollback_lost: family(
                "hotseat_rollback_lost_total",
                "Ways back to the version before that ended early, by what ended with them",
                "during",
            )?,
            dead_letters: Counters {
                written: counter("hotseat_dead_letters_total", "Dead letters written")?,
                lost: counter("hotseat_dead_letters_lost_total", "Dead letters that were not written")?,
            },
            service_calls: family("hotseat_service_calls_total", "Service calls by gRPC status", "status")?,
        })
    }
}
