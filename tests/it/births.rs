//! Guests that fail at birth and hand-over: in `open`, `load` and `save`.

use hotseat_build::Artefact;
use hotseat_packet::code;
use misbehave::{ANSWER, ECHO, PANIC, RECALL, SET_MODE, STORE};

use crate::arena::ping;
use crate::guests::{guests, versioned};
use crate::world::{World, ask, ended};

/// A node on `plugin` whose misbehaving guest, once there, has that mode.
async fn with_mode(plugin: &Artefact, mode: &str) -> World {
    World::with(plugin, |config| {
        let settings = [("mode".to_owned(), mode.to_owned())].into();
        config.plugin_config = [("game-logic".to_owned(), settings)].into();
    })
    .await
}

/// A deployment of `next` fails with these words; the version before plays on.
async fn refused(world: &World, next: &Artefact, words: &[&str]) {
    let before = (world.live().await, world.plugin().await.rooms);
    let error = world.deploy(next).await.unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{error:?} does not name {word:?}");
    }
    assert_eq!((world.live().await, world.plugin().await.rooms), before);
    let last = world.events().await.pop().unwrap();
    assert_eq!((last.kind.as_str(), last.reason), ("refused", error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_cannot_open_a_room_is_not_deployed() {
    for (mode, words) in [
        ("trap-open", ["refused in rehearsal", "a new room", "trap"]),
        ("fail-open", ["refused in rehearsal", "a new room", "fail-open: room home/0"]),
    ] {
        let world = with_mode(&guests().v1, mode).await;
        refused(&world, &guests().misbehave, &words).await;
        ping(&mut world.client("alice").await, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_start_on_a_guest_that_cannot_open_a_room() {
    for mode in ["trap-open", "fail-open", "trap-save", "loop-save"] {
        let start = World::try_with(&guests().misbehave, |config| {
            let settings = [("mode".to_owned(), mode.to_owned())].into();
            config.plugin_config = [("game-logic".to_owned(), settings)].into();
        });
        let error = start.await.err().expect("it must not start").to_string();
        assert!(error.contains("plugin game-logic") && error.contains("a new room"), "{mode}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_cannot_load_is_not_deployed() {
    for (mode, word) in [("trap-load", "trap"), ("fail-load", "fail-load"), ("loop-load", "deadline")] {
        let world = with_mode(&guests().misbehave, mode).await;
        let mut alice = world.client("alice").await;
        alice.send(STORE, b"kept").await.unwrap();
        refused(
            &world,
            &versioned(&guests().misbehave, 2),
            &["refused in rehearsal", "state of room home/0", word],
        )
        .await;
        assert_eq!(ask(&mut alice, RECALL, b"", RECALL + ANSWER).await, b"kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_cannot_be_saved_is_not_swapped_and_plays_on() {
    for (mode, word) in [("trap-save", "trap"), ("loop-save", "deadline")] {
        let world = World::start(&guests().misbehave).await;
        let mut alice = world.client("alice").await;
        alice.send(STORE, b"kept").await.unwrap();
        ask(&mut alice, SET_MODE, mode.as_bytes(), SET_MODE + ANSWER).await;
        refused(
            &world,
            &versioned(&guests().misbehave, 2),
            &["refused in rehearsal", "room home/0 cannot be saved", word],
        )
        .await;
        assert_eq!(ask(&mut alice, RECALL, b"", RECALL + ANSWER).await, b"kept");
        // Once it can be saved again it is.
        ask(&mut alice, SET_MODE, b"", SET_MODE + ANSWER).await;
        world.deploy(&versioned(&guests().misbehave, 2)).await.unwrap();
        assert_eq!(ask(&mut alice, RECALL, b"", RECALL + ANSWER).await, b"kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_can_never_be_saved_is_closed_with_the_reason() {
    let world = World::with(&guests().misbehave, |config| config.log_inputs = 4).await;
    let mut alice = world.client("alice").await;
    ask(&mut alice, SET_MODE, b"trap-save", SET_MODE + ANSWER).await;
    let (mut sender, mut receiver) = alice.split();
    let flood = tokio::spawn(async move { while sender.send(ECHO, b"more").await.is_ok() {} });
    let end = loop {
        match receiver.recv().await {
            Ok(frame) => assert!([ECHO + ANSWER, 13].contains(&frame.opcode), "{frame:?}"),
            Err(end) => break end.to_string(),
        }
    };
    assert!(end.contains("no_room") && end.contains("its state cannot be saved"), "{end}");
    flood.await.unwrap();
    world.counted("hotseat_agent_closed_total{reason=\"room_closed\"}", 1).await;
    // The next one to come finds a new room.
    let mut alice = world.client("alice").await;
    assert_eq!(ask(&mut alice, RECALL, b"", RECALL + ANSWER).await, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_cannot_be_restored_is_closed_with_the_reason() {
    for mode in ["trap-load", "fail-load", "loop-load"] {
        let world = World::with(&guests().misbehave, |config| config.log_inputs = 4).await;
        let mut alice = world.client("alice").await;
        ask(&mut alice, SET_MODE, mode.as_bytes(), SET_MODE + ANSWER).await;
        // By now a snapshot stands in for the log, and it is one that cannot be loaded.
        for _ in 0..8 {
            ask(&mut alice, ECHO, b"x", ECHO + ANSWER).await;
        }
        alice.send(PANIC, b"").await.unwrap();
        let text = ended(&mut alice, code::NO_ROOM).await;
        assert!(text.contains("the room was closed") && text.contains("cannot be rebuilt"), "{text}");
        world.counted("hotseat_rooms", 0).await;
        ask(&mut world.client("alice").await, ECHO, b"anew", ECHO + ANSWER).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_comes_back_from_its_snapshot_and_the_inputs_since() {
    let world = World::with(&guests().misbehave, |config| config.log_inputs = 8).await;
    let mut alice = world.client("alice").await;
    for round in 0..20u8 {
        alice.send(STORE, &[round]).await.unwrap();
        if round % 10 == 5 {
            alice.send(PANIC, b"").await.unwrap();
            assert_eq!(crate::world::refusal(&mut alice).await.0, code::MESSAGE_FAILED);
        }
        assert_eq!(ask(&mut alice, RECALL, b"", RECALL + ANSWER).await, [round]);
    }
}
