//! Keeping: the journal does not grow for ever, and actors that live by snapshots are saved.

use std::sync::Arc;
use std::time::Duration;

use hotseat_build::Durability;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::crew::Crew;
use super::order::Order;
use crate::blocking;
use crate::journal::Journal;

/// How often the journal is looked at for bases that are to be written anew. Each time it names a few of them, so that
/// the disk is there for others too.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often idle actors are looked for.
const REST_EVERY: Duration = Duration::from_secs(5);

/// How often an actor with `durability = "snapshot"` is saved: what the death of the process may cost it.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(30);

/// Has actors write new bases where old ones are in the way, or are due, or where nothing else is to be done. Ends with
/// the node.
pub async fn keep(journal: Arc<Journal>, crews: Vec<Arc<Crew>>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut saved = tokio::time::Instant::now();
    let mut rested = tokio::time::Instant::now();
    loop {
        look.tick().await;
        rewrite(&journal, &crews).await;
        if rested.elapsed() >= REST_EVERY {
            rested = tokio::time::Instant::now();
            for crew in crews.iter().filter(|crew| crew.durability() == Some(Durability::Journal)) {
                for member in crew.members() {
                    // One that has orders waiting is not idle.
                    let _ = member.orders.try_send(Order::Rest);
                }
            }
        }
        if saved.elapsed() >= SNAPSHOT_EVERY {
            saved = tokio::time::Instant::now();
            for crew in crews.iter().filter(|crew| crew.durability() == Some(Durability::Snapshot)) {
                for member in crew.members() {
                    journal.space().await;
                    let _ = member.orders.send(Order::Checkpoint).await;
                }
            }
        }
    }
}

/// Has the bases written anew that the journal asks for. What nobody runs, since its plugin is not here or it waits to be
/// claimed, is copied as it stands on disk.
async fn rewrite(journal: &Arc<Journal>, crews: &[Arc<Crew>]) {
    let mut idle = Vec::new();
    for name in journal.stale() {
        journal.space().await;
        let mut there = false;
        for crew in crews {
            there = there || crew.rewrite(&name).await;
        }
        if !there {
            idle.push(name);
        }
    }
    if idle.is_empty() {
        return;
    }
    let (journal, crews) = (Arc::clone(journal), crews.to_vec());
    let copy = move || journal.copy(&idle, |name| crews.iter().any(|crew| crew.has(name)));
    match blocking::run(copy).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(%error, "what rooms have left that nobody runs is not copied to a newer segment")
        }
        // The node ends.
        Err(_) => {}
    }
}
