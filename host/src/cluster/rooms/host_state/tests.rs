//! Estates, as hosts that die and come back leave them.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::journal::{Bounds, Journal};

const BOUNDS: Bounds =
    Bounds { segment_bytes: 1 << 20, buffer_bytes: 1 << 20, sync_every: Duration::from_millis(1) };

/// A host's life from its start to its death: what it finds of its own, and one more state of each of these rooms.
fn life(shared: &Path, host: &str, rooms: &[(&str, u64, &[u8])]) -> BTreeMap<String, SavedState> {
    let dir = shared.join(host);
    let (journal, mut saved_states) = Journal::open(&dir.join("journal"), BOUNDS).unwrap();
    for room in superseded(&dir, &saved_states) {
        saved_states.remove(&room);
        journal.forget(&room.into());
    }
    for (room, generation, base) in rooms {
        let room: Arc<str> = (*room).into();
        journal.raise(&room, *generation);
        journal.base(&room, base);
    }
    journal.close();
    saved_states
}

/// The base of home room 0 that `own` finds in the directories of all others.
fn base(host_states: &mut HostStates, own: Option<u64>) -> Option<Vec<u8>> {
    let others: BTreeSet<String> = host_states.others().into_iter().collect();
    let found = host_states.find(&others, &Homes::clustered(1), &[(0, own)].into());
    found.rooms.get("home/0").map(|past| past.base.clone())
}

#[test]
fn a_host_that_dies_again_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut heir = HostStates::new(dir.path(), "game-2");
    life(dir.path(), "game-1", &[("home/0", 2, b"first")]);
    assert_eq!(base(&mut heir, None).unwrap(), b"first");
    heir.supersede(&[(0, 4)].into(), 0);
    assert_eq!(base(&mut heir, None), None);
    // It is back, is given the room back, and dies again. Nobody has looked meanwhile.
    assert!(life(dir.path(), "game-1", &[("home/0", 6, b"second")]).is_empty());
    assert_eq!(base(&mut heir, None).unwrap(), b"second");
    assert_eq!(base(&mut HostStates::new(dir.path(), "game-3"), None).unwrap(), b"second");
}

#[test]
fn nothing_is_superseded_by_what_is_not_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut heir = HostStates::new(dir.path(), "game-2");
    life(dir.path(), "game-1", &[("home/0", 2, b"first")]);
    assert_eq!(base(&mut heir, None).unwrap(), b"first");
    heir.supersede(&[(0, 4)].into(), 10);
    heir.mark_kept(9);
    assert!(heir.has_to_mark());
    assert_eq!(base(&mut heir, None).unwrap(), b"first");
    assert_eq!(base(&mut HostStates::new(dir.path(), "game-3"), None).unwrap(), b"first");
    heir.mark_kept(10);
    assert!(!heir.has_to_mark());
    assert_eq!(base(&mut heir, None), None);
    assert_eq!(base(&mut HostStates::new(dir.path(), "game-3"), None), None);
}

#[test]
fn a_mark_ends_with_the_return_of_its_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut heir = HostStates::new(dir.path(), "game-2");
    life(dir.path(), "game-1", &[("home/0", 2, b"old"), ("home/1", 2, b"other")]);
    base(&mut heir, None).unwrap();
    heir.supersede(&[(0, 4)].into(), 0);
    // The host was frozen: it has not been started anew, and yet it has the room again.
    let journal = Journal::open(&dir.path().join("game-1/journal"), BOUNDS).unwrap().0;
    journal.raise(&"home/0".into(), 6);
    journal.base(&"home/0".into(), b"new");
    journal.close();
    assert_eq!(base(&mut heir, None).unwrap(), b"new");
    let saved_states = life(dir.path(), "game-1", &[]);
    assert_eq!(saved_states["home/0"].base, b"new");
    assert_eq!(saved_states["home/1"].base, b"other");
}

#[test]
fn of_several_states_the_latest_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), "game-1", &[("home/0", 8, b"latest")]);
    life(dir.path(), "game-2", &[("home/0", 4, b"old")]);
    let mut host_states = HostStates::new(dir.path(), "game-3");
    assert_eq!(base(&mut host_states, Some(6)).unwrap(), b"latest");
    assert_eq!(base(&mut host_states, Some(8)), None);
    let found = host_states.find(&["game-2".to_owned()].into(), &Homes::clustered(1), &[(0, None)].into());
    assert_eq!(found.rooms["home/0"].base, b"old");
}

#[test]
fn marks_of_earlier_versions_hold_for_what_was_written_then() {
    let dir = tempfile::tempdir().unwrap();
    life(dir.path(), "game-1", &[("home/0", 0, b"then")]);
    fs::create_dir(dir.path().join("game-1/taken")).unwrap();
    fs::write(dir.path().join("game-1/taken/home_0"), "game-2").unwrap();
    assert_eq!(base(&mut HostStates::new(dir.path(), "game-2"), None), None);
    assert!(life(dir.path(), "game-1", &[("home/0", 2, b"now")]).is_empty());
    assert_eq!(life(dir.path(), "game-1", &[])["home/0"].base, b"now");
}

#[test]
fn nothing_shared_is_nothing_found() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("game-1")).unwrap();
    let mut host_states = HostStates::new(dir.path(), "game-2");
    assert_eq!(base(&mut host_states, None), None);
    assert_eq!(base(&mut HostStates::new(&dir.path().join("nowhere"), "game-2"), None), None);
}
