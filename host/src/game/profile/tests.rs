use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::plugin::next_version;

fn open(dir: &Path) -> (Profiles, watch::Sender<u64>) {
    let (journal, synced) = watch::channel(0);
    (Profiles::open(dir, synced, Part::default()).unwrap(), journal)
}

/// The put of `bytes` on top of `base`.
fn put(user: u64, base: u64, bytes: &[u8]) -> ProfileWrite {
    ProfileWrite { user, base: Some(base), version: next_version(base, bytes), bytes: bytes.into() }
}

fn bytes(found: Found) -> Option<Vec<u8>> {
    found.map(|(_, bytes)| bytes.to_vec())
}

/// Puts a run of documents, each on top of the one before; the last version.
fn run(profiles: &Profiles, user: u64, mut base: u64, documents: &[&str]) -> u64 {
    for document in documents {
        let put = put(user, base, document.as_bytes());
        base = put.version;
        profiles.put(put, 0).unwrap();
    }
    base
}

/// Waits until everything taken is on disk.
async fn written(profiles: &Profiles) {
    let ticket = profiles.shared.lock().tickets;
    tokio::time::timeout(Duration::from_secs(20), profiles.kept(ticket)).await.unwrap();
}

#[test]
fn a_profile_is_there_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (profiles, _) = open(dir.path());
    assert_eq!(profiles.get(7), None);
    let version = run(&profiles, 7, 0, &["one", "two"]);
    assert_eq!(puts_of(version), 2);
    assert_eq!(profiles.get(7), Some((version, b"two"[..].into())));
    drop(profiles);
    let (profiles, _) = open(dir.path());
    assert_eq!(profiles.get(7), Some((version, b"two"[..].into())));
    let version = run(&profiles, 7, version, &[""]);
    drop(profiles);
    assert_eq!(open(dir.path()).0.get(7), Some((version, b""[..].into())));
}

#[test]
fn a_second_node_on_the_same_directory_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    let (_, journal) = watch::channel(0);
    let second = Profiles::open(dir.path(), journal, Part::default()).map(|_| ());
    let text = second.unwrap_err().to_string();
    assert!(text.contains("profiles.redb") && text.contains("another node"), "{text}");
}

#[tokio::test]
async fn who_goes_on_from_an_old_document_is_refused_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (profiles, _) = open(dir.path());
    let old = run(&profiles, 7, 0, &["old"]);
    let stored = run(&profiles, 7, old, &["winner"]);
    // While it waits, when it is on disk, and when nothing of it is in memory.
    for _ in 0..3 {
        let mut base = old;
        for document in [&b"loser"[..], b"again", b"and again"] {
            let put = put(7, base, document);
            base = put.version;
            let conflict = profiles.put(put.clone(), 0).unwrap_err();
            assert_eq!(conflict, Conflict::Overtaken { base: put.base.unwrap(), stored });
        }
        assert_eq!(bytes(profiles.get(7)).as_deref(), Some(&b"winner"[..]));
        written(&profiles).await;
        profiles.shared.lock().known.clear();
    }
    run(&profiles, 7, stored, &["goes on"]);
}

#[tokio::test]
async fn a_room_that_comes_back_puts_what_is_missing_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (profiles, _) = open(dir.path());
    let stored = run(&profiles, 7, 0, &["one", "two"]);
    let again =
        |version: u64, bytes: &[u8]| ProfileWrite { user: 7, base: None, version, bytes: bytes.into() };
    for _ in 0..2 {
        // What is there, and what came before it: no harm.
        profiles.put(put(7, next_version(0, b"one"), b"two"), 0).unwrap();
        profiles.put(again(stored, b"two"), 0).unwrap();
        profiles.put(again(next_version(0, b"one"), b"one"), 0).unwrap();
        assert_eq!(bytes(profiles.get(7)).as_deref(), Some(&b"two"[..]));
        written(&profiles).await;
    }
    // What the store has missed may be several puts.
    let version = next_version(next_version(stored, b"three"), b"four");
    profiles.put(again(version, b"four"), 0).unwrap();
    profiles.put(again(stored, b"two"), 0).unwrap();
    assert_eq!(bytes(profiles.get(7)).as_deref(), Some(&b"four"[..]));
    run(&profiles, 7, version, &["five"]);
}

#[tokio::test]
async fn nothing_is_on_disk_before_the_journal_has_what_led_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (profiles, journal) = open(dir.path());
    let first = put(7, 0, b"first");
    let mut last = first.version;
    let ticket = profiles.put(first.clone(), 100).unwrap();
    while profiles.shared.lock().writing.is_empty() {
        tokio::task::yield_now().await;
    }
    // One that never stops changing is not held up for ever.
    for round in 0..20u8 {
        let next = put(7, last, &[round]);
        last = next.version;
        profiles.put(next, 200).unwrap();
    }
    assert_eq!(profiles.shared.store.read(7).unwrap(), None);
    journal.send_replace(199);
    tokio::time::timeout(Duration::from_secs(20), profiles.kept(ticket)).await.unwrap();
    assert_eq!(profiles.shared.store.read(7).unwrap(), Some((first.version, b"first"[..].into())));
    assert_eq!(bytes(profiles.get(7)).as_deref(), Some(&b"\x13"[..]));
    journal.send_replace(200);
    written(&profiles).await;
    assert_eq!(profiles.shared.store.read(7).unwrap(), Some((last, b"\x13"[..].into())));
}

#[test]
fn a_store_that_closes_gives_up_what_the_journal_never_got() {
    let dir = tempfile::tempdir().unwrap();
    let (profiles, _journal) = open(dir.path());
    let version = run(&profiles, 7, 0, &["safe"]);
    while profiles.shared.store.read(7).unwrap().is_none() {
        std::thread::yield_now();
    }
    profiles.put(put(7, version, b"not safe"), 1).unwrap();
    drop(profiles);
    assert_eq!(bytes(open(dir.path()).0.get(7)).as_deref(), Some(&b"safe"[..]));
}

/// A file that takes nothing, and cannot be read either if it is to be so, as long as it is told so.
#[derive(Debug)]
struct Failing {
    file: redb::backends::FileBackend,
    fails: Arc<AtomicBool>,
}

impl redb::StorageBackend for Failing {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.check()?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.check()?;
        self.file.write(offset, data)
    }
}

impl Failing {
    fn check(&self) -> Result<(), std::io::Error> {
        if self.fails.load(Ordering::Relaxed) { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// A store on a file that fails when it is told so.
fn failing(dir: &Path, part: Part) -> (Profiles, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let (path, told) = (dir.join(FILE), Arc::clone(&fails));
    let open = move || {
        let file =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = redb::backends::FileBackend::new(file.unwrap())?;
        redb::Builder::new().set_cache_size(0).create_with_backend(Failing { file, fails: Arc::clone(&told) })
    };
    let store = Store::open_with(Box::new(open)).unwrap();
    (Profiles::of(dir.join(FILE), store, watch::channel(0).1, part).unwrap(), fails)
}

#[tokio::test]
async fn a_store_that_the_disk_has_failed_is_opened_again_and_has_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let health = crate::telemetry::health::Health::default();
    let (profiles, fails) = failing(dir.path(), health.part("profiles"));
    let first = run(&profiles, 1, 0, &["one"]);
    let stale = run(&profiles, 2, 0, &["one"]);
    run(&profiles, 2, stale, &["two"]);
    written(&profiles).await;
    profiles.shared.lock().known.clear();
    fails.store(true, Ordering::Relaxed);
    // It cannot be read, so nothing is known of what these replace; nobody is told that they were not taken.
    let version = run(&profiles, 1, first, &["two", "three"]);
    run(&profiles, 3, 0, &["new"]);
    // Whoever goes on from an old document finds no place for it, then as before.
    profiles.put(put(2, stale, b"loser"), 0).unwrap();
    while !health.failing().join("").contains("profiles.redb") {
        tokio::task::yield_now().await;
    }
    let version = run(&profiles, 1, version, &["four"]);
    fails.store(false, Ordering::Relaxed);
    written(&profiles).await;
    assert!(health.failing().is_empty());
    drop(profiles);
    let (profiles, _) = open(dir.path());
    assert_eq!(profiles.get(1), Some((version, b"four"[..].into())));
    assert_eq!(bytes(profiles.get(2)).as_deref(), Some(&b"two"[..]));
    assert_eq!(bytes(profiles.get(3)).as_deref(), Some(&b"new"[..]));
}
