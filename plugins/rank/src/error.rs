//! Why a request is refused.

use hotseat_guest::Failure;
use thiserror::Error;

use crate::schedule::ScheduleError;
use crate::set::KEPT_MAX;

/// Entries whose order can be changed in one call without missing its deadline.
pub const SORT_MAX: usize = 100_000;

/// A request that is refused; it has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RankError {
    /// No set of this id. The text is the original's.
    #[error("name not exists")]
    UnknownSet,
    /// The set has no such season, or not any more.
    #[error("season {season} of set {set} not exists, {oldest} to {running} do")]
    UnknownSeason {
        /// The set.
        set: u64,
        /// What was asked for.
        season: u64,
        /// The first one that is kept.
        oldest: u64,
        /// The last one.
        running: u64,
    },
    /// Two lists that belong together do not.
    #[error("{users} users with {values} {what}, must be as many")]
    Lengths {
        /// Length of the list of users.
        users: usize,
        /// Length of the other one.
        values: usize,
        /// What the other one has.
        what: &'static str,
    },
    /// A number below its range.
    #[error("{name} is {value}, must be at least 0")]
    Negative {
        /// The field.
        name: &'static str,
        /// What it says.
        value: i64,
    },
    /// A number that names nothing.
    #[error("{name} is {value}, must be 0 to {highest}")]
    Option {
        /// The field.
        name: &'static str,
        /// What it says.
        value: i64,
        /// The highest that it may.
        highest: i64,
    },
    /// The schedule does not parse.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Too many users in the request.
    #[error("{users} users in a request, at most {limit}")]
    Request {
        /// How many.
        users: usize,
        /// The operator's limit.
        limit: u64,
    },
    /// The answer would be too long.
    #[error("{entries} entries in an answer, at most {limit}: ask for parts")]
    Answer {
        /// How many.
        entries: usize,
        /// The operator's limit.
        limit: u64,
    },
    /// The shard has as many sets as it may.
    #[error("shard is full: {limit} sets")]
    Sets {
        /// The operator's limit.
        limit: u64,
    },
    /// The set has as many entries as it may.
    #[error("set {set} is full: {limit} entries")]
    Entries {
        /// The set.
        set: u64,
        /// Its limit.
        limit: u64,
    },
    /// The shard has as many entries as it may.
    #[error("shard is full: {limit} entries, finished seasons included")]
    ShardEntries {
        /// The operator's limit.
        limit: u64,
    },
    /// More than the operator allows to a set.
    #[error("MaxEntries is {value}, at most {limit} here")]
    MaxEntries {
        /// What was asked for.
        value: u64,
        /// The operator's limit.
        limit: u64,
    },
    /// The set has more entries than it would be allowed to.
    #[error("MaxEntries is {limit}, but set {set} has {entries} entries: reset it first")]
    Above {
        /// The set.
        set: u64,
        /// What it has.
        entries: usize,
        /// What it would be allowed.
        limit: u64,
    },
    /// The set is too large to be sorted in one call.
    #[error("set {set} has {entries} entries, order and tie rule change up to {SORT_MAX}: reset it first")]
    Sort {
        /// The set.
        set: u64,
        /// What it has.
        entries: usize,
    },
    /// More finished seasons than a set keeps.
    #[error("KeptSeasons is {0}, must be 0 to {KEPT_MAX}")]
    Kept(u32),
}

impl From<RankError> for Failure {
    fn from(error: RankError) -> Self {
        use RankError as E;
        let text = error.to_string();
        match error {
            E::UnknownSet | E::UnknownSeason { .. } => Self::not_found(text),
            E::Lengths { .. } | E::Negative { .. } | E::Option { .. } | E::Schedule(_) | E::Kept(_) => {
                Self::invalid(text)
            }
            E::Request { .. }
            | E::Answer { .. }
            | E::Sets { .. }
            | E::Entries { .. }
            | E::ShardEntries { .. }
            | E::MaxEntries { .. } => Self::exhausted(text),
            E::Above { .. } | E::Sort { .. } => Self::precondition(text),
        }
    }
}
