//! Faults: what goes wrong in a simulated cluster, done.

use std::sync::Arc;

use hotseat::cluster::rollout::record::Record;

use crate::HOSTS;
use crate::host::Host;
use crate::lock;
use crate::operator::Operator;
use crate::plan::Fault;
use crate::world::{Deed, World};

/// What clusters are to run stands there, by plugin.
const RECORDS: &str = "plugins/";

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Kill { host, for_ms } => {
                self.kill_at(host, "killed");
                self.after(for_ms, Deed::Start(host));
            }
            Fault::KillAll { for_ms } => self.kill_all(for_ms),
            Fault::Stop { host, for_ms } => {
                self.stop(host);
                self.after(for_ms + 5_000, Deed::Start(host));
            }
            Fault::StopAll { for_ms } => {
                for slot in 0..HOSTS {
                    self.stop(slot);
                    self.after(for_ms + 5_000, Deed::Start(slot));
                }
            }
            Fault::Freeze { host, for_ms } => {
                if let Some(process) = self.freeze(host) {
                    self.after(for_ms, Deed::Thaw(process));
                }
            }
            Fault::Twin { host, for_ms } => {
                if let Some(process) = self.freeze(host) {
                    self.after(for_ms, Deed::Thaw(process));
                    self.after(for_ms - 500, Deed::Twin(host));
                }
            }
            Fault::CutEtcd { host, for_ms } => {
                self.cut_etcd(host, (true, true), for_ms);
            }
            Fault::CutEtcdOneWay { host, hears, for_ms } => self.cut_etcd(host, (hears, !hears), for_ms),
            Fault::CutHosts { host, other, for_ms } => self.cut_hosts(host, other, true, for_ms),
            Fault::CutHostsOneWay { host, other, for_ms } => self.cut_hosts(host, other, false, for_ms),
            Fault::PowerCut { host, for_ms } => {
                self.cut_power(host);
                self.after(for_ms, Deed::Start(host));
            }
            Fault::PowerCutAll { for_ms } => {
                for (host, ms) in for_ms.into_iter().enumerate() {
                    self.cut_power(host);
                    self.after(ms, Deed::Start(host));
                }
            }
            Fault::DiskFull { host, spare, for_ms } => {
                self.disks.fill(&self.dir_of(host), spare);
                self.after(for_ms, Deed::HealDisk(host));
            }
            Fault::DiskFails { host, percent, for_ms } => {
                let rng = self.rng();
                self.disks.fail(&self.dir_of(host), percent, rng);
                self.after(for_ms, Deed::HealDisk(host));
            }
            Fault::SlowSync { host, for_ms } => {
                self.disks.slow_down(&self.dir_of(host));
                self.after(for_ms, Deed::HealDisk(host));
            }
            Fault::EtcdStops { for_ms } => {
                lock(&self.etcd).stopped = true;
                self.after(for_ms, Deed::EtcdGoesOn);
            }
            Fault::EtcdEmpty => self.wipe_etcd(),
            Fault::Deploy { host, version } => self.ask_operator(host, Some(version)),
            Fault::Rollback { host } => self.ask_operator(host, None),
            Fault::Drain { host, for_ms, kill } => {
                if let Some(up) = self.host(host).and_then(Host::up) {
                    up.draining.send_replace(true);
                    self.after(for_ms, if kill { Deed::Kill(host) } else { Deed::Stop(host) });
                    self.after(for_ms + 6_000, Deed::Start(host));
                }
            }
            Fault::KillSite { for_ms } => {
                self.kill_all(for_ms);
                lock(&self.etcd).stopped = true;
                let first = for_ms.into_iter().min().unwrap_or(0);
                self.after(first / 2, Deed::EtcdEmpty);
                self.after(first / 2, Deed::EtcdGoesOn);
            }
        }
    }

    pub(crate) fn wipe_etcd(&mut self) {
        let seen = {
            let etcd = lock(&self.etcd);
            let record =
                etcd.values(RECORDS).find_map(|(_, value)| serde_json::from_slice::<Record>(value).ok());
            let has_seen = |host: &Host| {
                let up = host.up().filter(|_| !host.frozen && !host.stopping);
                up.is_some_and(|up| up.rollout.progress().record == record)
            };
            self.hosts.values().any(has_seen)
        };
        lock(&self.etcd).wipe();
        lock(&self.operator).wiped(seen);
    }

    pub(crate) fn ask_operator(&mut self, slot: usize, version: Option<usize>) {
        let (Some(process), Some(host)) = (self.slots[slot], self.host(slot)) else { return };
        let Some(up) = host.up().filter(|_| !host.frozen) else { return };
        if let Some(asks) =
            Operator::ask(&self.operator, process, version, up.rollout, Arc::clone(&self.model))
        {
            host.spawn(asks);
        }
    }

    fn cut_etcd(&mut self, host: usize, (mute, deaf): (bool, bool), for_ms: u64) {
        let Some(process) = self.slots[host] else { return };
        let mut etcd = lock(&self.etcd);
        if mute {
            etcd.mute.insert(process);
        }
        if deaf {
            etcd.deaf.insert(process);
        }
        drop(etcd);
        self.after(for_ms, Deed::Mend);
    }

    fn cut_hosts(&mut self, host: usize, other: usize, both_ways: bool, for_ms: u64) {
        let (Some(a), Some(b)) = (self.slots[host], self.slots[other]) else { return };
        let mut network = lock(&self.network);
        network.cut(a, b);
        if both_ways {
            network.cut(b, a);
        }
        drop(network);
        self.after(for_ms, Deed::Mend);
    }

    fn kill_all(&mut self, for_ms: [u64; HOSTS]) {
        for (slot, ms) in for_ms.into_iter().enumerate() {
            self.kill_at(slot, "killed");
            self.after(ms, Deed::Start(slot));
        }
    }
}
