//! The way back: by an operator, on probation and after it.

use std::time::Duration;

use hotseat::actor::deploy::WayBack;
use hotseat::proto::admin::{DeployRequest, RollbackRequest};

use crate::arena::Player;
use crate::guests::{guests, versioned};
use crate::process::{Told, hotseat};
use crate::swap::count;
use crate::swap_long::count_on;
use crate::world::{World, eventually};

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
async fn a_rollback_to_a_version_that_cannot_read_the_state_is_refused_where_nothing_is_kept() {
    let world = World::with(&guests().ledger, |config| {
        (config.probation_ms, config.rollback_window_ms) = (1, 0);
    })
    .await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, (1, 1));
    world.deploy(&guests().ledger_v2).await.unwrap();
    world.idle().await;
    assert_eq!(count(&mut alice, 2).await, (2, 2));

    let status = world.admin().await.rollback(game_logic()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    let text = status.message();
    assert!(text.contains("home/0") && text.contains("schema 2"), "{text}");
    // Why, and what one can do.
    assert!(text.contains("rollback_window_ms = 0") && text.contains("`downgrade`"), "{text}");
    assert_eq!(world.live().await, "2.0.0");
    assert_eq!(world.plugin().await.state, "idle");
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
        config.rollback_max_bytes = 1024;
    })
    .await;
    let mut alice = world.client("alice").await;
    let mut bob = world.client("bob").await;
    world.counted("hotseat_rooms", 2).await;
    world.deploy(&guests().ledger_v2).await.unwrap();
    assert_eq!(count(&mut bob, 1).await, (1, 2));
    // Alice's room has more to remember than all rooms may: none of them can be given back any more.
    for seq in 1..=100 {
        assert_eq!(count(&mut alice, seq).await, (seq, 2));
    }
    world.counted("hotseat_rollback_lost_total{during=\"probation\"}", 1).await;
    world.idle().await;
    let status = world.admin().await.rollback(game_logic()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert!(status.message().contains("schema 2"), "{status}");
    assert!(status.message().contains("rollback_max_bytes = 1024"), "{status}");
    assert_eq!(world.live().await, "2.0.0");
    assert_eq!(world.history().await, ["started 1.0.0", "deployed 2.0.0", "refused 1.0.0"]);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_reads_no_newer_state_is_given_all_inputs_since() {
    let world =
        World::with(&guests().ledger, |config| (config.probation_ms, config.log_inputs) = (1, 16)).await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, (1, 1));
    let way = world.deploy(&guests().ledger_v2).await.unwrap().way_back.unwrap();
    let WayBack::Inputs { window, most_bytes, why } = &way else { panic!("{way}") };
    assert_eq!((*window, *most_bytes), (Duration::from_secs(600), 1 << 30));
    assert!(why.contains("schema 2"), "{why}");
    world.idle().await;
    count_on(&mut alice, 1, 500).await;
    // One that opens after the probation can be given back as well.
    alice.send(ledger::MOVE, b"\0\x05den/0").await.unwrap();
    count_on(&mut alice, 0, 100).await;
    assert!(world.plugin().await.way_back.contains("all inputs since"), "{}", world.plugin().await.way_back);
    world.admin().await.rollback(game_logic()).await.unwrap();
    assert_eq!(count(&mut alice, 101).await, (101, 1));
    let mut bob = world.client("bob").await;
    assert_eq!(count(&mut bob, 1).await, (1, 1));
    assert_eq!(world.history().await, ["started 1.0.0", "deployed 2.0.0", "rolled-back 1.0.0"]);
    world.counted("hotseat_rollback_bytes", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_back_ends_with_its_window_and_says_so() {
    let world = World::with(&guests().ledger, |config| {
        (config.probation_ms, config.rollback_window_ms, config.log_inputs) = (1, 50, 16);
    })
    .await;
    let mut alice = world.client("alice").await;
    world.deploy(&guests().ledger_v2).await.unwrap();
    count_on(&mut alice, 0, 100).await;
    let over =
        async || world.plugin().await.way_back.contains("rollback_window_ms = 50 is over").then_some(());
    eventually("the end of the window", over).await;
    world.counted("hotseat_rollback_bytes", 0).await;
    let status = world.admin().await.rollback(game_logic()).await.unwrap_err();
    assert!(status.message().contains("rollback_window_ms = 50 is over"), "{status}");
    assert_eq!(count(&mut alice, 101).await, (101, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_writes_the_older_state_is_gone_back_from_at_any_time() {
    let world = World::with(&guests().v1, |config| {
        (config.probation_ms, config.rollback_window_ms) = (1, 0);
    })
    .await;
    let mut alice = Player::enter(&world, "alice").await;
    while alice.score() < 2 {
        alice.hunt().await;
    }
    let report = world.deploy(&guests().v2).await.unwrap();
    assert_eq!(report.way_back, Some(WayBack::Downgrade));
    world.idle().await;
    while alice.hunt().await.rules == 1 {}
    let score = alice.score();
    // A restart does not take it away.
    let back = world.admin().await.rollback(game_logic()).await.unwrap().into_inner();
    assert_eq!((back.rooms, back.to.unwrap().label), (1, "1.0.0".into()));
    while alice.step().await.rules == 2 {}
    assert!(alice.score() >= score, "{} {score}", alice.score());
    assert_eq!(world.history().await, ["started 1.0.0", "deployed 2.0.0", "rolled-back 1.0.0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_says_before_it_acts_how_one_goes_back() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, (1, 1));
    let artefact = guests().ledger_v2.bytes.clone();
    let request = DeployRequest {
        name: "game-logic".into(),
        artefact,
        cluster: false,
        plan: true,
        ..DeployRequest::default()
    };
    let plan = world.admin().await.deploy(request).await.unwrap().into_inner();
    assert_eq!((plan.rehearsed, plan.rooms), (1, 0));
    let way = plan.way_back.unwrap();
    assert_eq!((&*way.kind, way.window_ms, way.most_bytes), ("inputs", 600_000, 1 << 30));
    assert_eq!(world.history().await, ["started 1.0.0"]);
    assert_eq!(count(&mut alice, 2).await, (2, 1));

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("v2.wasm"), &guests().ledger_v2.bytes).unwrap();
    let deploy = async |args: &[&str]| {
        let mut command = hotseat(dir.path());
        command.args(["plugin", "deploy", "game-logic", "v2.wasm"]).args(args);
        command.env("HOTSEAT_ADMIN", world.admin_addr());
        tokio::task::spawn_blocking(move || Told::from(command.output().unwrap())).await.unwrap()
    };
    let told = deploy(&["--plan"]).await;
    assert_eq!(told.code, Some(0), "{}\n{}", told.out, told.err);
    assert!(told.out.contains("nothing has been changed"), "{}", told.out);
    assert!(told.out.contains("way back     for 600s after it goes live"), "{}", told.out);
    assert_eq!(world.live().await, "1.0.0");
    let told = deploy(&[]).await;
    assert_eq!(told.code, Some(0), "{}\n{}", told.out, told.err);
    assert!(told.out.contains("way back     for 600s after it goes live"), "{}", told.out);
    assert!(told.err.contains("going back will be possible: for 600s"), "{}", told.err);
    assert_eq!(world.live().await, "2.0.0");
}
