use super::*;
use crate::journal::{DeadLetter, Found, SavedState, inspect};

fn counters() -> Counters {
    let counter = || IntCounter::new("x", "x").unwrap();
    Counters { written: counter(), lost: counter() }
}

pub(in crate::journal) fn letter(room: &str, at_ms: u64) -> DeadLetterFile {
    let about = About {
        plugin: "game-logic".into(),
        version: "1.0.0".into(),
        digest: "00".into(),
        failed_at_ms: at_ms,
        cause: Cause::Skipped,
        fault: "trap".into(),
        text: "it broke".into(),
        frames: vec!["handle".into()],
        settings: [("key".into(), "value".into())].into(),
        omitted_bytes: 0,
    };
    let context = Context { base: Box::new(|| b"base".to_vec()), inputs: b"inputs".to_vec() };
    DeadLetterFile { room: room.into(), about, context: Some(context), input: b"input".to_vec() }
}

fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn read(path: &Path) -> DeadLetter {
    match inspect(path).unwrap() {
        Found::DeadLetter(letter) => *letter,
        Found::Rooms { .. } => panic!("{} holds rooms", path.display()),
    }
}

#[test]
fn a_letter_comes_back_as_it_was_posted() {
    let dir = tempfile::tempdir().unwrap();
    let dead_letters = DeadLetters::open(dir.path(), 9, counters()).unwrap();
    dead_letters.post(10, |_| letter("home/1", 5));
    dead_letters.close();
    assert_eq!(files(dir.path()), ["home_1-5-1.dead"]);
    let found = read(&dir.path().join("home_1-5-1.dead"));
    assert_eq!((found.room.as_str(), &found.about), ("home/1", &letter("", 5).about));
    assert_eq!(
        found.past,
        Some(SavedState { base: b"base".into(), inputs: b"inputs".into(), generation: 0 })
    );
    assert_eq!(found.input, b"input");
    assert_eq!(dead_letters.counters.written.get(), 1);
}

#[test]
fn only_the_newest_are_kept_and_other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.dead"), "").unwrap();
    fs::write(dir.path().join("a-1-1.partial"), "").unwrap();
    let dead_letters = DeadLetters::open(dir.path(), 2, counters()).unwrap();
    for at_ms in [999, 1000, 1001, 1002] {
        dead_letters.post(10, |_| letter("a-b", at_ms));
    }
    dead_letters.close();
    assert_eq!(files(dir.path()), ["a-b-1001-3.dead", "a-b-1002-4.dead", "notes.dead"]);
    dead_letters.post(10, |_| panic!("nothing is posted to a closed box"));
}

#[test]
fn a_context_that_is_too_large_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let dead_letters = DeadLetters::bounded(dir.path(), 9, counters(), 100).unwrap();
    dead_letters.post(101, |whole| {
        let letter = letter("a", 1);
        DeadLetterFile { context: letter.context.filter(|_| whole), ..letter }
    });
    dead_letters.close();
    let found = read(&dir.path().join("a-1-1.dead"));
    assert_eq!((found.past, found.about.omitted_bytes), (None, 101));
    assert_eq!(dead_letters.waiting.load(Ordering::Relaxed), 0);
}

#[test]
fn none_are_kept_if_none_are_wanted_and_a_flood_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let none = DeadLetters::open(&dir.path().join("none"), 0, counters()).unwrap();
    none.post(10, |_| panic!("nobody wants it"));
    assert!(!dir.path().join("none").exists());
    let dead_letters = DeadLetters::open(dir.path(), 1000, counters()).unwrap();
    let burst = u64::from(BURST);
    for at_ms in 0..2 * burst {
        dead_letters.post(10, |_| letter("a", at_ms));
    }
    dead_letters.close();
    assert!(dead_letters.counters.written.get() <= burst);
    assert_eq!(dead_letters.counters.written.get() + dead_letters.counters.lost.get(), 2 * burst);
}

#[test]
fn a_disk_that_refuses_costs_the_letter() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in-the-way");
    fs::write(&file, "").unwrap();
    let dead_letters = DeadLetters::open(&file, 9, counters()).unwrap();
    dead_letters.post(10, |_| letter("a", 1));
    dead_letters.close();
    assert_eq!((dead_letters.counters.written.get(), dead_letters.counters.lost.get()), (0, 1));
}
