//! Cases: what has cost rooms before, each played with a few seeds; and what still costs some.

use crate::plan::Fault::{
    CutEtcd, Deploy, DiskFails, DiskFull, Drain, EtcdEmpty, EtcdStops, Freeze, Kill, KillAll, KillSite,
    PowerCut, PowerCutAll, Rollback, SlowSync, Stop, StopAll, Twin,
};
use crate::plan::Plan;

/// Longer than a lease and what follows upon it: others have the rooms by then.
const LONG: u64 = 9_000;

/// Seeds that each is played with.
pub(crate) const SEEDS: u64 = 5;

/// By name: these hold.
pub(crate) fn all() -> Vec<(&'static str, Plan)> {
    let plan = |faults: &[_]| Plan { faults: faults.to_vec() };
    vec![
        ("killed once", plan(&[(8_000, Kill { host: 0, for_ms: LONG })])),
        (
            "killed twice",
            plan(&[(8_000, Kill { host: 0, for_ms: LONG }), (35_000, Kill { host: 0, for_ms: LONG })]),
        ),
        (
            "frozen, then killed",
            plan(&[(8_000, Freeze { host: 0, for_ms: LONG }), (35_000, Kill { host: 0, for_ms: LONG })]),
        ),
        ("two of a name", plan(&[(8_000, Twin { host: 0, for_ms: LONG })])),
        ("killed and back at once", plan(&[(8_000, Kill { host: 0, for_ms: 400 })])),
        ("all killed, back together", plan(&[(8_000, KillAll { for_ms: [LONG, LONG + 20, LONG + 40] })])),
        ("all killed, back one by one", plan(&[(8_000, KillAll { for_ms: [1_000, 9_000, 17_000] })])),
        ("the site dies", plan(&[(8_000, KillSite { for_ms: [LONG, LONG, LONG] })])),
        ("all stopped, back together", plan(&[(8_000, StopAll { for_ms: 1_000 })])),
        ("drained, then stopped", plan(&[(8_000, Drain { host: 0, for_ms: LONG, kill: false })])),
        ("drained, then killed", plan(&[(8_000, Drain { host: 0, for_ms: LONG, kill: true })])),
        ("no way to etcd", plan(&[(8_000, CutEtcd { host: 0, for_ms: LONG })])),
        ("etcd stops", plan(&[(8_000, EtcdStops { for_ms: LONG })])),
        ("etcd is empty", plan(&[(8_000, EtcdEmpty)])),
        (
            "etcd is empty when a host starts",
            plan(&[(8_000, Stop { host: 0, for_ms: 5_200 }), (17_600, EtcdEmpty)]),
        ),
        ("no power", plan(&[(8_000, PowerCut { host: 0, for_ms: 400 })])),
        ("no power anywhere", plan(&[(8_000, PowerCutAll { for_ms: [LONG, LONG, LONG] })])),
        (
            "not synced, then no power",
            plan(&[
                (7_000, SlowSync { host: 0, for_ms: LONG }),
                (9_000, PowerCut { host: 0, for_ms: 400 }),
                (30_000, PowerCut { host: 0, for_ms: LONG }),
            ]),
        ),
        (
            "disk full, then killed",
            plan(&[
                (8_000, DiskFull { host: 0, spare: 700, for_ms: 6_000 }),
                (12_000, Kill { host: 0, for_ms: 400 }),
            ]),
        ),
        (
            "a room on its way to a full disk, and its host ends",
            plan(&[
                (8_000, DiskFull { host: 1, spare: 56, for_ms: LONG }),
                (11_000, Drain { host: 0, for_ms: 700, kill: false }),
            ]),
        ),
        (
            "a room goes on from a dead host on a full disk, and that host dies",
            plan(&[
                (8_000, DiskFull { host: 1, spare: 56, for_ms: 20_000 }),
                (9_000, Kill { host: 0, for_ms: 40_000 }),
                (22_000, Kill { host: 1, for_ms: 400 }),
            ]),
        ),
        (
            "disk full, then stopped",
            plan(&[
                (8_000, DiskFull { host: 0, spare: 0, for_ms: LONG }),
                (10_000, Stop { host: 0, for_ms: 100 }),
            ]),
        ),
        (
            "disk fails, then no power",
            plan(&[
                (8_000, DiskFails { host: 0, percent: 50, for_ms: 6_000 }),
                (15_000, PowerCut { host: 0, for_ms: 400 }),
            ]),
        ),
        (
            "deployed, and who was asked is killed",
            plan(&[(8_000, Deploy { host: 0, version: 1 }), (8_150, Kill { host: 0, for_ms: 400 })]),
        ),
        (
            "deployed, and another host is killed",
            plan(&[(8_000, Deploy { host: 0, version: 2 }), (8_300, Kill { host: 1, for_ms: 400 })]),
        ),
        (
            "deployed, and a host without power",
            plan(&[(8_000, Deploy { host: 0, version: 2 }), (8_300, PowerCut { host: 1, for_ms: LONG })]),
        ),
        (
            "deployed beside a frozen host",
            plan(&[(8_000, Freeze { host: 1, for_ms: LONG }), (8_500, Deploy { host: 0, version: 2 })]),
        ),
        (
            "deployed beside a full disk",
            plan(&[
                (7_900, DiskFull { host: 1, spare: 100, for_ms: LONG }),
                (8_000, Deploy { host: 0, version: 1 }),
            ]),
        ),
        (
            "deployed, drained, and etcd is empty",
            plan(&[
                (8_000, Deploy { host: 0, version: 2 }),
                (8_200, Drain { host: 1, for_ms: LONG, kill: true }),
                (9_000, EtcdEmpty),
            ]),
        ),
        (
            "deployed, and etcd is empty at once",
            plan(&[(8_000, Deploy { host: 0, version: 2 }), (8_600, EtcdEmpty)]),
        ),
        (
            "gone back on probation, one host started since",
            plan(&[
                (8_000, Deploy { host: 0, version: 2 }),
                (12_000, Kill { host: 1, for_ms: 400 }),
                (20_000, Rollback { host: 0 }),
            ]),
        ),
        (
            "gone back on probation, and another host is killed",
            plan(&[
                (8_000, Deploy { host: 0, version: 2 }),
                (12_000, Rollback { host: 0 }),
                (12_120, Kill { host: 2, for_ms: 2_900 }),
            ]),
        ),
        (
            "handed over from a full disk, then nobody else is there",
            plan(&[
                (8_000, DiskFull { host: 0, spare: 0, for_ms: 6_000 }),
                (9_000, Stop { host: 0, for_ms: 1_000 }),
                (13_000, StopAll { for_ms: LONG }),
            ]),
        ),
        (
            "disk full, and no way to etcd",
            plan(&[
                (8_000, DiskFull { host: 0, spare: 100, for_ms: 6_000 }),
                (9_000, CutEtcd { host: 0, for_ms: LONG }),
            ]),
        ),
        (
            "a version that traps, and a host killed",
            plan(&[(8_000, Deploy { host: 0, version: 3 }), (14_000, Kill { host: 1, for_ms: 400 })]),
        ),
        (
            "gone back on probation",
            plan(&[(8_000, Deploy { host: 0, version: 2 }), (12_000, Rollback { host: 1 })]),
        ),
        (
            "gone back after probation",
            plan(&[(8_000, Deploy { host: 0, version: 2 }), (32_000, Rollback { host: 1 })]),
        ),
        // A room comes back by a hand-over, and the lease is lost once more.
        (
            "no way to etcd, then etcd stops",
            plan(&[(6_000, CutEtcd { host: 0, for_ms: 3_468 }), (16_536, EtcdStops { for_ms: 6_742 })]),
        ),
        (
            "frozen, and etcd is empty later",
            plan(&[(11_073, Freeze { host: 0, for_ms: 7_495 }), (30_173, EtcdEmpty)]),
        ),
        // States are there that not every version reads.
        (
            "the site dies, and a host that has missed a version is back first",
            plan(&[
                (13_698, Deploy { host: 0, version: 2 }),
                (14_007, Kill { host: 2, for_ms: 9_337 }),
                (22_736, KillSite { for_ms: [10_894, 10_227, 10_658] }),
            ]),
        ),
        (
            "gone back on probation while all hosts stop",
            plan(&[
                (6_000, Deploy { host: 0, version: 2 }),
                (11_743, Rollback { host: 1 }),
                (12_174, StopAll { for_ms: 187 }),
            ]),
        ),
        (
            "gone back on probation while a host has no power",
            plan(&[
                (6_000, Deploy { host: 1, version: 2 }),
                (24_822, Rollback { host: 2 }),
                (24_866, PowerCut { host: 0, for_ms: 686 }),
            ]),
        ),
        // What is there cannot be trusted before an operator has looked at it.
        (
            "disk fails until there is no power, for long",
            plan(&[
                (6_000, DiskFails { host: 2, percent: 52, for_ms: 5_435 }),
                (8_213, PowerCut { host: 2, for_ms: 7_910 }),
            ]),
        ),
    ]
}
