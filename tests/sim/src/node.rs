//! Node: what a process in a simulated cluster is made of: the real journal, rooms and rebalancer, put
//! together as a node does it (`app::Membership`, `app::Works`, `app::App`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use hotseat::actor::artefacts::Artefacts;
use hotseat::actor::deploy::{Deployer, DeployerParts, Terms};
use hotseat::actor::metrics::ActorMetrics;
use hotseat::actor::names::Names;
use hotseat::actor::{ActorGroup, ActorGroupParts, Caps, Clock, Services, Shares, World, keep};
use hotseat::cluster::continuity::Continuity;
use hotseat::cluster::metrics::ClusterMetrics;
use hotseat::cluster::placement::{Owner, Placement};
use hotseat::cluster::rollout::{Rollout, RolloutParts, Shelf};
use hotseat::cluster::rooms::drain_progress::DrainProgress;
use hotseat::cluster::rooms::handover::{COMING, HandoverSender, Receiver};
use hotseat::cluster::rooms::host_state::{self, HostStates};
use hotseat::cluster::rooms::rebalancer::Rebalancer;
use hotseat::discovery::Discovery;
use hotseat::game::metrics::GameMetrics;
use hotseat::game::registry::{Bounds, Parts, Registry};
use hotseat::game::{Homes, Profiles};
use hotseat::journal::check::Repair;
use hotseat::journal::{self, Dormant, Journal, JournalError, SavedState, Steps, Surroundings};
use hotseat::link::{Link, link};
use hotseat::peer::Dialer;
use hotseat::plugin::GAME_WORLD;
use hotseat::proto::cluster::rollout_server::RolloutServer;
use hotseat::proto::cluster::rooms_server::RoomsServer;
use hotseat::snowflake::Generator;
use hotseat::telemetry::health::Part;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService as _;
use tower::ServiceExt as _;

use crate::client::Client;
use crate::disk::Disks;
use crate::etcd::Etcd;
use crate::model::{Model, OnDisk};
use crate::network::{Arrived, Network, Port};
use crate::stage::Stage;
use crate::{HOMES, Process, TTL, lock};

/// How often a journal's writer comes to its work.
const WRITE_EVERY: Duration = Duration::from_millis(15);

/// How often a journal that is closed tries to write, and how long it waits in between (`journal::writer`).
const LAST_TRIES: usize = 2;
const RETRY: Duration = Duration::from_millis(200);

/// How long a host that ends gives away its rooms.
const DRAINING: Duration = Duration::from_secs(4);

/// 2026-01-01 UTC, ms: when simulations begin.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// The plugin.
const GAME: &str = "game-logic";

/// How long a version is on probation, and can be taken back with what came since.
const PROBATION: Duration = Duration::from_secs(20);
const WINDOW: Duration = Duration::from_secs(60);

const JOURNAL: journal::Bounds =
    journal::Bounds { segment_bytes: 16 << 10, buffer_bytes: 1 << 20, sync_every: Duration::from_millis(10) };

/// What a process is given.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) process: Process,
    pub(crate) node: String,
    /// Where the state of all hosts is.
    pub(crate) shared_dir: PathBuf,
    /// Where this one's is, if it is elsewhere.
    pub(crate) own_dir: Option<PathBuf>,
    /// For what nobody else reads.
    pub(crate) private_dir: PathBuf,
    pub(crate) disks: Disks,
    pub(crate) etcd: Arc<Mutex<Etcd>>,
    pub(crate) network: Arc<Mutex<Network>>,
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) stage: Arc<Stage>,
}

/// What a process has once it is among the others.
#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) registry: Arc<Registry>,
    pub(crate) link: Link,
    pub(crate) journal: Arc<Journal>,
    pub(crate) draining: watch::Sender<bool>,
    pub(crate) deployer: Deployer,
    pub(crate) rollout: Rollout,
    node: Arc<str>,
    placement: Placement,
    discovery: Discovery,
    /// None once it is closed.
    steps: Arc<Mutex<Option<Steps>>>,
    stop: CancellationToken,
    /// Who has this process's name, once another one has.
    cast_out: watch::Receiver<Option<String>>,
}

impl Given {
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.own_dir.clone().unwrap_or_else(|| self.shared_dir.join(&self.node))
    }

    /// Comes up and stands among the others; its work goes on in the background.
    pub(crate) async fn run(self, now_ms: u64) -> Result<Up> {
        let client = Client::start(Arc::clone(&self.etcd), self.process, TTL);
        let discovery = Discovery::simulated(Arc::new(client));
        discovery.ready().await;
        let placement = Placement::new(&discovery);
        let state_dir = self.state_dir();
        std::fs::create_dir_all(&state_dir)?;
        let surroundings = Surroundings { disk: Arc::new(self.disks.clone()), ..Surroundings::default() };
        let dir = state_dir.join("journal");
        let (journal, mut saved_states, steps) =
            match Journal::stepped_in(&dir, JOURNAL, surroundings.clone()) {
                Err(JournalError::Damaged { .. }) => {
                    // The operator goes on with what can be trusted: all that was synced is.
                    Repair::begin_on(Arc::new(self.disks.clone()), &dir)?.run()?;
                    lock(&self.model).tell(format!("the journal of {} is repaired", self.node));
                    Journal::stepped_in(&dir, JOURNAL, surroundings)?
                }
                opened => opened?,
            };
        let journal = Arc::new(journal);
        for room in host_state::superseded(&state_dir, &saved_states) {
            saved_states.remove(&room);
            journal.forget(&room.into());
        }
        let (registry, deployer) = self.registry(&journal, now_ms).await?;
        let homes_left: BTreeMap<String, SavedState> =
            saved_states.extract_if(.., |name, _| Homes::is_home(name)).collect();
        registry.restore(saved_states).await;
        let dormant = Dormant::new(homes_left);
        let steps = Arc::new(Mutex::new(Some(steps)));
        tokio::spawn(self.clone().write(Arc::clone(&steps), Arc::clone(&registry), journal.synced()));
        tokio::spawn(keep(Arc::clone(&journal), vec![Arc::clone(registry.group())]));
        self.take_name(&discovery, &registry, &dormant).await?;
        let (stop, draining) = (CancellationToken::new(), watch::Sender::new(false));
        let metrics = ClusterMetrics::register(&prometheus::Registry::new())?;
        let owner = Owner { node: self.node.clone(), process: self.process.to_string() };
        let receiver = Receiver {
            owner: owner.clone(),
            registry: Arc::clone(&registry),
            discovery: discovery.clone(),
            metrics: metrics.clone(),
            draining: draining.subscribe(),
            max_bytes: 1 << 30,
            coming: Arc::new(Semaphore::new(COMING)),
        };
        let (inbox, arrived) = mpsc::unbounded_channel();
        lock(&self.network).listen(self.process, inbox);
        let port = Port { network: Arc::clone(&self.network), process: self.process };
        let dialer = Dialer::through(Arc::new(port.clone()));
        let node: Arc<str> = self.node.as_str().into();
        let rollout = Rollout::new(RolloutParts {
            node: Arc::clone(&node),
            discovery: discovery.clone(),
            placement: placement.clone(),
            dialer: dialer.clone(),
            deployer: deployer.clone(),
            probation: PROBATION,
        });
        let shelf = Shelf::served([(GAME.to_owned(), deployer.clone())].into());
        tokio::spawn(serve(port, (RoomsServer::new(receiver), shelf), arrived));
        tokio::spawn(self.clone().stand(
            discovery.clone(),
            Arc::clone(&registry),
            dormant.clone(),
            draining.subscribe(),
            rollout.standing(),
            stop.clone(),
        ));
        let (told, cast_out) = watch::channel(None);
        let (given, names) = (self.clone(), discovery.clone());
        tokio::spawn(async move {
            let holder = given.cast_out(&names).await;
            told.send_replace(Some(holder));
        });
        let (asking, asks) = link(64);
        tokio::spawn(Arc::clone(&registry).serve(asks));
        let rebalancer = Rebalancer {
            node: self.node.clone(),
            owner,
            discovery: discovery.clone(),
            placement: placement.clone(),
            registry: Arc::clone(&registry),
            dormant,
            host_states: self
                .own_dir
                .is_none()
                .then(|| HostStates::on(Arc::new(self.disks.clone()), &self.shared_dir, &self.node)),
            overtaken: HashMap::new(),
            left_to_others: HashMap::new(),
            ending: BTreeSet::new(),
            unreadable: HashMap::new(),
            free_since: HashMap::new(),
            last_owners: HashMap::new(),
            told_unreadable: None,
            refusing: HashMap::new(),
            staying: HashMap::new(),
            progress: DrainProgress::default(),
            heir_from: None,
            continuity: Continuity::open(&state_dir, self.process.to_string()),
            handover_sender: HandoverSender { node: Arc::clone(&node), discovery: discovery.clone(), dialer },
            metrics,
            draining: draining.subscribe(),
            standing: rollout.standing(),
        };
        tokio::spawn(rebalancer.run(stop.clone()));
        tokio::spawn(rollout.clone().follow(discovery.clone(), stop.clone()));
        let link = asking;
        Ok(Up {
            registry,
            link,
            journal,
            draining,
            deployer,
            rollout,
            node,
            placement,
            discovery,
            steps,
            stop,
            cast_out,
        })
    }

    /// As `app::Common::start` and what follows upon it.
    async fn registry(&self, journal: &Arc<Journal>, now_ms: u64) -> Result<(Arc<Registry>, Deployer)> {
        let metrics = prometheus::Registry::new();
        let actors = ActorMetrics::register(&metrics)?;
        let services = Services::new(
            &BTreeMap::new(),
            &Dialer::default(),
            Duration::from_secs(1),
            actors.service_calls.clone(),
        )?;
        let world = World {
            ids: Arc::new(Generator::standing_at(1, EPOCH_MS + now_ms)),
            settings: Arc::default(),
            log_inputs: 64,
            log_bytes: 1 << 20,
            journal: Arc::clone(journal),
            dead_letters: Arc::clone(&self.stage.dead_letters),
            rollbacks: Arc::clone(&self.stage.rollbacks),
            durability: None,
            meter: None,
        };
        let (reports, reported) = mpsc::channel(64);
        let group = ActorGroup::new(ActorGroupParts {
            plugin: GAME.into(),
            rehearsal_name: "home/0".into(),
            wit_world: GAME_WORLD,
            world,
            clock: Clock::at(EPOCH_MS + now_ms),
            metrics: actors,
            // How long a call takes is nothing that a seed decides: nobody is to wait for it.
            shares: Shares { actor: 1_000.0, ..Shares::default() },
            caps: Caps {
                memory_mib: u64::MAX,
                deadline_ms: u64::MAX,
                snapshot_max_bytes: u64::MAX,
                tick_hz: u64::MAX,
            },
            reports,
        });
        let deployer = Deployer::start(DeployerParts {
            engine: self.stage.engine.clone(),
            group: Arc::clone(&group),
            artefacts: Artefacts::open(&self.state_dir(), GAME)?,
            first: Arc::clone(&self.stage.versions[0].bytes),
            terms: Terms { probation: PROBATION, window: WINDOW, pause_max: Duration::MAX },
            names: Names::default(),
        });
        let deployer = deployer.await?;
        tokio::spawn(deployer.clone().watch(reported));
        std::fs::create_dir_all(&self.private_dir)?;
        let registry = Registry::new(Parts {
            group,
            bounds: Bounds {
                max_rooms: 64,
                rooms_per_room: 8,
                rooms_per_player: 8,
                room_mailbox: 64,
                player_moves_per_s: 1_000,
            },
            metrics: GameMetrics::register(&metrics)?,
            profiles: Profiles::open(&self.private_dir, journal.synced(), Part::default())?,
            services,
            homes: Arc::new(Homes::clustered(HOMES)),
        });
        Ok((registry, deployer))
    }

    /// The journal's writer.
    async fn write(
        self,
        steps: Arc<Mutex<Option<Steps>>>,
        registry: Arc<Registry>,
        synced: watch::Receiver<u64>,
    ) {
        let dir = self.state_dir();
        loop {
            sleep(WRITE_EVERY).await;
            let written = {
                let mut steps = lock(&steps);
                let Some(steps) = &mut *steps else { return };
                if self.disks.is_slow(&dir) {
                    steps.write()
                } else {
                    steps.step()
                }
                steps.written()
            };
            let homes = registry.homes();
            let open = homes.gate().is_open();
            let on_disk = OnDisk { written, synced: *synced.borrow() };
            lock(&self.model).on_disk(self.process, on_disk, |home| open && homes.owns(home));
        }
    }
}

impl Up {
    /// Whether all that its rooms had to write is written.
    pub(crate) fn is_written(&self) -> bool {
        lock(&self.steps).as_ref().is_none_or(|steps| steps.written() >= self.journal.position())
    }

    /// Who has this process's name, once another one has.
    pub(crate) fn cast_out(&self) -> Option<String> {
        self.cast_out.borrow().clone()
    }

    /// As `app::App::stop`; whether all that its rooms had to write is on disk.
    pub(crate) async fn stop(self) -> bool {
        // What a process has that is cast out are others' rooms by now.
        let member = self.cast_out().is_none();
        if member {
            self.draining.send_replace(true);
        }
        let homes = self.registry.homes();
        let deadline = Instant::now() + DRAINING;
        let others =
            || member && self.placement.nodes().iter().any(|it| it.takes_rooms() && *it.id != *self.node);
        while !(homes.claims().is_empty() && self.registry.population().0 == 0)
            && others()
            && Instant::now() < deadline
        {
            sleep(Duration::from_millis(20)).await;
        }
        self.stop.cancel();
        self.registry.stop().await;
        let position = self.journal.position();
        self.journal.close();
        let steps = lock(&self.steps).take();
        let mut written = false;
        if let Some(mut steps) = steps {
            for _ in 0..LAST_TRIES {
                steps.step();
                written = steps.written() >= position;
                if written {
                    break;
                }
                sleep(RETRY).await;
            }
        }
        self.discovery.close().await;
        written
    }
}

/// Answers other hosts.
async fn serve(
    port: Port,
    (rooms, shelf): (RoomsServer<Receiver>, RolloutServer<Shelf>),
    mut arrived: mpsc::UnboundedReceiver<Arrived>,
) {
    while let Some(Arrived { from, request, answer }) = arrived.recv().await {
        let (rooms, shelf, port) = (rooms.clone(), shelf.clone(), port.clone());
        tokio::spawn(async move {
            let service = request.uri().path().split('/').nth(1).unwrap_or_default();
            let reply = match service {
                RolloutServer::<Shelf>::NAME => shelf.oneshot(request).await,
                _ => rooms.oneshot(request).await,
            };
            port.reply(from, reply.map_err(Into::into), answer);
        });
    }
}
