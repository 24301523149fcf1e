//! Rooms: the open rooms of a host, how many of them there may be, and at whose request they were opened.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use super::{Bounds, CreateError, RoomHandle};
use crate::game::homes::Homes;

/// At whose request a room is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::game) struct Maker {
    /// The room whose guest asked for it.
    pub(in crate::game) room: Arc<str>,
    /// The player whose message was handled then, if it was one's.
    pub(in crate::game) user: Option<u64>,
}

/// Why a room is opened.
#[derive(Debug, Clone)]
pub(super) enum Why {
    /// Somebody is to sit in it: home rooms alone are opened so.
    Needed,
    /// A guest has asked for it.
    Asked(Maker),
    /// It was there before: in an earlier process, or at another host.
    Kept,
}

/// The open rooms.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    open: HashMap<Arc<str>, RoomHandle>,
    /// Those of them that are no home rooms.
    others: usize,
    by_room: HashMap<Arc<str>, usize>,
    by_user: HashMap<u64, usize>,
}

impl Deref for Rooms {
    type Target = HashMap<Arc<str>, RoomHandle>;

    fn deref(&self) -> &Self::Target {
        &self.open
    }
}

impl Rooms {
    /// Whether one more room of that name may be opened. Home rooms have places of their own, which no other room takes.
    pub(super) fn check(
        &self,
        name: &str,
        why: &Why,
        bounds: &Bounds,
        homes: usize,
    ) -> Result<(), CreateError> {
        let Bounds { max_rooms, rooms_per_room, rooms_per_player, .. } = *bounds;
        // In a cluster that has more home rooms than this host may open it never opens all of them.
        let reserved = if homes <= max_rooms { homes } else { max_rooms / 2 };
        let most = match why {
            // What is on disk or comes from another host is not refused for what is only reserved.
            _ if Homes::is_home(name) => max_rooms + self.others,
            Why::Kept | Why::Needed => max_rooms + self.homes(),
            Why::Asked(_) => max_rooms - reserved + self.homes(),
        };
        if self.open.len() >= most {
            return Err(CreateError::Full { max_rooms, reserved });
        }
        let Why::Asked(Maker { room, user }) = why else { return Ok(()) };
        if self.by_room.get(room).is_some_and(|count| *count >= rooms_per_room) {
            return Err(CreateError::PerRoom(rooms_per_room));
        }
        match user {
            Some(user) if self.by_user.get(user).is_some_and(|count| *count >= rooms_per_player) => {
                Err(CreateError::PerPlayer { user: *user, limit: rooms_per_player })
            }
            _ => Ok(()),
        }
    }

    fn homes(&self) -> usize {
        self.open.len() - self.others
    }

    pub(super) fn insert(&mut self, name: Arc<str>, handle: RoomHandle) {
        if let Some(Maker { room, user }) = &handle.maker {
            *self.by_room.entry(Arc::clone(room)).or_default() += 1;
            if let Some(user) = user {
                *self.by_user.entry(*user).or_default() += 1;
            }
        }
        self.others += usize::from(!Homes::is_home(&name));
        self.open.insert(name, handle);
    }

    pub(super) fn remove(&mut self, name: &str) {
        let Some(handle) = self.open.remove(name) else { return };
        self.others -= usize::from(!Homes::is_home(name));
        if let Some(Maker { room, user }) = handle.maker {
            take_one(&mut self.by_room, &room);
            if let Some(user) = user {
                take_one(&mut self.by_user, &user);
            }
        }
    }
}

/// One room fewer; who has none left is forgotten.
fn take_one<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        max_rooms: 10,
        room_mailbox: 1,
        rooms_per_room: 4,
        rooms_per_player: 2,
        player_moves_per_s: 9,
    };
    const HOMES: usize = 3;

    fn open(rooms: &mut Rooms, name: &str, why: Why) -> Result<(), CreateError> {
        rooms.check(name, &why, &BOUNDS, HOMES)?;
        let maker = if let Why::Asked(maker) = why { Some(maker) } else { None };
        let name: Arc<str> = name.into();
        let (mailbox, room_commands) = (mpsc::channel(1).0, mpsc::channel(1).0);
        let opened = watch::channel(None).1;
        let handle = RoomHandle { name: Arc::clone(&name), mailbox, room_commands, opened, maker };
        rooms.insert(name, handle);
        Ok(())
    }

    fn asked(room: &str, user: u64) -> Why {
        Why::Asked(Maker { room: room.into(), user: (user > 0).then_some(user) })
    }

    #[test]
    fn home_rooms_keep_their_places() {
        let mut rooms = Rooms::default();
        for number in 0..7 {
            open(&mut rooms, &format!("made/{number}"), asked(&format!("by/{number}"), 0)).unwrap();
        }
        let full = CreateError::Full { max_rooms: 10, reserved: HOMES };
        assert_eq!(open(&mut rooms, "made/7", asked("by/7", 0)), Err(full));
        // What an earlier process left may be more.
        for number in 7..10 {
            open(&mut rooms, &format!("kept/{number}"), Why::Kept).unwrap();
        }
        assert!(open(&mut rooms, "kept/10", Why::Kept).is_err());
        for home in 0..HOMES {
            open(&mut rooms, &format!("home/{home}"), Why::Needed).unwrap();
        }
        rooms.remove("kept/7");
        assert!(open(&mut rooms, "made/7", asked("by/7", 0)).is_err());
    }

    #[test]
    fn rooms_and_players_have_their_shares_until_what_they_opened_closes() {
        let mut rooms = Rooms::default();
        open(&mut rooms, "a", asked("home/0", 1)).unwrap();
        open(&mut rooms, "b", asked("home/1", 1)).unwrap();
        let refused = CreateError::PerPlayer { user: 1, limit: 2 };
        assert_eq!(open(&mut rooms, "c", asked("home/0", 1)), Err(refused));
        for (name, user) in [("c", 0), ("d", 2), ("e", 0)] {
            open(&mut rooms, name, asked("home/0", user)).unwrap();
        }
        assert_eq!(open(&mut rooms, "f", asked("home/0", 3)), Err(CreateError::PerRoom(4)));
        rooms.remove("a");
        open(&mut rooms, "f", asked("home/0", 1)).unwrap();
        for name in ["b", "c", "d", "e", "f"] {
            rooms.remove(name);
        }
        assert!(rooms.by_room.is_empty() && rooms.by_user.is_empty() && rooms.others == 0, "{rooms:?}");
    }
}
