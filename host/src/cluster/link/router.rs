//! Router: brings an agent's sessions to the hosts that have their rooms.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::cluster::link::client::{LinkClient, RefusalLog, local_name};
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::node::NodeInfo;
use crate::cluster::placement::Placement;
use crate::game::Homes;
use crate::link::{Attach, AttachError, Link, LinkRequest, Player, SeatRequest, SessionId, Uplink, UserId};
use crate::peer::Dialer;

/// How long a room that nobody has is waited for: longer than it takes to notice that a host is dead.
const SEARCH: Duration = Duration::from_secs(45);

/// Between two looks at a placement that has not changed.
const AGAIN: Duration = Duration::from_millis(100);

/// How long a session that had a seat waits for a room that does not open: a host that takes over from another has much
/// to do at once. Who logs in is told right away.
const REOPENING: Duration = Duration::from_secs(10);

/// Between two attempts to get into such a room.
const REOPENED: Duration = Duration::from_millis(500);

/// The way from an agent to all hosts.
pub struct Router {
    node: Arc<str>,
    homes: Arc<Homes>,
    /// To the rooms of this process, if it has any.
    local: Option<Link>,
    placement: Placement,
    dialer: Dialer,
    /// By node, with the process that each was opened to.
    link_clients: Mutex<HashMap<String, (Arc<LinkClient>, String)>>,
    /// Sessions that do not sit at the host of their users' home rooms.
    away: Mutex<HashMap<SessionId, Away>>,
    /// Hosts that take no links from this node, and when that was told last.
    refusals: Arc<RefusalLog>,
    metrics: ClusterMetrics,
    tasks: TaskTracker,
}

/// A session that sits elsewhere than at the host of its user's home room.
struct Away {
    player: Player,
    home: u32,
    login: u64,
    /// The host that keeps track of the user.
    keeper: Option<String>,
}

/// What a router is made of.
pub struct RouterParts {
    /// This node.
    pub node: Arc<str>,
    /// The cluster's home rooms.
    pub homes: Arc<Homes>,
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
        let (link_clients, away, tasks) = (Mutex::default(), Mutex::default(), TaskTracker::new());
        let refusals = Arc::default();
        Arc::new(Self { node, homes, local, placement, dialer, link_clients, away, refusals, metrics, tasks })
    }

    /// Answers the agent until its end of the link is gone.
    pub async fn run(self: Arc<Self>, mut asks: mpsc::Receiver<LinkRequest>) {
        let mut placement = self.placement.clone();
        loop {
            let ask = tokio::select! {
                ask = asks.recv() => ask,
                () = placement.changed() => {
                    self.prune(&placement);
                    self.note_away(&placement);
                    continue;
                }
            };
            let Some(ask) = ask else { return };
            let router = Arc::clone(&self);
            match ask {
                LinkRequest::Attach(Attach { player, request, seat }) => {
                    self.tasks.spawn(async move {
                        let _ = seat.send(router.attach(player, request).await);
                    });
                }
                // Agents do not keep track of users.
                LinkRequest::Note { .. } => {}
                LinkRequest::Left { user, session } => {
                    self.tasks.spawn(async move { router.left(user, session).await });
                }
            }
        }
    }

    fn link_clients(&self) -> MutexGuard<'_, HashMap<String, (Arc<LinkClient>, String)>> {
        // The map is whole at every step.
        self.link_clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends links to hosts that are gone, and to those that are empty. A frozen one would not end them itself.
    fn prune(&self, placement: &Placement) {
        if placement.is_fresh() {
            let claims = placement.claims();
            // An etcd that has forgotten everything knows no nodes either, and they are all there.
            let placed = claims.len() == self.homes.count() as usize;
            for (node, (link_client, process)) in &*self.link_clients() {
                let owns = || claims.values().any(|(owner, _)| owner.node == *node);
                match placement.node(node) {
                    None if placed && !owns() => link_client.close(),
                    None => {}
                    // Another process has the name by now: this one is to act for nobody any more.
                    Some(info) if info.process != *process => link_client.close(),
                    Some(info) if info.draining => link_client.leave(),
                    Some(_) => link_client.stay(),
                }
            }
        }
    }

    fn away(&self) -> MutexGuard<'_, HashMap<SessionId, Away>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session has a seat. If that is not at the host of its user's home room, that host is to know of it.
    fn seated(&self, player: &Player, home: u32, node: &str, login: u64) {
        let owner = self.placement.owner(home);
        let mut away = self.away();
        if owner.as_deref() == Some(node) {
            away.remove(&player.session);
            return;
        }
        // The host that let it go there keeps track of it by itself.
        let player = player.clone();
        let seat = away.entry(player.session).or_insert(Away { player, home, login, keeper: owner });
        seat.login = login;
    }

    /// Home rooms have changed hosts: the new ones are told of the users whose players sit elsewhere.
    fn note_away(self: &Arc<Self>, placement: &Placement) {
        let mut notes = Vec::new();
        for away in self.away().values_mut() {
            let owner = placement.owner(away.home);
            if owner.is_some() && owner != away.keeper {
                away.keeper.clone_from(&owner);
                notes.extend(owner.map(|owner| (owner, away.player.clone(), away.login)));
            }
        }
        if notes.is_empty() {
            return;
        }
        let router = Arc::clone(self);
        self.tasks.spawn(async move {
            for (owner, player, login) in notes {
                if *owner == *router.node {
                    if let Some(local) = &router.local {
                        local.note(player, login).await;
                    }
                } else if let Ok(link_client) = router.link_client(&owner) {
                    link_client.note(player, login).await;
                }
            }
        });
    }

    async fn left(&self, user: UserId, session: SessionId) {
        self.away().remove(&session);
        let knows = |(link_client, _): &&(Arc<LinkClient>, String)| link_client.knows(session);
        let knowing: Vec<_> = self
            .link_clients()
            .values()
            .filter(knows)
            .map(|(link_client, _)| Arc::clone(link_client))
            .collect();
        for link_client in knowing {
            link_client.left(user, session).await;
        }
        if let Some(local) = &self.local {
            local.left(user, session).await;
        }
    }

    /// Seats a player where its room is, however long it takes to find out, within [`SEARCH`].
    async fn attach(&self, player: Player, mut request: SeatRequest) -> Result<Uplink, AttachError> {
        let home = self.homes.of(player.user.0);
        let begun = Instant::now();
        let back = request.login != 0;
        let mut placement = self.placement.clone();
        loop {
            let node = self.find(&request, home);
            let outcome = match &node {
                Some(node) if **node == *self.node => self.here(player.clone(), request.clone()).await,
                Some(node) => self.there(node, player.clone(), request.clone()).await,
                None => Err(AttachError::Elsewhere { room: Homes::name(home) }),
            };
            let error = match outcome {
                Ok(uplink) => {
                    self.seated(&player, home, node.as_deref().unwrap_or_default(), uplink.login);
                    return Ok(uplink);
                }
                Err(error) => error,
            };
            let (longest, pause) = match error {
                AttachError::Elsewhere { .. } | AttachError::Unreachable { .. } | AttachError::Shutdown => {
                    (SEARCH, AGAIN)
                }
                AttachError::Closed { .. } | AttachError::NoPlugin if back => (REOPENING, REOPENED),
                _ => return Err(error),
            };
            if begun.elapsed() >= longest || player.outbox.is_shut() {
                return Err(error);
            }
            debug!(user = %player.user, node, %error, "looking again");
            // The node that was named is not the one; a room that is not a home room is gone with it.
            request.node = None;
            if request.room.as_ref().is_some_and(|room| !Homes::is_home(room)) {
                request.room = None;
                request.again = false;
                continue;
            }
            tokio::select! {
                () = placement.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The node that has the room.
    fn find(&self, request: &SeatRequest, home: u32) -> Option<String> {
        if let Some(node) = &request.node {
            return Some(node.clone());
        }
        match &request.room {
            Some(room) if Homes::is_home(room) => self.placement.owner(self.homes.number(room)?),
            Some(room) => Some(self.placement.host_of(room).unwrap_or_else(|| self.node.to_string())),
            None => self.placement.owner(home),
        }
    }

    async fn here(&self, player: Player, mut request: SeatRequest) -> Result<Uplink, AttachError> {
        let Some(local) = &self.local else {
            return Err(AttachError::Unreachable { node: self.node.to_string() });
        };
        request.room = request.room.map(|room| local_name(&room, &self.node).to_owned());
        local.attach(player, request).await
    }

    async fn there(&self, node: &str, player: Player, request: SeatRequest) -> Result<Uplink, AttachError> {
        self.link_client(node)?.attach(player, request).await
    }

    /// The link to a host; opened if there is none.
    fn link_client(&self, node: &str) -> Result<Arc<LinkClient>, AttachError> {
        let unreachable = || AttachError::Unreachable { node: node.to_owned() };
        let known = self.link_clients().get(node).filter(|(link_client, _)| link_client.is_open()).cloned();
        match known {
            Some((link_client, _)) => Ok(link_client),
            None => {
                let NodeInfo { grpc, process, .. } = self.placement.node(node).ok_or_else(unreachable)?;
                let channel = self.dialer.open(&grpc).map_err(|_| unreachable())?;
                let mut link_clients = self.link_clients();
                link_clients.retain(|_, (link_client, _)| link_client.is_open());
                let refusals = Arc::clone(&self.refusals);
                let open = || {
                    (
                        LinkClient::open(node.into(), &self.node, channel, self.metrics.clone(), refusals),
                        process,
                    )
                };
                Ok(Arc::clone(&link_clients.entry(node.to_owned()).or_insert_with(open).0))
            }
        }
    }
}
