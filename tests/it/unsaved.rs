//! Rooms whose guest fails to save: a mended version takes them over, an operator can set them aside, and nothing is lost.

use std::path::{Path, PathBuf};

use hotseat::proto::admin::DeployRequest;
use hotseat_packet::code;
use misbehave::{ANSWER, ECHO, RECALL, SET_MODE, STORE};

use crate::guests::{guests, versioned};
use crate::process::{Told, hotseat};
use crate::world::{World, ask, ended, eventually};

/// `hotseat replay` of a file, beside which the mended version lies.
async fn replayed(file: &Path, args: &[&str]) -> Told {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mended.wasm"), &guests().misbehave_mended.bytes).unwrap();
    let mut command = hotseat(dir.path());
    command.arg("replay").arg(file).args(args);
    tokio::task::spawn_blocking(move || Told::from(command.output().unwrap())).await.unwrap()
}

/// What `hotseat replay` says, which ends with that status.
pub(crate) async fn says(file: &Path, args: &[&str], status: i32, words: &[&str]) {
    let told = replayed(file, args).await;
    assert_eq!(told.code, Some(status), "{}\n{}", told.out, told.err);
    for word in words {
        assert!(told.out.contains(word), "{word:?} is not in {}", told.out);
    }
}

/// The files in a folder of the data directory whose names end so.
pub(crate) fn files(world: &World, folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(world.data_dir().join(folder)).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mended_version_takes_over_a_room_that_cannot_be_saved() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    alice.send(STORE, b"kept").await.unwrap();
    ask(&mut alice, SET_MODE, b"trap-save", SET_MODE + ANSWER).await;
    let report = world.deploy(&guests().misbehave_mended).await.unwrap();
    assert_eq!((report.rehearsed, report.pauses.len()), (1, 1));
    assert_eq!(ask(&mut alice, RECALL, b"", RECALL + ANSWER).await, b"kept");
    assert_eq!(world.live().await, "5.0.0");
    // Failing to save is a fault, and leaves a letter that shows it again.
    assert!(world.metric("hotseat_guest_faults_total{kind=\"trap\"}").await > 0);
    let letter = async || files(&world, "dead-letters", "dead").pop();
    let letter = eventually("a letter", letter).await;
    says(&letter, &[], 1, &["it fails again, in the same way"]).await;
    says(&letter, &["--plugin", "mended.wasm"], 0, &["the state can be saved"]).await;
    // From here on it is a room like any other.
    let world = world.restart().await;
    let mut alice = world.client("alice").await;
    assert_eq!(ask(&mut alice, RECALL, b"", RECALL + ANSWER).await, b"kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_cannot_go_is_set_aside_if_the_operator_says_so() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    alice.send(STORE, b"kept").await.unwrap();
    ask(&mut alice, SET_MODE, b"trap-save", SET_MODE + ANSWER).await;
    let next = versioned(&guests().misbehave, 2);
    let text = world.deploy(&next).await.unwrap_err().to_string();
    assert!(text.contains("room home/0 cannot be saved"), "{text}");
    assert_eq!(ask(&mut alice, RECALL, b"", RECALL + ANSWER).await, b"kept");
    let request = |room: &str| DeployRequest {
        name: "game-logic".into(),
        artefact: next.bytes.clone(),
        set_aside: vec![room.to_owned()],
        ..DeployRequest::default()
    };
    let status = world.admin().await.deploy(request("home/7")).await.unwrap_err();
    assert!(status.message().contains("no room home/7"), "{status}");
    let reply = world.admin().await.deploy(request("home/0")).await.unwrap().into_inner();
    assert_eq!((reply.set_aside, reply.to.unwrap().label), (vec!["home/0".to_owned()], "2.0.0".to_owned()));
    let text = ended(&mut alice, code::NO_ROOM).await;
    assert!(text.contains("set aside by an operator"), "{text}");
    world.counted("hotseat_rooms_set_aside_total", 1).await;
    assert_eq!(ask(&mut world.client("alice").await, RECALL, b"", RECALL + ANSWER).await, b"");
    let file = files(&world, "journal/aside", "seg").pop().unwrap();
    says(&file, &["--plugin", "mended.wasm"], 0, &["payload=6b657074", "0 faults"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_ends_because_it_cannot_be_saved_leaves_what_it_was() {
    let world = World::with(&guests().misbehave, |config| config.log_inputs = 4).await;
    let mut alice = world.client("alice").await;
    alice.send(STORE, b"kept").await.unwrap();
    ask(&mut alice, SET_MODE, b"trap-save", SET_MODE + ANSWER).await;
    let (mut sender, mut receiver) = alice.split();
    let flood = tokio::spawn(async move { while sender.send(ECHO, b"more").await.is_ok() {} });
    while receiver.recv().await.is_ok() {}
    flood.await.unwrap();
    world.counted("hotseat_rooms_set_aside_total", 1).await;
    let file = files(&world, "journal/aside", "seg").pop().unwrap();
    says(&file, &["--plugin", "mended.wasm"], 0, &["0 faults"]).await;
}
