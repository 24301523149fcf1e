//! Registry: all rooms of this node, who is where, and the seat every login is given.

mod admission;
mod checkpoints;
mod entry_faults;
mod handover;
mod move_limit;
mod rooms;
mod transfers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::debug;

use self::entry_faults::EntryFaults;
use self::handover::Staged;
pub use self::handover::{Document, Packed, following};
use self::move_limit::Moves;
pub(super) use self::rooms::Maker;
use self::rooms::{Rooms, Why};
pub use self::transfers::{HOME, MoveError, Moved};
use super::homes::Homes;
use super::metrics::GameMetrics;
use super::profile::Profiles;
use super::room::{self, OpeningState, RoomCommand, RoomInit};
use crate::actor::{ActorGroup, COMMANDS, RegisterError, Services};
use crate::journal::SavedState;
use crate::link::{Outbox, Push, SessionId, Up};

/// Between the name of a room and the node that has it: `match-7@game-1`.
pub const AT: char = '@';

/// Longest room name (`wit/host.wit`).
const NAME_MAX: usize = 64;

/// Bounds of the game side; the configuration's keys of the same names say more.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Rooms that may be open at a time.
    pub max_rooms: usize,
    /// Rooms that may be open at the request of one room.
    pub rooms_per_room: usize,
    /// Rooms that may be open at the request of one player.
    pub rooms_per_player: usize,
    /// Items a room's mailbox holds.
    pub room_mailbox: usize,
    /// How often rooms may move a player within a second.
    pub player_moves_per_s: u32,
}

/// All rooms of this node.
pub struct Registry {
    pub(super) metrics: GameMetrics,
    pub(super) profiles: Profiles,
    pub(super) services: Services,
    pub(super) homes: Arc<Homes>,
    pub(super) entry_faults: EntryFaults,
    group: Arc<ActorGroup>,
    bounds: Bounds,
    rooms: Mutex<Rooms>,
    users: Mutex<HashMap<u64, Present>>,
    /// Sessions whose rooms are to let them go, and who waits for that.
    leaving: Mutex<HashMap<SessionId, oneshot::Sender<()>>>,
    /// Rooms of other hosts that are loaded and wait for their claims.
    staged: Mutex<HashMap<String, Staged>>,
    moves: Moves,
    tasks: TaskTracker,
}

/// How to reach a room.
#[derive(Debug, Clone)]
pub(super) struct RoomHandle {
    pub(super) name: Arc<str>,
    pub(super) mailbox: mpsc::Sender<Up>,
    room_commands: mpsc::Sender<RoomCommand>,
    opened: OpeningState,
    maker: Option<Maker>,
}

/// A user's one session.
struct Present {
    session: SessionId,
    /// The number of its login.
    login: u64,
    outbox: Arc<Outbox>,
    mailbox: Option<mpsc::Sender<Up>>,
    /// The node that it has been sent to, if it sits elsewhere.
    away: Option<String>,
}

/// Why a room is not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CreateError {
    #[error("room name {0:?}: 1 to {NAME_MAX} of a-z 0-9 / - _ . are allowed, not beginning with home/")]
    Name(String),
    #[error("max_rooms limit of {max_rooms} reached, {reserved} of which are for home rooms")]
    Full { max_rooms: usize, reserved: usize },
    #[error("rooms_per_room limit of {0} reached: so many rooms are open at the request of this one")]
    PerRoom(usize),
    #[error(
        "rooms_per_player limit of {limit} reached: so many rooms are open at the request of user {user}"
    )]
    PerPlayer { user: u64, limit: usize },
    #[error(transparent)]
    Enlist(#[from] RegisterError),
}

impl CreateError {
    /// What the metric counts it under.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Name(_) => "name",
            Self::Full { .. } => "max_rooms",
            Self::PerRoom(_) => "rooms_per_room",
            Self::PerPlayer { .. } => "rooms_per_player",
            Self::Enlist(_) => "plugin",
        }
    }
}

/// What the registry is made of.
pub struct Parts {
    /// The game's plugin.
    pub group: Arc<ActorGroup>,
    /// Limits.
    pub bounds: Bounds,
    /// Counters.
    pub metrics: GameMetrics,
    /// Documents.
    pub profiles: Profiles,
    /// Other services.
    pub services: Services,
    /// The home rooms of this host.
    pub homes: Arc<Homes>,
}

impl Registry {
    /// A registry without rooms.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { group, bounds, metrics, profiles, services, homes } = parts;
        Arc::new(Self {
            metrics,
            profiles,
            services,
            homes,
            entry_faults: EntryFaults::default(),
            group,
            bounds,
            rooms: Mutex::default(),
            users: Mutex::default(),
            leaving: Mutex::default(),
            staged: Mutex::default(),
            moves: Moves::new(bounds.player_moves_per_s),
            tasks: TaskTracker::new(),
        })
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        // The maps are whole at every step, so a panic elsewhere does not spoil them.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn users(&self) -> MutexGuard<'_, HashMap<u64, Present>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaving(&self) -> MutexGuard<'_, HashMap<SessionId, oneshot::Sender<()>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn staged(&self) -> MutexGuard<'_, HashMap<String, Staged>> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The game's plugin.
    pub fn group(&self) -> &Arc<ActorGroup> {
        &self.group
    }

    /// How many rooms are open, and how many players are on this node.
    pub fn population(&self) -> (usize, usize) {
        (self.rooms().len(), self.users().len())
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.rooms().contains_key(name)
    }

    pub(super) fn forget(&self, name: &Arc<str>) {
        self.rooms().remove(name);
        self.group.remove(name);
    }

    /// Sends a frame to a user's client, if this host keeps track of the user; whether it is queued. `payload` is at most
    /// [`hotseat_packet::MAX_DOWN_PAYLOAD`] bytes.
    pub fn push(&self, user: u64, opcode: u16, payload: &[u8]) -> bool {
        let outbox = self.users().get(&user).map(|present| Arc::clone(&present.outbox));
        outbox.is_some_and(|outbox| outbox.push(opcode, payload) == Push::Queued)
    }

    /// The home rooms, as this host sees them.
    pub fn homes(&self) -> &Arc<Homes> {
        &self.homes
    }

    /// Whether a player may be sent to this room: it is here, or another host may have it.
    pub(super) fn reaches(&self, name: &str) -> bool {
        let elsewhere =
            self.homes.are_clustered() && (name.contains(AT) || self.homes.number(name).is_some());
        elsewhere || self.exists(name)
    }

    /// Whether `room` may send a player on now; counts it.
    pub(super) fn may_move(&self, user: u64, room: &str) -> bool {
        let may = self.moves.count(user, room, Instant::now());
        if !may {
            self.metrics.moves_refused.inc();
        }
        may
    }

    /// Opens a room for a plugin, unless it is there.
    pub(super) fn create(self: &Arc<Self>, name: &str, args: &[u8], maker: Maker) -> Result<(), CreateError> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"/-_.".contains(&c);
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(allowed) || Homes::is_home(name) {
            return Err(CreateError::Name(name.to_owned()));
        }
        self.open_from(name, args, Why::Asked(maker), None, None).map(|_| ())
    }

    fn open_from(
        self: &Arc<Self>,
        name: &str,
        args: &[u8],
        why: Why,
        past: Option<SavedState>,
        begin: Option<oneshot::Receiver<bool>>,
    ) -> Result<RoomHandle, CreateError> {
        let mut rooms = self.rooms();
        if let Some(handle) = rooms.get(name) {
            return Ok(handle.clone());
        }
        let homes = usize::try_from(self.homes.count()).unwrap_or(usize::MAX);
        rooms.check(name, &why, &self.bounds, homes)?;
        let name: Arc<str> = name.into();
        if let Some(home) = self.homes.number(&name) {
            self.group.world().journal.raise(&name, self.homes.generation(home));
        }
        let (orders_sender, commands) = mpsc::channel(COMMANDS);
        let live = self.group.register(&name, orders_sender)?;
        let (mailbox_sender, mailbox) = mpsc::channel(self.bounds.room_mailbox);
        let (opened, opening) = tokio::sync::watch::channel(None);
        let (errands_sender, room_commands) = mpsc::channel(1);
        let handle = RoomHandle {
            name: Arc::clone(&name),
            mailbox: mailbox_sender,
            room_commands: errands_sender,
            opened: opening,
            maker: if let Why::Asked(maker) = why { Some(maker) } else { None },
        };
        rooms.insert(Arc::clone(&name), handle.clone());
        let args = args.into();
        let init = RoomInit { name, args, live, past, mailbox, commands, room_commands, begin, opened };
        self.tasks.spawn(room::run(Arc::clone(self), init));
        Ok(handle)
    }

    /// Forgets a session that has ended, once the store has been given what its room has put last.
    pub(super) fn left(&self, user: u64, session: SessionId) {
        if let Some(waiting) = self.leaving().remove(&session) {
            // Who waits may have given up.
            let _ = waiting.send(());
        }
        let mut users = self.users();
        if users.get(&user).is_some_and(|present| present.session == session) {
            users.remove(&user);
        }
    }

    /// Whether this is where the user plays at present, as far as this host knows.
    pub(super) fn plays_with(&self, user: u64, session: SessionId) -> bool {
        self.users().get(&user).is_some_and(|present| present.session == session)
    }

    /// Forgets a session that has ended and has no seat here. Where it has one, its room says when it has let go.
    pub(super) fn ended(&self, user: u64, session: SessionId) {
        let mut users = self.users();
        if users.get(&user).is_some_and(|present| present.session == session && present.mailbox.is_none()) {
            users.remove(&user);
        }
    }

    /// Writes the profiles that wait to be written. Blocks. To be called after [`Self::stop`], when
    /// the journal has been closed.
    pub fn close(&self) {
        self.profiles.close();
    }

    /// Ends all rooms and waits for them.
    pub async fn stop(&self) {
        self.group.stop().await;
        // Rooms that wait for their claims stay in the journal: whose they are is for the next start to find out.
        self.staged().clear();
        self.tasks.close();
        self.tasks.wait().await;
        let (rooms, players) = self.population();
        debug!(rooms, players, "rooms ended");
    }
}
