//! Order: what an actor can be told between two calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::plugin::{Snapshot, Version};

/// What an actor can be told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Write the state down, for a rehearsal.
    Snapshot(oneshot::Sender<Result<Snapshot, String>>),
    /// Hand over to another version; answers how long the actor stood still.
    Swap(Arc<Version>, oneshot::Sender<Result<Duration, String>>),
    /// Go back to an earlier version.
    Revert(Arc<Version>, oneshot::Sender<Result<Duration, String>>),
    /// Make the present state the base if there is anything new.
    Checkpoint,
    /// Write the base to the journal anew, so that older segments can go.
    Rewrite,
    /// The same if the actor has been idle for a while: a snapshot then disturbs nobody, and the next start is shorter.
    Rest,
    /// The present version has proved itself.
    Confirm,
    /// End; the node shuts down.
    Stop,
}
