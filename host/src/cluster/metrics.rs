//! Metrics: what the links of a node count.

use prometheus::{IntCounter, IntGauge, Registry};

use crate::telemetry::metrics::{MetricsError, add};

/// Counters of links and placement. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClusterMetrics {
    /// Links open, at either end.
    pub links: IntGauge,
    /// Messages sent over links.
    pub messages: IntCounter,
    /// Entries in those messages.
    pub entries: IntCounter,
    /// Sessions that lost their seat with a link and asked for another one.
    pub lost_seats: IntCounter,
    /// Home rooms claimed by this node.
    pub homes: IntGauge,
    /// Rooms handed over to other hosts.
    pub handed_over: IntCounter,
    /// Rooms that are to leave this node and that no other one has taken.
    pub staying: IntGauge,
    /// Rooms taken over from other hosts.
    pub taken_over: IntCounter,
    /// Times this node could not prove its lease, and stood still.
    pub lease_losses: IntCounter,
    /// Open streams of `proto.GameService`.
    pub streams: IntGauge,
}

impl ClusterMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If a name is taken: a programming error, found by the first test that starts a node.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let gauge = |name, help| add(registry, name, IntGauge::new(name, help));
        let counter = |name, help| add(registry, name, IntCounter::new(name, help));
        Ok(Self {
            links: gauge("hotseat_link_open", "Links to other nodes that are open")?,
            messages: counter("hotseat_link_messages_total", "Messages sent to other nodes over links")?,
            entries: counter("hotseat_link_entries_total", "Entries in messages sent over links")?,
            lost_seats: counter(
                "hotseat_link_lost_seats_total",
                "Sessions that lost their seat with a link",
            )?,
            homes: gauge("hotseat_cluster_home_rooms", "Home rooms that this node has claimed")?,
            handed_over: counter("hotseat_cluster_handed_over_total", "Rooms handed over to other nodes")?,
            staying: gauge(
                "hotseat_cluster_rooms_staying",
                "Rooms that are to leave this node and that no other one has taken",
            )?,
            taken_over: counter("hotseat_cluster_taken_over_total", "Rooms taken over from other nodes")?,
            lease_losses: counter(
                "hotseat_cluster_lease_losses_total",
                "Times the lease could not be proved",
            )?,
            streams: gauge("hotseat_game_streams", "Open streams of proto.GameService, one a player")?,
        })
    }
}
