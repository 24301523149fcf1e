//! Keeping: rooms come back after a restart, and the journal does not grow for ever.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hotseat_build::Durability;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use super::{Live, Registry};
use crate::game::room::Order;
use crate::journal::Past;

/// How often the journal is looked at for rooms that hold old segments.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often a room with `durability = "snapshot"` is saved: what the death of the process may cost it.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(30);

impl Registry {
    /// Opens the rooms that an earlier process left, a few at a time, and waits until all of them are open. How many
    /// came back.
    pub async fn restore(self: &Arc<Self>, pasts: BTreeMap<String, Past>) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let rooms = pasts.len();
        let opened = stream::iter(pasts)
            .map(|(name, past)| async move {
                match self.open_from(&name, &[], Some(past.clone())) {
                    Ok(handle) => {
                        let mut opened = handle.opened.clone();
                        matches!(opened.wait_for(Option::is_some).await.as_deref(), Ok(Some(Ok(()))))
                    }
                    Err(why) => {
                        let aside = self.world.journal.set_aside(&name, &past);
                        error!(room = name, %why, ?aside, "room not restored, set aside");
                        self.world.journal.forget(&name.into());
                        false
                    }
                }
            })
            .buffer_unordered(cores)
            .filter(|opened| std::future::ready(*opened))
            .count()
            .await;
        if rooms > 0 {
            info!(rooms, opened, "rooms restored");
        }
        opened
    }

    /// Has rooms write new bases where old ones are in the way, or are due. Ends with the node.
    pub async fn keep(self: Arc<Self>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut saved = tokio::time::Instant::now();
        loop {
            look.tick().await;
            for room in self.world.journal.stale() {
                let handle = self.rooms().open.get(&room).cloned();
                match handle {
                    // A room that ends at this moment forgets itself.
                    Some(handle) => drop(handle.orders.send(Order::Checkpoint).await),
                    None => self.world.journal.forget(&room),
                }
            }
            if self.saves() && saved.elapsed() >= SNAPSHOT_EVERY {
                saved = tokio::time::Instant::now();
                for handle in self.handles() {
                    let _ = handle.orders.send(Order::Checkpoint).await;
                }
            }
        }
    }

    /// Whether rooms live by snapshots alone.
    fn saves(&self) -> bool {
        let manifest = self.live().map(|Live { version, .. }| version.manifest().limits.durability);
        self.world.durability.or(manifest) == Some(Durability::Snapshot)
    }
}
