//! Error: why ids cannot be had, or not yet.

use crate::discovery::DiscoveryError;

/// Why snowflake does not start.
#[derive(Debug, thiserror::Error)]
pub enum SnowflakeError {
    /// Another node has the machine number that this one is told to have, and keeps it: give one of them another.
    #[error("machine number {number} (machine_id, 0 to 1023) is held by node {holder:?}")]
    Taken {
        /// The number.
        number: u16,
        /// Who has it, as it says itself.
        holder: String,
    },
    /// A machine number that the format does not have.
    #[error("machine number {0} (machine_id): allowed is 0 to 1023")]
    Number(u32),
    /// What stands in discovery under the number is not ours to overwrite: see what it is, and remove it.
    #[error("entry {key:?} is malformed: {value:?} is no mark")]
    Malformed {
        /// Which entry.
        key: String,
        /// What stands there, shortened.
        value: String,
    },
    /// Discovery says no.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// A metric's name is taken: a mistake in this program.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why there is no id for a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdsError {
    /// Later, or from another node: this one has no right to issue any.
    #[error("no machine number is held: {0}")]
    NoMachine(String),
    /// Later: callers have drawn more than 4,096 a millisecond for a while.
    #[error("ids are drawn faster than 4,096 a millisecond")]
    Busy,
}
