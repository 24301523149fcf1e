//! The embedded table as its users see it.

use super::super::{Discovery, DiscoveryError, Hold, Lease, Written};

fn keys(discovery: &Discovery, prefix: &str) -> Vec<String> {
    discovery.watch(prefix).borrow().entries.keys().cloned().collect()
}

#[tokio::test]
async fn writes_have_conditions_and_revisions() {
    let table = Discovery::embedded();
    table.ready().await;
    let Written::Done(first) = table.create("seqs/a", b"1".to_vec(), Hold::Forever).await.unwrap() else {
        panic!("nothing stood there");
    };
    let Written::Refused(Some(standing)) =
        table.create("seqs/a", b"2".to_vec(), Hold::Forever).await.unwrap()
    else {
        panic!("it stands");
    };
    assert_eq!((&standing.value[..], standing.revision), (&b"1"[..], first));
    let replaced = table.replace("seqs/a", first, b"2".to_vec(), Hold::Lease).await.unwrap();
    let Written::Done(second) = replaced else { panic!("unchanged since") };
    assert!(second > first);
    let late = table.replace("seqs/a", first, b"3".to_vec(), Hold::Forever).await.unwrap();
    assert!(matches!(late, Written::Refused(Some(entry)) if entry.revision == second));
    assert!(matches!(
        table.replace("seqs/b", 1, vec![], Hold::Forever).await.unwrap(),
        Written::Refused(None)
    ));
    assert!(!table.remove("seqs/a", first).await.unwrap());
    assert!(table.remove("seqs/a", second).await.unwrap());
    assert_eq!(table.get("seqs/a").await.unwrap(), None);
    assert!(matches!(table.put("/a", vec![], Hold::Forever).await, Err(DiscoveryError::Entry { .. })));
    let other = table.put("a", vec![], Hold::Of(7)).await;
    assert!(matches!(other, Err(DiscoveryError::NoLease { id: 7, .. })));
}

#[tokio::test]
async fn views_show_their_prefix_alone() {
    let table = Discovery::embedded();
    table.put("nodes/a", b"1".to_vec(), Hold::Lease).await.unwrap();
    let mut nodes = table.watch("nodes/");
    assert!(nodes.borrow_and_update().fresh);
    table.put("nodes-old/a", vec![], Hold::Lease).await.unwrap();
    table.put("zones/a", vec![], Hold::Lease).await.unwrap();
    assert!(!nodes.has_changed().unwrap());
    let revision = table.put("nodes/b", b"2".to_vec(), Hold::Lease).await.unwrap();
    nodes.changed().await.unwrap();
    let view = nodes.borrow_and_update().clone();
    assert_eq!((view.revision, view.entries.len()), (revision, 2));
    assert_eq!(view.entries["nodes/b"].revision, revision);
    assert_eq!(keys(&table, ""), ["nodes-old/a", "nodes/a", "nodes/b", "zones/a"]);
}

#[tokio::test]
async fn registrations_go_when_they_are_dropped_and_the_later_one_counts() {
    let table = Discovery::embedded();
    let first = table.register("nodes/a", b"1".to_vec());
    first.update(b"2".to_vec());
    assert_eq!(&table.get("nodes/a").await.unwrap().unwrap().value[..], b"2");
    let second = table.register("nodes/a", b"3".to_vec());
    first.update(b"4".to_vec());
    drop(first);
    assert_eq!(&table.get("nodes/a").await.unwrap().unwrap().value[..], b"3");
    assert_eq!(second.key(), "nodes/a");
    drop(second);
    assert_eq!(table.get("nodes/a").await.unwrap(), None);
    drop(table.register("/bad", vec![]));
    assert!(keys(&table, "").is_empty());
}

#[tokio::test]
async fn closing_ends_what_is_under_the_lease() {
    let table = Discovery::embedded();
    assert_eq!(table.holds(), Some(1));
    table.put("a", vec![], Hold::Lease).await.unwrap();
    table.put("b", vec![], Hold::Forever).await.unwrap();
    let registration = table.register("c", vec![]);
    let view = table.watch("");
    table.close().await;
    assert_eq!(table.holds(), None);
    assert_eq!(*table.lease().borrow(), Lease::Lost);
    assert_eq!(view.borrow().entries.keys().collect::<Vec<_>>(), ["b"]);
    registration.update(vec![1]);
    let late = table.put("a", vec![], Hold::Lease).await;
    assert!(matches!(late, Err(DiscoveryError::NoLease { id: 0, .. })));
    assert_eq!(keys(&table, ""), ["b"]);
}

#[tokio::test]
async fn what_is_for_ever_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().join("deep");
    let table = Discovery::embedded_at(&here).unwrap();
    let revision = table.put("seqs/a", b"\0\xff".to_vec(), Hold::Forever).await.unwrap();
    table.put("seqs/b", b"x".to_vec(), Hold::Forever).await.unwrap();
    table.put("seqs/b", b"x".to_vec(), Hold::Lease).await.unwrap();
    table.put("nodes/a", vec![], Hold::Lease).await.unwrap();
    let gone = table.put("seqs/c", vec![], Hold::Forever).await.unwrap();
    assert!(table.remove("seqs/c", gone).await.unwrap());
    drop(table);
    let table = Discovery::embedded_at(&here).unwrap();
    assert_eq!(keys(&table, ""), ["seqs/a"]);
    let entry = table.get("seqs/a").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.revision), (&b"\0\xff"[..], revision));
    assert!(table.put("seqs/a", vec![], Hold::Forever).await.unwrap() > revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_claim_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    for table in [Discovery::embedded(), Discovery::embedded_at(dir.path()).unwrap()] {
        let claims: Vec<_> = (0..32_u8)
            .map(|who| {
                let table = table.clone();
                tokio::spawn(async move { table.create("rooms/1", vec![who], Hold::Forever).await.unwrap() })
            })
            .collect();
        let mut won = 0;
        for claim in claims {
            won += u32::from(matches!(claim.await.unwrap(), Written::Done(_)));
        }
        assert_eq!(won, 1);
    }
}
