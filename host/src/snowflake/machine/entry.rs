//! Entry: what stands in discovery about a machine number.

use serde::{Deserialize, Serialize};

use super::super::generator::TIME_END_MS;

/// Characters of a value that are shown.
const SHOWN: usize = 64;

/// The value of `machine-ids/N`: whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) node: String,
    /// Random, one a process.
    pub(super) process: u64,
    /// Of the process's leases, the one it lives under.
    pub(super) epoch: u64,
}

/// The value of `machine-marks/N`: all ids of this number that have been or may be issued are of an earlier millisecond.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) mark_ms: u64,
    /// Who wrote it.
    pub(super) node: String,
    pub(super) process: u64,
}

impl Claim {
    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a text and two numbers are JSON")
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl Mark {
    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a text and two numbers are JSON")
    }

    /// None if it is no mark, or one beyond the format.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|mark: &Self| mark.mark_ms < TIME_END_MS)
    }
}

/// A value, for people.
pub(super) fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(SHOWN).collect()
}
