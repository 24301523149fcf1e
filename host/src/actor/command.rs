//! Actor command: what an actor can be told between two calls.

use std::sync::Arc;
use std::time::Duration;

use hotseat_build::Digest;
use tokio::sync::oneshot;

use crate::journal::SavedState;
use crate::plugin::{Snapshot, Version};

/// What a version is rehearsed on.
#[derive(Debug)]
pub(crate) enum RehearsalInput {
    /// A state.
    State(Snapshot),
    /// The live version fails to write it: how the actor began, and its inputs since.
    Log { past: SavedState, why: String },
}

/// How an actor was handed over.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HandOver {
    /// How long it stood still.
    pub(crate) pause: Duration,
    /// Bytes of the state.
    pub(crate) bytes: usize,
}

/// How large an actor's state is, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight {
    /// As the last snapshot was.
    pub(crate) last: usize,
    /// The most that one may have now: the guest may have grown since.
    pub(crate) most: usize,
}

/// What an actor can be told.
#[derive(Debug)]
pub(crate) enum ActorCommand {
    /// Write the state down, for a rehearsal.
    Snapshot(oneshot::Sender<Result<RehearsalInput, String>>),
    /// Say how large the state is.
    Weigh(oneshot::Sender<Result<Weight, String>>),
    /// Hand over to another version.
    Swap(Arc<Version>, oneshot::Sender<Result<HandOver, String>>),
    /// Go back to an earlier version.
    Revert(Arc<Version>, oneshot::Sender<Result<HandOver, String>>),
    /// Say whether it can go back to that version with all that it was told since, or runs it.
    Keeps(Digest, oneshot::Sender<Result<bool, String>>),
    /// Make the present state the base if there is anything new.
    Checkpoint,
    /// Write the base to the journal anew, so that older segments can go.
    Rewrite,
    /// The same if the actor has been idle for a while: a snapshot then disturbs nobody, and the next start is shorter.
    Rest,
    /// End, and leave what the actor was in a file: an operator wants a version that it cannot go to.
    SetAside(oneshot::Sender<Result<(), String>>),
    /// The present version has proved itself; `keep` leaves the way back to the one before open.
    Confirm { keep: bool },
    /// End; the node shuts down.
    Stop,
}
