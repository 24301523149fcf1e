//! Blocking: work that holds its thread for a while: reading files, building a guest.
//!
//! A node's runtime has several threads, and such work is kept from those that wait for it. On a runtime of one thread,
//! as in the simulator of the cluster, it is done on the spot: there is nobody to keep it from, and its order stays the same.

use std::num::NonZeroUsize;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, block_in_place, spawn_blocking};

fn is_alone() -> bool {
    Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

/// Does the work while other tasks of this thread go on elsewhere.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    if is_alone() { work() } else { block_in_place(work) }
}

/// Does the work on a thread of its own. Once begun it runs to its end.
///
/// # Errors
/// If it panics, or the runtime ends.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if is_alone() { Ok(work()) } else { spawn_blocking(work).await }
}

/// How many pieces of such work are worth doing at a time.
pub(crate) fn width() -> usize {
    if is_alone() { 1 } else { std::thread::available_parallelism().map_or(1, NonZeroUsize::get) }
}
