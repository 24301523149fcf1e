//! A journal on a disk that fails, and files that are not as they were written.

use std::io::ErrorKind;
use std::time::Instant;

use super::super::check::Repair;
use super::super::disk::{Disk, MemoryDisk, Operation};
use super::*;
use crate::telemetry::health::Health;

const DIR: &str = "/data/journal";

const SMALL: Bounds =
    Bounds { segment_bytes: 200, buffer_bytes: 1 << 20, sync_every: Duration::from_millis(1) };

fn on(
    disk: &MemoryDisk,
    bounds: Bounds,
    part: Part,
) -> Result<(Journal, BTreeMap<String, SavedState>), JournalError> {
    let surroundings = Surroundings { disk: Arc::new(disk.clone()), part, ..Surroundings::default() };
    Journal::open_in(Path::new(DIR), bounds, surroundings)
}

fn reopen(disk: &MemoryDisk) -> BTreeMap<String, SavedState> {
    on(disk, SMALL, Part::default()).unwrap().1
}

fn error_of(disk: &MemoryDisk) -> String {
    on(disk, SMALL, Part::default()).map(|_| ()).unwrap_err().to_string()
}

#[track_caller]
fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::yield_now();
    }
}

fn segments_of(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.extension().is_some_and(|it| it == "seg")).collect()
}

/// A disk with a journal of several segments, closed: room `a` begins in the first one, `b` in the last.
fn several(inputs: u8) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (journal, _) = on(&disk, SMALL, Part::default()).unwrap();
    journal.base(&room("a"), b"base of a");
    for at in 0..inputs {
        journal.inputs(&room("a"), &[at; 40]);
    }
    journal.base(&room("b"), b"base of b");
    journal.close();
    assert!(segments_of(&disk).len() > 3);
    disk
}

#[test]
fn a_segment_that_could_not_be_begun_is_begun_when_there_is_space_again() {
    let health = Health::default();
    // Full from the first byte on, within the header, within the first record.
    for capacity in [0, 60, 100, 150] {
        let disk = MemoryDisk::new();
        disk.set_capacity(Some(capacity));
        let (journal, _) = on(&disk, bounds(), health.part("journal")).unwrap();
        journal.base(&room("a"), &[1; 300]);
        until("it is told", || !health.failing().is_empty());
        let told = health.failing().join("");
        assert!(told.contains("journal not written") && told.contains(DIR), "{told}");
        journal.inputs(&room("a"), b"later");
        disk.set_capacity(None);
        until("it is well again", || health.failing().is_empty());
        journal.close();
        let past = SavedState { base: vec![1; 300], inputs: b"later".to_vec(), generation: 0 };
        assert_eq!(reopen(&disk)["a"], past, "{capacity}");
    }
}

#[test]
fn a_disk_that_takes_nothing_is_told_before_anything_is_said_and_well_again_by_itself() {
    let disk = several(20);
    // The directory is there.
    disk.set_fault(|operation, path| {
        let makes = operation == Operation::Create && path != Path::new(DIR);
        makes.then(|| ErrorKind::ReadOnlyFilesystem.into())
    });
    let health = Health::default();
    let (journal, saved_states) = on(&disk, SMALL, health.part("journal")).unwrap();
    let told = health.failing().join("");
    assert!(told.contains("journal not written") && told.contains(DIR) && saved_states.len() == 2, "{told}");
    disk.clear_fault();
    until("it is well again", || health.failing().is_empty());
    journal.close();
}

#[test]
fn a_journal_that_cannot_remove_or_note_what_it_should_says_so_and_tries_again() {
    let (disk, health) = (MemoryDisk::new(), Health::default());
    let (journal, _) = on(&disk, SMALL, health.part("journal")).unwrap();
    journal.base(&room("a"), &[1; 300]);
    until("it is written", || segments_of(&disk).len() == 1);
    disk.set_fault(|operation, _| {
        (operation == Operation::Remove).then(|| ErrorKind::ReadOnlyFilesystem.into())
    });
    journal.base(&room("a"), &[2; 300]);
    until("it is told", || health.failing().join("").contains("not removed"));
    disk.clear_fault();
    until("it is well again, and nothing has been written meanwhile", || {
        health.failing().is_empty() && segments_of(&disk).len() == 1
    });
    journal.close();
    assert_eq!(reopen(&disk)["a"].base, [2; 300]);
}

#[test]
fn what_could_not_be_synced_is_written_anew_and_its_end_may_be_anything() {
    let (disk, health) = (MemoryDisk::new(), Health::default());
    let (journal, _) = on(&disk, bounds(), health.part("journal")).unwrap();
    let mut fails = true;
    disk.set_fault(move |operation, path| {
        let segment = path.extension().is_some_and(|it| it == "seg");
        let failed = operation == Operation::Sync && segment && std::mem::take(&mut fails);
        failed.then(|| ErrorKind::Other.into())
    });
    journal.base(&room("a"), b"base");
    until("it is told", || health.failing().join("").contains("not synced"));
    assert_eq!(journal.stale(), [room("a")]);
    journal.base(&room("a"), b"base");
    until("it is well again", || health.failing().is_empty());
    drop(journal);
    assert_eq!(reopen(&disk)["a"].base, b"base");
}

#[test]
fn every_flipped_bit_is_told_or_is_in_the_very_last_record() {
    let disk = MemoryDisk::new();
    let (journal, _) = on(&disk, bounds(), Part::default()).unwrap();
    journal.base(&room("a"), b"base");
    for at in 0..6u8 {
        journal.inputs(&room("a"), &[at; 20]);
    }
    journal.close();
    let path = segments_of(&disk).pop().unwrap();
    let whole = disk.read(&path).unwrap();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            disk.put(&path, &bytes);
            let opened = on(&disk, bounds(), Part::default());
            // All of it was on disk when the journal was closed, so even the last record is no torn end.
            let text = opened.map(|_| ()).unwrap_err().to_string();
            assert!(
                text.contains("is damaged at byte") && text.contains("hotseat journal check"),
                "{at}: {text}"
            );
            assert_eq!(disk.read(&path).unwrap(), bytes);
        }
    }
}

#[test]
fn a_record_in_the_middle_of_what_was_never_synced_is_no_torn_end_either() {
    let disk = MemoryDisk::new();
    let (journal, _) = on(&disk, bounds(), Part::default()).unwrap();
    journal.base(&room("a"), b"base of a");
    for at in 0..20 {
        journal.inputs(&room("a"), &[at; 40]);
    }
    journal.close();
    let path = segments_of(&disk).pop().unwrap();
    let bytes = disk.read(&path).unwrap();
    // As after a kill: nothing says how much of the last segment was on disk.
    let head = Head { floor: 1, last: 1, bytes: 45 };
    head.write(&disk, Path::new(DIR)).unwrap();
    let mut torn = bytes.clone();
    torn[46] ^= 64;
    disk.put(&path, &torn);
    let text = error_of(&disk);
    assert!(text.contains("is damaged at byte 44: the record is cut short"), "{text}");
    // The last record of all, cut: nothing follows.
    disk.put(&path, &bytes[..bytes.len() - 1]);
    assert_eq!(reopen(&disk)["a"].inputs.len(), 760);
}

#[test]
fn segments_that_are_missing_emptied_doubled_or_cut_are_told_by_name() {
    let count = segments_of(&several(20)).len();
    for at in 0..count {
        let whole = several(20);
        let (paths, dir) = (segments_of(&whole), Path::new(DIR));
        let (path, other) = (&paths[at], &paths[(at + 1) % count]);
        let bytes = whole.read(path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let doubled = [&bytes[..], &bytes[44..]].concat();
        for (what, content) in [
            ("missing", None),
            ("emptied", Some(Vec::new())),
            ("zeros", Some(vec![0; bytes.len()])),
            ("cut to its header", Some(bytes[..44].to_vec())),
            ("another", Some(whole.read(other).unwrap())),
            ("doubled", Some(doubled)),
        ] {
            let disk = MemoryDisk::new();
            whole.paths().iter().for_each(|path| disk.put(path, &whole.read(path).unwrap()));
            match &content {
                Some(content) => disk.put(path, content),
                None => disk.remove(path).unwrap(),
            }
            // Records that stand twice in the last segment are no different from records said twice.
            if what == "doubled" && at + 1 == count {
                continue;
            }
            let text = error_of(&disk);
            assert!(text.contains(name) && text.contains("is damaged"), "{what}: {text}");
            // Repaired, it opens; `a` is what it was at some moment, and `b`, whose base came later, is whole.
            let repair = Repair::begin_on(Arc::new(disk.clone()), dir).unwrap();
            assert!(!repair.report().damage.is_empty());
            let kept = repair.run().unwrap();
            assert!(disk.read(&kept.join(paths[(at + 1) % count].file_name().unwrap())).is_ok());
            let saved_states = reopen(&disk);
            let all: Vec<u8> = (0..20u8).flat_map(|at| [at; 40]).collect();
            if let Some(a) = saved_states.get("a") {
                assert!(a.base == b"base of a" && all.starts_with(&a.inputs), "{what} {at}");
            }
            assert_eq!(saved_states.contains_key("a"), at > 0 || what == "doubled", "{what} {at}");
            assert!(saved_states.contains_key("b") || at + 1 == count, "{what} {at}");
        }
    }
}

#[test]
fn inputs_whose_base_is_nowhere_are_told() {
    let disk = several(20);
    let dir = Path::new(DIR);
    disk.remove(&segments_of(&disk)[0]).unwrap();
    // As if it had been removed for good reason.
    let head = Head::read(&disk, dir).unwrap().unwrap().unwrap();
    Head { floor: 2, ..head }.write(&disk, dir).unwrap();
    let text = error_of(&disk);
    assert!(text.contains("inputs of a stand here, and its base is nowhere"), "{text}");
}

#[test]
fn a_power_cut_leaves_what_was_synced_and_the_node_starts() {
    for (kept, zeros) in [(0, 0), (1, 0), (30, 0), (usize::MAX, 0), (0, 4096), (7, 100), (52, 300)] {
        let disk = MemoryDisk::new();
        let (journal, _) = on(&disk, bounds(), Part::default()).unwrap();
        let synced = journal.synced();
        let first = journal.base(&room("a"), b"base");
        until("it is on disk", || *synced.borrow() >= first);
        disk.set_fault(|operation, _| (operation == Operation::Sync).then(|| ErrorKind::Other.into()));
        journal.inputs(&room("a"), &[1; 30]);
        journal.inputs(&room("a"), &[2; 30]);
        journal.close();
        disk.clear_fault();
        disk.cut_power(|_, unsynced| (unsynced.min(kept), if unsynced > 0 { zeros } else { 0 }));
        let past = &reopen(&disk)["a"];
        assert_eq!(past.base, b"base", "{kept} {zeros}");
        assert!([0, 30, 60].contains(&past.inputs.len()), "{kept} {zeros}");
    }
}

#[test]
fn a_repair_that_is_cut_off_anywhere_leaves_a_journal_that_can_be_repaired() {
    let whole = several(20);
    let all: Vec<u8> = (0..20u8).flat_map(|at| [at; 40]).collect();
    drop(whole);
    for step in 0..60 {
        let disk = several(20);
        disk.remove(&segments_of(&disk)[2]).unwrap();
        let mut left = step;
        disk.set_fault(move |operation, _| {
            let writes = operation != Operation::Read;
            left -= i32::from(writes && left >= 0);
            (left < 0).then(|| ErrorKind::Other.into())
        });
        let done = Repair::begin_on(Arc::new(disk.clone()), Path::new(DIR)).and_then(Repair::run);
        disk.clear_fault();
        disk.kill();
        if done.is_err() && on(&disk, SMALL, Part::default()).is_err() {
            Repair::begin_on(Arc::new(disk.clone()), Path::new(DIR)).unwrap().run().unwrap();
        }
        let saved_states = reopen(&disk);
        assert!(saved_states["b"].base == b"base of b", "{step}");
        assert!(!saved_states["a"].inputs.is_empty() && all.starts_with(&saved_states["a"].inputs), "{step}");
    }
}
