//! Claims: which home rooms this host asks for, and what becomes of those that it has when its lease is another one.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use tracing::{debug, error, info, warn};

use super::{POLL_INTERVAL, Rebalancer};
use crate::cluster::placement::{HOMES, MOVED, Owner};
use crate::discovery::{Discovery, DiscoveryError, Hold, Written};
use crate::game::Homes;
use crate::game::registry::AT;

/// Claims under way at a time.
const CLAIMS: usize = 16;

/// What became of a claim.
enum Claim {
    Ours {
        revision: u64,
        /// Nobody had it: so others may have had it since it was ours.
        anew: bool,
    },
    Theirs(Owner),
    /// Not now.
    Later,
}

impl Rebalancer {
    /// Claims rooms that nobody has, or that were handed to this host.
    pub(super) async fn claim_all(&mut self, homes: Vec<u32>) {
        if homes.is_empty() {
            return;
        }
        let (count, at_ms) = (homes.len(), self.registry.now_ms());
        let claims: Vec<_> = stream::iter(homes)
            .map(|home| {
                let (discovery, owner) = (&self.discovery, &self.owner);
                async move { (home, claim(discovery, owner, home).await) }
            })
            .buffer_unordered(CLAIMS)
            .collect()
            .await;
        let mut ours: BTreeMap<u32, (u64, bool)> = claims
            .into_iter()
            .filter_map(|(home, claim)| match claim {
                Claim::Ours { revision, anew } => Some((home, (revision, anew))),
                Claim::Theirs(_) | Claim::Later => None,
            })
            .collect();
        let later = self.bring_back(ours.iter().map(|(home, (_, anew))| (*home, *anew)), at_ms).await;
        for (home, (revision, _)) in ours.extract_if(.., |home, _| later.contains(home)) {
            if self.is_unreadable(home) {
                // Free for a host whose version reads it. If it cannot be removed now, that is tried again with the claim.
                let _ = self.discovery.remove(&format!("{HOMES}{home}"), revision).await;
            }
        }
        for (home, (revision, _)) in &ours {
            self.homes().claimed(*home, *revision);
            self.registry.open_staged(&Homes::name(*home), at_ms);
        }
        debug!(claimed = ours.len(), of = count, "home rooms claimed");
    }

    /// A new lease: what was claimed under the one before may be another host's by now. False if that lease was lost as
    /// well before all was known: until the next one the rooms stand still as they are.
    pub(super) async fn claim_again(&mut self) -> bool {
        let held: BTreeMap<u32, u64> = self.homes().claims().into_iter().collect();
        let claims: Vec<_> = stream::iter(held.into_keys())
            .map(|home| {
                let (discovery, owner) = (&self.discovery, &self.owner);
                async move {
                    loop {
                        match claim(discovery, owner, home).await {
                            Claim::Later if discovery.holds().is_some() => {}
                            claim => return (home, claim),
                        }
                        tokio::time::sleep(POLL_INTERVAL).await;
                    }
                }
            })
            .buffer_unordered(CLAIMS)
            .collect()
            .await;
        for room in self.registry.plugin_rooms().iter().filter(|room| room.contains(AT)) {
            // Without the record players who come anew do not find it; those who sit there stay.
            let written =
                self.discovery.create(&format!("{MOVED}{room}"), self.owner.write(), Hold::Lease).await;
            debug!(room, ?written, "room of another host's name kept under a new lease");
        }
        let marks = self.own_marks().await;
        let (mut kept, mut lost, mut left, mut unknown) = (0, 0, 0, 0);
        for (home, claim) in claims {
            match claim {
                Claim::Ours { anew: true, revision } if self.may_be_outdated(home, &marks) => {
                    // Another host may have had it: the room is free for that one, and for whoever goes on
                    // from its state.
                    left += 1;
                    self.give_up(home);
                    let removed = self.discovery.remove(&format!("{HOMES}{home}"), revision).await;
                    debug!(home, ?removed, "home room left to whoever has a later state of it");
                }
                Claim::Ours { revision, .. } => {
                    kept += 1;
                    self.homes().claimed(home, revision);
                }
                Claim::Theirs(owner) => {
                    lost += 1;
                    self.lost(home, &owner);
                }
                Claim::Later => unknown += 1,
            }
        }
        if lost > 0 {
            error!(kept, lost, "home rooms lost to other hosts with the lease");
        }
        if unknown > 0 {
            warn!(kept, unknown, "the new lease was lost before all home rooms were claimed again");
        } else {
            info!(kept, left, "home rooms claimed again under a new lease");
        }
        unknown == 0
    }
}

/// Claims a room for `owner`, if nobody has it or it was given to that process.
async fn claim(discovery: &Discovery, owner: &Owner, home: u32) -> Claim {
    let key = format!("{HOMES}{home}");
    let later = |error: DiscoveryError| {
        debug!(home, %error, "claim not answered");
        Claim::Later
    };
    match discovery.create(&key, owner.write(), Hold::Lease).await {
        Ok(Written::Done(revision)) => Claim::Ours { revision, anew: true },
        // Given to us by the host before, or ours under a lease that is over: it is to be under the present one.
        Ok(Written::Refused(Some(entry))) if entry.value == owner.write() => {
            match discovery.replace(&key, entry.revision, owner.write(), Hold::Lease).await {
                Ok(Written::Done(revision)) => Claim::Ours { revision, anew: false },
                Ok(Written::Refused(_)) => Claim::Later,
                Err(error) => later(error),
            }
        }
        Ok(Written::Refused(Some(entry))) => Claim::Theirs(Owner::read(&entry.value).unwrap_or_else(|| {
            // Nobody of ours has written it.
            Owner { node: String::from_utf8_lossy(&entry.value).into_owned(), process: String::new() }
        })),
        Ok(Written::Refused(None)) => Claim::Later,
        Err(error) => later(error),
    }
}
