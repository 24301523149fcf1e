//! Refusal log: why hosts take no links from this node, said now and then and not at each try.

use std::time::Duration;

use tonic::Code::{FailedPrecondition, PermissionDenied, Unauthenticated};
use tonic::Status;
use tracing::warn;

use crate::telemetry::log_limit::{LogLimit, Rate};

/// How often refusals are told: each host's once in half a minute.
const RATE: Rate = Rate { window: Duration::from_secs(30), source: 1, plugin: 64, node: 64 };

/// Hosts that have refused links of this node, and when that was told.
#[derive(Debug)]
pub(in crate::cluster) struct RefusalLog(LogLimit);

impl Default for RefusalLog {
    fn default() -> Self {
        Self(LogLimit::new(RATE))
    }
}

impl RefusalLog {
    /// A host has not taken a link. That it is not there is no news; that it does not want this node is.
    pub(super) fn tell(&self, host: &str, status: &Status) {
        if !matches!(status.code(), FailedPrecondition | PermissionDenied | Unauthenticated) {
            return;
        }
        if self.0.admit("", host).is_some() {
            warn!(host, why = status.message(), "host refuses the link");
        }
    }
}
