//! Birth: a room opens, or comes back from what an earlier process left of it.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::{debug, error, warn};

use super::Room;
use super::closing::evict;
use crate::actor::{IN_FLIGHT_MAX, Live, Order, Sandbox};
use crate::game::registry::{Registry, RoomHandle};
use crate::journal::Past;
use crate::link::{LeaveReason, Up};
use crate::plugin::{Input, LoadError, Version};

/// Whether the room has opened; `None` while it tries.
pub(in crate::game) type Opened = watch::Receiver<Option<Result<(), String>>>;

/// What a room is born with.
pub(in crate::game) struct Birth {
    pub(in crate::game) handle: RoomHandle,
    pub(in crate::game) args: Arc<[u8]>,
    /// What it is to run.
    pub(in crate::game) live: Live,
    /// What an earlier process left of the room.
    pub(in crate::game) past: Option<Past>,
    pub(in crate::game) mailbox: mpsc::Receiver<Up>,
    pub(in crate::game) orders: mpsc::Receiver<Order>,
    pub(in crate::game) opened: watch::Sender<Option<Result<(), String>>>,
}

/// Opens the room and runs it to its end.
pub(in crate::game) async fn run(registry: Arc<Registry>, birth: Birth) {
    let Birth { handle, args, live: Live { version, fallback }, past, mut mailbox, orders, opened } = birth;
    let crew = Arc::clone(registry.crew());
    let env = crew.new_env();
    let open = |version: &Arc<Version>, fallback| {
        let (world, room, args) = (crew.world().clone(), Arc::clone(&handle.name), Arc::clone(&args));
        Sandbox::open(world, version, fallback, room, args, env.clone())
    };
    let restored = past.and_then(|past| restore(&registry, &version, &handle.name, &past));
    let back = restored.is_some();
    let sandbox =
        tokio::task::block_in_place(|| match restored.map_or_else(|| open(&version, fallback.clone()), Ok) {
            Err(LoadError::Fault(fault)) if let Some(fallback) = &fallback => {
                crew.report(&version, &fault);
                open(fallback, None)
            }
            opened => opened,
        });
    match sandbox {
        Ok(sandbox) => {
            debug!(room = %handle.name, version = %sandbox.version(), "room open");
            let (replies, answers) = mpsc::channel(IN_FLIGHT_MAX);
            let mut room = Room::new(registry, handle.name, sandbox, replies);
            if back {
                room.come_back();
            }
            // Nobody is seated before the store has been told what the room has put.
            opened.send_replace(Some(Ok(())));
            room.run(mailbox, orders, answers).await;
        }
        Err(error) => {
            warn!(room = %handle.name, version = %version, %error, "room cannot open");
            opened.send_replace(Some(Err(error.to_string())));
            registry.forget(&handle.name);
            mailbox.close();
            evict(&registry, &mut mailbox, &handle.name).await;
        }
    }
}

/// Brings back what an earlier process left. What cannot be brought back is set aside, and the room begins anew.
fn restore(registry: &Registry, version: &Arc<Version>, name: &Arc<str>, past: &Past) -> Option<Sandbox> {
    let world = registry.crew().world().clone();
    let journal = Arc::clone(&world.journal);
    match tokio::task::block_in_place(|| Sandbox::restore(world, version, Arc::clone(name), past)) {
        Ok(sandbox) => Some(sandbox),
        Err(why) => {
            match journal.set_aside(name, past) {
                Ok(file) => {
                    error!(room = %name, %version, %why, file = %file.display(), "room not restored, set aside")
                }
                Err(error) => error!(room = %name, %version, %why, %error, "room not restored and lost"),
            }
            journal.forget(name);
            None
        }
    }
}

impl Room {
    /// A room that has come back: its players are not here any more, and what it waited for will not come.
    pub(super) fn come_back(&mut self) {
        let now_ms = self.now();
        self.take_documents();
        let members: Vec<u64> = self.actor.sandbox.env().members().iter().copied().collect();
        let calls: Vec<u64> = self.actor.sandbox.env().calls().iter().copied().collect();
        for user in members {
            self.deliver(now_ms, &Input::Leave { user, reason: LeaveReason::Lost as u32 });
            self.settle(now_ms);
        }
        for token in calls {
            let (status, text) = (tonic::Code::Cancelled as u32, "the node was restarted");
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
        self.checkpoint();
        self.write_out();
    }
}
