//! Faults: what goes wrong in a simulated cluster, done.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::HOSTS;
use crate::host::Host;
use crate::plan::Fault;
use crate::world::{Deed, World};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

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
                if let Some(process) = self.slots[host] {
                    lock(&self.etcd).cut.insert(process);
                    self.after(for_ms, Deed::Mend);
                }
            }
            Fault::CutHosts { host, other, for_ms } => {
                if let (Some(a), Some(b)) = (self.slots[host], self.slots[other]) {
                    lock(&self.network).cut(a, b);
                    self.after(for_ms, Deed::Mend);
                }
            }
            Fault::EtcdStops { for_ms } => {
                lock(&self.etcd).stopped = true;
                self.after(for_ms, Deed::EtcdGoesOn);
            }
            Fault::EtcdEmpty => lock(&self.etcd).wipe(),
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

    fn kill_all(&mut self, for_ms: [u64; HOSTS]) {
        for (slot, ms) in for_ms.into_iter().enumerate() {
            self.kill_at(slot, "killed");
            self.after(ms, Deed::Start(slot));
        }
    }
}
