//! Machine: the number that tells this node's ids from those of others, and the mark below which all of them are.
//!
//! `machine-ids/N` is the claim, under this node's lease; `machine-marks/N` is the mark, which stays. Ids are issued
//! below a mark that is written down, and each holder begins at the mark it finds: so two holders of one number never
//! share an id, however their clocks stand, whatever a frozen process does when it goes on. The lease decides who should
//! issue; the mark makes sure that a mistake about it costs nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::ids::Ids;
use super::memory::{Memory, Notebook};
use crate::discovery::{Discovery, DiscoveryError, Hold, Lease, View, Written};

mod claim;
mod entry;

use entry::{Claim, Mark};

/// How far marks are ahead of the clock once the lease is lost, milliseconds: what guests draw from then.
const LEAD_MS: u64 = 15_000;
/// How far a mark is ahead of the last id at least, milliseconds.
const RESERVE_MS: u64 = 5000;
/// A mark is written anew when so much of either is used up, milliseconds.
const REFRESH_MS: u64 = 3000;
/// Leases are shorter; what claims to last longer never ends.
const LEASE_MAX: Duration = Duration::from_secs(3600);
const TICK: Duration = Duration::from_millis(250);

pub(super) const CLAIMS: &str = "machine-ids/";
pub(super) const MARKS: &str = "machine-marks/";

/// How it stands with the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// None yet, or not any more; discovery may be away.
    Waiting,
    Held(u16),
    /// Not without somebody's help.
    Stuck(Stuck),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stuck {
    Taken { number: u16, holder: String },
    Malformed { key: String, value: String },
}

/// Claims a number, keeps its mark ahead, and begins anew when it is lost.
pub(super) struct Keeper {
    pub(super) ids: Arc<Ids>,
    pub(super) discovery: Discovery,
    pub(super) node_id: String,
    /// The number to have; else any.
    pub(super) fixed: Option<u16>,
    pub(super) notebook: Notebook,
    /// What tells this process's entries from those of another one under the same name.
    pub(super) process: u64,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) stop: CancellationToken,
}

/// A number that is held.
struct Held {
    number: u16,
    epoch: u64,
    claim_revision: u64,
    mark_revision: u64,
    mark_ms: u64,
}

impl Keeper {
    /// Until [`Self::stop`].
    pub(super) async fn run(self) {
        let mut claims = self.discovery.watch(CLAIMS);
        let mut last = self.blocking(Notebook::read).await.flatten();
        loop {
            let mut held = tokio::select! {
                held = self.claim(&mut claims, last) => held,
                () = self.stop.cancelled() => return,
            };
            let why = tokio::select! {
                why = self.keep(&mut held, &mut claims) => why,
                () = self.stop.cancelled() => return self.give_back(held).await,
            };
            self.ids.lose(&why);
            warn!(
                machine = held.number,
                why, "machine number lost: no ids for callers until there is one again"
            );
            self.standing.send_replace(Standing::Waiting);
            last = Some(Memory { machine: held.number, mark_ms: held.mark_ms });
        }
    }

    /// Where a mark written now should be, if ids begin at `from_ms`.
    fn mark_ms(&self, from_ms: u64) -> u64 {
        let generator = self.ids.generator();
        let clock = generator.now_ms() + LEAD_MS + self.lease_left_ms();
        clock.max(from_ms.max(generator.last_ms()) + RESERVE_MS).min(super::TIME_END_MS - 1)
    }

    fn lease_left_ms(&self) -> u64 {
        let left = match *self.discovery.lease().borrow() {
            Lease::Held { until, .. } => until.saturating_duration_since(Instant::now()),
            Lease::Lost => Duration::ZERO,
        };
        if left > LEASE_MAX { 0 } else { u64::try_from(left.as_millis()).unwrap_or(0) }
    }

    /// Keeps the mark ahead until the number is lost; says why.
    async fn keep(&self, held: &mut Held, claims: &mut watch::Receiver<Arc<View>>) -> String {
        let mut lease = self.discovery.lease();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // It fails when discovery is gone, and this is a hand on it.
                _ = lease.changed() => {}
                _ = tick.tick() => {}
            }
            if self.discovery.holds() != Some(held.epoch) {
                return "the lease is lost".to_owned();
            }
            let view = Arc::clone(&claims.borrow_and_update());
            if let Some(why) = self.lost(held, &view).await {
                return why;
            }
            let generator = self.ids.generator();
            let clock_left = held.mark_ms.saturating_sub(generator.now_ms() + self.lease_left_ms());
            let ids_left = held.mark_ms.saturating_sub(generator.last_ms());
            if (clock_left < LEAD_MS - REFRESH_MS || ids_left < RESERVE_MS - REFRESH_MS)
                && let Err(why) = self.raise(held).await
            {
                return why;
            }
        }
    }

    /// Whether somebody has taken the claim away: by hand, or the table has lost it.
    async fn lost(&self, held: &Held, view: &View) -> Option<String> {
        let key = format!("{CLAIMS}{}", held.number);
        let seen = view.entries.get(&key).map(|entry| entry.revision);
        if !view.fresh || seen == Some(held.claim_revision) {
            return None;
        }
        // The view may be older than the claim.
        match self.discovery.get(&key).await.ok()? {
            Some(entry) if entry.revision == held.claim_revision => None,
            Some(entry) => {
                let holder = Claim::read(&entry.value).map(|claim| claim.node);
                let holder = holder.unwrap_or_else(|| entry::shown(&entry.value));
                Some(format!("entry {key:?} has been given to node {holder:?}"))
            }
            None => Some(format!("entry {key:?} has been removed")),
        }
    }

    /// Moves the mark on, and with it the limit of what may be issued. An error is why the number is lost.
    async fn raise(&self, held: &mut Held) -> Result<(), String> {
        let key = format!("{MARKS}{}", held.number);
        let mark_ms = self.mark_ms(0);
        if mark_ms <= held.mark_ms {
            return Ok(());
        }
        let bytes = self.mark(mark_ms).bytes();
        let written = match self.discovery.replace(&key, held.mark_revision, bytes, Hold::Forever).await {
            Ok(written) => written,
            // The next tick tries again; until the mark that stands is reached, nothing is wrong.
            Err(DiscoveryError::Away { .. }) => return Ok(()),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    machine = held.number,
                    "the mark stays where it is"
                );
                return Ok(());
            }
        };
        match written {
            Written::Done(revision) => (held.mark_revision, held.mark_ms) = (revision, mark_ms),
            Written::Refused(entry) => {
                let standing = entry.as_ref().and_then(|entry| Mark::read(&entry.value));
                match (entry, standing) {
                    // Ours, of which we had no answer.
                    (Some(entry), Some(mark)) if mark.process == self.process => {
                        held.mark_revision = entry.revision;
                        held.mark_ms = held.mark_ms.max(mark.mark_ms);
                    }
                    (Some(entry), _) => {
                        return Err(format!(
                            "entry {key:?} has been changed to {:?}",
                            entry::shown(&entry.value)
                        ));
                    }
                    (None, _) => return Err(format!("entry {key:?} has been removed")),
                }
            }
        }
        self.remember(held.number, held.mark_ms).await;
        self.ids.generator().raise(held.mark_ms);
        Ok(())
    }

    /// At the end of the node: the number is free at once, and its next holder begins where this one ended.
    async fn give_back(&self, held: Held) {
        self.ids.lose("the node stops");
        let mark_ms = self.ids.generator().seal();
        let bytes = self.mark(mark_ms).bytes();
        let key = format!("{MARKS}{}", held.number);
        let lowered = self.discovery.replace(&key, held.mark_revision, bytes, Hold::Forever).await;
        if matches!(lowered, Ok(Written::Done(_))) {
            self.remember(held.number, mark_ms).await;
        }
        // If it fails, the lease's end does it.
        let _ = self.discovery.remove(&format!("{CLAIMS}{}", held.number), held.claim_revision).await;
    }

    fn mark(&self, mark_ms: u64) -> Mark {
        Mark { mark_ms, node: self.node_id.clone(), process: self.process }
    }

    async fn remember(&self, machine: u16, mark_ms: u64) {
        let written = self.blocking(move |book| book.write(Memory { machine, mark_ms })).await;
        if let Some(Err(error)) = written {
            // Discovery has the mark; what is lost is which number was the last one.
            warn!(error = &error as &dyn std::error::Error, file = %self.notebook.path().display(), "not written");
        }
    }

    /// None when the runtime ends.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Notebook) -> T + Send + 'static,
    ) -> Option<T> {
        let notebook = self.notebook.clone();
        tokio::task::spawn_blocking(move || work(&notebook)).await.ok()
    }
}

#[cfg(test)]
mod tests;
