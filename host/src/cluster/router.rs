//! Router: brings an agent's sessions to the hosts that have their rooms.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::metrics::ClusterMetrics;
use super::placement::Placement;
use super::trunk::Trunk;
use crate::game::Homes;
use crate::game::registry::AT;
use crate::link::{Ask, Attach, AttachError, Link, Player, SessionId, Uplink, UserId, Wish};
use crate::peer::Dialer;

/// How long a room that nobody has is waited for: longer than it takes to notice that a host is dead.
const SEARCH: Duration = Duration::from_secs(45);

/// Between two looks at a placement that has not changed.
const AGAIN: Duration = Duration::from_millis(100);

/// The way from an agent to all hosts.
pub struct Router {
    node: Arc<str>,
    homes: u32,
    /// To the rooms of this process, if it has any.
    local: Option<Link>,
    placement: Placement,
    dialer: Dialer,
    trunks: Mutex<HashMap<String, Arc<Trunk>>>,
    metrics: ClusterMetrics,
    tasks: TaskTracker,
}

/// What a router is made of.
pub struct RouterParts {
    /// This node.
    pub node: Arc<str>,
    /// How many home rooms the cluster has.
    pub homes: u32,
    /// To the rooms of this process, if it has any.
    pub local: Option<Link>,
    /// Who has what.
    pub placement: Placement,
    /// How other nodes are reached.
    pub dialer: Dialer,
    /// Counters.
    pub metrics: ClusterMetrics,
}

impl Router {
    /// A router without links; they are opened when they are needed.
    pub fn new(parts: RouterParts) -> Arc<Self> {
        let RouterParts { node, homes, local, placement, dialer, metrics } = parts;
        let (trunks, tasks) = (Mutex::default(), TaskTracker::new());
        Arc::new(Self { node, homes, local, placement, dialer, trunks, metrics, tasks })
    }

    /// Answers the agent until its end of the link is gone.
    pub async fn run(self: Arc<Self>, mut asks: mpsc::Receiver<Ask>) {
        let mut placement = self.placement.clone();
        loop {
            let ask = tokio::select! {
                ask = asks.recv() => ask,
                () = placement.changed() => {
                    self.prune(&placement);
                    continue;
                }
            };
            let Some(ask) = ask else { return };
            let router = Arc::clone(&self);
            match ask {
                Ask::Attach(Attach { player, wish, seat }) => {
                    self.tasks.spawn(async move {
                        let _ = seat.send(router.attach(player, wish).await);
                    });
                }
                Ask::Left { user, session } => {
                    self.tasks.spawn(async move { router.left(user, session).await });
                }
            }
        }
    }

    fn trunks(&self) -> MutexGuard<'_, HashMap<String, Arc<Trunk>>> {
        // The map is whole at every step.
        self.trunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends links to hosts that are gone. One that is frozen would not end them itself.
    fn prune(&self, placement: &Placement) {
        if placement.is_fresh() {
            for (node, trunk) in &*self.trunks() {
                if placement.node(node).is_none() {
                    trunk.close();
                }
            }
        }
    }

    async fn left(&self, user: UserId, session: SessionId) {
        let knowing: Vec<_> = self.trunks().values().filter(|trunk| trunk.knows(session)).cloned().collect();
        for trunk in knowing {
            trunk.left(user, session).await;
        }
        if let Some(local) = &self.local {
            local.left(user, session).await;
        }
    }

    /// Seats a player where its room is, however long it takes to find out, within [`SEARCH`].
    async fn attach(&self, player: Player, mut wish: Wish) -> Result<Uplink, AttachError> {
        let home = u32::try_from(crate::actor::spread(player.user.0, u64::from(self.homes))).unwrap_or(0);
        let deadline = Instant::now() + SEARCH;
        let mut placement = self.placement.clone();
        loop {
            let node = self.find(&wish, home);
            let outcome = match &node {
                Some(node) if **node == *self.node => self.here(player.clone(), wish.clone()).await,
                Some(node) => self.there(node, player.clone(), wish.clone()).await,
                None => Err(AttachError::Elsewhere { room: Homes::name(home) }),
            };
            let error = match outcome {
                Err(
                    error @ (AttachError::Elsewhere { .. }
                    | AttachError::Unreachable { .. }
                    | AttachError::Shutdown),
                ) => error,
                decided => return decided,
            };
            if Instant::now() >= deadline || player.outbox.is_shut() {
                return Err(error);
            }
            debug!(user = %player.user, node, %error, "looking again");
            // The node that was named is not the one; a room that is not a home room is gone with it.
            wish.node = None;
            if wish.room.as_ref().is_some_and(|room| !Homes::is_home(room)) {
                wish.room = None;
                wish.again = false;
                continue;
            }
            tokio::select! {
                () = placement.changed() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// The node that has the room.
    fn find(&self, wish: &Wish, home: u32) -> Option<String> {
        if let Some(node) = &wish.node {
            return Some(node.clone());
        }
        match &wish.room {
            Some(room) if let Some(number) = room.strip_prefix("home/") => {
                self.placement.owner(number.parse().ok()?)
            }
            Some(room) => {
                Some(room.split_once(AT).map_or_else(|| self.node.to_string(), |(_, node)| node.to_owned()))
            }
            None => self.placement.owner(home),
        }
    }

    async fn here(&self, player: Player, mut wish: Wish) -> Result<Uplink, AttachError> {
        let Some(local) = &self.local else {
            return Err(AttachError::Unreachable { node: self.node.to_string() });
        };
        if let Some(room) = &mut wish.room
            && let Some((name, _)) = room.split_once(AT)
        {
            *room = name.to_owned();
        }
        local.attach(player, wish).await
    }

    async fn there(&self, node: &str, player: Player, wish: Wish) -> Result<Uplink, AttachError> {
        let unreachable = || AttachError::Unreachable { node: node.to_owned() };
        let known = self.trunks().get(node).filter(|trunk| trunk.is_open()).cloned();
        let trunk = match known {
            Some(trunk) => trunk,
            None => {
                let addr = self.placement.node(node).ok_or_else(unreachable)?.grpc;
                let channel = self.dialer.open(&addr).map_err(|_| unreachable())?;
                let mut trunks = self.trunks();
                trunks.retain(|_, trunk| trunk.is_open());
                let open = || Trunk::open(node.into(), &self.node, channel, self.metrics.clone());
                Arc::clone(trunks.entry(node.to_owned()).or_insert_with(open))
            }
        };
        trunk.attach(player, wish).await
    }
}
