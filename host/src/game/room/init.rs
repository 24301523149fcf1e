//! Room init: a room opens, or comes back from what an earlier process left of it.

use std::sync::Arc;

use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, warn};

use super::shutdown::evict;
use super::{Room, RoomCommand};
use crate::actor::{ActorCommand, IN_FLIGHT_MAX, Live, Reply, RestoreError, Sandbox};
use crate::blocking;
use crate::game::homes::Homes;
use crate::game::registry::Registry;
use crate::journal::SavedState;
use crate::link::{LeaveReason, Up};
use crate::plugin::{Input, LoadError, Version};
use crate::telemetry::log_limit::limited;

/// Whether the room has opened; `None` while it tries.
pub(in crate::game) type OpeningState = watch::Receiver<Option<Result<(), String>>>;

/// What a room is born with.
pub(in crate::game) struct RoomInit {
    /// Its name. Not its mailbox: a room that ends waits until nobody can send to it any more.
    pub(in crate::game) name: Arc<str>,
    pub(in crate::game) args: Arc<[u8]>,
    /// What it is to run.
    pub(in crate::game) live: Live,
    /// What an earlier process left of the room.
    pub(in crate::game) past: Option<SavedState>,
    pub(in crate::game) mailbox: mpsc::Receiver<Up>,
    pub(in crate::game) commands: mpsc::Receiver<ActorCommand>,
    pub(in crate::game) room_commands: mpsc::Receiver<RoomCommand>,
    /// It comes from another host, and begins when this says so.
    pub(in crate::game) begin: Option<oneshot::Receiver<bool>>,
    pub(in crate::game) opened: watch::Sender<Option<Result<(), String>>>,
}

/// Opens the room and runs it to its end.
pub(in crate::game) async fn run(registry: Arc<Registry>, init: RoomInit) {
    let RoomInit { name, args, live, past, mut mailbox, commands, room_commands, begin, opened } = init;
    let Live { version, fallback, .. } = live;
    if let (Some(past), Some(begin)) = (&past, begin) {
        let Some(room) = receive(registry, &name, &version, past, begin, &opened).await else { return };
        let (room, answers) = room;
        room.run(mailbox, commands, answers, room_commands).await;
        return;
    }
    let group = Arc::clone(registry.group());
    let env = group.new_env();
    let open = |version: &Arc<Version>, fallback| {
        let (world, room, args) = (group.world().clone(), Arc::clone(&name), Arc::clone(&args));
        Sandbox::open(world, version, fallback, room, args, env.clone())
    };
    let restored = match past.map(|past| restore(&registry, &version, &name, &past)) {
        Some(Restored::Left(why)) => {
            opened.send_replace(Some(Err(why)));
            registry.forget(&name);
            mailbox.close();
            evict(&registry, &mut mailbox, &name).await;
            return;
        }
        Some(Restored::Back(sandbox)) => Some(*sandbox),
        Some(Restored::SetAside) | None => None,
    };
    let back = restored.is_some();
    let sandbox =
        blocking::in_place(|| match restored.map_or_else(|| open(&version, fallback.clone()), Ok) {
            Err(LoadError::Fault(fault)) if let Some(fallback) = &fallback => {
                group.report(&version, &fault);
                open(fallback, None)
            }
            opened => opened,
        });
    match sandbox {
        Ok(sandbox) => {
            debug!(room = %name, version = %sandbox.version(), "room open");
            let (replies, answers) = mpsc::channel(IN_FLIGHT_MAX);
            let mut room = Room::new(registry, name, sandbox, replies);
            if back {
                room.come_back();
            }
            // Nobody is seated before the store has been told what the room has put.
            opened.send_replace(Some(Ok(())));
            room.run(mailbox, commands, answers, room_commands).await;
        }
        Err(error) => {
            limited!(warn, group.plugin(), &name, room = %name, version = %version, %error, "room cannot open");
            opened.send_replace(Some(Err(error.to_string())));
            registry.forget(&name);
            mailbox.close();
            evict(&registry, &mut mailbox, &name).await;
        }
    }
}

/// Loads a room that another host hands over, and waits until it is this host's.
async fn receive(
    registry: Arc<Registry>,
    name: &Arc<str>,
    version: &Arc<Version>,
    past: &SavedState,
    mut begin: oneshot::Receiver<bool>,
    opened: &watch::Sender<Option<Result<(), String>>>,
) -> Option<(Room, mpsc::Receiver<Reply>)> {
    let world = registry.group().world().clone();
    let journal = Arc::clone(&world.journal);
    journal.raise(name, past.generation);
    let restore = || {
        let mut sandbox = Sandbox::restore(world, version, Arc::clone(name), past)?;
        sandbox.keep();
        Ok::<_, RestoreError>(sandbox)
    };
    let sandbox = match blocking::in_place(restore) {
        Ok(sandbox) => sandbox,
        Err(why) => {
            warn!(room = %name, %version, %why, "room of another host cannot be loaded");
            registry.forget(name);
            journal.forget(name);
            opened.send_replace(Some(Err(why.to_string())));
            return None;
        }
    };
    // The host that hands the room over forgets it then.
    let kept = registry.kept(0, past.base.len()).await;
    // It is this host's meanwhile if the other one has ended, and this is the latest state that is left.
    let begun = match begin.try_recv() {
        Err(TryRecvError::Empty) => None,
        told => Some(told.ok()),
    };
    if !kept && begun != Some(Some(true)) {
        registry.forget(name);
        journal.forget(name);
        opened.send_replace(Some(Err("the disk does not take it in time".into())));
        return None;
    }
    opened.send_replace(Some(Ok(())));
    let begun = match begun {
        Some(begun) => begun,
        None => begin.await.ok(),
    };
    match begun {
        Some(true) => {}
        Some(false) => {
            registry.forget(name);
            journal.forget(name);
            return None;
        }
        // This node ends, and it is not known whose the room is: the journal keeps it.
        None => {
            registry.forget(name);
            return None;
        }
    }
    debug!(room = %name, %version, "room has come from another host");
    let (replies, answers) = mpsc::channel(IN_FLIGHT_MAX);
    let mut room = Room::new(registry, Arc::clone(name), sandbox, replies);
    room.come_back();
    Some((room, answers))
}

/// What became of the state that an earlier process left.
enum Restored {
    Back(Box<Sandbox>),
    /// It is in a file, and the room begins anew.
    SetAside,
    /// It stays where it is, and the room does not open: why.
    Left(String),
}

/// Brings back what an earlier process left. What cannot be brought back is set aside. A home room of a cluster is left
/// instead if this version does not take its state: another host may have a version that does, or this one will.
fn restore(registry: &Registry, version: &Arc<Version>, name: &Arc<str>, past: &SavedState) -> Restored {
    let world = registry.group().world().clone();
    let journal = Arc::clone(&world.journal);
    match blocking::in_place(|| Sandbox::restore(world, version, Arc::clone(name), past)) {
        Ok(sandbox) => Restored::Back(Box::new(sandbox)),
        Err(RestoreError::Load(why)) if registry.homes.are_clustered() && Homes::is_home(name) => {
            limited!(error, registry.group().plugin(), name, room = %name, %version, %why,
                "home room stays closed: the version that is live here does not read its state; deploy one that does");
            registry.metrics.unreadable.inc();
            Restored::Left(why.to_string())
        }
        Err(why) => {
            match journal.set_aside(name, past) {
                Ok(file) => {
                    error!(room = %name, %version, %why, file = %file.display(), "room not restored, set aside")
                }
                Err(error) => error!(room = %name, %version, %why, %error, "room not restored and lost"),
            }
            journal.forget(name);
            Restored::SetAside
        }
    }
}

impl Room {
    /// A room that has come back: what it waited for will not come. Nor will its players, unless agents on other nodes
    /// have kept their connections; they are given time then.
    pub(super) fn come_back(&mut self) {
        let now_ms = self.now();
        self.take_documents();
        let members: Vec<u64> = self.actor.sandbox.env().members().iter().copied().collect();
        let calls: Vec<u64> = self.actor.sandbox.env().calls().iter().copied().collect();
        let reason =
            if self.registry.homes.are_clustered() { LeaveReason::LinkLost } else { LeaveReason::Lost };
        for user in members {
            self.gone(now_ms, user, reason);
        }
        for token in calls {
            let (status, text) = (tonic::Code::Cancelled as u32, "the room was restarted");
            self.deliver(now_ms, &Input::Reply { token, status, body: &[], text });
            self.settle(now_ms);
        }
        self.checkpoint();
        self.write_out();
    }

    /// The room's state becomes its base.
    pub(super) fn checkpoint(&mut self) {
        let kept = self.actor.checkpoint();
        self.check(kept);
    }

    /// The node shuts down: what is worth keeping is kept.
    pub(super) fn last_words(&mut self) {
        let kept = self.actor.keep_at_the_end();
        self.check(kept);
        self.write_out();
    }
}
