//! Profile writes: documents that calls have put go to the store behind their inputs, never before.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use super::Room;
use crate::plugin::{ProfileWrite, puts_of};
use crate::telemetry::log_limit::limited;

/// How long a room that ends waits for the store: until then the journal alone knows what it has put last.
const KEEPING: Duration = Duration::from_millis(500);

/// What waits for the end of the batch: a document a player, since a later one replaces an earlier one.
#[derive(Debug, Default)]
pub(super) struct ProfileWrites {
    pending: HashMap<u64, ProfileWrite>,
    /// What to wait for in the store.
    ticket: u64,
}

impl Room {
    /// Takes over what calls have put.
    pub(super) fn take_puts(&mut self) {
        for put in self.actor.sandbox.env().take_puts() {
            let known = self.puts.pending.get(&put.user);
            if known.is_some_and(|known| put.base != Some(known.version)) {
                // The player has left and come back with another document.
                self.write_out();
            }
            match self.puts.pending.entry(put.user) {
                Entry::Occupied(mut known) => {
                    let base = known.get().base;
                    known.insert(ProfileWrite { base, ..put });
                }
                Entry::Vacant(free) => {
                    free.insert(put);
                }
            }
        }
    }

    /// A room that has come back has documents that the store may have missed.
    pub(super) fn take_documents(&mut self) {
        for put in self.actor.sandbox.env().documents() {
            let known = self.puts.pending.get(&put.user);
            if known.is_none_or(|known| puts_of(put.version) > puts_of(known.version)) {
                self.puts.pending.insert(put.user, put);
            }
        }
    }

    /// Writes what is new to the journal, and hands the documents behind it to the store. To be called between batches.
    pub(super) fn write_out(&mut self) {
        self.actor.sandbox.write_inputs();
        let position = self.actor.sandbox.position();
        let mut overtaken = Vec::new();
        for (user, put) in self.puts.pending.drain() {
            match self.registry.profiles.put(put, position) {
                Ok(ticket) => self.puts.ticket = ticket,
                Err(conflict) => {
                    self.registry.metrics.profile_conflicts.inc();
                    let (plugin, room) = (self.registry.group().plugin(), &*self.name);
                    let text = "profile not replaced: another room was faster";
                    limited!(warn, plugin, room, room, user, %conflict, "{text}");
                    overtaken.push(user);
                }
            }
        }
        for user in overtaken {
            self.take_over_stored(user);
        }
        // Who logs in anew is given what this room has put last.
        for (user, session) in self.left.drain(..) {
            self.registry.left(user, session);
        }
    }

    /// A document of a player was refused. If the player plays here, and nowhere else, the guest finds what the store has
    /// from now on, and the next document is taken. Otherwise all would be refused for as long as the player stays.
    fn take_over_stored(&mut self, user: u64) {
        let session = self.seats.session(user);
        if session.is_some_and(|session| self.registry.plays_with(user, session))
            && let Some(stored) = self.registry.profiles.get(user)
        {
            self.actor.sandbox.env().set_profile(user, Some(stored));
            self.actor.sandbox.outdate_base();
        }
    }

    /// Waits until the store has what this room has put.
    pub(super) async fn puts_kept(&self) {
        if tokio::time::timeout(KEEPING, self.registry.profiles.kept(self.puts.ticket)).await.is_err() {
            let (plugin, room) = (self.registry.group().plugin(), &*self.name);
            limited!(warn, plugin, room, room, "room ends before the store has the profiles that it put");
        }
    }

    /// Whether documents wait to be handed to the store.
    pub(super) fn has_puts(&self) -> bool {
        !self.puts.pending.is_empty()
    }
}
