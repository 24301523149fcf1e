//! Lease gate: no room of this host moves while its lease cannot be proved.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::cluster::metrics::ClusterMetrics;
use crate::discovery::Lease;
use crate::game::Homes;

/// Opens the gate while the lease is held under which the rooms are claimed, whatever else there is to do.
pub(in crate::cluster) struct LeaseGate {
    pub(in crate::cluster) lease: watch::Receiver<Lease>,
    /// The epoch of the lease for which all claims are known.
    pub(in crate::cluster) confirmed: watch::Receiver<u64>,
    pub(in crate::cluster) homes: Arc<Homes>,
    pub(in crate::cluster) metrics: ClusterMetrics,
}

impl LeaseGate {
    /// Ends when nothing can change any more.
    pub(in crate::cluster) async fn watch(mut self) {
        let gate = self.homes.gate();
        let mut was_open = false;
        loop {
            let (lease, confirmed) = (*self.lease.borrow_and_update(), *self.confirmed.borrow_and_update());
            match lease {
                Lease::Held { epoch, until, .. } if epoch == confirmed => gate.open_until(until),
                Lease::Held { .. } | Lease::Lost => gate.open_until(Instant::now()),
            }
            let open = gate.is_open();
            if was_open && !open {
                self.metrics.lease_losses.inc();
                warn!("the lease cannot be proved: rooms stand still until it can");
            } else if open && !was_open {
                info!("the lease is held: rooms go on");
            }
            was_open = open;
            tokio::select! {
                biased;
                Ok(()) = self.lease.changed() => {}
                Ok(()) = self.confirmed.changed() => {}
                else => return,
            }
        }
    }
}
