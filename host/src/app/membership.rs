//! Membership: what makes a node one of a cluster, or keeps it by itself.

mod announcement;
mod home_rooms;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

pub(super) use self::announcement::{Announcement, info};
pub(super) use self::home_rooms::HomeRoomsError;
use super::{StartError, settings};
use crate::admin::ClusterHandle;
use crate::cluster::continuity::Continuity;
use crate::cluster::link::router::{Router, RouterParts};
use crate::cluster::link::server::LinkServer;
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::node::{self, NodeInfo};
use crate::cluster::node_name::{self, NodeNameError, TAKEN_GRACE};
use crate::cluster::placement::{Owner, Placement};
use crate::cluster::player_directory::PlayerDirectory;
use crate::cluster::rollout::Standing;
use crate::cluster::rooms::drain_progress::DrainProgress;
use crate::cluster::rooms::handover::{COMING, HandoverSender, Receiver};
use crate::cluster::rooms::host_state::HostStates;
use crate::cluster::rooms::rebalancer::Rebalancer;
use crate::config::{Config, Role};
use crate::discovery::backends::{Backends, BackendsError};
use crate::discovery::{Discovery, Registration};
use crate::game::Homes;
use crate::game::registry::Registry;
use crate::journal::Dormant;
use crate::link::Link;
use crate::peer::{Dialer, Security};
use crate::proto::cluster::rooms_server::RoomsServer;
use crate::snowflake::{self, Generator, SequenceOptions, Snowflake};

/// How often a node tells how it does.
const TELL: Duration = Duration::from_secs(2);

/// A node's place among others.
pub(super) struct Membership {
    pub(super) node: Arc<str>,
    /// This process, as its claims name it.
    pub(super) owner: Owner,
    pub(super) discovery: Discovery,
    pub(super) placement: Placement,
    pub(super) homes: Arc<Homes>,
    pub(super) dialer: Dialer,
    pub(super) metrics: ClusterMetrics,
    /// Ids of this node's own machine number, if it hands out any.
    pub(super) snowflake: Option<Snowflake>,
    /// Set once the node is to be empty.
    pub(super) draining: watch::Sender<bool>,
    /// How long a lease lives.
    ttl: Duration,
    /// The largest state of a room that it takes from others, bytes.
    handover_max_bytes: u64,
    /// How far it is with handing its own ones over.
    progress: DrainProgress,
    /// Why this node cannot go on among the others, once it cannot.
    outcast: watch::Sender<Option<String>>,
}

impl Membership {
    /// Joins the cluster of the configuration; without one the node is its own. Waits until etcd answers. `ids` is where the
    /// metrics of ids go, for a node that hands out any.
    pub(super) async fn join(
        config: &Config,
        security: &Security,
        metrics: ClusterMetrics,
        ids: Option<&prometheus::Registry>,
    ) -> Result<Self, StartError> {
        let node = node::id(config.node_id.as_deref(), &config.data_dir)?;
        let discovery = match settings::etcd(config)? {
            Some(options) => Discovery::etcd(options)?,
            None => Discovery::embedded_at(&config.data_dir)?,
        };
        let homes = if config.etcd_host.is_some() {
            discovery.ready().await;
            Homes::clustered(home_rooms::agree(&discovery, config.cluster_home_rooms).await?)
        } else {
            Homes::single_node(u32::try_from(config.home_rooms).unwrap_or(u32::MAX))
        };
        let ttl = Duration::from_secs(config.lease_ttl_s);
        let parts = |registry| snowflake::Parts {
            discovery: discovery.clone(),
            node_id: node.clone(),
            data_dir: config.data_dir.clone(),
            machine_id: config.machine_id,
            patience: ttl + TAKEN_GRACE,
            sequences: SequenceOptions {
                create: config.sequences_create,
                waiting: config.sequences_waiting,
                timeout: Duration::from_millis(config.sequences_timeout_ms),
            },
            clock: snowflake::Clock::System,
            registry,
        };
        let snowflake = match ids {
            Some(registry) => Some(snowflake::start(parts(registry)).await?),
            None => None,
        };
        Ok(Self {
            snowflake,
            owner: Owner { node: node.clone(), process: node_name::process() },
            node: node.into(),
            placement: Placement::new(&discovery),
            discovery,
            homes: Arc::new(homes),
            dialer: security.dialer(),
            metrics,
            draining: watch::Sender::new(false),
            ttl,
            handover_max_bytes: config.handover_max_bytes as u64,
            progress: DrainProgress::default(),
            outcast: watch::Sender::new(None),
        })
    }

    /// What guests draw their ids from.
    pub(super) fn ids(&self) -> Arc<Generator> {
        // A node without a number of its own runs no guests.
        self.snowflake.as_ref().map_or_else(
            || Arc::new(Generator::closed(snowflake::Clock::System)),
            |snowflake| Arc::clone(snowflake.ids().generator()),
        )
    }

    /// Whether there may be other nodes.
    pub(super) fn is_shared(&self) -> bool {
        self.homes.are_clustered()
    }

    /// Takes this node's name, so that no other process has it. From then on others know of which rooms it has a
    /// state.
    pub(super) async fn take_name(&self, info: &NodeInfo) -> Result<(), NodeNameError> {
        node_name::take(&self.discovery, info, self.ttl + TAKEN_GRACE).await
    }

    /// Stands among the others under these names until `stop` fires.
    pub(super) fn stand(
        &self,
        mut announcement: Announcement,
        services: Vec<String>,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let place = node_name::keep(&self.discovery, &announcement.first());
        let key = |service: &String| format!("backends/{service}/{}", self.node);
        let addr = announcement.info.grpc.clone();
        let backends: Vec<Registration> = services
            .iter()
            .map(|service| self.discovery.register(&key(service), addr.clone().into()))
            .collect();
        let mut draining = self.draining.subscribe();
        let agreeing = self.agree(announcement.info.started_ms, stop.clone());
        tokio::spawn(async move {
            let _backends = backends;
            let _agreeing = AbortOnDropHandle::new(agreeing);
            let mut refusals = announcement.first();
            loop {
                let now = announcement.now(*draining.borrow_and_update());
                if now != refusals {
                    place.update(now.write());
                    refusals = now;
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    Ok(()) = draining.changed() => {}
                    () = announcement.stands() => {}
                    () = tokio::time::sleep(TELL) => {}
                }
            }
        })
    }

    /// Keeps up what all nodes must agree on, and sees that this process alone has the node's name, until
    /// `stop` fires.
    fn agree(&self, started_ms: u64, stop: CancellationToken) -> JoinHandle<()> {
        let (discovery, placement) = (self.discovery.clone(), self.placement.clone());
        let (count, outcast, node) = (self.homes.count(), self.outcast.clone(), Arc::clone(&self.node));
        let patience = self.ttl + TAKEN_GRACE;
        tokio::spawn(async move {
            let why = tokio::select! {
                () = stop.cancelled() => return,
                why = home_rooms::keep(&discovery, &placement, count) => why,
                holder = node_name::taken(&discovery, started_ms, patience) => format!(
                    "another process has its node id, {node}: the one at {holder}. This one held no lease for a while, \
                     and its rooms are others' by now; stop one of the two, or give it another node_id (SERVICE_ID)"
                ),
            };
            outcast.send_replace(Some(why));
        })
    }

    /// Completes with the reason when this node cannot go on among the others. Cancel safe.
    pub(super) async fn cast_out(&self) -> String {
        let mut outcast = self.outcast.subscribe();
        match outcast.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(why)) => why,
            // The sender is here.
            _ => std::future::pending().await,
        }
    }

    /// Whether this node can go on among the others.
    pub(super) fn is_member(&self) -> bool {
        self.is_shared() && self.outcast.borrow().is_none()
    }

    /// Where this node keeps what its rooms have written: where others find it if it dies, if there is such a place.
    pub(super) fn state_dir(&self, config: &Config) -> PathBuf {
        config.shared_dir.as_ref().map_or_else(|| config.data_dir.clone(), |dir| dir.join(&*self.node))
    }

    /// What other nodes offer to guests, if there may be other nodes.
    pub(super) fn backends(&self, config: &Config) -> Result<Option<Backends>, BackendsError> {
        if !self.is_shared() {
            return Ok(None);
        }
        let names = |list: &String| list.split(',').map(|name| name.trim().to_owned()).collect();
        let allowed = config.discover.as_ref().map(names);
        Backends::new(&self.discovery, &BTreeMap::new(), allowed, self.dialer.clone()).map(Some)
    }

    /// The end of links to agents on other nodes.
    pub(super) fn link_server(&self, rooms: Link, max_sessions: usize) -> LinkServer {
        LinkServer::new(&self.node, rooms, self.metrics.clone(), max_sessions)
    }

    /// Who finds players; `registry` has the rooms of this node, if it has any.
    pub(super) fn players(&self, registry: Option<Arc<Registry>>) -> PlayerDirectory {
        PlayerDirectory {
            node: Arc::clone(&self.node),
            homes: Arc::clone(&self.homes),
            registry,
            placement: self.placement.clone(),
            dialer: self.dialer.clone(),
        }
    }

    /// What operators see of the cluster, and do to this node, which is `info`.
    pub(super) fn place(&self, info: NodeInfo, players: PlayerDirectory) -> ClusterHandle {
        ClusterHandle {
            info,
            placement: self.placement.clone(),
            homes: Arc::clone(&self.homes),
            draining: self.draining.clone(),
            progress: self.progress.clone(),
            players,
        }
    }

    /// Where rooms of other hosts arrive.
    pub(super) fn rooms(&self, registry: Arc<Registry>) -> RoomsServer<Receiver> {
        let (discovery, metrics) = (self.discovery.clone(), self.metrics.clone());
        let draining = self.draining.subscribe();
        let (owner, max_bytes) = (self.owner.clone(), self.handover_max_bytes);
        let coming = Arc::new(Semaphore::new(COMING));
        RoomsServer::new(Receiver { owner, registry, discovery, metrics, draining, max_bytes, coming })
    }

    /// The way from this node's agent to all hosts; `local` leads to its own rooms.
    pub(super) fn router(&self, local: Option<Link>) -> Arc<Router> {
        Router::new(RouterParts {
            node: Arc::clone(&self.node),
            homes: Arc::clone(&self.homes),
            local,
            placement: self.placement.clone(),
            dialer: self.dialer.clone(),
            metrics: self.metrics.clone(),
        })
    }

    /// Who keeps this host's home rooms.
    pub(super) fn rebalancer(
        &self,
        config: &Config,
        registry: &Arc<Registry>,
        dormant: &Dormant,
        standing: watch::Receiver<Standing>,
    ) -> Rebalancer {
        let (discovery, dialer) = (self.discovery.clone(), self.dialer.clone());
        Rebalancer {
            node: self.node.to_string(),
            owner: self.owner.clone(),
            discovery: self.discovery.clone(),
            placement: self.placement.clone(),
            registry: Arc::clone(registry),
            dormant: dormant.clone(),
            host_states: config.shared_dir.as_ref().map(|dir| HostStates::new(dir, &self.node)),
            overtaken: HashMap::new(),
            left_to_others: HashMap::new(),
            ending: BTreeSet::new(),
            unreadable: HashMap::new(),
            free_since: HashMap::new(),
            last_owners: HashMap::new(),
            told_unreadable: None,
            refusing: HashMap::new(),
            staying: HashMap::new(),
            progress: self.progress.clone(),
            heir_from: None,
            continuity: Continuity::open(&self.state_dir(config), self.owner.process.clone()),
            handover_sender: HandoverSender { node: Arc::clone(&self.node), discovery, dialer },
            metrics: self.metrics.clone(),
            draining: self.draining.subscribe(),
            standing,
        }
    }

    /// Hands all rooms to other hosts, if there are any, and waits until agents have heard where they are, within `limit`.
    pub(super) async fn drain(
        &self,
        registry: Option<&Arc<Registry>>,
        link_server: Option<&LinkServer>,
        limit: Duration,
    ) {
        self.draining.send_replace(true);
        let empty = || registry.is_none_or(|registry| registry.population().0 == 0);
        let deadline = Instant::now() + limit;
        let others =
            || self.placement.nodes().iter().any(|node| node.takes_rooms() && *node.id != *self.node);
        while !(self.homes.claims().is_empty() && empty()) && others() {
            if Instant::now() > deadline {
                warn!(homes = self.homes.claims().len(), "rooms not handed over in time");
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Some(link_server) = link_server.filter(|_| others()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, link_server.emptied()).await.is_err() {
                warn!("agents have not ended their links in time: they will find them ended");
            }
        }
    }
}

/// The services that a node offers by the names of its roles.
pub(super) fn role_services(config: &Config) -> Vec<String> {
    let offered = [Role::Game, Role::Snowflake];
    offered.into_iter().filter(|role| config.roles.contains(role)).map(|role| role.to_string()).collect()
}
