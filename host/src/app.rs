//! App: a configuration made into a running node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hotseat_build::Durability;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::admin::{self, Node};
use crate::agent::{Agent, AgentConfig, AgentError, Authenticator, KeyError, Rate, Rates};
use crate::config::{Auth, Config, Durable, Role};
use crate::game::artefacts::{ArtefactError, Artefacts};
use crate::game::deploy::Deployer;
pub use crate::game::deploy::{DeployError, DeployReport};
use crate::game::metrics::GameMetrics;
use crate::game::registry::{Bounds, Parts, Registry};
use crate::game::{ProfileError, Profiles, ServiceError, Services, World};
use crate::journal::{self, Journal, JournalError};
use crate::link;
use crate::plugin::{Engine, EngineError};
use crate::snowflake::Generator;
use crate::telemetry::metrics::{Metrics, MetricsError};

/// The name under which rooms are played. Other worlds get names of their own when there are hosts for them.
pub const GAME_LOGIC: &str = "game-logic";

/// The most memory that any manifest may ask for; what the engine's pool is cut for.
const MEMORY_MAX: usize = 4 << 30;

/// Attach requests that may wait for the game side.
const ATTACHING: usize = 1024;

/// Fault reports that may wait for the deployer; one is enough to act on.
const FAULTS: usize = 64;

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
    deployer: Deployer,
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
    /// A plugin under a name no world of this version has.
    #[error("plugin {0:?}: this version runs one plugin, named {GAME_LOGIC}")]
    PluginName(String),
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
        name: &'static str,
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
    /// Starts a node: plugin compiled, all addresses bound, ready for clients when this returns.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        check_roles(&config)?;
        let data_dir = config.data_dir.clone();
        std::fs::create_dir_all(&data_dir)
            .map_err(|source| StartError::DataDir { path: data_dir.clone(), source })?;
        let metrics = Arc::new(Metrics::new()?);
        let game_metrics = GameMetrics::register(&metrics.registry)
            .map_err(|error| StartError::GameMetrics(error.to_string()))?;

        let rooms = u32::try_from(config.max_rooms).unwrap_or(u32::MAX);
        let engine = Engine::start(data_dir.join("cache"), rooms, MEMORY_MAX)?;
        let (faults, reports) = mpsc::channel(FAULTS);
        let (journal, pasts) = Journal::open(&data_dir.join("journal"), JOURNAL)?;
        let registry = Registry::new(Parts {
            world: world(&config, journal),
            bounds: bounds(&config),
            services: Services::new(
                &config.service,
                Duration::from_millis(config.service_timeout_ms),
                game_metrics.service_calls.clone(),
            )?,
            metrics: game_metrics,
            profiles: Profiles::open(&data_dir)?,
            faults,
        });
        let deployer = Deployer::start(
            GAME_LOGIC,
            engine,
            Arc::clone(&registry),
            Artefacts::open(&data_dir, GAME_LOGIC)?,
            plugin_file(&config)?,
            Duration::from_millis(config.probation_ms),
        )
        .await
        .map_err(|source| StartError::Plugin { name: GAME_LOGIC, source })?;
        registry.restore(pasts).await;

        let grpc = bind("grpc_listen", config.grpc_listen).await?;
        let admin = bind("admin_listen", config.admin_listen).await?;
        let (link, requests) = link::link(ATTACHING);
        let agent =
            Agent::bind(agent_config(&config), authenticator(&config)?, link, Arc::clone(&metrics)).await?;
        let addrs = Addrs { listen: agent.local_addr(), grpc: grpc.1, admin: admin.1 };

        let stop = CancellationToken::new();
        let node = Node {
            started,
            roles: config.roles.iter().map(ToString::to_string).collect(),
            listen: addrs.listen,
            sessions: agent.sessions(),
            registry: Arc::clone(&registry),
            deployer: deployer.clone(),
            metrics,
        };
        let servers = vec![
            tokio::spawn(admin::serve(admin.0, node, stop.clone())),
            tokio::spawn(admin::serve_health(grpc.0, stop.clone())),
            tokio::spawn(Arc::clone(&registry).serve(requests)),
            tokio::spawn(deployer.clone().watch(reports)),
            tokio::spawn(Arc::clone(&registry).keep()),
        ];
        let agent = tokio::spawn(agent.run(stop.clone()));
        Ok(Self { addrs, stop, agent, servers, registry, deployer })
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
        if name != self.deployer.name() {
            return Err(DeployError::Unknown(name.to_owned()));
        }
        self.deployer.deploy(artefact).await
    }

    /// Ends the node: no new clients, every session told and closed, every room ended, everything written.
    pub async fn stop(self) {
        self.stop.cancel();
        if self.agent.await.is_err() {
            warn!("the agent ended in a panic");
        }
        self.registry.stop().await;
        for server in self.servers {
            // Those that wait for a sender that lives on are ended here; they hold nothing but the registry.
            server.abort();
            // Aborted, or ended already: either way it is gone.
            let _ = server.await;
        }
        let registry = self.registry;
        // Writing what waits blocks.
        if tokio::task::spawn_blocking(move || registry.close()).await.is_err() {
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

fn world(config: &Config, journal: Journal) -> World {
    let settings: BTreeMap<String, String> =
        config.plugin_config.get(GAME_LOGIC).cloned().unwrap_or_default();
    World {
        ids: Arc::new(Generator::new(0)),
        settings: Arc::new(settings),
        log_inputs: config.log_inputs,
        log_bytes: config.log_bytes,
        journal: Arc::new(journal),
        durability: match config.durability {
            Durable::Manifest => None,
            Durable::None => Some(Durability::None),
            Durable::Snapshot => Some(Durability::Snapshot),
            Durable::Journal => Some(Durability::Journal),
        },
    }
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        home_rooms: u32::try_from(config.home_rooms).unwrap_or(u32::MAX),
        max_rooms: config.max_rooms,
        room_mailbox: config.room_mailbox,
    }
}

fn agent_config(config: &Config) -> AgentConfig {
    let rate = |per_s: u32, burst: u32| Rate {
        per_s: NonZeroU32::new(per_s).unwrap_or(NonZeroU32::MIN),
        burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
    };
    let rates = Rates {
        frames: rate(config.frames_per_s, config.frames_burst),
        bytes: rate(config.bytes_per_s, config.bytes_burst),
    };
    AgentConfig {
        listen: config.listen,
        max_sessions: config.max_sessions,
        max_connections_per_addr: config.limits.then_some(config.max_connections_per_addr),
        login_frame_max_bytes: config.login_frame_max_bytes,
        frame_max_bytes: config.frame_max_bytes,
        login_timeout: Duration::from_millis(config.login_timeout_ms),
        idle_timeout: Duration::from_millis(config.idle_timeout_ms),
        attach_timeout: ATTACH_TIMEOUT,
        rates: config.limits.then_some(rates),
        outbox_max_bytes: config.outbox_max_bytes,
        grace: Duration::from_millis(config.shutdown_grace_ms),
    }
}

fn authenticator(config: &Config) -> Result<Authenticator, KeyError> {
    match (config.auth, &config.auth_key) {
        (Auth::Token, Some(path)) => Authenticator::token_from_file(path),
        (Auth::Token, None) => Authenticator::token(&[]),
        (Auth::Dev, _) => Ok(Authenticator::Dev),
    }
}

async fn bind(key: &'static str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = |source| StartError::Bind { key, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(error)?;
    let addr = listener.local_addr().map_err(error)?;
    Ok((listener, addr))
}

/// The artefact to start with: the one the configuration names, else the reference plugin.
fn plugin_file(config: &Config) -> Result<Arc<[u8]>, StartError> {
    if let Some(name) = config.plugin.keys().find(|name| *name != GAME_LOGIC) {
        return Err(StartError::PluginName(name.clone()));
    }
    let path = match config.plugin.get(GAME_LOGIC) {
        Some(path) => path.clone(),
        None => reference_plugin()?,
    };
    let bytes = std::fs::read(&path);
    let error = |source| StartError::PluginFile { name: GAME_LOGIC.to_owned(), path, source };
    bytes.map(Into::into).map_err(error)
}

/// Beside the binary as cargo leaves it, or where a package or container puts it.
fn reference_plugin() -> Result<PathBuf, StartError> {
    let file = format!("{GAME_LOGIC}.wasm");
    let exe = std::env::current_exe().unwrap_or_default();
    let dir = exe.parent().unwrap_or(Path::new(""));
    let places = [
        dir.join("../plugins").join(&file),
        dir.join("plugins").join(&file),
        dir.join("../share/hotseat/plugins").join(&file),
    ];
    let found = places.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| {
        let places: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
        StartError::NoPlugin(places.join(", "))
    })
}
