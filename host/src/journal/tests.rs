use std::fs;
use std::io::Write as _;

use proptest::prelude::*;

use super::head::Head;
use super::*;

mod faults;
mod rewriting;

fn bounds() -> Bounds {
    Bounds { segment_bytes: 1 << 20, buffer_bytes: 1 << 20, sync_every: Duration::from_millis(1) }
}

fn room(name: &str) -> Arc<str> {
    name.into()
}

fn open(dir: &Path) -> (Journal, BTreeMap<String, SavedState>) {
    Journal::open(dir, bounds()).unwrap()
}

/// Length of the record of the inputs `one` of room `a`.
const RECORD_OF_ONE: usize = 14;

/// A process that is killed notes no end: what it had synced last is what it noted when it began the segment.
fn killed(dir: &Path) {
    let head = Head { floor: 1, last: 1, bytes: 45 };
    head.write(&RealDisk, dir).unwrap();
}

fn past(base: &[u8], inputs: &[u8]) -> SavedState {
    SavedState { base: base.into(), inputs: inputs.into(), generation: 0 }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    files
}

#[test]
fn rooms_come_back_with_their_last_base_and_what_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, saved_states) = open(dir.path());
    assert!(saved_states.is_empty());
    let (one, two) = (room("home/1"), room("home/2"));
    journal.base(&one, b"old");
    journal.inputs(&one, b"dropped");
    journal.base(&two, b"other");
    journal.base(&one, b"new");
    journal.inputs(&one, b"a");
    journal.inputs(&one, b"b");
    journal.close();
    let (journal, saved_states) = open(dir.path());
    assert_eq!(saved_states["home/1"], past(b"new", b"ab"));
    assert_eq!(saved_states["home/2"], past(b"other", b""));
    journal.forget(&two);
    journal.close();
    let (_, saved_states) = open(dir.path());
    assert_eq!(saved_states.keys().collect::<Vec<_>>(), ["home/1"]);
}

#[test]
fn a_generation_comes_back_with_its_room_and_never_falls() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let one = room("home/1");
    journal.base(&one, b"first");
    journal.raise(&one, 6);
    journal.base(&one, b"second");
    journal.raise(&one, 4);
    journal.base(&one, b"third");
    journal.inputs(&one, b"a");
    let aside = journal.set_aside("home/1", &SavedState { generation: 6, ..past(b"third", b"a") }).unwrap();
    journal.close();
    let Found::Rooms { saved_states: kept, .. } = inspect(&aside).unwrap() else { panic!() };
    let (journal, saved_states) = open(dir.path());
    assert_eq!(saved_states["home/1"], SavedState { generation: 6, ..past(b"third", b"a") });
    assert_eq!(kept, saved_states);
    // What a room writes after a restart is of its generation still, until it has ended.
    journal.base(&one, b"fourth");
    journal.close();
    let (journal, saved_states) = open(dir.path());
    assert_eq!((journal.generation(&one), saved_states["home/1"].generation), (6, 6));
    journal.forget(&one);
    assert_eq!(journal.generation(&one), 0);
}

#[test]
fn old_segments_go_when_every_room_has_a_newer_base() {
    let dir = tempfile::tempdir().unwrap();
    let small = Bounds { segment_bytes: 100, ..bounds() };
    let (journal, _) = Journal::open(dir.path(), small).unwrap();
    let (busy, idle) = (room("busy"), room("idle"));
    journal.base(&idle, b"idle");
    for _ in 0..50 {
        journal.base(&busy, &[7; 60]);
    }
    assert_eq!(journal.stale(), [Arc::clone(&idle)]);
    journal.base(&idle, b"idle again");
    assert!(journal.stale().is_empty());
    journal.close();
    assert!(segments(dir.path()).len() <= 2, "{:?}", segments(dir.path()));
    let (_, saved_states) = Journal::open(dir.path(), small).unwrap();
    assert_eq!(saved_states["idle"].base, b"idle again");
    assert_eq!(saved_states["busy"].base, [7; 60]);
}

#[test]
fn a_torn_end_is_dropped_and_damage_in_the_middle_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal.base(&room("a"), b"base");
    journal.inputs(&room("a"), b"one");
    journal.close();
    let path = segments(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();

    for cut in 1..8 {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path());
        journal.base(&room("a"), b"base");
        journal.inputs(&room("a"), b"one");
        drop(journal);
        let path = segments(dir.path()).pop().unwrap();
        killed(dir.path());
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let (journal, saved_states) = open(dir.path());
        assert_eq!(saved_states["a"], past(b"base", b""), "{cut} bytes cut off");
        // Life goes on in another segment, and the cut is no damage later.
        journal.inputs(&room("a"), b"two");
        drop(journal);
        assert_eq!(open(dir.path()).1["a"].inputs, b"two");
        // What was cut is kept.
        let aside: Vec<_> =
            fs::read_dir(dir.path().join("aside")).unwrap().map(|it| it.unwrap().path()).collect();
        let tail = &whole[whole.len() - RECORD_OF_ONE..whole.len() - cut];
        assert_eq!(fs::read(&aside[0]).unwrap(), tail, "{aside:?}");
    }
    fs::write(&path, &whole).unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&[0; 100]).unwrap();
    assert_eq!(open(dir.path()).1["a"].inputs, b"one");

    let mut damaged = whole.clone();
    damaged[55] ^= 1;
    fs::write(&path, damaged).unwrap();
    let text = Journal::open(dir.path(), bounds()).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("is damaged at byte 44") && text.contains("checksum"), "{text}");
}

#[test]
fn a_second_process_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, _) = open(dir.path());
    let text = Journal::open(dir.path(), bounds()).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("another node"), "{text}");
}

#[tokio::test]
async fn a_full_buffer_makes_rooms_wait_until_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), Bounds { buffer_bytes: 1, ..bounds() }).unwrap();
    for _ in 0..100 {
        journal.inputs(&room("a"), &[0; 1000]);
        tokio::time::timeout(Duration::from_secs(10), journal.space()).await.unwrap();
    }
}

#[derive(Debug, Clone)]
enum Op {
    Base(u8, Vec<u8>),
    Inputs(u8, Vec<u8>),
    Forget(u8),
    Reopen,
}

fn any_op() -> impl Strategy<Value = Op> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..50);
    prop_oneof![
        3 => (0..4u8, bytes()).prop_map(|(room, bytes)| Op::Base(room, bytes)),
        6 => (0..4u8, bytes()).prop_map(|(room, bytes)| Op::Inputs(room, bytes)),
        1 => (0..4u8).prop_map(Op::Forget),
        1 => Just(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_journal_remembers_like_a_map(ops in prop::collection::vec(any_op(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let small = Bounds { segment_bytes: 200, ..bounds() };
        let mut journal = Journal::open(dir.path(), small).unwrap().0;
        let mut model: BTreeMap<String, SavedState> = BTreeMap::new();
        for op in ops.into_iter().chain([Op::Reopen]) {
            match op {
                Op::Base(at, bytes) => {
                    journal.base(&room(&at.to_string()), &bytes);
                    model.insert(at.to_string(), past(&bytes, b""));
                }
                Op::Inputs(at, bytes) => {
                    // A room says nothing before its first base.
                    if let Some(past) = model.get_mut(&at.to_string()) {
                        journal.inputs(&room(&at.to_string()), &bytes);
                        past.inputs.extend(bytes);
                    }
                }
                Op::Forget(at) => {
                    journal.forget(&room(&at.to_string()));
                    model.remove(&at.to_string());
                }
                Op::Reopen => {
                    drop(journal);
                    let (reopened, saved_states) = Journal::open(dir.path(), small).unwrap();
                    prop_assert_eq!(&saved_states, &model);
                    journal = reopened;
                }
            }
        }
    }

    #[test]
    fn damage_is_an_error_or_a_dropped_end_and_never_a_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path());
        for step in 0..5u8 {
            journal.base(&room("a"), &[step; 20]);
            journal.inputs(&room("a"), &[step; 10]);
        }
        journal.close();
        let path = segments(dir.path()).pop().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        fs::write(&path, bytes).unwrap();
        let opened = Journal::open(dir.path(), bounds());
        prop_assert!(opened.is_ok() || opened.is_err());
    }
}
