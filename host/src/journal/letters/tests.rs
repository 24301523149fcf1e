use super::*;
use crate::journal::{DeadLetter, Found, Past, look};

fn counters() -> Counters {
    let counter = || IntCounter::new("x", "x").unwrap();
    Counters { written: counter(), lost: counter() }
}

pub(in crate::journal) fn letter(room: &str, at_ms: u64) -> Letter {
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
    Letter { room: room.into(), about, context: Some(context), input: b"input".to_vec() }
}

fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn read(path: &Path) -> DeadLetter {
    match look(path).unwrap() {
        Found::Letter(letter) => *letter,
        Found::Rooms { .. } => panic!("{} holds rooms", path.display()),
    }
}

#[test]
fn a_letter_comes_back_as_it_was_posted() {
    let dir = tempfile::tempdir().unwrap();
    let letters = Letters::open(dir.path(), 9, counters()).unwrap();
    letters.post(10, |_| letter("home/1", 5));
    letters.close();
    assert_eq!(files(dir.path()), ["home_1-5-1.dead"]);
    let found = read(&dir.path().join("home_1-5-1.dead"));
    assert_eq!((found.room.as_str(), &found.about), ("home/1", &letter("", 5).about));
    assert_eq!(found.past, Some(Past { base: b"base".into(), inputs: b"inputs".into(), generation: 0 }));
    assert_eq!(found.input, b"input");
    assert_eq!(letters.counters.written.get(), 1);
}

#[test]
fn only_the_newest_are_kept_and_other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.dead"), "").unwrap();
    fs::write(dir.path().join("a-1-1.partial"), "").unwrap();
    let letters = Letters::open(dir.path(), 2, counters()).unwrap();
    for at_ms in [999, 1000, 1001, 1002] {
        letters.post(10, |_| letter("a-b", at_ms));
    }
    letters.close();
    assert_eq!(files(dir.path()), ["a-b-1001-3.dead", "a-b-1002-4.dead", "notes.dead"]);
    letters.post(10, |_| panic!("nothing is posted to a closed box"));
}

#[test]
fn a_context_that_is_too_large_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let letters = Letters::bounded(dir.path(), 9, counters(), 100).unwrap();
    letters.post(101, |whole| {
        let letter = letter("a", 1);
        Letter { context: letter.context.filter(|_| whole), ..letter }
    });
    letters.close();
    let found = read(&dir.path().join("a-1-1.dead"));
    assert_eq!((found.past, found.about.omitted_bytes), (None, 101));
    assert_eq!(letters.waiting.load(Ordering::Relaxed), 0);
}

#[test]
fn none_are_kept_if_none_are_wanted_and_a_flood_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let none = Letters::open(&dir.path().join("none"), 0, counters()).unwrap();
    none.post(10, |_| panic!("nobody wants it"));
    assert!(!dir.path().join("none").exists());
    let letters = Letters::open(dir.path(), 1000, counters()).unwrap();
    let burst = u64::from(BURST);
    for at_ms in 0..2 * burst {
        letters.post(10, |_| letter("a", at_ms));
    }
    letters.close();
    assert!(letters.counters.written.get() <= burst);
    assert_eq!(letters.counters.written.get() + letters.counters.lost.get(), 2 * burst);
}

#[test]
fn a_disk_that_refuses_costs_the_letter() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in-the-way");
    fs::write(&file, "").unwrap();
    let letters = Letters::open(&file, 9, counters()).unwrap();
    letters.post(10, |_| letter("a", 1));
    letters.close();
    assert_eq!((letters.counters.written.get(), letters.counters.lost.get()), (0, 1));
}
