//! Plan: what a seed does to a cluster.

use std::fmt;

use crate::HOSTS;
use crate::rng::Rng;
use crate::stage::VERSIONS;

/// Before this nothing goes wrong, ms: the hosts come up, players come in.
const CALM: u64 = 6_000;

/// Something that goes wrong, for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`, and started again.
    Kill {
        host: usize,
        for_ms: u64,
    },
    /// All at once, started again one after the other or together.
    KillAll {
        for_ms: [u64; HOSTS],
    },
    /// SIGTERM, and started again.
    Stop {
        host: usize,
        for_ms: u64,
    },
    StopAll {
        for_ms: u64,
    },
    /// SIGSTOP, SIGCONT.
    Freeze {
        host: usize,
        for_ms: u64,
    },
    /// SIGSTOP, another process by the same name with a directory of its own, SIGCONT.
    Twin {
        host: usize,
        for_ms: u64,
    },
    /// The host does not reach etcd.
    CutEtcd {
        host: usize,
        for_ms: u64,
    },
    /// Etcd does not hear the host, or the host does not hear etcd.
    CutEtcdOneWay {
        host: usize,
        hears: bool,
        for_ms: u64,
    },
    /// Two hosts do not reach each other.
    CutHosts {
        host: usize,
        other: usize,
        for_ms: u64,
    },
    /// What the host says does not reach the other.
    CutHostsOneWay {
        host: usize,
        other: usize,
        for_ms: u64,
    },
    /// The host has no power for so long.
    PowerCut {
        host: usize,
        for_ms: u64,
    },
    /// No host has power.
    PowerCutAll {
        for_ms: [u64; HOSTS],
    },
    /// The host's disk takes so many bytes more, and then none.
    DiskFull {
        host: usize,
        spare: usize,
        for_ms: u64,
    },
    /// So many of a hundred operations of the host's disk fail, but for reading.
    DiskFails {
        host: usize,
        percent: u64,
        for_ms: u64,
    },
    /// What is written on the host is not synced.
    SlowSync {
        host: usize,
        for_ms: u64,
    },
    /// Etcd answers nobody.
    EtcdStops {
        for_ms: u64,
    },
    /// Etcd comes back without its data.
    EtcdEmpty,
    /// `hotseat cluster drain`; the host is killed or stopped later.
    Drain {
        host: usize,
        for_ms: u64,
        kill: bool,
    },
    /// An operator deploys a version to the cluster (`stage`), by way of the host.
    Deploy {
        host: usize,
        version: usize,
    },
    /// An operator goes back to the version before.
    Rollback {
        host: usize,
    },
    /// All hosts and etcd die; etcd is empty when it is back.
    KillSite {
        for_ms: [u64; HOSTS],
    },
}

/// What goes wrong when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) faults: Vec<(u64, Fault)>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.faults.iter().try_for_each(|(at, fault)| writeln!(f, "  {:>7.3} s  {fault:?}", *at as f64 / 1e3))
    }
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0x91a4);
        let mut at = CALM;
        let count = rng.range(2, 8);
        let mut faults = Vec::new();
        if rng.chance(3) {
            // What only the other process has seen is in a directory that nobody else reads: nothing else may go wrong.
            let twin = Fault::Twin { host: rng.index(HOSTS), for_ms: rng.range(5_500, 12_000) };
            return Self { faults: vec![(at, twin)] };
        }
        // Most seeds dwell on one host: what a second death finds is what the first has left.
        let favourite = rng.index(HOSTS);
        // In some, versions come one after the other, and something goes wrong in the middle of that.
        let deploying = rng.chance(20);
        for _ in 0..count {
            let host = if rng.chance(60) { favourite } else { rng.index(HOSTS) };
            if deploying {
                faults.push((at, deployment(&mut rng)));
                at += rng.range(20, 800);
            }
            faults.push((at, fault(&mut rng, host)));
            at += rng.range(300, 9_000);
        }
        Self { faults }
    }
}

fn fault(rng: &mut Rng, host: usize) -> Fault {
    let for_ms = if rng.chance(50) { rng.range(100, 3_000) } else { rng.range(3_000, 12_000) };
    match rng.range(0, 100) {
        0..22 => return disk_fault(rng, host, for_ms),
        22..34 => return deployment(rng),
        _ => {}
    }
    let other = (host + 1 + rng.index(HOSTS - 1)) % HOSTS;
    match rng.range(0, 100) {
        0..26 => Fault::Kill { host, for_ms },
        26..34 => Fault::KillAll { for_ms: together(rng) },
        34..44 => Fault::Stop { host, for_ms },
        44..50 => Fault::StopAll { for_ms },
        50..64 => Fault::Freeze { host, for_ms },
        64..71 => Fault::CutEtcd { host, for_ms },
        71..76 => Fault::CutEtcdOneWay { host, hears: rng.chance(50), for_ms },
        76..79 => Fault::CutHosts { host, other, for_ms },
        79..82 => Fault::CutHostsOneWay { host, other, for_ms },
        82..87 => Fault::EtcdStops { for_ms },
        87..90 => Fault::EtcdEmpty,
        90..96 => Fault::Drain { host, for_ms, kill: rng.chance(50) },
        _ => Fault::KillSite { for_ms: together(rng) },
    }
}

fn deployment(rng: &mut Rng) -> Fault {
    let host = rng.index(HOSTS);
    if rng.chance(25) {
        Fault::Rollback { host }
    } else {
        Fault::Deploy { host, version: rng.index(VERSIONS) }
    }
}

fn disk_fault(rng: &mut Rng, host: usize, for_ms: u64) -> Fault {
    match rng.range(0, 100) {
        0..40 => Fault::PowerCut { host, for_ms },
        40..50 => Fault::PowerCutAll { for_ms: together(rng) },
        50..70 => Fault::DiskFull { host, spare: rng.index(3_000), for_ms },
        70..85 => Fault::DiskFails { host, percent: rng.range(10, 100), for_ms },
        _ => Fault::SlowSync { host, for_ms },
    }
}

/// Started again at once, or as it comes.
fn together(rng: &mut Rng) -> [u64; HOSTS] {
    let (base, spread) = (rng.range(100, 8_000), if rng.chance(50) { 50 } else { 4_000 });
    std::array::from_fn(|_| base + rng.range(0, spread))
}
