//! Room profiles: the players' profiles as one room has them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::profile_write::{ProfileWrite, next_version};

/// How long what a room has put for a player who has left is kept with the room, ms of its time. The store is behind by
/// the journal's sync and a commit, some 20 ms.
const DEPARTED_MS: u64 = 5_000;

/// How many of these there may be; the oldest goes.
const DEPARTED_MAX: usize = 1_024;

/// The documents of those who are in the room, and what is on its way to the store.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RoomProfiles {
    here: BTreeMap<u64, RoomProfile>,
    /// What was put here for players who have left since: when they left, and who. The guest does not see it; a room
    /// that comes back after a crash gives it to the store again.
    departed: VecDeque<(u64, u64, RoomProfile)>,
    /// What calls have put, for the store.
    #[serde(skip)]
    puts: Vec<ProfileWrite>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
struct RoomProfile {
    version: u64,
    /// None if the guest has not put one but the store has a version of it: see [`RoomProfiles::carry_on`].
    bytes: Option<Arc<[u8]>>,
    /// Put by this room, not what the player came with.
    put_here: bool,
}

/// The form of a document on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u64,
    bytes: Option<Vec<u8>>,
    put_here: bool,
}

impl From<RoomProfile> for Kept {
    fn from(document: RoomProfile) -> Self {
        let RoomProfile { version, bytes, put_here } = document;
        Self { version, bytes: bytes.map(|bytes| bytes.to_vec()), put_here }
    }
}

impl From<Kept> for RoomProfile {
    fn from(kept: Kept) -> Self {
        let Kept { version, bytes, put_here } = kept;
        Self { version, bytes: bytes.map(Arc::from), put_here }
    }
}

impl RoomProfiles {
    /// About how large they are on disk.
    pub(super) fn weight(&self) -> usize {
        let all = self.here.values().chain(self.departed.iter().map(|(_, _, document)| document));
        all.map(|document| document.bytes.as_ref().map_or(0, |bytes| bytes.len()) + 32).sum()
    }

    /// The document of a player.
    pub(super) fn get(&self, user: u64) -> Option<&Arc<[u8]>> {
        self.here.get(&user)?.bytes.as_ref()
    }

    /// A player comes with this document and its version, or without one.
    pub(super) fn set(&mut self, user: u64, profile: Option<(u64, Arc<[u8]>)>) {
        match profile {
            Some((version, bytes)) => {
                self.here.insert(user, RoomProfile { version, bytes: Some(bytes), put_here: false });
            }
            None => {
                self.here.remove(&user);
            }
        }
    }

    /// A player's document is replaced.
    pub(super) fn put(&mut self, user: u64, bytes: Arc<[u8]>) {
        let base = self.here.get(&user).map_or(0, |document| document.version);
        self.put_on(base, user, bytes);
    }

    fn put_on(&mut self, base: u64, user: u64, bytes: Arc<[u8]>) {
        let version = next_version(base, &bytes);
        self.puts.push(ProfileWrite { user, base: Some(base), version, bytes: Arc::clone(&bytes) });
        self.here.insert(user, RoomProfile { version, bytes: Some(bytes), put_here: true });
    }

    /// A player goes, and its document with it. What was put here is remembered for a while.
    pub(super) fn leave(&mut self, user: u64, now_ms: u64) {
        let oldest_ms = now_ms.saturating_sub(DEPARTED_MS);
        while self.departed.front().is_some_and(|(at_ms, ..)| *at_ms < oldest_ms) {
            self.departed.pop_front();
        }
        if let Some(document) = self.here.remove(&user).filter(|document| document.put_here) {
            if self.departed.len() == DEPARTED_MAX {
                self.departed.pop_front();
            }
            self.departed.push_back((now_ms, user, document));
        }
    }

    /// What has been put, in order, since this was last asked.
    pub(super) fn take_puts(&mut self) -> Vec<ProfileWrite> {
        std::mem::take(&mut self.puts)
    }

    /// The guest has been rebuilt. Another version of the plugin may have put other documents than those that went to
    /// the store before: what it has put follows upon them.
    pub(super) fn carry_on(&mut self, before: Self, members: &BTreeSet<u64>) {
        for (user, old) in before.here.into_iter().filter(|(user, _)| members.contains(user)) {
            match self.get(user).cloned() {
                Some(bytes) if old.bytes.as_ref() != Some(&bytes) => self.put_on(old.version, user, bytes),
                // The same, under the version that the store knows; or none, and what the store has cannot be undone.
                bytes => {
                    self.here.insert(user, RoomProfile { bytes, ..old });
                }
            }
        }
        // Those have taken their documents elsewhere.
        self.departed = before.departed;
    }

    /// All of them, of those who are here and of those who have left lately.
    pub(super) fn all(&self) -> impl Iterator<Item = ProfileWrite> {
        let departed = self.departed.iter().map(|(_, user, document)| (user, document));
        departed.chain(&self.here).filter_map(|(user, document)| {
            let (version, bytes) = (document.version, Arc::clone(document.bytes.as_ref()?));
            Some(ProfileWrite { user: *user, base: None, version, bytes })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(bytes: &[u8]) -> Arc<[u8]> {
        bytes.into()
    }

    #[test]
    fn a_put_goes_on_from_what_the_player_came_with() {
        let mut documents = RoomProfiles::default();
        documents.put(1, doc(b"one"));
        documents.put(1, doc(b"two"));
        let (one, two) = (next_version(0, b"one"), next_version(next_version(0, b"one"), b"two"));
        let puts: Vec<_> = documents.take_puts().iter().map(|put| (put.base, put.version)).collect();
        assert_eq!(puts, [(Some(0), one), (Some(one), two)]);
        assert_eq!(documents.get(1).map(|bytes| &bytes[..]), Some(&b"two"[..]));
        assert!(documents.take_puts().is_empty());

        documents.set(1, Some((two, doc(b"two"))));
        documents.put(1, doc(b"three"));
        assert_eq!(documents.take_puts()[0].base, Some(two));
        documents.set(1, None);
        assert!(documents.get(1).is_none());
    }

    #[test]
    fn what_another_version_has_put_instead_follows_upon_what_the_store_has() {
        let start = || {
            let mut documents = RoomProfiles::default();
            documents.set(1, Some((next_version(0, b"old"), doc(b"old"))));
            documents
        };
        let (mut before, mut after) = (start(), start());
        // Of 1 the new version has put another one; of 2 the same as the old one, by a detour; of 3 the first ever.
        before.put(1, doc(b"new"));
        before.put(2, doc(b"x"));
        before.put(2, doc(b"same"));
        before.put(3, doc(b"first"));
        before.put(9, doc(b"gone in the other history"));
        let versions: Vec<_> = before.take_puts().iter().map(|put| put.version).collect();
        after.put(2, doc(b"same"));
        after.take_puts();

        after.carry_on(before, &(1..=3).collect());
        let [one, _, two, three, _] = versions[..] else { panic!("{versions:?}") };
        let undone = next_version(one, b"old");
        let put = ProfileWrite { user: 1, base: Some(one), version: undone, bytes: doc(b"old") };
        assert_eq!(after.take_puts(), [put]);
        assert!(after.get(3).is_none() && after.get(9).is_none());
        (1..=3).for_each(|user| after.put(user, doc(b"next")));
        let bases: Vec<_> = after.take_puts().iter().map(|put| put.base).collect();
        assert_eq!(bases, [Some(undone), Some(two), Some(three)]);
    }

    #[test]
    fn what_was_put_outlives_the_stay_by_a_while_and_within_bounds() {
        let mut documents = RoomProfiles::default();
        let leave = |documents: &mut RoomProfiles, user, at_ms, put| {
            documents.set(user, Some((5, doc(b"old"))));
            if put {
                documents.put(user, doc(b"new"));
            }
            documents.leave(user, at_ms);
        };
        let kept = |documents: &RoomProfiles| documents.all().map(|put| put.user).collect::<Vec<_>>();
        leave(&mut documents, 1, 100, true);
        leave(&mut documents, 2, 100, false);
        leave(&mut documents, 3, 100 + DEPARTED_MS, true);
        assert_eq!(kept(&documents), [1, 3]);
        leave(&mut documents, 4, 101 + DEPARTED_MS, false);
        assert_eq!(kept(&documents), [3]);
        (10..10 + DEPARTED_MAX as u64).for_each(|user| leave(&mut documents, user, 200 + DEPARTED_MS, true));
        assert_eq!((kept(&documents).len(), kept(&documents)[0]), (DEPARTED_MAX, 10));
    }
}
