//! Metrics of rooms.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::telemetry::metrics::{MetricsError, add};

/// What rooms count. Names follow Prometheus' conventions; labels never carry a room or a user.
#[derive(Debug, Clone)]
pub struct GameMetrics {
    /// Rooms that are open.
    pub rooms: IntGauge,
    /// Players who sit in a room.
    pub players: IntGauge,
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
    /// Rooms that a guest asked for and that were not opened, by reason.
    pub rooms_refused: IntCounterVec,
    /// Times a guest failed to let a player in.
    pub joins_failed: IntCounter,
    /// Transfers refused because the player had been moved too often within a second.
    pub moves_refused: IntCounter,
    /// Documents that a room put in place of one that it did not know.
    pub profile_conflicts: IntCounter,
    /// Home rooms not opened because the live version does not read their state.
    pub unreadable: IntCounter,
}

impl GameMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If a name is taken: a programming error, found by the first test that starts a node.
    pub fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let counter = |name, help| add(registry, name, IntCounter::new(name, help));
        let gauge = |name, help| add(registry, name, IntGauge::new(name, help));
        let refused =
            ("hotseat_rooms_refused_total", "Rooms that a guest asked for and that were not opened");
        Ok(Self {
            rooms: gauge("hotseat_rooms", "Rooms that are open")?,
            players: gauge("hotseat_players", "Players who sit in a room")?,
            refused: counter("hotseat_messages_refused_total", "Messages that a guest refused")?,
            stale: counter("hotseat_frames_stale_total", "Frames for a room their sender has left")?,
            undelivered: counter("hotseat_frames_undelivered_total", "Frames to a closing or full session")?,
            ticks_skipped: counter("hotseat_ticks_skipped_total", "Ticks skipped because a room was late")?,
            transfers: counter("hotseat_transfers_total", "Players moved from room to room")?,
            rooms_refused: add(
                registry,
                refused.0,
                IntCounterVec::new(Opts::new(refused.0, refused.1), &["reason"]),
            )?,
            joins_failed: counter("hotseat_joins_failed_total", "Players whom a guest failed to let in")?,
            moves_refused: counter(
                "hotseat_moves_refused_total",
                "Transfers refused because the player had been moved too often within a second",
            )?,
            profile_conflicts: counter(
                "hotseat_profile_conflicts_total",
                "Profiles not replaced because another room was faster",
            )?,
            unreadable: counter(
                "hotseat_rooms_unreadable_total",
                "Home rooms that stayed closed because the live version does not read their state, each try",
            )?,
        })
    }
}
