//! Report: what is left of a demo.

use std::path::PathBuf;

use serde::Serialize;

use crate::bots;

/// What happened, and whether it was as told.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// True if all went as it should; see [`Report::passed`].
    pub passed: bool,
    /// What happened when; seconds of the fleet's clock, which starts when the node is up.
    pub chapters: Vec<Chapter>,
    /// Which version was live when.
    pub lives: Vec<Live>,
    /// Versions the node did not take, and when it said so.
    pub refused: Vec<(f64, String)>,
    /// The swaps that went through.
    pub takeovers: Vec<Takeover>,
    /// What the players saw.
    pub players: bots::Report,
    /// The node's log, if something went wrong.
    pub node_log: Option<PathBuf>,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Chapter {
    /// When, seconds.
    pub at_s: f64,
    /// What, in words.
    pub text: String,
    /// Whether it should have.
    pub fine: bool,
}

/// A time in which a version was live.
#[derive(Debug, Clone, Serialize)]
pub struct Live {
    /// The version's label.
    pub label: String,
    /// From when, seconds.
    pub from_s: f64,
    /// To when, seconds.
    pub to_s: f64,
    /// Whether it was taken back because it failed.
    pub failed: bool,
}

/// A version that took over from another, as the node tells it.
#[derive(Debug, Clone, Serialize)]
pub struct Takeover {
    /// The version before.
    pub from: String,
    /// The version after.
    pub to: String,
    /// Rooms handed over.
    pub rooms: u64,
    /// How long a room stood still: half of them no longer, microseconds.
    pub pause_p50_us: u64,
    /// The longest, microseconds.
    pub pause_max_us: u64,
    /// Compiling it, while the version before played on, milliseconds.
    pub compile_ms: u64,
}

impl Report {
    /// True if every chapter went as told and the players noticed nothing: see [`bots::Report::passed`].
    pub fn passed(&self) -> bool {
        self.players.passed() && self.chapters.iter().all(|chapter| chapter.fine)
    }
}
