//! Metrics of guests, swaps and deployments.

use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::journal::Counters;
use crate::plugin::{MemoryGauges, ProcessorGauges};
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
    /// Processor time, by plugin.
    pub budgets: BudgetFamilies,
    /// Guest calls that take long.
    pub processor: ProcessorGauges,
    /// Memory of all guests.
    pub memory: MemoryGauges,
}

/// What processor time plugins use, and what becomes of actors that use too much.
#[derive(Debug, Clone)]
pub struct BudgetFamilies {
    used: CounterVec,
    rested: CounterVec,
    over: IntCounterVec,
    closed: IntCounterVec,
}

/// The same of one plugin.
#[derive(Debug)]
pub(crate) struct BudgetMetrics {
    /// Processor time, seconds.
    pub(crate) used: Counter,
    /// Time that actors have rested, seconds.
    pub(crate) rested: Counter,
    /// Actors that began to ask for more than their share.
    pub(crate) over: IntCounter,
    /// Actors that were ended for it.
    pub(crate) closed: IntCounter,
}

impl BudgetFamilies {
    fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let family = |name, help| add(registry, name, IntCounterVec::new(Opts::new(name, help), &["plugin"]));
        let seconds = |name, help| add(registry, name, CounterVec::new(Opts::new(name, help), &["plugin"]));
        Ok(Self {
            used: seconds(
                "hotseat_guest_processor_seconds_total",
                "Processor time of rooms and shards, with what sending their frames costs",
            )?,
            rested: seconds(
                "hotseat_guest_rested_seconds_total",
                "Time that rooms and shards rested because they or their plugin used more than their share",
            )?,
            over: family("hotseat_overloads_total", "Rooms and shards that asked for more than their share")?,
            closed: family("hotseat_overload_closed_total", "Rooms closed because they asked for too much")?,
        })
    }

    pub(crate) fn of(&self, plugin: &str) -> BudgetMetrics {
        let labels = &[plugin];
        BudgetMetrics {
            used: self.used.with_label_values(labels),
            rested: self.rested.with_label_values(labels),
            over: self.over.with_label_values(labels),
            closed: self.closed.with_label_values(labels),
        }
    }
}

#[cfg(test)]
impl BudgetMetrics {
    pub(crate) fn unregistered() -> Self {
        BudgetFamilies::register(&Registry::new()).expect("the registry is empty").of("plugin")
    }
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
        let gauge = |name, help| add(registry, name, IntGauge::new(name, help));
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
            budgets: BudgetFamilies::register(registry)?,
            processor: ProcessorGauges {
                running: gauge("hotseat_long_calls_running", "Guest calls that take long and run")?,
                waiting: gauge("hotseat_long_calls_waiting", "Guest calls that take long and wait to run")?,
            },
            memory: MemoryGauges {
                used: gauge("hotseat_guest_memory_bytes", "Linear memory of all guests")?,
                max: gauge("hotseat_guest_memory_max_bytes", "The bound of guest_memory_max_mib")?,
                refused: counter(
                    "hotseat_guest_memory_refused_total",
                    "Growth of guests that was refused because of the node's bound",
                )?,
            },
            service_calls: family("hotseat_service_calls_total", "Service calls by gRPC status", "status")?,
        })
    }
}
