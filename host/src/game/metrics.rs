//! Metrics of rooms, guests and swaps.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What the game side counts. Names follow Prometheus' conventions; labels never carry a room or a user.
#[derive(Debug, Clone)]
pub struct GameMetrics {
    /// Rooms that are open.
    pub rooms: IntGauge,
    /// Players who sit in a room.
    pub players: IntGauge,
    /// Guest calls by the kind of input.
    pub calls: IntCounterVec,
    /// Faults of guests by kind.
    pub faults: IntCounterVec,
    /// Messages that a guest refused.
    pub refused: IntCounter,
    /// Frames for a session that is no longer in the room they were sent to.
    pub stale: IntCounter,
    /// Frames that found their player's outbox shut or full.
    pub undelivered: IntCounter,
    /// Ticks that were skipped because the room was late.
    pub ticks_skipped: IntCounter,
    /// Transfers from room to room.
    pub transfers: IntCounter,
    /// Rooms handed over to another version, by outcome.
    pub swaps: IntCounterVec,
    /// Time a room stood still for a hand-over, seconds.
    pub swap_pause: Histogram,
    /// Deployments by how they ended.
    pub deploys: IntCounterVec,
    /// Service calls by their status.
    pub service_calls: IntCounterVec,
}

impl GameMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If a name is taken: a programming error, found by the first test that starts a node.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let family = |name: &str, help: &str, label: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let pause =
            HistogramOpts::new("hotseat_swap_pause_seconds", "Time a room stood still for a hand-over")
                .buckets(vec![0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5]);
        let swap_pause = Histogram::with_opts(pause)?;
        registry.register(Box::new(swap_pause.clone()))?;
        Ok(Self {
            rooms: gauge("hotseat_rooms", "Rooms that are open")?,
            players: gauge("hotseat_players", "Players who sit in a room")?,
            calls: family("hotseat_guest_calls_total", "Guest calls by kind of input", "kind")?,
            faults: family("hotseat_guest_faults_total", "Faults of guests by kind", "kind")?,
            refused: counter("hotseat_messages_refused_total", "Messages that a guest refused")?,
            stale: counter("hotseat_frames_stale_total", "Frames for a room their sender has left")?,
            undelivered: counter("hotseat_frames_undelivered_total", "Frames to a closing or full session")?,
            ticks_skipped: counter("hotseat_ticks_skipped_total", "Ticks skipped because a room was late")?,
            transfers: counter("hotseat_transfers_total", "Players moved from room to room")?,
            swaps: family("hotseat_room_swaps_total", "Rooms handed over, by outcome", "outcome")?,
            swap_pause,
            deploys: family("hotseat_deploys_total", "Deployments by how they ended", "outcome")?,
            service_calls: family("hotseat_service_calls_total", "Service calls by gRPC status", "status")?,
        })
    }
}
