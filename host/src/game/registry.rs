//! Registry: all rooms of this node, who is where, and the seat every login is given.

mod keeping;
mod seating;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::clock::Clock;
use super::metrics::GameMetrics;
use super::profile::Profiles;
use super::room::{self, Birth, Opened, Order};
use super::sandbox::World;
use super::services::Services;
use crate::journal::Past;
use crate::link::{Outbox, SessionId, Up};
use crate::plugin::{Env, Fault, Input, Version};

/// Orders a room may have waiting; the deployer sends one and awaits it.
const ORDERS: usize = 4;

/// Longest room name (`wit/host.wit`).
const NAME_MAX: usize = 64;

/// Bounds of the game side; the configuration's keys of the same names say more.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Home rooms that users are spread over.
    pub home_rooms: u32,
    /// Rooms that may be open at a time.
    pub max_rooms: usize,
    /// Items a room's mailbox holds.
    pub room_mailbox: usize,
}

/// All rooms of this node.
pub struct Registry {
    pub(super) metrics: GameMetrics,
    pub(super) profiles: Profiles,
    pub(super) services: Services,
    pub(super) clock: Clock,
    world: World,
    bounds: Bounds,
    calls: [IntCounter; 7],
    rooms: Mutex<Rooms>,
    users: Mutex<HashMap<u64, Present>>,
    faults: mpsc::Sender<(Arc<Version>, Fault)>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Rooms {
    open: HashMap<Arc<str>, RoomHandle>,
    live: Option<Live>,
    stopped: bool,
}

/// What rooms run.
#[derive(Debug, Clone)]
pub struct Live {
    /// The version of new rooms.
    pub version: Arc<Version>,
    /// The version before it, while this one is on probation.
    pub fallback: Option<Arc<Version>>,
}

/// How to reach a room.
#[derive(Debug, Clone)]
pub(super) struct RoomHandle {
    pub(super) name: Arc<str>,
    pub(super) mailbox: mpsc::Sender<Up>,
    pub(super) orders: mpsc::Sender<Order>,
    opened: Opened,
}

/// A user's one session.
struct Present {
    session: SessionId,
    outbox: Arc<Outbox>,
    mailbox: Option<mpsc::Sender<Up>>,
}

/// Why a room is not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CreateError {
    #[error("room name {0:?}: 1 to {NAME_MAX} of a-z 0-9 / - _ . are allowed, not beginning with home/")]
    Name(String),
    #[error("no game logic is loaded")]
    NoPlugin,
    #[error("max_rooms limit of {0} reached")]
    Full(usize),
    #[error("the node is shutting down")]
    Stopped,
}

/// What the registry is made of.
pub struct Parts {
    /// What guests get.
    pub world: World,
    /// Limits.
    pub bounds: Bounds,
    /// Counters.
    pub metrics: GameMetrics,
    /// Documents.
    pub profiles: Profiles,
    /// Other services.
    pub services: Services,
    /// Where faults are reported.
    pub faults: mpsc::Sender<(Arc<Version>, Fault)>,
}

impl Registry {
    /// A registry without rooms.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { world, bounds, metrics, profiles, services, faults } = parts;
        let kinds = ["join", "rejoin", "leave", "message", "tick", "timer", "reply"];
        let calls = kinds.map(|kind| metrics.calls.with_label_values(&[kind]));
        Arc::new(Self {
            metrics,
            profiles,
            services,
            clock: Clock::start(),
            world,
            bounds,
            calls,
            rooms: Mutex::default(),
            users: Mutex::default(),
            faults,
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

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    /// A new room's world, with a seed that no other room shares.
    pub(super) fn new_env(&self) -> Env {
        Env::new(self.world.ids.next())
    }

    /// Counts a guest call.
    #[inline]
    pub(super) fn count(&self, input: &Input<'_>) {
        let at = match input {
            Input::Join { .. } => 0,
            Input::Rejoin { .. } => 1,
            Input::Leave { .. } => 2,
            Input::Message { .. } => 3,
            Input::Tick { .. } => 4,
            Input::Timer { .. } => 5,
            Input::Reply { .. } => 6,
        };
        self.calls[at].inc();
    }

    /// Tells the deployer that a version has failed. It may be on probation.
    pub(super) fn report(&self, version: &Arc<Version>, fault: &Fault) {
        // A full queue already holds more reports than a roll-back needs.
        if self.faults.try_send((Arc::clone(version), fault.clone())).is_err() {
            debug!(%version, "fault report dropped, others are waiting");
        }
    }

    /// What rooms run, if a plugin is loaded.
    pub fn live(&self) -> Option<Live> {
        self.rooms().live.clone()
    }

    /// Sets what new rooms run and returns the rooms that are open, so that none is missed in between.
    pub(super) fn set_live(&self, live: Live) -> Vec<RoomHandle> {
        let fsync_ms = live.version.manifest().limits.fsync_ms;
        self.world.journal.sync_every(Duration::from_millis(fsync_ms.into()));
        let mut rooms = self.rooms();
        rooms.live = Some(live);
        rooms.open.values().cloned().collect()
    }

    /// The rooms that are open.
    pub(super) fn handles(&self) -> Vec<RoomHandle> {
        self.rooms().open.values().cloned().collect()
    }

    /// How many rooms are open, and how many players are on this node.
    pub fn population(&self) -> (usize, usize) {
        (self.rooms().open.len(), self.users().len())
    }

    pub(super) fn is_home(&self, name: &str) -> bool {
        name.starts_with("home/")
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.rooms().open.contains_key(name)
    }

    pub(super) fn forget(&self, name: &Arc<str>) {
        self.rooms().open.remove(name);
    }

    /// The home room of a user: a stable spread of users over rooms.
    fn home_of(&self, user: u64) -> String {
        // The finalizer of MurmurHash3 (Appleby, public domain): neighbours end up in different rooms.
        let mut hash = user;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 33;
        format!("home/{}", hash % u64::from(self.bounds.home_rooms))
    }

    /// Opens a room for a plugin, unless it is there.
    pub(super) fn create(self: &Arc<Self>, name: &str, args: &[u8]) -> Result<(), CreateError> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"/-_.".contains(&c);
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(allowed) || self.is_home(name) {
            return Err(CreateError::Name(name.to_owned()));
        }
        self.open(name, args).map(|_| ())
    }

    fn open(self: &Arc<Self>, name: &str, args: &[u8]) -> Result<RoomHandle, CreateError> {
        self.open_from(name, args, None)
    }

    fn open_from(
        self: &Arc<Self>,
        name: &str,
        args: &[u8],
        past: Option<Past>,
    ) -> Result<RoomHandle, CreateError> {
        let mut rooms = self.rooms();
        if let Some(handle) = rooms.open.get(name) {
            return Ok(handle.clone());
        }
        if rooms.stopped {
            return Err(CreateError::Stopped);
        }
        if rooms.open.len() >= self.bounds.max_rooms {
            return Err(CreateError::Full(self.bounds.max_rooms));
        }
        let Live { version, fallback } = rooms.live.clone().ok_or(CreateError::NoPlugin)?;
        let (mailbox_sender, mailbox) = mpsc::channel(self.bounds.room_mailbox);
        let (orders_sender, orders) = mpsc::channel(ORDERS);
        let (opened, opening) = tokio::sync::watch::channel(None);
        let name: Arc<str> = name.into();
        let handle = RoomHandle {
            name: Arc::clone(&name),
            mailbox: mailbox_sender,
            orders: orders_sender,
            opened: opening,
        };
        rooms.open.insert(name, handle.clone());
        let birth = Birth {
            handle: handle.clone(),
            args: args.into(),
            version,
            fallback,
            past,
            mailbox,
            orders,
            opened,
        };
        self.tasks.spawn(room::run(Arc::clone(self), birth));
        Ok(handle)
    }

    /// Forgets a session that has ended.
    pub(super) fn left(&self, user: u64, session: SessionId) {
        let mut users = self.users();
        if users.get(&user).is_some_and(|present| present.session == session) {
            users.remove(&user);
        }
    }

    /// Faults of guests since the start, of all kinds.
    pub fn faults(&self) -> u64 {
        ["trap", "deadline", "memory", "stack", "limit"]
            .iter()
            .map(|kind| self.metrics.faults.with_label_values(&[kind]).get())
            .sum()
    }

    /// Writes what waits to be written, profiles and journal. Blocks. To be called after [`Self::stop`].
    pub fn close(&self) {
        self.profiles.close();
        self.world.journal.close();
    }

    /// Ends all rooms and waits for them.
    pub async fn stop(&self) {
        let handles: Vec<_> = {
            let mut rooms = self.rooms();
            rooms.stopped = true;
            rooms.open.values().cloned().collect()
        };
        for handle in handles {
            // A room that has ended takes no orders.
            let _ = handle.orders.send(Order::Stop).await;
        }
        self.tasks.close();
        self.tasks.wait().await;
        let (rooms, players) = self.population();
        debug!(rooms, players, "rooms ended");
    }
}
