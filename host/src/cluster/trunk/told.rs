//! Told: why hosts take no links from this node, said now and then and not at each try.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::Code::{FailedPrecondition, PermissionDenied, Unauthenticated};
use tonic::Status;
use tracing::warn;

/// How often a refusal of one host is told.
const AGAIN: Duration = Duration::from_secs(30);

/// Hosts that have refused links of this node, and when that was told.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Told(Mutex<HashMap<String, Instant>>);

impl Told {
    /// A host has not taken a link. That it is not there is no news; that it does not want this node is.
    pub(super) fn tell(&self, host: &str, status: &Status) {
        if !matches!(status.code(), FailedPrecondition | PermissionDenied | Unauthenticated) {
            return;
        }
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| at.elapsed() < AGAIN);
        if let Entry::Vacant(free) = told.entry(host.to_owned()) {
            free.insert(Instant::now());
            warn!(host, why = status.message(), "host refuses the link");
        }
    }
}
