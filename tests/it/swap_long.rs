//! Probation under load: the way back lasts for all of it, or its early end is told.

use hotseat::proto::admin::{DeployRequest, RollbackRequest};
use hotseat_client::Client;
use ledger::{CLOSED, COUNT, COUNTED, TRAP};
use misbehave::{ANSWER, ECHO, FILL};

use crate::guests::{guests, versioned};
use crate::swap::count;
use crate::world::{World, ask, eventually, refusal};

/// Counts many times, a batch on the way at once; `from` is the number before the first.
pub(crate) async fn count_on(client: &mut Client, from: u32, times: u32) {
    for seq in from + 1..=from + times {
        client.queue(COUNT, &seq.to_be_bytes()).unwrap();
    }
    client.flush().await.unwrap();
    for seq in from + 1..=from + times {
        let counted = client.expect(COUNTED).await.unwrap();
        assert_eq!(counted[4..8], seq.to_be_bytes(), "nothing is lost and nothing doubled");
        assert_eq!(client.expect(CLOSED).await.unwrap(), seq.to_be_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_taken_back_however_much_has_come_since() {
    let world = World::with(&guests().ledger, |config| config.log_inputs = 16).await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, (1, 1));
    world.deploy(&guests().ledger_v2).await.unwrap();
    // Many times what the room keeps in memory; version 1 reads no state of version 2.
    count_on(&mut alice, 1, 2000).await;
    assert_eq!(world.plugin().await.state, "probation");
    assert!(world.metric("hotseat_rollback_bytes").await > 16_384, "{}", world.metrics().await);
    alice.send(TRAP, &0u32.to_be_bytes()).await.unwrap();
    refusal(&mut alice).await;
    eventually("roll-back", async || (world.live().await == "1.0.0").then_some(())).await;
    assert_eq!(count(&mut alice, 2002).await, (2002, 1));
    world.idle().await;
    assert_eq!(world.history().await, ["started 1.0.0", "deployed 2.0.0", "reverted 1.0.0"]);
    world.counted("hotseat_rollback_bytes", 0).await;
    // What it is now outlives the process.
    let world = world.restart().await;
    assert_eq!(count(&mut world.client("alice").await, 2003).await, (2003, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_goes_back_however_much_has_come_since() {
    let world = World::with(&guests().ledger, |config| config.log_inputs = 16).await;
    let mut alice = world.client("alice").await;
    world.deploy(&guests().ledger_v2).await.unwrap();
    count_on(&mut alice, 0, 500).await;
    // A room that opened on the new version has a way back as well.
    alice.send(ledger::MOVE, b"\0\x05den/0").await.unwrap();
    count_on(&mut alice, 0, 500).await;
    let request = RollbackRequest { name: "game-logic".into(), cluster: false };
    assert_eq!(world.admin().await.rollback(request).await.unwrap().into_inner().rooms, 2);
    assert_eq!(count(&mut alice, 501).await, (501, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probation_that_ends_at_the_bound_says_so() {
    let world = World::with(&guests().ledger, |config| {
        config.log_inputs = 16;
        config.rollback_max_bytes = 1024;
    })
    .await;
    let mut alice = world.client("alice").await;
    world.deploy(&guests().ledger_v2).await.unwrap();
    assert_eq!(count(&mut alice, 1).await, (1, 2));
    assert_eq!(world.plugin().await.state, "probation");
    count_on(&mut alice, 1, 200).await;
    world.counted("hotseat_rollback_lost_total{during=\"probation\"}", 1).await;
    world.idle().await;
    world.counted("hotseat_rollback_bytes", 0).await;
    // From here on it is a version like any other.
    alice.send(TRAP, &0u32.to_be_bytes()).await.unwrap();
    refusal(&mut alice).await;
    assert_eq!(count(&mut alice, 202).await, (202, 2));
    assert_eq!(world.live().await, "2.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_rooms_are_handed_over_within_bounds() {
    const ROOMS: usize = 12;
    const STATE: u32 = 8 << 20;
    let world = World::with(&guests().misbehave, |config| {
        (config.home_rooms, config.max_rooms) = (65_536, 32);
    })
    .await;
    let mut players = Vec::new();
    for name in 0..ROOMS {
        let mut client = world.client(&format!("player {name}")).await;
        ask(&mut client, FILL, &STATE.to_be_bytes(), FILL + ANSWER).await;
        players.push(client);
    }
    let report = world.deploy(&versioned(&guests().misbehave, 2)).await.unwrap();
    assert_eq!(report.pauses.len(), ROOMS);
    let load = report.load;
    assert!(load.state_bytes >= ROOMS as u64 * u64::from(STATE), "{load:?}");
    // The deployment takes half of what may wait for the disk; what else waits there is of others, such as bases that are
    // written anew, and has a bound of 64 MiB and the last one to come.
    let bound = (64 << 20) + 3 * u64::from(STATE);
    assert!((u64::from(STATE)..bound).contains(&load.peak_bytes), "{load:?}");
    assert!(bound < load.state_bytes);
    // What players waited is at least what their rooms stood still.
    assert!(load.players_waited >= report.pause(100), "{load:?}");
    for client in &mut players {
        ask(client, ECHO, b"there", ECHO + ANSWER).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_would_stop_a_room_for_too_long_needs_a_yes() {
    let world = World::with(&guests().misbehave, |config| {
        config.swap_pause_max_ms = 1;
        (config.home_rooms, config.max_rooms) = (65_536, 64);
    })
    .await;
    // One room of many is large. The sample need not have it by chance.
    let mut players = Vec::new();
    for name in 0..40 {
        players.push(world.client(&format!("player {name}")).await);
    }
    ask(&mut players[23], FILL, &(12u32 << 20).to_be_bytes(), FILL + ANSWER).await;
    let mut request = DeployRequest {
        name: "game-logic".into(),
        artefact: versioned(&guests().misbehave, 2).bytes,
        ..DeployRequest::default()
    };
    for plan in [true, false] {
        request.plan = plan;
        let status = world.admin().await.deploy(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        let text = status.message();
        let words = ["is expected to stand still for", "swap_pause_max_ms allows 1;", "--accept-pause"];
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    assert!(world.history().await.last().unwrap().starts_with("refused"), "{:?}", world.history().await);
    request.accept_pause = true;
    let reply = world.admin().await.deploy(request).await.unwrap().into_inner();
    assert!(reply.expected_pause_us > 1000, "{reply:?}");
    assert_eq!(reply.rooms, 40);
    // Going back asks nobody.
    let request = RollbackRequest { name: "game-logic".into(), cluster: false };
    assert_eq!(world.admin().await.rollback(request).await.unwrap().into_inner().rooms, 40);
}
