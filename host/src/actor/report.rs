//! Report: what actors tell the deployer of their plugin.

use std::sync::Arc;

use crate::plugin::{Fault, Version};

/// What an actor has to tell.
#[derive(Debug)]
pub enum Report {
    /// A version failed on an input. It may be on probation.
    Fault {
        /// Which.
        version: Arc<Version>,
        /// What it did.
        fault: Fault,
    },
    /// An actor can no longer be given back to the version before this one.
    NoWayBack {
        /// The present version.
        version: Arc<Version>,
        /// The actor.
        actor: Arc<str>,
        /// Why.
        why: String,
    },
}
