//! The way back: by an operator, on probation and after it.

use hotseat::proto::admin::RollbackRequest;

use crate::guests::{guests, versioned};
use crate::swap::count;
use crate::world::World;

fn game_logic() -> RollbackRequest {
    RollbackRequest { name: "game-logic".into(), cluster: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_on_probation_keeps_what_came_since() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, (1, 1));
    world.deploy(&guests().ledger_v2).await.unwrap();
    assert_eq!(world.plugin().await.state, "probation");
    assert_eq!(count(&mut alice, 2).await, (2, 2));
    let mut bob = world.client("bob").await;
    assert_eq!(count(&mut bob, 1).await, (1, 2));

    let reply = world.admin().await.rollback(game_logic()).await.unwrap().into_inner();
    assert_eq!((reply.from.unwrap().label.as_str(), reply.to.unwrap().label.as_str()), ("2.0.0", "1.0.0"));
    assert_eq!(reply.rooms, 1);
    // Version 1 could not read version 2's state; it was given what it had, and what came since.
    assert_eq!(count(&mut alice, 3).await, (3, 1));
    assert_eq!(count(&mut bob, 2).await, (2, 1));
    assert_eq!(world.history().await, ["started 1.0.0", "deployed 2.0.0", "rolled-back 1.0.0"]);
    assert_eq!(world.plugin().await.state, "idle");

    let status = world.admin().await.rollback(game_logic()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert!(status.message().contains("no earlier version"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_after_probation_hands_the_present_state_over() {
    let world = World::with(&guests().ledger, |config| config.probation_ms = 1).await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, (1, 1));
    world.deploy(&versioned(&guests().ledger, 7)).await.unwrap();
    world.idle().await;
    assert_eq!(count(&mut alice, 2).await, (2, 1));
    world.admin().await.rollback(game_logic()).await.unwrap();
    assert_eq!(world.live().await, "1.0.0");
    assert_eq!(count(&mut alice, 3).await, (3, 1));
    assert_eq!(world.history().await, ["started 1.0.0", "deployed 7.0.0", "rolled-back 1.0.0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_to_a_version_that_cannot_read_the_state_is_refused() {
    let world = World::with(&guests().ledger, |config| config.probation_ms = 1).await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, (1, 1));
    world.deploy(&guests().ledger_v2).await.unwrap();
    world.idle().await;
    assert_eq!(count(&mut alice, 2).await, (2, 2));

    let status = world.admin().await.rollback(game_logic()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    let text = status.message();
    assert!(text.contains("home/0") && text.contains("schema 2"), "{text}");
    assert_eq!(world.live().await, "2.0.0");
    assert_eq!(count(&mut alice, 3).await, (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_past_its_probation_is_not_taken_back_when_it_traps() {
    let world = World::with(&guests().ledger, |config| config.probation_ms = 1).await;
    let mut alice = world.client("alice").await;
    world.deploy(&guests().ledger_v2).await.unwrap();
    world.idle().await;
    assert_eq!(count(&mut alice, 1).await, (1, 2));
    alice.send(ledger::TRAP, &[0; 4]).await.unwrap();
    let (code, text) = crate::world::refusal(&mut alice).await;
    assert_eq!(code, hotseat_packet::code::MESSAGE_FAILED, "{text}");
    assert_eq!(count(&mut alice, 2).await, (2, 2));
    assert_eq!(world.live().await, "2.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_that_open_on_probation_go_back_too() {
    let world = World::with(&guests().ledger, |config| {
        (config.home_rooms, config.max_rooms) = (65_536, 16);
    })
    .await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, (1, 1));
    world.deploy(&guests().ledger_v2).await.unwrap();
    let mut bob = world.client("bob").await;
    assert_eq!(count(&mut bob, 1).await, (1, 2));
    world.counted("hotseat_rooms", 2).await;
    let reply = world.admin().await.rollback(game_logic()).await.unwrap().into_inner();
    assert_eq!(reply.rooms, 2);
    assert_eq!(count(&mut alice, 2).await, (2, 1));
    assert_eq!(count(&mut bob, 2).await, (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_go_back_all_or_none() {
    let world = World::with(&guests().ledger, |config| {
        (config.home_rooms, config.max_rooms, config.log_inputs) = (65_536, 16, 8);
    })
    .await;
    let mut alice = world.client("alice").await;
    let mut bob = world.client("bob").await;
    world.counted("hotseat_rooms", 2).await;
    world.deploy(&guests().ledger_v2).await.unwrap();
    assert_eq!(count(&mut bob, 1).await, (1, 2));
    // Alice's room has more to remember than a room may: a snapshot of version 2 takes the place of the log.
    for seq in 1..=100 {
        assert_eq!(count(&mut alice, seq).await, (seq, 2));
    }
    let status = world.admin().await.rollback(game_logic()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert!(status.message().contains("schema 2"), "{status}");
    assert_eq!(world.live().await, "2.0.0");
    assert_eq!(world.history().await, ["started 1.0.0", "deployed 2.0.0"]);
    assert_eq!(count(&mut alice, 101).await, (101, 2));
    assert_eq!(count(&mut bob, 2).await, (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_waits_for_its_turn_and_goes_back_from_what_is_live_then() {
    for _ in 0..4 {
        let world = World::start(&guests().ledger).await;
        let mut alice = world.client("alice").await;
        assert_eq!(count(&mut alice, 1).await, (1, 1));
        world.deploy(&versioned(&guests().ledger, 5)).await.unwrap();
        // 5.0.0 is on probation when both begin.
        let mut admin = world.admin().await;
        let (deployed, rolled_back) =
            tokio::join!(world.deploy(&guests().ledger_v2), admin.rollback(game_logic()));
        deployed.unwrap();
        let from = rolled_back.unwrap().into_inner().from.unwrap().label;
        // The room runs what the node says is live.
        let (expected, version) = match from.as_str() {
            "2.0.0" => ("5.0.0", 1),
            "5.0.0" => ("2.0.0", 2),
            other => panic!("rolled back from {other}"),
        };
        assert_eq!(world.live().await, expected);
        assert_eq!(count(&mut alice, 2).await, (2, version));
    }
}
