//! Handing: rooms that come from other hosts, and rooms that go there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Registry, Why};
use crate::game::homes::Homes;
use crate::game::room::{Departing, Gone, RoomCommand};
use crate::journal::SavedState;
use crate::link::Uplink;
use crate::plugin::ProfileWrite;

/// How long a room that is to leave may take to be packed.
const PACKING: Duration = Duration::from_secs(10);

/// How long the disk may take for what is to be on it before another host lets go of it.
const KEEPING: Duration = Duration::from_secs(5);

/// A large state has a second more for so many bytes.
const KEPT_IN_A_SECOND: usize = 16 << 20;

/// The generation of a state of the generation `of` at its next owner. Rises with the clock besides: a room that has begun
/// anew where nothing was known of an earlier state is later than that. Even: see `copied`.
pub fn following(of: u64, now_ms: u64) -> u64 {
    (of.saturating_add(3) & !1).max(now_ms.saturating_mul(2))
}

/// The generation of a copy of a state of the generation `of`, which is not known to be the room's yet: later than what
/// earlier owners have, and earlier than what the present one has until it has ended there.
fn copied(of: u64) -> u64 {
    of.saturating_sub(1)
}

/// A room that has been loaded and waits for its claim.
pub(super) struct Staged {
    begin: oneshot::Sender<bool>,
    /// Of the state that was handed over.
    generation: u64,
    since: Instant,
}

/// A room that stands still, packed; it goes on here if this is dropped.
pub struct Packed {
    /// Its state.
    pub past: SavedState,
    gone: oneshot::Sender<Gone>,
}

impl Packed {
    /// The host `node` has it, by the name of `room`.
    pub fn gone(self, room: String, node: String) {
        // A room whose task has ended is gone all the more.
        let _ = self.gone.send(Gone { room, node: Some(node) });
    }

    /// Some other host has or had it, by the name of `room`. What the journal holds of it stays there.
    pub fn lost(self, room: String) {
        let _ = self.gone.send(Gone { room, node: None });
    }
}

/// A player's document on its way to another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Whose.
    pub user: u64,
    /// Its version.
    pub version: u64,
    /// The document.
    pub bytes: Arc<[u8]>,
}

impl Registry {
    /// Loads a room that another host hands over, and waits until it is on this host's disk. It stands still until
    /// [`Self::open_staged`].
    ///
    /// # Errors
    /// Why it cannot be loaded or kept.
    pub async fn stage(self: &Arc<Self>, name: &str, past: SavedState) -> Result<(), String> {
        let (begin, begun) = oneshot::channel();
        if self.exists(name) {
            return Err(format!("room {name} is here already"));
        }
        let generation = past.generation;
        let past = SavedState { generation: copied(generation), ..past };
        let handle = self.open_from(name, &[], Why::Kept, Some(past), Some(begun));
        let handle = handle.map_err(|error| error.to_string())?;
        self.staged().insert(name.to_owned(), Staged { begin, generation, since: Instant::now() });
        let mut opened = handle.opened.clone();
        let outcome = opened.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        let outcome = outcome.unwrap_or_else(|| Err("it ended while it was loaded".into()));
        if outcome.is_err() {
            self.staged().remove(name);
        }
        outcome
    }

    /// The time that rooms live by, milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.group.clock().ms_at(Instant::now())
    }

    /// The open rooms that are no home rooms.
    pub fn plugin_rooms(&self) -> Vec<String> {
        let rooms = self.rooms();
        let mut names: Vec<_> =
            rooms.keys().filter(|name| !Homes::is_home(name)).map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    /// Whether a room is open, or waits for its claim.
    pub fn is_open(&self, name: &str) -> bool {
        self.exists(name)
    }

    /// Keeps what was left of a room in a file, where nobody takes it up any more.
    pub fn set_aside(&self, name: &str, past: &SavedState) {
        let journal = &self.group().world().journal;
        match journal.set_aside(name, past) {
            Ok(file) => debug!(room = name, file = %file.display(), "state set aside"),
            Err(error) => warn!(room = name, %error, "state not set aside and lost"),
        }
        journal.forget(&name.into());
    }

    /// Whether a room waits for its claim.
    pub fn has_staged(&self, name: &str) -> bool {
        self.staged().contains_key(name)
    }

    /// The generation of the copy that was loaded of a room which waits for its claim.
    pub fn staged_generation(&self, name: &str) -> Option<u64> {
        self.staged().get(name).map(|room| copied(room.generation))
    }

    /// Rooms that have waited for their claim for longer than this.
    pub fn staged_longer(&self, than: Duration) -> Vec<String> {
        let staged = self.staged();
        staged.iter().filter(|(_, room)| room.since.elapsed() > than).map(|(name, _)| name.clone()).collect()
    }

    /// A room is this host's: it begins, if it has been waiting. `at_ms` is the time before it was claimed: whoever claims it
    /// after that, because this host has stood still, has a later state.
    pub fn open_staged(&self, name: &str, at_ms: u64) {
        if let Some(Staged { begin, generation, .. }) = self.staged().remove(name) {
            let generation = following(generation, at_ms);
            if let Some(home) = self.homes.number(name) {
                self.homes.raise(home, generation);
            }
            self.group.world().journal.raise(&name.into(), generation);
            let _ = begin.send(true);
        }
    }

    /// A room will not be this host's: it is forgotten.
    pub fn unstage(&self, name: &str) {
        if let Some(Staged { begin, .. }) = self.staged().remove(name) {
            debug!(room = name, "room that was to come here is forgotten");
            let _ = begin.send(false);
        }
    }

    /// Another host has a room that was to come here, and may go on from what was loaded: that stays in the journal. Its
    /// generation there, if the room was waiting.
    pub fn leave_staged(&self, name: &str) -> Option<u64> {
        let Staged { generation, .. } = self.staged().remove(name)?;
        debug!(room = name, "room that was to come here is another host's");
        Some(copied(generation))
    }

    /// The home rooms that wait for their claim.
    pub fn staged_homes(&self) -> Vec<u32> {
        self.staged().keys().filter_map(|name| self.homes.number(name)).collect()
    }

    /// Stops a room and packs its state; `None` if it is not open.
    ///
    /// # Errors
    /// Why it cannot be packed; it goes on.
    pub async fn pack(&self, name: &str) -> Result<Option<Packed>, String> {
        let Some(handle) = self.rooms().get(name).cloned() else { return Ok(None) };
        let (state, packed) = oneshot::channel();
        let (gone, verdict) = oneshot::channel();
        let room_command = RoomCommand::Leave(Departing { state: Some(state), gone: verdict });
        let ended = || format!("room {name} has ended");
        let pack = async {
            handle.room_commands.send(room_command).await.map_err(|_| ended())?;
            packed.await.map_err(|_| ended())?
        };
        let past = tokio::time::timeout(PACKING, pack).await;
        let past = past.unwrap_or_else(|_| Err(format!("room {name} was not packed within {PACKING:?}")))?;
        Ok(Some(Packed { past, gone }))
    }

    /// Another host has the room, whatever stands here: its players follow. What the journal holds of it
    /// stays there.
    pub fn drop_room(&self, name: &str) {
        let Some(handle) = self.rooms().get(name).cloned() else { return };
        let (gone, verdict) = oneshot::channel();
        let room_command = RoomCommand::Leave(Departing { state: None, gone: verdict });
        let verdict = Gone { room: name.to_owned(), node: None };
        self.tasks.spawn(async move {
            if handle.room_commands.send(room_command).await.is_ok()
                && let Err(Gone { room, .. }) = gone.send(verdict)
            {
                debug!(room, "room had ended already");
            }
        });
    }

    /// Where frames for a room of this host go.
    pub(in crate::game) fn uplink(&self, name: &str, user: u64) -> Option<Uplink> {
        let login = self.login_of(user);
        let handle = self.rooms().get(name).cloned()?;
        Some(Uplink { room: handle.name, mailbox: handle.mailbox, login })
    }

    /// The documents of all users whose home room this is. Blocks: reads the whole store.
    pub fn documents(&self, home: u32) -> Vec<Document> {
        let homes = &self.homes;
        let found = self.profiles.find(|user| homes.of(user) == home);
        found.into_iter().map(|(user, version, bytes)| Document { user, version, bytes }).collect()
    }

    /// Takes documents from another host, unless there are later ones. What to wait for with [`Self::kept`].
    pub fn keep_documents(&self, documents: Vec<Document>) -> u64 {
        let mut last = 0;
        for Document { user, version, bytes } in documents {
            match self.profiles.put(ProfileWrite { user, base: None, version, bytes }, 0) {
                Ok(ticket) => last = ticket,
                Err(conflict) => warn!(user, %conflict, "profile from another host not taken"),
            }
        }
        last
    }

    /// Waits until what has been journalled so far, `bytes` of it just now, and documents up to this ticket,
    /// are on disk; false if they are not after a while.
    pub async fn kept(&self, ticket: u64, bytes: usize) -> bool {
        let journal = &self.group.world().journal;
        let (position, mut synced) = (journal.position(), journal.synced());
        let kept = async {
            // The sender lives as long as the journal.
            let _ = synced.wait_for(|synced| *synced >= position).await;
            self.profiles.kept(ticket).await;
        };
        let patience = KEEPING + Duration::from_secs((bytes / KEPT_IN_A_SECOND) as u64);
        tokio::time::timeout(patience, kept).await.is_ok()
    }
}
