//! Plugins: which ones a node runs, and how each comes to life.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::info;

use super::{GAME_LOGIC, StartError, settings};
use crate::actor::artefacts::Artefacts;
use crate::actor::deploy::{Deployer, DeployerParts, Terms};
use crate::actor::metrics::ActorMetrics;
use crate::actor::names::Names;
use crate::actor::{ActorGroup, ActorGroupParts, Clock, Report};
use crate::cluster::player_directory;
use crate::config::{Config, Role};
use crate::journal::{DeadLetters, Journal, RollbackStore};
use crate::plugin::{Engine, GAME_WORLD, SERVICE_WORLD};
use crate::service::ServiceRouter;
use crate::snowflake::Generator;

/// Reports that may wait for the deployer; one is enough to act on.
const REPORTS: usize = 64;

/// What the host's own services go by in a cluster; a plugin of such a name would get their calls.
const RESERVED: [&str; 4] = ["agent", "game", "snowflake", player_directory::SERVICE];

/// A plugin to run.
pub(super) struct Wanted {
    pub(super) name: String,
    bytes: Arc<[u8]>,
}

impl Wanted {
    pub(super) fn is_game(&self) -> bool {
        self.name == GAME_LOGIC
    }
}

/// The plugins of this node by its roles, the game's first, and whatever else is named.
pub(super) fn wanted(config: &Config) -> Result<Vec<Wanted>, StartError> {
    let read = |name: &str, path: PathBuf| match std::fs::read(&path) {
        Ok(bytes) => Ok(Wanted { name: name.to_owned(), bytes: bytes.into() }),
        Err(source) => Err(StartError::PluginFile { name: name.to_owned(), path, source }),
    };
    let named = |name: &str| config.plugin.get(name).cloned();
    let mut wanted = Vec::new();
    if config.roles.contains(&Role::Game) {
        let game = match named(GAME_LOGIC) {
            Some(path) => path,
            None => {
                reference(GAME_LOGIC).map_err(|looked| StartError::NoPlugin { name: GAME_LOGIC, looked })?
            }
        };
        wanted.push(read(GAME_LOGIC, game)?);
    }
    for (role, name) in [(Role::Rank, "rank"), (Role::Chat, "chat")] {
        if config.roles.contains(&role) && named(name).is_none() {
            match reference(name) {
                Ok(path) => wanted.push(read(name, path)?),
                // Without it there is nothing that this node is for.
                Err(looked) if !config.roles.contains(&Role::Game) => {
                    return Err(StartError::NoPlugin { name, looked });
                }
                // A node without them is a whole node.
                Err(looked) => info!(plugin = name, looked, "not served: the reference plugin is not there"),
            }
        }
    }
    for (name, path) in config.plugin.iter().filter(|(name, _)| *name != GAME_LOGIC) {
        if RESERVED.contains(&&**name) {
            return Err(StartError::Reserved(name.clone()));
        }
        wanted.push(read(name, path.clone())?);
    }
    Ok(wanted)
}

/// A reference plugin: beside the binary as cargo leaves it, or where a package or container puts it; or else where it
/// was looked for.
fn reference(name: &str) -> Result<PathBuf, String> {
    let file = format!("{name}.wasm");
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
        places.join(", ")
    })
}

/// What all plugins of a node share.
pub(super) struct Common<'a> {
    pub(super) config: &'a Config,
    pub(super) engine: Engine,
    pub(super) journal: Arc<Journal>,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) rollbacks: Arc<RollbackStore>,
    pub(super) ids: Arc<Generator>,
    pub(super) metrics: ActorMetrics,
    pub(super) names: Names,
}

/// A plugin whose version is live; its actors can begin.
pub(super) struct Started {
    pub(super) group: Arc<ActorGroup>,
    pub(super) deployer: Deployer,
    pub(super) reports: mpsc::Receiver<Report>,
}

impl Common<'_> {
    /// Compiles a plugin, tries it and makes it live.
    pub(super) async fn start(&self, plugin: Wanted) -> Result<Started, StartError> {
        let game = plugin.is_game();
        let Wanted { name, bytes } = plugin;
        let (sender, reports) = mpsc::channel(REPORTS);
        let group = ActorGroup::new(ActorGroupParts {
            rehearsal_name: if game { "home/0".into() } else { ServiceRouter::shard_name(&name, 0).into() },
            wit_world: if game { GAME_WORLD } else { SERVICE_WORLD },
            world: settings::world(
                self.config,
                &name,
                (&self.journal, &self.dead_letters, &self.rollbacks),
                &self.ids,
            ),
            clock: Clock::start(),
            metrics: self.metrics.clone(),
            shares: settings::shares(self.config, game),
            caps: settings::caps(self.config, &name),
            reports: sender,
            plugin: name.clone(),
        });
        let artefacts = Artefacts::open(&self.config.data_dir, &name)?;
        let terms = Terms {
            probation: Duration::from_millis(self.config.probation_ms),
            window: Duration::from_millis(self.config.rollback_window_ms),
            pause_max: Duration::from_millis(self.config.swap_pause_max_ms),
        };
        let parts = DeployerParts {
            engine: self.engine.clone(),
            group: Arc::clone(&group),
            artefacts,
            first: bytes,
            terms,
            names: self.names.clone(),
        };
        let deployer = Deployer::start(parts).await;
        let deployer = deployer.map_err(|source| StartError::Plugin { name, source })?;
        Ok(Started { group, deployer, reports })
    }
}
