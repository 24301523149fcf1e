//! Runtime: everything a node needs to run guests: engine, journal, plugins with their actors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::plugins::{Common, Wanted};
use super::{DeployError, GAME_LOGIC, StartError, builtin, settings};
use crate::actor::deploy::Deployer;
use crate::actor::metrics::ActorMetrics;
use crate::actor::names::Names;
use crate::actor::{ActorGroup, Report, Services, keep};
use crate::cluster::player_directory;
use crate::cluster::rooms::host_state;
use crate::config::Config;
use crate::discovery::backends::Backends;
use crate::files;
use crate::game::metrics::GameMetrics;
use crate::game::registry::{Parts, Registry};
use crate::game::{Homes, Profiles};
use crate::journal::{
    self, DeadLetters, Dormant, Journal, JournalMetrics, RollbackStore, SavedState, Surroundings,
};
use crate::peer::Security;
use crate::plugin::{Engine, Memory, Shared};
use crate::service::metrics::ServiceMetrics;
use crate::service::{ServiceRouter, ServiceRouterParts};
use crate::snowflake::Generator;
use crate::telemetry::metrics::Metrics;

/// The most memory that any manifest may ask for; what the engine's pool is cut for.
const MEMORY_MAX: usize = 4 << 30;

/// Bounds of the rooms' journal. Once a plugin is live its manifest's `fsync_ms` says how often records are synced.
const JOURNAL: journal::Bounds = journal::Bounds {
    segment_bytes: journal::SEGMENT_BYTES,
    buffer_bytes: journal::BUFFER_BYTES,
    sync_every: Duration::from_millis(10),
};

/// Deployers that have begun, and where their actors report.
type Watched = Vec<(Deployer, mpsc::Receiver<Report>)>;

/// What a node that runs plugins has.
pub(super) struct Runtime {
    pub(super) registry: Option<Arc<Registry>>,
    pub(super) router: Arc<ServiceRouter>,
    pub(super) deployers: BTreeMap<String, Deployer>,
    /// Plugins none of whose versions can be started, and why.
    pub(super) not_started: BTreeMap<String, String>,
    /// Home rooms of a cluster that an earlier process of this node left, which are taken up where they are claimed, and
    /// shards of plugins that do not run here.
    pub(super) dormant: Dormant,
    journal: Arc<Journal>,
    dead_letters: Arc<DeadLetters>,
    watched: Watched,
}

/// What they are made of.
pub(super) struct RuntimeParts<'a> {
    pub(super) config: &'a Config,
    pub(super) wanted: Vec<Wanted>,
    pub(super) security: &'a Security,
    pub(super) metrics: (ActorMetrics, GameMetrics, ServiceMetrics),
    /// Where it is told that the disk does not take what is written.
    pub(super) telemetry: &'a Metrics,
    pub(super) homes: Arc<Homes>,
    pub(super) ids: Arc<Generator>,
    /// Where this node's services listen.
    pub(super) grpc: SocketAddr,
    /// Where journal and profiles are.
    pub(super) state_dir: PathBuf,
    /// What the cluster offers to guests.
    pub(super) backends: Option<Backends>,
}

impl Runtime {
    /// Compiles the plugins and brings back what an earlier process left.
    pub(super) async fn start(parts: RuntimeParts<'_>) -> Result<Self, StartError> {
        let RuntimeParts {
            config,
            wanted,
            security,
            metrics,
            telemetry,
            homes,
            ids,
            grpc,
            backends,
            state_dir,
        } = parts;
        let (actor_metrics, game_metrics, service_metrics) = metrics;
        let data_dir = config.data_dir.clone();
        let rooms = if wanted.iter().any(Wanted::is_game) { config.max_rooms } else { 0 };
        let shards = wanted.iter().filter(|plugin| !plugin.is_game()).count() * config.shards;
        let actors = u32::try_from(rooms + shards).unwrap_or(u32::MAX);
        let memory = Memory::new(settings::guest_memory_max(config), actor_metrics.memory.clone());
        let shared = Shared { processor: actor_metrics.processor.clone(), memory };
        let compiler = Some(settings::compiler(config));
        let engine = Engine::for_node(data_dir.join("cache"), actors, MEMORY_MAX, compiler, shared)?;
        std::fs::create_dir_all(&state_dir)
            .map_err(|source| StartError::DataDir { path: state_dir.clone(), source })?;
        let surroundings = Surroundings {
            part: telemetry.health.part("journal"),
            metrics: JournalMetrics::register(&telemetry.registry)?,
            ..Surroundings::default()
        };
        let (journal, mut saved_states) =
            Journal::open_in(&state_dir.join("journal"), JOURNAL, surroundings)?;
        let journal = Arc::new(journal);
        // The journal is this process's alone by now, and so is what is beside it.
        files::remove_partials(&data_dir);
        files::remove_partials(&state_dir);
        for room in host_state::superseded(&state_dir, &saved_states) {
            saved_states.remove(&room);
            info!(room, "room went on at another host, what this one had of it is dropped");
            journal.forget(&room.into());
        }
        let dead_letters = data_dir.join("dead-letters");
        let dead_letters =
            DeadLetters::open(&dead_letters, config.dead_letters, actor_metrics.dead_letters.clone())?;
        let dead_letters = Arc::new(dead_letters);
        // Not before the journal is locked: what lies here may be another process's until then.
        let kept = actor_metrics.rollback_bytes.clone();
        let path = data_dir.join("rollback");
        let rollbacks = RollbackStore::open(&path, config.rollback_max_bytes, kept);
        let rollbacks = rollbacks.map_err(|source| StartError::DataDir { path, source })?;
        let rollbacks = Arc::new(rollbacks);
        let own = wanted.iter().filter(|plugin| !plugin.is_game()).map(|plugin| &*plugin.name);
        let services = Services::new(
            &settings::services(config, own.chain([player_directory::SERVICE]), grpc),
            &settings::own_dialer(config, security),
            Duration::from_millis(config.service_timeout_ms),
            actor_metrics.service_calls.clone(),
        )?;
        let services = match backends {
            Some(backends) => services.and(backends),
            None => services,
        };
        let common = Common {
            config,
            engine,
            journal: Arc::clone(&journal),
            dead_letters: Arc::clone(&dead_letters),
            rollbacks,
            ids,
            metrics: actor_metrics,
            names: Names::new(builtin::own_services()),
        };
        let mut router = ServiceRouter::new(ServiceRouterParts {
            data_dir: data_dir.clone(),
            bounds: settings::plane_bounds(config),
            metrics: service_metrics,
            services: services.clone(),
        });
        let mut saved_states = by_plugin(saved_states);
        let mut games = None;
        let (mut deployers, mut not_started, mut watched) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for plugin in wanted {
            let (name, game) = (plugin.name.clone(), plugin.is_game());
            let started = match common.start(plugin).await {
                Ok(started) => started,
                // What is on disk keeps no node from starting; without its game it would be none.
                Err(StartError::Plugin { source: source @ DeployError::NoneStarts(_), .. }) if !game => {
                    error!(plugin = name, error = %source, "the node starts without this plugin");
                    not_started.insert(name, source.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            watched.push((started.deployer.clone(), started.reports));
            deployers.insert(name.clone(), started.deployer);
            if game {
                games = Some(started.group);
            } else {
                router.add(started.group, saved_states.remove(&name).unwrap_or_default()).await?;
            }
        }
        let mut homes_left = BTreeMap::new();
        let registry = match games {
            Some(group) => {
                let profiles =
                    Profiles::open(&state_dir, journal.synced(), telemetry.health.part("profiles"))?;
                let bounds = settings::bounds(config);
                let parts = Parts { group, bounds, services, metrics: game_metrics, profiles, homes };
                let registry = Registry::new(parts);
                let mut rooms = saved_states.remove(GAME_LOGIC).unwrap_or_default();
                if registry.homes().are_clustered() {
                    homes_left = rooms.extract_if(.., |name, _| Homes::is_home(name)).collect();
                }
                registry.restore(rooms).await;
                Some(registry)
            }
            None => None,
        };
        let mut strangers: BTreeMap<_, _> = saved_states.into_values().flatten().collect();
        if !strangers.is_empty() {
            let shards: Vec<_> = strangers.keys().map(String::as_str).collect();
            warn!(
                shards = shards.join(" "),
                "the journal keeps rooms or shards of plugins that do not run here"
            );
        }
        strangers.extend(homes_left);
        let (router, dormant) = (Arc::new(router), Dormant::new(strangers));
        Ok(Self { registry, router, deployers, not_started, dormant, journal, dead_letters, watched })
    }

    /// Begins what runs as long as the node. Not before nothing can fail any more: a task of its own would outlive the
    /// node that did not start.
    pub(super) fn run(&mut self) -> Vec<JoinHandle<()>> {
        let game = self.registry.as_ref().map(|registry| Arc::clone(registry.group()));
        let groups: Vec<Arc<ActorGroup>> = self.router.groups().cloned().chain(game).collect();
        let keeping = tokio::spawn(keep(Arc::clone(&self.journal), groups));
        let watched = std::mem::take(&mut self.watched);
        let watching = watched.into_iter().map(|(deployer, reports)| tokio::spawn(deployer.watch(reports)));
        watching.chain([keeping]).collect()
    }

    /// Ends all actors.
    pub(super) async fn stop(&self) {
        if let Some(registry) = &self.registry {
            registry.stop().await;
        }
        self.router.stop().await;
    }

    /// Writes everything that waits. To be called when nobody uses them any more.
    pub(super) async fn close(self) {
        let Self { registry, journal, dead_letters, .. } = self;
        let close = move || {
            // In this order: the profiles wait for the journal.
            journal.close();
            if let Some(registry) = registry {
                registry.close();
            }
            dead_letters.close();
        };
        // Writing what waits blocks.
        if tokio::task::spawn_blocking(close).await.is_err() {
            warn!("the profile store ended in a panic");
        }
    }
}

/// What rooms and shards left in the journal, by plugin.
fn by_plugin(saved_states: BTreeMap<String, SavedState>) -> BTreeMap<String, BTreeMap<String, SavedState>> {
    let mut plugins: BTreeMap<String, BTreeMap<String, SavedState>> = BTreeMap::new();
    for (name, past) in saved_states {
        let plugin = ServiceRouter::plugin_of(&name).unwrap_or(GAME_LOGIC).to_owned();
        plugins.entry(plugin).or_default().insert(name, past);
    }
    plugins
}
