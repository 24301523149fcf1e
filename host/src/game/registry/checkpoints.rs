//! Keeping: rooms come back after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tracing::{error, info};

use super::{Registry, Why};
use crate::blocking;
use crate::journal::SavedState;

impl Registry {
    /// Opens the rooms that an earlier process left, a few at a time, and waits until all of them are open. Those that
    /// did not open; what they were is where it was.
    pub async fn restore(self: &Arc<Self>, saved_states: BTreeMap<String, SavedState>) -> BTreeSet<String> {
        let rooms = saved_states.len();
        let journal = &self.group.world().journal;
        let closed: BTreeSet<String> = stream::iter(saved_states)
            .map(|(name, past)| async move {
                // Each writes its base when it has come back: a node must not hold all of them in memory.
                journal.space().await;
                match self.open_from(&name, &[], Why::Kept, Some(past.clone()), None) {
                    Ok(handle) => {
                        let mut opened = handle.opened.clone();
                        let opened = opened.wait_for(Option::is_some).await;
                        let is_open = matches!(opened.as_deref(), Ok(Some(Ok(()))));
                        (!is_open).then_some(name)
                    }
                    Err(why) => {
                        let aside = journal.set_aside(&name, &past);
                        error!(room = name, %why, ?aside, "room not restored, set aside");
                        journal.forget(&name.into());
                        None
                    }
                }
            })
            .buffer_unordered(blocking::width())
            .filter_map(std::future::ready)
            .collect()
            .await;
        if rooms > 0 {
            info!(rooms, opened = rooms - closed.len(), "rooms restored");
        }
        closed
    }
}
