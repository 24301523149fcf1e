//! Keeper: this node's lease.
//!
//! A lease that was lost, or whose hold is not certain any more, is not taken up again: what stood under it may be
//! somebody else's by now. The next one has a new epoch, and before it is told of the old one is given back and what is
//! registered stands under the new one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::Shared;
use super::backoff::Backoff;
use super::wire::Failure;
use crate::discovery::Lease;

/// Etcd counts from when a request arrives and this node from when it was sent; the rest of this is for clocks that do
/// not run alike, and for the time that ending what is held takes.
const MARGIN: Duration = Duration::from_secs(1);

struct Keeper<'a> {
    shared: &'a Shared,
    epoch: u64,
    /// Leases that were granted and are not known to be gone; seldom more than one.
    granted: Vec<i64>,
    /// What was last said of etcd; none before the first answer.
    told: Option<LeaseEvent>,
}

#[derive(PartialEq)]
enum LeaseEvent {
    Here,
    Away,
    Refused(String),
}

/// Never ends before it is asked to.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut keeper = Keeper { shared: &shared, epoch: 0, granted: Vec::new(), told: None };
    let closing = shared.closing.clone();
    closing.run_until_cancelled(keeper.keep()).await;
    shared.lease.send_replace(Lease::Lost);
    keeper.give_back(0).await;
    shared.closed.cancel();
}

/// Publishes [`Lease::Lost`] when the time is up, whatever the keeper waits for.
pub(super) async fn expire(shared: Arc<Shared>) {
    let mut lease = shared.lease.subscribe();
    loop {
        let held = *lease.borrow_and_update();
        let Lease::Held { until, .. } = held else {
            if lease.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep_until(until) => {
                let lost = shared.lease.send_if_modified(|lease| {
                    let over = matches!(*lease, Lease::Held { until, .. } if until <= Instant::now());
                    if over {
                        *lease = Lease::Lost;
                    }
                    over
                });
                if lost {
                    warn!("the lease is not certain any more");
                }
            }
            changed = lease.changed() => if changed.is_err() { return },
        }
    }
}

impl Keeper<'_> {
    async fn keep(&mut self) {
        let mut backoff = Backoff::default();
        loop {
            match self.grant().await {
                Ok(id) => {
                    backoff = Backoff::default();
                    self.beat(id).await;
                }
                Err(failure) => {
                    self.tell(&failure);
                    sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// A new lease, published.
    async fn grant(&mut self) -> Result<i64, Failure> {
        let ttl_s = i64::try_from(self.shared.ttl.as_secs()).unwrap_or(i64::MAX);
        let sent = Instant::now();
        let granted =
            self.shared.wire.call(|mut client| async move { client.lease_grant(ttl_s, None).await }).await?;
        let id = granted.id();
        self.granted.push(id);
        self.answered();
        let until = self.until(sent, granted.ttl());
        // What takes longer is written by the registrar.
        let written = timeout(self.shared.ttl / 3, self.shared.registered.pass(self.shared, id)).await;
        let complete = matches!(written, Ok(Ok(())));
        debug!(complete, "registrations written anew");
        if self.shared.registered.is_taken() {
            self.give_back(0).await;
            return Err(Failure::Refused("another process has this node's name".into()));
        }
        if !complete && self.shared.registered.has_own() {
            return Err(Failure::Away("it is not known whether another process has this node's name".into()));
        }
        self.give_back(id).await;
        if Instant::now() >= until {
            return Err(Failure::Away("the lease was over before it could be used".into()));
        }
        self.epoch += 1;
        let epoch = self.epoch;
        self.shared.lease.send_replace(Lease::Held { id, epoch, until });
        info!(lease = format_args!("{id:#x}"), epoch, ttl_s, "lease held");
        Ok(id)
    }

    /// Keeps the lease alive; returns when it is lost.
    async fn beat(&mut self, id: i64) {
        let mut backoff = Backoff::default();
        let mut pause = self.shared.ttl / 3;
        let mut lease = self.shared.lease.subscribe();
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shared.doubt.notified() => {}
                // The time was up.
                _ = lease.wait_for(|lease| *lease == Lease::Lost) => return,
            }
            let sent = Instant::now();
            let alive = self.shared.wire.call(|mut client| async move {
                let (_keeper, stream) = client.lease_keep_alive(id).await?;
                drop(stream);
                Ok(())
            });
            match alive.await {
                Ok(()) => {
                    backoff = Backoff::default();
                    pause = self.shared.ttl / 3;
                    self.answered();
                    let until = self.until(sent, i64::MAX);
                    let prolonged = self.shared.lease.send_if_modified(|lease| match lease {
                        Lease::Held { until: end, .. } => {
                            *end = until;
                            true
                        }
                        Lease::Lost => false,
                    });
                    if !prolonged {
                        return;
                    }
                }
                Err(Failure::NoLease) => {
                    self.granted.retain(|granted| *granted != id);
                    self.answered();
                    self.shared.lease.send_replace(Lease::Lost);
                    warn!(lease = format_args!("{id:#x}"), "etcd does not know the lease any more");
                    return;
                }
                Err(failure) => {
                    self.tell(&failure);
                    pause = backoff.pause().min(self.shared.ttl / 3);
                }
            }
        }
    }

    /// Up to when the lease is certain, if etcd has answered what was sent at that time.
    fn until(&self, sent: Instant, ttl_s: i64) -> Instant {
        let granted = Duration::from_secs(u64::try_from(ttl_s).unwrap_or(0));
        sent + self.shared.ttl.min(granted).saturating_sub(MARGIN)
    }

    /// Gives all leases back but one. What cannot be given back ends by itself.
    async fn give_back(&mut self, but: i64) {
        for id in std::mem::take(&mut self.granted) {
            if id == but {
                self.granted.push(id);
                continue;
            }
            let gone = self.shared.wire.call(|mut client| async move { client.lease_revoke(id).await });
            match gone.await {
                Ok(_) | Err(Failure::NoLease) => {}
                Err(failure) => {
                    debug!(lease = format_args!("{id:#x}"), ?failure, "a lease is left to expire");
                }
            }
        }
    }

    fn answered(&mut self) {
        self.shared.away.send_if_modified(std::mem::take);
        if self.told != Some(LeaseEvent::Here) {
            info!("etcd answers");
            self.told = Some(LeaseEvent::Here);
        }
    }

    /// One line for each turn of events, not for each try.
    fn tell(&mut self, failure: &Failure) {
        let told = match failure {
            Failure::Refused(why) => LeaseEvent::Refused(why.clone()),
            _ => LeaseEvent::Away,
        };
        if told == LeaseEvent::Away {
            self.shared.away.send_if_modified(|away| !std::mem::replace(away, true));
        }
        if self.told.as_ref() == Some(&told) {
            return;
        }
        match failure {
            Failure::Refused(why) => warn!(why, "etcd refuses this node, asking again and again"),
            other => warn!(why = ?other, "etcd is away, asking again and again"),
        }
        self.told = Some(told);
    }
}
