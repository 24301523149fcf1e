//! Keeping: the journal does not grow for ever, and actors that live by snapshots are saved.

use std::sync::Arc;
use std::time::Duration;

use hotseat_build::Durability;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::command::ActorCommand;
use super::group::ActorGroup;
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
pub async fn keep(journal: Arc<Journal>, groups: Vec<Arc<ActorGroup>>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut saved = tokio::time::Instant::now();
    let mut rested = tokio::time::Instant::now();
    loop {
        look.tick().await;
        rewrite(&journal, &groups).await;
        if rested.elapsed() >= REST_EVERY {
            rested = tokio::time::Instant::now();
            for group in groups.iter().filter(|group| group.durability() == Some(Durability::Journal)) {
                for handle in group.members() {
                    // One that has commands waiting is not idle.
                    let _ = handle.commands.try_send(ActorCommand::Rest);
                }
            }
        }
        if saved.elapsed() >= SNAPSHOT_EVERY {
            saved = tokio::time::Instant::now();
            for group in groups.iter().filter(|group| group.durability() == Some(Durability::Snapshot)) {
                for handle in group.members() {
                    journal.space().await;
                    let _ = handle.commands.send(ActorCommand::Checkpoint).await;
                }
            }
        }
    }
}

/// Has the bases written anew that the journal asks for. What nobody runs, since its plugin is not here or it waits to be
/// claimed, is copied as it stands on disk.
async fn rewrite(journal: &Arc<Journal>, groups: &[Arc<ActorGroup>]) {
    let mut idle = Vec::new();
    for name in journal.stale() {
        journal.space().await;
        let mut there = false;
        for group in groups {
            there = there || group.rewrite(&name).await;
        }
        if !there {
            idle.push(name);
        }
    }
    if idle.is_empty() {
        return;
    }
    let (journal, groups) = (Arc::clone(journal), groups.to_vec());
    let copy = move || journal.copy(&idle, |name| groups.iter().any(|group| group.has(name)));
    match blocking::run(copy).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(%error, "what rooms have left that nobody runs is not copied to a newer segment")
        }
        // The node ends.
        Err(_) => {}
    }
}
