//! Discovery on a real etcd: entries, leases, views, and what becomes of them when etcd or a node goes away.

use std::time::{Duration, Instant};

use hotseat::discovery::{Discovery, DiscoveryError, Hold, Lease, Written};
use tokio::time::timeout;

use crate::etcd::{Etcd, Way, options};
use crate::world::{PATIENCE, eventually};

/// Waits until the view of a prefix has these keys and values, and is fresh.
async fn sees(discovery: &Discovery, prefix: &str, wanted: &[(&str, &str)]) {
    let mut view = discovery.watch(prefix);
    let fits = view.wait_for(|view| {
        let there = view.entries.iter().map(|(key, entry)| (key.as_str(), &entry.value[..]));
        view.fresh && there.eq(wanted.iter().map(|(key, value)| (*key, value.as_bytes())))
    });
    let fits = timeout(PATIENCE, fits).await.map(drop);
    assert!(fits.is_ok(), "{wanted:?} is not seen, but {:?}", discovery.watch(prefix).borrow());
}

async fn held(discovery: &Discovery, least: u64) -> (i64, u64) {
    let mut lease = discovery.lease();
    let fits = lease.wait_for(|lease| matches!(lease, Lease::Held { epoch, .. } if *epoch >= least));
    match *timeout(PATIENCE, fits).await.expect("no lease").unwrap() {
        Lease::Held { id, epoch, .. } => (id, epoch),
        Lease::Lost => unreachable!("it was waited for"),
    }
}

async fn lost(discovery: &Discovery) {
    let mut lease = discovery.lease();
    timeout(PATIENCE, lease.wait_for(|lease| *lease == Lease::Lost))
        .await
        .expect("the lease is kept")
        .unwrap();
}

async fn ready(discovery: &Discovery) {
    timeout(PATIENCE, discovery.ready()).await.expect("etcd is not found");
}

fn done(written: Written) -> u64 {
    match written {
        Written::Done(revision) => revision,
        Written::Refused(standing) => panic!("refused by {standing:?}"),
    }
}

#[tokio::test]
async fn entries_and_registrations_come_and_go() {
    let etcd = Etcd::start().await;
    let mut raw = etcd.client().await;
    for (key, value) in [("/test2/nodes/x", "other"), ("test/nodes/y", "other"), ("nodes/z", "other")] {
        raw.put(key, value, None).await.unwrap();
    }
    raw.put(b"/test/nodes/\xff".to_vec(), "no text", None).await.unwrap();
    let (a, b) = (etcd.discovery(5), etcd.discovery(5));
    let early = a.register("nodes/a", b"1".to_vec());
    ready(&a).await;
    assert_eq!(a.holds(), Some(1));
    sees(&b, "nodes/", &[("nodes/a", "1")]).await;
    early.update(b"2".to_vec());
    sees(&b, "nodes/", &[("nodes/a", "2")]).await;
    let other = b.register("nodes/b", b"1".to_vec());
    sees(&a, "nodes/", &[("nodes/a", "2"), ("nodes/b", "1")]).await;
    drop(early);
    sees(&b, "nodes/", &[("nodes/b", "1")]).await;
    // Somebody tidies up by hand: it comes back.
    raw.delete("/test/nodes/b", None).await.unwrap();
    sees(&a, "nodes/", &[]).await;
    sees(&a, "nodes/", &[("nodes/b", "1")]).await;
    assert_eq!(a.get("nodes/b").await.unwrap().unwrap().value, "1");
    assert_eq!(a.get("nodes/none").await.unwrap(), None);
    b.put("kept", b"x".to_vec(), Hold::Forever).await.unwrap();
    timeout(PATIENCE, b.close()).await.unwrap();
    sees(&a, "nodes/", &[]).await;
    sees(&a, "", &[("kept", "x")]).await;
    assert_eq!(b.holds(), None);
    let late = b.put("late", vec![], Hold::Lease).await;
    assert!(matches!(late, Err(DiscoveryError::NoLease { .. })), "{late:?}");
    drop(other);
}

#[tokio::test]
async fn a_large_prefix_is_read_whole() {
    let etcd = Etcd::start().await;
    let (writer, reader) = (etcd.discovery(30), etcd.discovery(30));
    let mut writes = tokio::task::JoinSet::new();
    for part in 0..10 {
        let writer = writer.clone();
        writes.spawn(async move {
            for at in 0..250 {
                writer.put(&format!("many/{part}-{at}"), vec![b'x'; 2000], Hold::Forever).await.unwrap();
            }
        });
    }
    writes.join_all().await;
    let mut view = reader.watch("many/");
    let all = timeout(PATIENCE, view.wait_for(|view| view.fresh)).await.unwrap().unwrap();
    assert_eq!(all.entries.len(), 2500);
}

#[tokio::test]
async fn of_many_who_write_at_once_one_wins() {
    let etcd = Etcd::start().await;
    let nodes = [etcd.discovery(10), etcd.discovery(10), etcd.discovery(10)];
    for node in &nodes {
        ready(node).await;
    }
    let race = async |work: &(dyn Fn(Discovery, u8) -> futures::Work + Sync)| {
        let tasks: Vec<_> =
            (0..30).map(|who| tokio::spawn(work(nodes[usize::from(who) % 3].clone(), who))).collect();
        let mut won = Vec::new();
        for task in tasks {
            won.extend(task.await.unwrap());
        }
        won
    };
    let claim = |node: Discovery, who: u8| -> futures::Work {
        Box::pin(async move {
            match node.create("rooms/1", vec![who], Hold::Lease).await.unwrap() {
                Written::Done(revision) => Some(revision),
                Written::Refused(standing) => {
                    assert_eq!(standing.unwrap().value.len(), 1);
                    None
                }
            }
        })
    };
    let [first] = race(&claim).await[..] else { panic!("one claim is to win") };
    let replace = move |node: Discovery, who: u8| -> futures::Work {
        Box::pin(async move {
            match node.replace("rooms/1", first, vec![who, who], Hold::Lease).await.unwrap() {
                Written::Done(revision) => Some(revision),
                Written::Refused(standing) => {
                    assert!(standing.unwrap().revision > first);
                    None
                }
            }
        })
    };
    let [second] = race(&replace).await[..] else { panic!("one replacement is to win") };
    assert!(!nodes[0].remove("rooms/1", first).await.unwrap());
    let remove = move |node: Discovery, _| -> futures::Work {
        Box::pin(async move { node.remove("rooms/1", second).await.unwrap().then_some(second) })
    };
    assert_eq!(race(&remove).await, [second]);
    let absent = nodes[0].replace("rooms/1", 0, vec![], Hold::Forever).await.unwrap();
    assert_eq!(absent, Written::Refused(None));
}

/// Futures of races.
mod futures {
    pub(super) type Work = std::pin::Pin<Box<dyn Future<Output = Option<u64>> + Send>>;
}

#[tokio::test]
async fn a_claim_is_handed_over_whole() {
    let etcd = Etcd::start().await;
    let (a, b) = (etcd.discovery(5), etcd.discovery(5));
    ready(&a).await;
    let (heir, _) = held(&b, 1).await;
    let claimed = done(a.create("rooms/1", b"a".to_vec(), Hold::Lease).await.unwrap());
    let handed = done(a.replace("rooms/1", claimed, b"b".to_vec(), Hold::Of(heir)).await.unwrap());
    a.close().await;
    assert_eq!(b.get("rooms/1").await.unwrap().unwrap().revision, handed);
    let nobody = b.replace("rooms/1", handed, b"c".to_vec(), Hold::Of(12345)).await;
    assert!(matches!(nobody, Err(DiscoveryError::NoLease { id: 12345, .. })), "{nobody:?}");
    let c = etcd.discovery(5);
    b.close().await;
    sees(&c, "rooms/", &[]).await;
}

#[test]
fn a_process_that_died_is_forgotten() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let here = runtime();
    let etcd = here.block_on(Etcd::start());
    let watching = {
        let _in = here.enter();
        etcd.discovery(5)
    };
    let dying = runtime();
    let node = dying.block_on(async {
        let node = etcd.discovery(2);
        std::mem::forget(node.register("nodes/a", b"1".to_vec()));
        ready(&node).await;
        node
    });
    here.block_on(sees(&watching, "nodes/", &[("nodes/a", "1")]));
    // All of its tasks end where they stand; nothing is given back.
    dying.shutdown_background();
    assert!(here.block_on(watching.get("nodes/a")).unwrap().is_some());
    here.block_on(sees(&watching, "nodes/", &[]));
    assert_eq!(node.holds(), None);
}

#[tokio::test]
async fn a_lease_that_is_gone_is_replaced_and_registrations_come_back() {
    let etcd = Etcd::start().await;
    let (a, b) = (etcd.discovery(3), etcd.discovery(30));
    let _node = a.register("nodes/a", b"1".to_vec());
    let (id, epoch) = held(&a, 1).await;
    assert_eq!(epoch, 1);
    done(a.create("rooms/1", b"a".to_vec(), Hold::Lease).await.unwrap());
    sees(&b, "", &[("nodes/a", "1"), ("rooms/1", "a")]).await;
    etcd.client().await.lease_revoke(id).await.unwrap();
    // The claim is not made again: who made it sees the epoch.
    let (other, epoch) = held(&a, 2).await;
    assert!(epoch == 2 && other != id);
    assert_eq!(a.holds(), Some(2));
    sees(&b, "", &[("nodes/a", "1")]).await;
}

#[tokio::test]
async fn an_etcd_that_begins_anew_is_filled_again() {
    let mut etcd = Etcd::start().await;
    let (a, b) = (etcd.discovery(2), etcd.discovery(2));
    let _a = a.register("nodes/a", b"1".to_vec());
    let _b = b.register("nodes/b", b"1".to_vec());
    ready(&a).await;
    for at in 0..20_u8 {
        b.put("old", vec![at], Hold::Forever).await.unwrap();
    }
    sees(&a, "nodes/", &[("nodes/a", "1"), ("nodes/b", "1")]).await;
    etcd.restart_empty().await;
    held(&a, 2).await;
    // Its revisions begin low again, and are followed all the same.
    sees(&a, "", &[("nodes/a", "1"), ("nodes/b", "1")]).await;
    b.put("new", b"1".to_vec(), Hold::Forever).await.unwrap();
    sees(&a, "", &[("new", "1"), ("nodes/a", "1"), ("nodes/b", "1")]).await;
}

#[tokio::test]
async fn a_crash_of_etcd_costs_nothing_that_was_written() {
    let mut etcd = Etcd::start().await;
    let node = etcd.discovery(10);
    let _registered = node.register("nodes/a", b"1".to_vec());
    let (id, _) = held(&node, 1).await;
    let mut view = node.watch("nodes/");
    sees(&node, "nodes/", &[("nodes/a", "1")]).await;
    etcd.kill();
    let away = node.get("nodes/a").await;
    assert!(matches!(away, Err(DiscoveryError::Away { .. })), "{away:?}");
    let known = timeout(PATIENCE, view.wait_for(|view| !view.fresh)).await.unwrap().unwrap();
    assert_eq!(known.entries.len(), 1, "the last known ones stay");
    drop(known);
    etcd.restart().await;
    sees(&node, "nodes/", &[("nodes/a", "1")]).await;
    assert_eq!(held(&node, 1).await, (id, 1));
}

#[tokio::test]
async fn views_follow_what_changed_while_they_were_cut_off() {
    let etcd = Etcd::start().await;
    let way = Way::to(&etcd).await;
    let (far, near) = (Discovery::etcd(options(&way.url(), 30)).unwrap(), etcd.discovery(30));
    let mut revision = near.put("k/gone", b"1".to_vec(), Hold::Forever).await.unwrap();
    near.put("k/same", b"1".to_vec(), Hold::Forever).await.unwrap();
    sees(&far, "k/", &[("k/gone", "1"), ("k/same", "1")]).await;
    let mut view = far.watch("k/");
    for round in 0..3 {
        way.cut();
        timeout(PATIENCE, view.wait_for(|view| !view.fresh)).await.expect("the cut is seen").unwrap();
        assert!(near.remove("k/gone", revision).await.unwrap());
        for at in 0..10 {
            near.put("k/new", format!("{round}-{at}").into(), Hold::Forever).await.unwrap();
        }
        etcd.compact().await;
        way.mend();
        sees(&far, "k/", &[("k/new", &format!("{round}-9")), ("k/same", "1")]).await;
        revision = near.put("k/gone", b"1".to_vec(), Hold::Forever).await.unwrap();
        sees(&far, "k/", &[("k/gone", "1"), ("k/new", &format!("{round}-9")), ("k/same", "1")]).await;
    }
}

#[tokio::test]
async fn etcd_may_come_later() {
    let mut etcd = Etcd::stopped();
    let node = etcd.discovery(5);
    let _registered = node.register("nodes/a", b"1".to_vec());
    let begun = Instant::now();
    let away = node.put("a", vec![], Hold::Forever).await;
    assert!(matches!(away, Err(DiscoveryError::Away { .. })), "{away:?}");
    assert!(begun.elapsed() < PATIENCE / 2);
    let unheld = node.put("a", vec![], Hold::Lease).await;
    assert!(matches!(unheld, Err(DiscoveryError::NoLease { id: 0, .. })), "{unheld:?}");
    assert!(!node.watch("nodes/").borrow().fresh);
    etcd.restart().await;
    ready(&node).await;
    sees(&node, "nodes/", &[("nodes/a", "1")]).await;
}

#[tokio::test]
async fn a_lease_is_lost_before_anybody_else_can_claim() {
    let etcd = Etcd::start().await;
    let (owner, heir) = (etcd.discovery(3), etcd.discovery(3));
    ready(&owner).await;
    ready(&heir).await;
    done(owner.create("rooms/1", b"owner".to_vec(), Hold::Lease).await.unwrap());
    let Lease::Held { until, .. } = *owner.lease().borrow() else { panic!("it is held") };
    assert!(until <= (Instant::now() + Duration::from_secs(2)).into(), "a second before etcd's end");
    etcd.freeze();
    lost(&owner).await;
    assert_eq!(owner.holds(), None);
    etcd.thaw();
    // Whoever of the two comes first: the first epoch is over.
    let won =
        eventually("a claim", async || match heir.create("rooms/1", b"heir".to_vec(), Hold::Lease).await {
            Ok(Written::Done(_)) => Some(()),
            Ok(Written::Refused(_)) => {
                assert_ne!(owner.holds(), Some(1));
                None
            }
            Err(_) => None,
        });
    won.await;
    let (_, epoch) = held(&owner, 2).await;
    assert_eq!(epoch, 2);
}

#[tokio::test]
async fn of_several_endpoints_a_dead_one_does_not_matter() {
    let etcd = Etcd::start().await;
    let dead = format!("127.0.0.1:{}", crate::etcd::free_port());
    for endpoints in [vec![dead.clone(), etcd.addr()], vec![etcd.addr(), dead]] {
        let options = hotseat::discovery::Options { endpoints, ..options("", 5) };
        let node = Discovery::etcd(options).unwrap();
        for _ in 0..20 {
            node.put("a", vec![], Hold::Forever).await.unwrap();
        }
        ready(&node).await;
        node.close().await;
    }
}
