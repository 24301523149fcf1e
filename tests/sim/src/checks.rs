//! Checks: what has to be so at every step of a simulated cluster, and once all faults are over.

use std::collections::BTreeMap;

use crate::host::Host;
use crate::world::World;
use crate::{HOMES, HOSTS, Process, lock};

/// So long after it has heard etcd again a host knows whose its rooms are, ms.
const LEARNS: u64 = 5_000;

impl World {
    /// Tells of versions that have come to run.
    pub(crate) fn note_versions(&mut self) {
        let live = |host: &Host| host.up()?.deployer.live();
        let running = self.hosts.iter().filter_map(|(process, host)| Some((*process, live(host)?)));
        for (process, version) in running.collect::<Vec<_>>() {
            let before = self.runs.insert(process, version.digest());
            let first = before.is_none() && version.digest() == self.stage.versions[0].digest;
            if !first && before != Some(version.digest()) {
                self.tell(format!("process {process} runs {}", version.label()));
            }
        }
    }

    /// At no time do two hosts act for a room.
    pub(crate) fn check(&mut self) {
        let mut owners: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
        // What a host that may act no more cannot write, others do not find.
        let behind = |host: &&Host| !host.is_sure() && host.up().is_some_and(|up| !up.is_written());
        for host in self.hosts.values().filter(|host| !host.frozen).filter(behind) {
            lock(&self.model).may_lose(&host.holds());
        }
        // A host whose answers from etcd are lost may have given a room away and not know it: the room stands
        // still until it does, and what players are told shows whether it did.
        let now_ms = self.now_ms;
        let deaf = lock(&self.etcd).deaf.clone();
        self.deaf.extend(deaf.into_iter().map(|process| (process, now_ms)));
        let hears = |process: &Process| self.deaf.get(process).is_none_or(|at| at + LEARNS < now_ms);
        for (process, host) in self.hosts.iter().filter(|(process, host)| !host.frozen && hears(process)) {
            for home in host.acts_for() {
                owners.entry(home).or_default().push(*process);
            }
        }
        for (home, processes) in &owners {
            let [process] = processes[..] else { continue };
            let before = self.acting.insert(*home, process).filter(|before| *before != process);
            let gave = |host: &&Host| !host.frozen && host.is_sure();
            if let Some(before) = before.filter(|before| self.hosts.get(before).filter(gave).is_some()) {
                lock(&self.model).handed_over(*home, before);
            }
        }
        // In one step a room may have gone from one to the other: hosts live it one after the other.
        let double: BTreeMap<u32, Vec<Process>> =
            owners.into_iter().filter(|(_, processes)| processes.len() > 1).collect();
        if let Some((home, processes)) = double.iter().find(|(home, _)| self.double.contains(home)) {
            lock(&self.model)
                .wrong(format!("room {home} has several owners at a time: processes {processes:?}"));
        }
        self.double = double.into_keys().collect();
    }

    /// What is not as it is to be once all faults are over. `answered`: how often players had been answered
    /// by then.
    pub(crate) fn not_well(&self, answered: &BTreeMap<u64, u64>) -> Option<String> {
        let (silent, unowned) = (self.players.unanswered_since(answered), self.unowned());
        let down = self.down();
        if !(silent.is_empty() && unowned.is_empty() && down.is_empty()) {
            return Some(format!(
                "players {silent:?} are not answered, rooms {unowned:?} not owned, hosts {down:?} do not start"
            ));
        }
        let running = (0..HOSTS).filter_map(|slot| self.host(slot)?.up()?.deployer.live());
        let running: Vec<_> = running.map(|version| version.digest()).collect();
        let numbers = lock(&self.model).figures.values().map(|figure| figure.number).collect();
        lock(&self.operator).wrong(&running, &numbers)
    }

    /// Hosts that are not there.
    fn down(&self) -> Vec<usize> {
        (0..HOSTS).filter(|slot| self.host(*slot).and_then(Host::up).is_none()).collect()
    }

    /// Home rooms that no host, or more than one, acts for.
    pub(crate) fn unowned(&self) -> Vec<u32> {
        let acting: Vec<u32> = self.hosts.values().flat_map(Host::acts_for).collect();
        (0..HOMES).filter(|home| acting.iter().filter(|it| *it == home).count() != 1).collect()
    }
}
