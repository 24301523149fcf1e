//! `hotseat run --print-config`: every setting, its value and where it came from.

use super::terminal;
use crate::config::Loaded;

/// Writes the configuration to standard output, in the form of `hotseat.toml`.
pub(super) fn print(loaded: &Loaded) {
    terminal::line(loaded.to_toml().trim_end());
}
