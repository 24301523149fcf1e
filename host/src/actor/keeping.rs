//! Keeping: the journal does not grow for ever, and actors that live by snapshots are saved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hotseat_build::Durability;
use tokio::time::MissedTickBehavior;

use super::crew::Crew;
use super::order::Order;
use crate::journal::{Journal, Past};

/// How often the journal is looked at for actors that hold old segments.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often an actor with `durability = "snapshot"` is saved: what the death of the process may cost it.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(30);

/// Has actors write new bases where old ones are in the way, or are due, or where nothing else is to be done. `strangers`
/// are what actors of plugins that do not run here have left: it is kept for the day they do. Ends with the node.
pub async fn keep(journal: Arc<Journal>, crews: Vec<Arc<Crew>>, strangers: BTreeMap<String, Past>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut saved = tokio::time::Instant::now();
    loop {
        look.tick().await;
        for name in journal.stale() {
            if let Some(past) = strangers.get(&*name) {
                journal.base(&name, &past.base);
                journal.inputs(&name, &past.inputs);
                continue;
            }
            let mut there = false;
            for crew in &crews {
                there = there || crew.checkpoint(&name).await;
            }
            if !there {
                journal.forget(&name);
            }
        }
        for crew in crews.iter().filter(|crew| crew.durability() == Some(Durability::Journal)) {
            for member in crew.members() {
                // One that has orders waiting is not idle.
                let _ = member.orders.try_send(Order::Rest);
            }
        }
        if saved.elapsed() >= SNAPSHOT_EVERY {
            saved = tokio::time::Instant::now();
            for crew in crews.iter().filter(|crew| crew.durability() == Some(Durability::Snapshot)) {
                for member in crew.members() {
                    let _ = member.orders.send(Order::Checkpoint).await;
                }
            }
        }
    }
}
