//! App: a configuration made into a running node.

mod plugins;
mod settings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::plugins::Common;
use crate::actor::artefacts::ArtefactError;
use crate::actor::deploy::Deployer;
pub use crate::actor::deploy::{DeployError, DeployReport};
use crate::actor::metrics::ActorMetrics;
use crate::actor::{ServiceError, Services, keep};
use crate::admin::{self, Node};
use crate::agent::{Agent, AgentError, KeyError};
use crate::config::{Config, Role};
use crate::game::metrics::GameMetrics;
use crate::game::registry::{Parts, Registry};
use crate::game::{Homes, ProfileError, Profiles};
use crate::journal::{self, Journal, JournalError, Letters, Past};
use crate::link;
use crate::peer::SecurityError;
use crate::plugin::{Engine, EngineError};
use crate::service::metrics::ServiceMetrics;
use crate::service::{self, Door, Natives, Plane, PlaneParts, ShardsError};
use crate::snowflake::Generator;
use crate::telemetry::metrics::{Metrics, MetricsError};

/// The name under which rooms are played. Plugins of all other names serve gRPC.
pub const GAME_LOGIC: &str = "game-logic";

/// The most memory that any manifest may ask for; what the engine's pool is cut for.
const MEMORY_MAX: usize = 4 << 30;

/// Attach requests that may wait for the game side.
const ATTACHING: usize = 1024;

/// Bounds of the rooms' journal. Once a plugin is live its manifest's `fsync_ms` says how often records are synced.
const JOURNAL: journal::Bounds = journal::Bounds {
    segment_bytes: journal::SEGMENT_BYTES,
    buffer_bytes: journal::BUFFER_BYTES,
    sync_every: Duration::from_millis(10),
};

/// How long a login may wait for its seat.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);

/// A running node.
pub struct App {
    addrs: Addrs,
    stop: CancellationToken,
    agent: JoinHandle<()>,
    servers: Vec<JoinHandle<()>>,
    registry: Arc<Registry>,
    plane: Arc<Plane>,
    journal: Arc<Journal>,
    letters: Arc<Letters>,
    deployers: BTreeMap<String, Deployer>,
}

/// Where a node listens, with the ports the system chose.
#[derive(Debug, Clone, Copy)]
pub struct Addrs {
    /// Game clients.
    pub listen: SocketAddr,
    /// Other services (gRPC).
    pub grpc: SocketAddr,
    /// Operators: admin gRPC and metrics.
    pub admin: SocketAddr,
}

/// Why a node does not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A role set this version cannot run.
    #[error("roles: this version runs agent and game in one process only, not {0} alone")]
    Roles(String),
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
    /// More than one plugin declares a gRPC service.
    #[error("gRPC services declared by more than one plugin: {0}")]
    Doubled(String),
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
        "no {GAME_LOGIC} plugin: none of {0} is there; build the reference plugins with `cargo xtask build`, \
         or name one with --plugin {GAME_LOGIC}=FILE"
    )]
    NoPlugin(String),
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
    /// Likewise, on the game side.
    #[error("metrics: {0}")]
    GameMetrics(String),
}

impl App {
    /// Starts a node: plugins compiled, all addresses bound, ready for clients when this returns.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        check_roles(&config)?;
        let data_dir = config.data_dir.clone();
        std::fs::create_dir_all(&data_dir)
            .map_err(|source| StartError::DataDir { path: data_dir.clone(), source })?;
        let wanted = plugins::wanted(&config)?;
        let security = settings::security(&config)?;
        let metrics = Arc::new(Metrics::new()?);
        let failed = |error: prometheus::Error| StartError::GameMetrics(error.to_string());
        let actor_metrics = ActorMetrics::register(&metrics.registry).map_err(failed)?;
        let game_metrics = GameMetrics::register(&metrics.registry).map_err(failed)?;
        let service_metrics = ServiceMetrics::register(&metrics.registry).map_err(failed)?;

        let services = wanted.len() - 1;
        let actors = u32::try_from(config.max_rooms + services * config.shards).unwrap_or(u32::MAX);
        let engine = Engine::start(data_dir.join("cache"), actors, MEMORY_MAX)?;
        let (journal, pasts) = Journal::open(&data_dir.join("journal"), JOURNAL)?;
        let journal = Arc::new(journal);
        let letters = data_dir.join("dead-letters");
        let letters = Letters::open(&letters, config.dead_letters, actor_metrics.dead_letters.clone())?;
        let letters = Arc::new(letters);
        let grpc = bind("grpc_listen", config.grpc_listen).await?;
        let own = wanted.iter().filter(|plugin| !plugin.is_game()).map(|plugin| &*plugin.name);
        let services = Services::new(
            &settings::services(&config, own, grpc.1),
            &settings::own_dialer(&config, &security),
            Duration::from_millis(config.service_timeout_ms),
            actor_metrics.service_calls.clone(),
        )?;
        let common = Common {
            config: &config,
            engine,
            journal: Arc::clone(&journal),
            letters: Arc::clone(&letters),
            ids: Arc::new(Generator::new(0)),
            metrics: actor_metrics,
        };
        let mut plane = Plane::new(PlaneParts {
            data_dir: data_dir.clone(),
            bounds: settings::plane_bounds(&config),
            metrics: service_metrics.clone(),
            services: services.clone(),
        });
        let mut pasts = by_plugin(pasts);
        let mut games = None;
        let (mut deployers, mut watched) = (BTreeMap::new(), Vec::new());
        for plugin in wanted {
            let (name, game) = (plugin.name.clone(), plugin.is_game());
            let started = common.start(plugin).await?;
            watched.push((started.deployer.clone(), started.reports));
            deployers.insert(name.clone(), started.deployer);
            if game {
                games = Some(started.crew);
            } else {
                plane.add(started.crew, pasts.remove(&name).unwrap_or_default()).await?;
            }
        }
        let doubled = plane.doubled();
        if !doubled.is_empty() {
            return Err(StartError::Doubled(doubled.join(", ")));
        }
        let plane = Arc::new(plane);
        let registry = Registry::new(Parts {
            crew: games.expect("the game's plugin is always among the wanted ones"),
            bounds: settings::bounds(&config),
            services,
            metrics: game_metrics,
            profiles: Profiles::open(&data_dir, journal.synced())?,
            homes: Arc::new(Homes::alone(u32::try_from(config.home_rooms).unwrap_or(u32::MAX))),
        });
        registry.restore(pasts.remove(GAME_LOGIC).unwrap_or_default()).await;
        let strangers: BTreeMap<_, _> = pasts.into_values().flatten().collect();
        if !strangers.is_empty() {
            let shards: Vec<_> = strangers.keys().map(String::as_str).collect();
            warn!(shards = shards.join(" "), "the journal keeps shards of plugins that do not run here");
        }

        let admin = bind("admin_listen", config.admin_listen).await?;
        let (link, requests) = link::link(ATTACHING);
        let agent_config = settings::agent_config(&config);
        let authenticator = settings::authenticator(&config)?;
        let agent = Agent::bind(agent_config, authenticator, link, Arc::clone(&metrics)).await?;
        let addrs = Addrs { listen: agent.local_addr(), grpc: grpc.1, admin: admin.1 };

        let stop = CancellationToken::new();
        let node = Node {
            started,
            roles: config.roles.iter().map(ToString::to_string).collect(),
            listen: addrs.listen,
            sessions: agent.sessions(),
            registry: Arc::clone(&registry),
            deployers: deployers.clone(),
            metrics,
        };
        let crews = plane.crews().cloned().chain([Arc::clone(registry.crew())]).collect();
        let door = Door {
            plane: Some(Arc::clone(&plane)),
            natives: Natives::default(),
            security,
            metrics: service_metrics,
        };
        let mut servers = vec![
            tokio::spawn(admin::serve(admin.0, node, stop.clone())),
            tokio::spawn(service::serve(grpc.0, door, stop.clone())),
            tokio::spawn(Arc::clone(&registry).serve(requests)),
            tokio::spawn(keep(Arc::clone(&journal), crews, strangers)),
        ];
        // Not before nothing can fail any more: a task of its own would outlive the node that did not start.
        servers.extend(watched.into_iter().map(|(deployer, reports)| tokio::spawn(deployer.watch(reports))));
        let agent = tokio::spawn(agent.run(stop.clone()));
        Ok(Self { addrs, stop, agent, servers, registry, plane, journal, letters, deployers })
    }

    /// Where the node listens.
    pub fn addrs(&self) -> &Addrs {
        &self.addrs
    }

    /// Puts an artefact live; see [`Deployer::deploy`].
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn deploy(&self, name: &str, artefact: Vec<u8>) -> Result<DeployReport, DeployError> {
        let deployer = self.deployers.get(name).ok_or_else(|| DeployError::Unknown(name.to_owned()))?;
        deployer.deploy(artefact).await
    }

    /// Ends the node: no new clients, every session told and closed, every room ended, everything written.
    pub async fn stop(self) {
        self.stop.cancel();
        if self.agent.await.is_err() {
            warn!("the agent ended in a panic");
        }
        self.registry.stop().await;
        self.plane.stop().await;
        for server in self.servers {
            // Those that wait for a sender that lives on are ended here; they hold nothing but the registry.
            server.abort();
            // Aborted, or ended already: either way it is gone.
            let _ = server.await;
        }
        let (registry, journal, letters) = (self.registry, self.journal, self.letters);
        let close = move || {
            // In this order: the profiles wait for the journal.
            journal.close();
            registry.close();
            letters.close();
        };
        // Writing what waits blocks.
        if tokio::task::spawn_blocking(close).await.is_err() {
            warn!("the profile store ended in a panic");
        }
    }
}

fn check_roles(config: &Config) -> Result<(), StartError> {
    if config.roles.contains(&Role::Agent) && config.roles.contains(&Role::Game) {
        return Ok(());
    }
    let roles: Vec<_> = config.roles.iter().map(ToString::to_string).collect();
    Err(StartError::Roles(roles.join(", ")))
}

/// What rooms and shards left in the journal, by plugin.
fn by_plugin(pasts: BTreeMap<String, Past>) -> BTreeMap<String, BTreeMap<String, Past>> {
    let mut plugins: BTreeMap<String, BTreeMap<String, Past>> = BTreeMap::new();
    for (name, past) in pasts {
        let plugin = Plane::plugin_of(&name).unwrap_or(GAME_LOGIC).to_owned();
        plugins.entry(plugin).or_default().insert(name, past);
    }
    plugins
}

async fn bind(key: &'static str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = |source| StartError::Bind { key, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(error)?;
    let addr = listener.local_addr().map_err(error)?;
    Ok((listener, addr))
}
