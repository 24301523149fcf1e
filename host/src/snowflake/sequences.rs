//! Sequences: 1, 2, 3 and so on, each number given once in the cluster.
//!
//! `/seqs/NAME`, behind the cluster's prefix, is the last number that was given, in decimal. Callers of one name who wait at the same time are served by
//! one compare-and-swap; between nodes the quicker one wins and the others read again. A number is given only after the
//! swap that takes it is known to be done: what is not known is read again, and at worst never given.
//!
//! A number is lost (a gap) only if its caller goes away while the swap is under way, or the swap's outcome is unknown and
//! it was done.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::metrics::SnowflakeMetrics;
use crate::discovery::Discovery;

mod lane;

use lane::Lane;

/// Longest name, bytes.
pub const NAME_MAX_BYTES: usize = 256;
/// Most numbers a caller may ask for at once.
pub const COUNT_MAX: u32 = 65_536;
/// Names whose last values are remembered; more are dropped as soon as nobody waits for them.
const LANES_MAX: usize = 4096;
const PREFIX: &str = "seqs/";

/// How sequences behave.
#[derive(Debug, Clone, Copy)]
pub struct SequenceOptions {
    /// Whether a sequence that is not there is made.
    pub create: bool,
    /// Callers that may wait.
    pub waiting: usize,
    /// How long a caller waits.
    pub timeout: Duration,
}

/// Why there is no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// The request is no good.
    #[error("{0}")]
    Invalid(String),
    /// Somebody has to create it. The original's words.
    #[error("Key not exists, need to create first")]
    Missing,
    /// Somebody has to see to it.
    #[error("malformed value: {key:?} is {value:?}, no whole number")]
    Malformed {
        /// The entry.
        key: String,
        /// What stands there, shortened.
        value: String,
    },
    /// All numbers are given.
    #[error("{key:?} has reached {value}: {count} more do not fit into 64 bits")]
    Full {
        /// The entry.
        key: String,
        /// The last number.
        value: i64,
        /// How many were wanted.
        count: u32,
    },
    /// Later.
    #[error("{0} callers wait already (sequences_waiting)")]
    Crowded(usize),
    /// Later, perhaps.
    #[error("no answer within {} ms (sequences_timeout_ms): {why}", after.as_millis())]
    Away {
        /// How long it was waited for.
        after: Duration,
        /// What is known.
        why: String,
    },
    /// Discovery says no, and will again.
    #[error("{0}")]
    Refused(String),
}

/// The sequences, for this node's callers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sequences {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    discovery: Discovery,
    options: SequenceOptions,
    metrics: SnowflakeMetrics,
    room: Arc<Semaphore>,
    lanes: Mutex<HashMap<Arc<str>, Arc<Lane>>>,
}

/// A caller that waits.
#[derive(Debug)]
struct Waiter {
    count: u32,
    answer: oneshot::Sender<Result<i64, SequenceError>>,
    /// Given back when the waiter is gone.
    _room: OwnedSemaphorePermit,
}

impl Sequences {
    /// Sequences over `discovery`.
    pub fn new(discovery: Discovery, options: SequenceOptions, metrics: SnowflakeMetrics) -> Self {
        let room = Arc::new(Semaphore::new(options.waiting.min(Semaphore::MAX_PERMITS)));
        let lanes = Mutex::default();
        Self { shared: Arc::new(Shared { discovery, options, metrics, room, lanes }) }
    }

    /// Takes the next `count` numbers of a sequence, which follow each other; gives the first one. A caller that is
    /// cancelled loses its numbers at most.
    ///
    /// # Errors
    /// See [`SequenceError`]. No number is taken then, but for [`SequenceError::Away`], of which they may be lost.
    pub async fn next(&self, name: &str, count: u32) -> Result<i64, SequenceError> {
        check(name, count)?;
        let shared = &self.shared;
        let crowded = || SequenceError::Crowded(shared.options.waiting);
        let room = Arc::clone(&shared.room).try_acquire_owned().map_err(|_| crowded())?;
        let (answer, answered) = oneshot::channel();
        let lane = shared.enter(name, Waiter { count, answer, _room: room });
        shared.metrics.waiting.inc();
        let waiting = Waiting(shared);
        let result = timeout(shared.options.timeout, answered).await;
        drop(waiting);
        match result {
            Ok(Ok(Ok(first))) => {
                shared.metrics.numbers.inc_by(u64::from(count));
                Ok(first)
            }
            Ok(Ok(Err(error))) => Err(error),
            // The worker is gone: the runtime ends.
            Ok(Err(_)) => Err(shared.away("the node stops".to_owned())),
            Err(_) => Err(shared.away(lane.trouble())),
        }
    }
}

/// Counts a caller, however it ends.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.metrics.waiting.dec();
    }
}

impl Shared {
    /// Lets the waiter into the lane of that name, and sees that somebody works on it.
    fn enter(self: &Arc<Self>, name: &str, waiter: Waiter) -> Arc<Lane> {
        let mut lanes = self.lanes();
        let lane = match lanes.get(name) {
            Some(lane) => Arc::clone(lane),
            None => {
                if lanes.len() >= LANES_MAX {
                    lanes.retain(|_, lane| lane.busy());
                }
                let lane = Arc::new(Lane::new(&self.discovery, name));
                lanes.insert(name.into(), Arc::clone(&lane));
                lane
            }
        };
        // With the map locked, so that a lane that is dropped from it has nobody in it.
        let idle = lane.push(waiter);
        drop(lanes);
        if idle {
            let (shared, lane) = (Arc::clone(self), Arc::clone(&lane));
            tokio::spawn(async move { lane.work(&shared).await });
        }
        lane
    }

    fn away(&self, why: String) -> SequenceError {
        SequenceError::Away { after: self.options.timeout, why }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name is one step of a path in etcd, as the original's were.
fn check(name: &str, count: u32) -> Result<(), SequenceError> {
    let invalid = |text: String| Err(SequenceError::Invalid(text));
    if name.is_empty() || name.len() > NAME_MAX_BYTES {
        return invalid(format!("the name has {} bytes: allowed is 1 to {NAME_MAX_BYTES}", name.len()));
    }
    if let Some(bad) = name.chars().find(|c| *c == '/' || c.is_control()) {
        return invalid(format!(
            "the name has {bad:?} in it: allowed is all but slashes and control characters"
        ));
    }
    if count == 0 || count > COUNT_MAX {
        return invalid(format!("count is {count}: allowed is 1 to {COUNT_MAX}"));
    }
    Ok(())
}

/// A short time, longer after more attempts, that two nodes do not have in common.
async fn back_off(attempt: u32) {
    let most = 1000 << attempt.min(5);
    let micros = getrandom::u64().map_or(most, |random| random % most);
    sleep(Duration::from_micros(micros)).await;
}

type Waiters = VecDeque<Waiter>;

#[cfg(test)]
mod tests;
