//! App: a configuration made into a running node.

mod builtin;
mod membership;
mod plugins;
mod rollouts;
mod runtime;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::builtin::BuiltinParts;
use self::membership::{Announcement, Membership};
use self::runtime::{Runtime, RuntimeParts};
use crate::actor::ServiceError;
use crate::actor::artefacts::ArtefactError;
pub use crate::actor::deploy::{DeployError, DeployReport};
use crate::actor::metrics::ActorMetrics;
use crate::admin::{self, AdminService};
use crate::agent::{Agent, AgentError, KeyError};
use crate::cluster::link::server::LinkServer;
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::node::IdError;
use crate::cluster::node_name::NodeNameError;
use crate::cluster::rollout::Rollout;
use crate::config::{Config, Role};
use crate::discovery::DiscoveryError;
use crate::discovery::backends::BackendsError;
use crate::game::{ProfileError, metrics::GameMetrics};
use crate::gonet::GameStreams;
use crate::journal::JournalError;
use crate::link;
use crate::peer::SecurityError;
use crate::plugin::EngineError;
use crate::service::{self, GrpcServer, ShardsError, metrics::ServiceMetrics};
use crate::snowflake::{SnowflakeError, now_ms};
use crate::telemetry::metrics::{Metrics, MetricsError};

/// The name under which rooms are played. Plugins of all other names serve gRPC.
pub const GAME_LOGIC: &str = "game-logic";

/// Attach requests that may wait for the game side.
const ATTACHING: usize = 1024;

/// How long a login may wait for its seat: as long as it takes to notice that a host is dead, and a little longer.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(15);

/// A running node.
pub struct App {
    addrs: Addrs,
    stop: CancellationToken,
    agent: Option<JoinHandle<()>>,
    streams: Option<GameStreams>,
    servers: Vec<JoinHandle<()>>,
    runtime: Option<Runtime>,
    membership: Membership,
    link_server: Option<LinkServer>,
    grace: Duration,
}

/// Where a node listens, with the ports the system chose.
#[derive(Debug, Clone, Copy)]
pub struct Addrs {
    /// Game clients, if the node is an agent.
    pub listen: Option<SocketAddr>,
    /// Other services (gRPC).
    pub grpc: SocketAddr,
    /// Operators: admin gRPC and metrics.
    pub admin: SocketAddr,
}

/// Why a node does not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An agent without a game, and no cluster to find one in.
    #[error(
        "roles {0}: an agent without game finds its rooms in a cluster, and there is none: set ETCD_HOST"
    )]
    Roles(String),
    /// Etcd, or the table in its place.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// What the cluster offers.
    #[error(transparent)]
    Backends(#[from] BackendsError),
    /// Ids.
    #[error(transparent)]
    Snowflake(#[from] SnowflakeError),
    /// The node's name.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The node's name in the cluster.
    #[error(transparent)]
    NodeName(#[from] NodeNameError),
    /// The number of home rooms.
    #[error(transparent)]
    HomeRooms(#[from] membership::HomeRoomsError),
    /// Others cannot reach the node by the address it listens on.
    #[error(
        "grpc_listen {0} says not how other nodes reach this one: set advertise to its host name or address"
    )]
    Advertise(SocketAddr),
    /// A file with a secret or certificate for etcd.
    #[error("{key} {}", path.display())]
    EtcdFile {
        /// The configuration key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data directory cannot be made.
    #[error("data_dir {path}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {key} {addr}")]
    Bind {
        /// The configuration key.
        key: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The secret of `auth = token`.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The rooms' journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The profile store.
    #[error(transparent)]
    Profiles(#[from] ProfileError),
    /// The plugin store.
    #[error("plugin store: {0}")]
    Artefacts(#[from] ArtefactError),
    /// A service address.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// What nodes show each other.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The shards of a service.
    #[error(transparent)]
    Shards(#[from] ShardsError),
    /// The host has a service of that name.
    #[error("plugin {0}: the host has a service of its own by that name; call the plugin otherwise")]
    Reserved(String),
    /// A plugin file cannot be read.
    #[error("plugin {name}: {path}")]
    PluginFile {
        /// The plugin's name.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The reference plugin is not where it is looked for.
    #[error(
        "no {name} plugin: none of {looked} is there; build the reference plugins with `cargo xtask build`, \
         or name one with --plugin {name}=FILE"
    )]
    NoPlugin {
        /// The plugin that a role needs.
        name: &'static str,
        /// Where it was looked for.
        looked: String,
    },
    /// The plugin cannot run.
    #[error("plugin {name}: {source}")]
    Plugin {
        /// The plugin's name.
        name: String,
        /// Why.
        source: DeployError,
    },
    /// A metric's name is taken: a mistake in this program.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl App {
    /// Starts a node: plugins compiled, all addresses bound, ready for clients when this returns.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        settings::check_roles(&config)?;
        let data_dir = config.data_dir.clone();
        std::fs::create_dir_all(&data_dir)
            .map_err(|source| StartError::DataDir { path: data_dir.clone(), source })?;
        let wanted = plugins::wanted(&config)?;
        let security = settings::security(&config)?;
        let metrics = Arc::new(Metrics::new()?);
        let actor_metrics = ActorMetrics::register(&metrics.registry)?;
        let game_metrics = GameMetrics::register(&metrics.registry)?;
        let service_metrics = ServiceMetrics::register(&metrics.registry)?;
        let cluster_metrics = ClusterMetrics::register(&metrics.registry)?;
        let grpc = settings::bind("grpc_listen", config.grpc_listen).await?;
        let admin = settings::bind("admin_listen", config.admin_listen).await?;
        // An agent by itself needs no ids: there are 1,024 machine numbers, and there may be many agents.
        let counts = !wanted.is_empty() || config.roles.contains(&Role::Snowflake);
        let registry = counts.then_some(&metrics.registry);
        let membership = Membership::join(&config, &security, cluster_metrics, registry).await?;
        let mut runtime = match wanted.is_empty() {
            true => None,
            false => Some(
                Runtime::start(RuntimeParts {
                    config: &config,
                    wanted,
                    security: &security,
                    metrics: (actor_metrics, game_metrics, service_metrics.clone()),
                    telemetry: &metrics,
                    homes: Arc::clone(&membership.homes),
                    ids: membership.ids(),
                    grpc: grpc.1,
                    backends: membership.backends(&config)?,
                    state_dir: membership.state_dir(&config),
                })
                .await?,
            ),
        };
        let registry = runtime.as_ref().and_then(|runtime| runtime.registry.clone());
        let deployers = runtime.as_ref().map(|runtime| runtime.deployers.clone()).unwrap_or_default();
        let not_started = runtime.as_ref().map(|runtime| runtime.not_started.clone()).unwrap_or_default();
        let rollouts = rollouts::rollouts(&config, &membership, &deployers);

        let (agent_link, agent_asks) = link::link(ATTACHING);
        let (rooms_link, rooms_asks) = link::link(ATTACHING);
        let link = if membership.is_shared() { agent_link } else { rooms_link.clone() };
        let mut agent = None;
        if config.roles.contains(&Role::Agent) {
            let link = link.clone();
            let (agent_config, authenticator) =
                (settings::agent_config(&config), settings::authenticator(&config)?);
            agent = Some(Agent::bind(agent_config, authenticator, link, Arc::clone(&metrics)).await?);
        }
        let listen = agent.as_ref().map(Agent::local_addr);
        let addrs = Addrs { listen, grpc: grpc.1, admin: admin.1 };

        let stop = CancellationToken::new();
        let sessions = agent.as_ref().map(Agent::sessions);
        let players = membership.players(registry.clone());
        let (builtin, streams, link_server) = builtin::builtin(BuiltinParts {
            config: &config,
            membership: &membership,
            registry: registry.as_ref(),
            deployers: &deployers,
            link,
            rooms: &rooms_link,
            players: &players,
            stop: &stop,
        });
        let http_metrics = service_metrics.http.clone();
        let server = GrpcServer {
            router: runtime.as_ref().map(|runtime| Arc::clone(&runtime.router)),
            builtin,
            security,
            metrics: service_metrics,
        };
        // Nothing must fail from the first task on: it would outlive a node that did not start.
        let mut servers = Vec::new();
        let advertised = match settings::advertised(&config, grpc.1) {
            Err(_) if !membership.is_shared() => grpc.1.to_string(),
            advertised => advertised?,
        };
        let info = membership::info(&config, &membership, now_ms(), (listen, advertised, admin.1));
        let place = membership.place(info.clone(), players);
        if membership.is_shared() {
            let plugins = deployers.keys().filter(|name| *name != GAME_LOGIC).cloned();
            let services = membership::role_services(&config).into_iter().chain(plugins).collect();
            let announcement = Announcement {
                info,
                sessions: sessions.clone(),
                registry: registry.clone(),
                deployers: deployers.clone(),
                dormant: runtime.as_ref().map(|runtime| runtime.dormant.clone()).unwrap_or_default(),
                standing: rollouts.get(GAME_LOGIC).map(Rollout::standing),
            };
            membership.take_name(&announcement.first()).await?;
            servers.push(membership.stand(announcement, services, stop.clone()));
            if agent.is_some() || streams.is_some() {
                let router = membership.router(registry.as_ref().map(|_| rooms_link));
                servers.push(tokio::spawn(router.run(agent_asks)));
            }
        }
        if let Some(runtime) = &mut runtime {
            servers.extend(runtime.run());
            if let Some(registry) = &runtime.registry {
                servers.push(tokio::spawn(Arc::clone(registry).serve(rooms_asks)));
                if let Some(rollout) = rollouts.get(GAME_LOGIC) {
                    let rebalancer =
                        membership.rebalancer(&config, registry, &runtime.dormant, rollout.standing());
                    servers.push(tokio::spawn(rebalancer.run(stop.clone())));
                }
            }
        }
        servers.extend(rollouts::follow(&rollouts, &membership, &stop));
        let roles = config.roles.iter().map(ToString::to_string).collect();
        let node = AdminService {
            started,
            roles,
            listen,
            sessions,
            registry,
            deployers,
            not_started,
            rollouts,
            metrics,
            place,
        };
        servers.push(tokio::spawn(admin::serve(admin.0, node, config.uploads, http_metrics, stop.clone())));
        servers.push(tokio::spawn(service::serve(grpc.0, server, stop.clone())));
        let agent = agent.map(|agent| tokio::spawn(agent.run(stop.clone())));
        let grace = Duration::from_millis(config.shutdown_grace_ms);
        Ok(Self { addrs, stop, agent, streams, servers, runtime, membership, link_server, grace })
    }

    /// Where the node listens.
    pub fn addrs(&self) -> &Addrs {
        &self.addrs
    }

    /// Completes with the reason when the node cannot go on in its cluster and is to stop. Cancel safe.
    pub async fn cast_out(&self) -> String {
        self.membership.cast_out().await
    }

    /// Puts an artefact live, as an operator does.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn deploy(&self, name: &str, artefact: Vec<u8>) -> Result<DeployReport, DeployError> {
        let deployer = self.runtime.as_ref().and_then(|runtime| runtime.deployers.get(name));
        deployer.ok_or_else(|| DeployError::Unknown(name.to_owned()))?.deploy(artefact).await
    }

    /// Ends the node: rooms handed to other hosts, sessions told and closed, rooms ended, everything written.
    pub async fn stop(self) {
        if self.membership.is_member() {
            let registry = self.runtime.as_ref().and_then(|runtime| runtime.registry.as_ref());
            self.membership.drain(registry, self.link_server.as_ref(), self.grace / 2).await;
        }
        self.stop.cancel();
        if let Some(agent) = self.agent
            && agent.await.is_err()
        {
            warn!("the agent ended in a panic");
        }
        if let Some(streams) = &self.streams
            && tokio::time::timeout(self.grace, streams.ended()).await.is_err()
        {
            warn!("game streams did not end in time");
        }
        if let Some(runtime) = &self.runtime {
            runtime.stop().await;
        }
        for server in self.servers {
            // Those that wait for a sender that lives on are ended here; they hold nothing but the registry.
            server.abort();
            // Aborted, or ended already: either way it is gone.
            let _ = server.await;
        }
        let Membership { snowflake, discovery, .. } = self.membership;
        if let Some(snowflake) = snowflake {
            snowflake.close().await;
        }
        if let Some(runtime) = self.runtime {
            runtime.close().await;
        }
        discovery.close().await;
    }
}
