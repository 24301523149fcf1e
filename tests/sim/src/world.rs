//! World: a simulated cluster: its hosts, what is between them, what goes wrong, and the time, which it alone moves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use hotseat_build::Digest;

use crate::disk::Disks;
use crate::etcd::Etcd;
use crate::host::Host;
use crate::model::Model;
use crate::network::Network;
use crate::node::Given;
use crate::operator::Operator;
use crate::plan::{Fault, Plan};
use crate::players::Players;
use crate::rng::Rng;
use crate::stage::{SCHEMA_2, Stage};
use crate::{HOSTS, Process, lock};

/// Steps of the time, ms: no message is faster, and what happens within one happens host by host.
const STEP_MS: u64 = 20;

/// So long after the last fault all has to be well, ms: leases end, hosts ask again, rooms that were loaded wait.
const SETTLE_MS: u64 = 30_000;

/// How long an operator takes to end one of two processes of one name, ms.
const OPERATOR_MS: u64 = 8_000;

/// What is to be done at some time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    Fault(Fault),
    Start(usize),
    Thaw(Process),
    Twin(usize),
    /// Ends what runs by the host's name beside its own process.
    StopTwin(usize),
    Kill(usize),
    Stop(usize),
    Mend,
    HealDisk(usize),
    EtcdGoesOn,
    EtcdEmpty,
}

/// How a simulation went.
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    pub(crate) history: Vec<(u64, String)>,
    pub(crate) answers: u64,
    pub(crate) digest: u64,
}

pub(crate) struct World {
    pub(crate) stage: Arc<Stage>,
    dir: tempfile::TempDir,
    pub(crate) now_ms: u64,
    pub(crate) disks: Disks,
    /// What the seed decides about disks.
    rng: Rng,
    /// All processes that each host has had.
    processes: [Vec<Process>; HOSTS],
    pub(crate) etcd: Arc<Mutex<Etcd>>,
    pub(crate) network: Arc<Mutex<Network>>,
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) operator: Arc<Mutex<Operator>>,
    pub(crate) hosts: BTreeMap<Process, Host>,
    pub(crate) slots: [Option<Process>; HOSTS],
    last: Process,
    deeds: BTreeMap<(u64, u64), Deed>,
    serial: u64,
    pub(crate) players: Players,
    /// Rooms with two owners, as of the last step.
    pub(crate) double: BTreeSet<u32>,
    /// Who acted last for each.
    pub(crate) acting: BTreeMap<u32, Process>,
    /// When each process that has been cut off from etcd's answers was so last.
    pub(crate) deaf: BTreeMap<Process, u64>,
    /// What each process runs.
    pub(crate) runs: BTreeMap<Process, Digest>,
}

impl World {
    /// Plays a plan with what the seed decides beside it.
    pub(crate) fn play(stage: &Arc<Stage>, seed: u64, plan: &Plan) -> Result<Outcome> {
        let dir = tempfile::tempdir_in(stage.dir.path())?;
        let model = Arc::new(Mutex::new(Model::default()));
        let mut world = Self {
            stage: Arc::clone(stage),
            dir,
            now_ms: 0,
            disks: Disks::default(),
            rng: Rng::new(seed, 0xd15c),
            processes: std::array::from_fn(|_| Vec::new()),
            etcd: Arc::new(Mutex::new(Etcd::new(seed))),
            network: Arc::new(Mutex::new(Network::new(seed))),
            players: Players::new(Rng::new(seed, 0x97a1), Arc::clone(&model)),
            model,
            operator: Arc::new(Mutex::new(Operator::new(Arc::clone(stage)))),
            hosts: BTreeMap::new(),
            slots: [None; HOSTS],
            last: 0,
            deeds: BTreeMap::new(),
            serial: 0,
            double: BTreeSet::new(),
            acting: BTreeMap::new(),
            deaf: BTreeMap::new(),
            runs: BTreeMap::new(),
        };
        for slot in 0..HOSTS {
            world.after(slot as u64 * 150, Deed::Start(slot));
        }
        for (at, fault) in &plan.faults {
            world.after(*at, Deed::Fault(*fault));
        }
        world.run()?;
        Ok(world.outcome())
    }

    pub(crate) fn after(&mut self, ms: u64, deed: Deed) {
        self.serial += 1;
        self.deeds.insert((self.now_ms + ms, self.serial), deed);
    }

    pub(crate) fn tell(&self, what: String) {
        lock(&self.model).tell(what);
    }

    fn run(&mut self) -> Result<()> {
        while !self.deeds.is_empty() {
            self.step()?;
            if lock(&self.model).violation.is_some() {
                return Ok(());
            }
        }
        // All that stands still or is gone comes back, and then it has to be well.
        self.mend();
        (0..HOSTS).for_each(|slot| self.disks.heal(&self.dir_of(slot)));
        lock(&self.etcd).stopped = false;
        for slot in 0..HOSTS {
            let draining = self.host(slot).and_then(Host::up).is_some_and(|up| *up.draining.borrow());
            if draining {
                self.kill_at(slot, "was drained, is killed");
            }
            if self.slots[slot].is_none() {
                self.start(slot)?;
            }
        }
        self.tell("all is to be well from now on".into());
        let until = self.now_ms + SETTLE_MS;
        while self.now_ms < until && lock(&self.model).violation.is_none() {
            self.step()?;
            for slot in 0..HOSTS {
                if self.slots[slot].is_none() {
                    self.start(slot)?;
                }
            }
        }
        let answered = self.players.answers();
        let mut wrong = self.settle(&answered)?;
        if wrong.is_some() && !self.unowned().is_empty() {
            // A version that was gone back from has written states that the one before it does not read.
            self.tell("rooms wait for a version that reads them, which is deployed again".into());
            self.ask_operator(0, Some(SCHEMA_2));
            wrong = self.settle(&answered)?;
        }
        if let Some(what) = wrong {
            lock(&self.model).wrong(what);
        }
        Ok(())
    }

    /// Waits until all is well; what is not, if it takes too long. `answered`: how often players had been answered before.
    fn settle(&mut self, answered: &BTreeMap<u64, u64>) -> Result<Option<String>> {
        let until = self.now_ms + SETTLE_MS;
        while self.now_ms < until && lock(&self.model).violation.is_none() {
            self.step()?;
            if self.not_well(answered).is_none() {
                return Ok(None);
            }
        }
        Ok(self.not_well(answered))
    }

    fn step(&mut self) -> Result<()> {
        while let Some(entry) = self.deeds.first_entry() {
            if entry.key().0 > self.now_ms {
                break;
            }
            let deed = entry.remove();
            self.do_now(deed)?;
        }
        lock(&self.etcd).pass(self.now_ms);
        lock(&self.network).pass(self.now_ms);
        self.players.step(self.now_ms, &self.hosts, &self.etcd);
        self.now_ms += STEP_MS;
        lock(&self.model).now_ms = self.now_ms;
        for host in self.hosts.values_mut().filter(|host| !host.frozen) {
            host.run_until(self.now_ms);
        }
        self.stop_outcasts();
        let ended = self.hosts.iter().filter_map(|(process, host)| Some((*process, host.ended()?)));
        for (process, end) in ended.collect::<Vec<_>>() {
            let why = if end.lost { format!("{}, its disk did not take all", end.why) } else { end.why };
            self.bury(process, &why, end.lost);
        }
        self.note_versions();
        self.check();
        Ok(())
    }

    /// A process whose name another one has ends; later the operator ends that one, and starts the host anew.
    fn stop_outcasts(&mut self) {
        for slot in 0..HOSTS {
            let holder = self.host(slot).filter(|host| !host.stopping).and_then(|host| host.up()?.cast_out());
            if let Some(holder) = holder {
                self.tell(format!("g{slot} is {holder} by now"));
                self.stop(slot);
                self.after(OPERATOR_MS, Deed::StopTwin(slot));
                self.after(2 * OPERATOR_MS, Deed::Start(slot));
            }
        }
    }

    pub(crate) fn host(&self, slot: usize) -> Option<&Host> {
        self.hosts.get(&self.slots[slot]?)
    }

    fn start(&mut self, slot: usize) -> Result<()> {
        let process = self.launch(slot, None)?;
        self.slots[slot] = Some(process);
        self.processes[slot].push(process);
        self.tell(format!("host g{slot} starts as process {process}"));
        Ok(())
    }

    fn launch(&mut self, slot: usize, own_dir: Option<PathBuf>) -> Result<Process> {
        self.last += 1;
        let process = self.last;
        let given = Given {
            process,
            node: format!("g{slot}"),
            shared_dir: self.dir.path().join("shared"),
            own_dir,
            private_dir: self.dir.path().join(format!("private-{process}")),
            disks: self.disks.clone(),
            etcd: Arc::clone(&self.etcd),
            network: Arc::clone(&self.network),
            model: Arc::clone(&self.model),
            stage: Arc::clone(&self.stage),
        };
        self.hosts.insert(process, Host::start(given, self.now_ms)?);
        Ok(process)
    }

    pub(crate) fn kill_at(&mut self, slot: usize, why: &str) {
        if let Some(process) = self.slots[slot] {
            self.bury(process, why, true);
        }
    }

    /// The directory of a host's state.
    pub(crate) fn dir_of(&self, slot: usize) -> PathBuf {
        self.dir.path().join("shared").join(format!("g{slot}"))
    }

    /// Numbers for one more disk that fails.
    pub(crate) fn rng(&mut self) -> Rng {
        Rng::new(self.rng.next(), 0)
    }

    /// The host is dead, and with it what was written there and not synced.
    pub(crate) fn cut_power(&mut self, slot: usize) {
        self.kill_at(slot, "has no power");
        self.disks.cut_power(&self.dir_of(slot), &mut self.rng);
        lock(&self.model).power_cut(&self.processes[slot]);
    }

    /// The process is no more. One that was killed had no chance to write what it had.
    fn bury(&mut self, process: Process, why: &str, killed: bool) {
        let Some(host) = self.hosts.remove(&process) else { return };
        self.tell(format!("host {} (process {process}) ends: {why}", host.given.node));
        if killed {
            lock(&self.model).may_lose(&host.holds());
        }
        self.players.lost(process, self.now_ms);
        drop(host);
        lock(&self.model).dead(process);
        lock(&self.operator).lost(process);
        lock(&self.etcd).forget(process);
        lock(&self.network).forget(process);
        for slot in self.slots.iter_mut().filter(|slot| **slot == Some(process)) {
            *slot = None;
        }
    }

    /// All connections work again.
    fn mend(&mut self) {
        lock(&self.etcd).mend();
        lock(&self.network).cut.clear();
        let frozen = self.hosts.iter().filter(|(_, host)| host.frozen).map(|(process, _)| *process);
        for process in frozen.collect::<Vec<_>>() {
            self.thaw(process);
        }
    }

    fn thaw(&mut self, process: Process) {
        let now_ms = self.now_ms;
        if let Some(host) = self.hosts.get_mut(&process).filter(|host| host.frozen) {
            host.thaw(now_ms);
            self.tell(format!("process {process} goes on"));
        }
    }

    pub(crate) fn freeze(&mut self, slot: usize) -> Option<Process> {
        let process = self.slots[slot]?;
        let host = self.hosts.get_mut(&process).filter(|host| !host.frozen)?;
        host.frozen = true;
        let holds = host.holds();
        lock(&self.model).may_lose(&holds);
        self.tell(format!("process {process} stands still"));
        Some(process)
    }

    fn do_now(&mut self, deed: Deed) -> Result<()> {
        match deed {
            Deed::Fault(fault) => {
                self.tell(format!("-- {fault:?}"));
                self.fault(fault);
            }
            Deed::Start(slot) if self.slots[slot].is_none() => self.start(slot)?,
            Deed::Start(_) => {}
            Deed::Thaw(process) => self.thaw(process),
            Deed::Kill(slot) => self.kill_at(slot, "killed"),
            Deed::Stop(slot) => self.stop(slot),
            Deed::Twin(slot) => {
                let own = self.dir.path().join(format!("twin-{}", self.last + 1));
                let process = self.launch(slot, Some(own))?;
                self.tell(format!("another process {process} starts as g{slot}"));
            }
            Deed::StopTwin(slot) => {
                let node = format!("g{slot}");
                let beside = |host: &&mut Host| host.given.node == node && !host.stopping;
                let process = self.slots[slot];
                for host in self.hosts.values_mut().filter(beside) {
                    if Some(host.given.process) != process {
                        host.stop();
                    }
                }
                self.tell(format!("what else runs as g{slot} is told to stop"));
            }
            Deed::Mend => {
                lock(&self.etcd).mend();
                lock(&self.network).cut.clear();
                self.tell("all connections work again".into());
            }
            Deed::HealDisk(slot) => {
                self.disks.heal(&self.dir_of(slot));
                self.tell(format!("the disk of g{slot} works again"));
            }
            Deed::EtcdGoesOn => {
                lock(&self.etcd).stopped = false;
                self.tell("etcd answers again".into());
            }
            Deed::EtcdEmpty => self.wipe_etcd(),
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self, slot: usize) {
        let Some(process) = self.slots[slot] else { return };
        if let Some(host) = self.hosts.get_mut(&process).filter(|host| !host.frozen && !host.stopping) {
            host.stop();
            self.tell(format!("process {process} is told to stop"));
        }
    }

    fn outcome(self) -> Outcome {
        let model = lock(&self.model);
        let answers = model.figures.values().map(|figure| figure.answers).sum();
        let mut digest = 0xcbf2_9ce4_8422_2325_u64;
        let mut mix = |bytes: &[u8]| {
            for byte in bytes {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for (at, what) in &model.history {
            mix(&at.to_le_bytes());
            mix(what.as_bytes());
        }
        for figure in model.figures.values() {
            mix(&figure.acked.to_le_bytes());
        }
        Outcome { violation: model.violation.clone(), history: model.history.clone(), answers, digest }
    }
}
