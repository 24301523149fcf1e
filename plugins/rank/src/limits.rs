//! What the operator allows.

use hotseat_guest::Shard;

/// Bounds of one shard: the keys of `[plugin_config.rank]`. They are read when a shard opens, is restored or changes
/// its version; a value that is not allowed keeps it from doing so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `max_sets`: sets of the shard. 1 to 1,000,000; default 100,000.
    pub sets: u64,
    /// `max_set_entries`: entries of a set's running season; a set may be configured to have fewer. 1 to 16,000,000;
    /// default 2,000,000.
    pub set_entries: u64,
    /// `max_entries`: entries of the shard, those of finished seasons included. 1 to 16,000,000; default
    /// 4,000,000, for which the manifest's memory suffices (about 100 bytes each, and as much again while a state
    /// is saved or taken over).
    pub entries: u64,
    /// `max_request`: users of one request. 1 to 50,000, which fit into 1 MiB; default 10,000.
    pub request: u64,
    /// `max_answer`: entries of one answer. 1 to 50,000, which fit into 1 MiB; default 10,000.
    pub answer: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sets: 100_000, set_entries: 2_000_000, entries: 4_000_000, request: 10_000, answer: 10_000 }
    }
}

impl Limits {
    /// The operator's limits; the defaults where there is no setting.
    ///
    /// # Errors
    /// If a setting is no number or out of its range, naming both.
    pub fn read(shard: &Shard) -> Result<Self, String> {
        let defaults = Self::default();
        Ok(Self {
            sets: setting(shard, "max_sets", defaults.sets, 1_000_000)?,
            set_entries: setting(shard, "max_set_entries", defaults.set_entries, 16_000_000)?,
            entries: setting(shard, "max_entries", defaults.entries, 16_000_000)?,
            request: setting(shard, "max_request", defaults.request, 50_000)?,
            answer: setting(shard, "max_answer", defaults.answer, 50_000)?,
        })
    }
}

fn setting(shard: &Shard, key: &str, default: u64, highest: u64) -> Result<u64, String> {
    let Some(bytes) = shard.config(key) else { return Ok(default) };
    let text = String::from_utf8_lossy(&bytes);
    let number = text.trim().parse().ok().filter(|number| (1..=highest).contains(number));
    number.ok_or_else(|| format!("setting {key} is {text:?}, not a number from 1 to {highest}"))
}
