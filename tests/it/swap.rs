//! A new version under live players: what goes on, what changes, what is refused.

use futures_util::future::{join, join_all};
use game_logic::messages::{PING_ACK, PING_REQ, Ping};
use hotseat::app::DeployError;
use hotseat::proto::admin::DeployRequest;
use hotseat_client::Client;
use hotseat_packet::{Message as _, Reader};
use ledger::{CLOSED, COUNT, COUNTED};
use misbehave::{ANSWER, ECHO, FILL};

use crate::arena::{Player, ping};
use crate::guests::{guests, relabelled, versioned};
use crate::world::{World, ask, eventually};

/// Counts once: what the ledger answers, count and version.
pub(crate) async fn count(client: &mut Client, seq: u32) -> (u32, u8) {
    client.send(COUNT, &seq.to_be_bytes()).await.unwrap();
    let counted = client.expect(COUNTED).await.unwrap();
    let mut reader = Reader::new(&counted);
    assert_eq!(reader.u32().unwrap(), seq);
    assert_eq!(client.expect(CLOSED).await.unwrap(), seq.to_be_bytes());
    (reader.u32().unwrap(), reader.u8().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn score_position_and_tick_go_on_and_the_new_rule_is_live() {
    let world = World::start(&guests().v1).await;
    let mut alice = Player::enter(&world, "alice").await;
    // By the old rules every coin is worth one.
    while alice.score() < 3 {
        let step = alice.hunt().await;
        assert_eq!((step.rules, step.points), (1, step.taken), "{step:?}");
    }
    let score = alice.score();

    // Every step is held against the one before, the one across the swap too.
    let (report, ()) =
        join(world.deploy(&guests().v2), async { while alice.step().await.rules == 1 {} }).await;
    let report = report.unwrap();
    assert_eq!((report.pauses.len(), report.rehearsed, report.unchanged), (1, 1, false));
    assert!(alice.score() >= score);
    assert_eq!(world.live().await, "2.0.0");

    // By the new rules one that follows another within three seconds is worth two.
    let (mut since, mut streaks) = (u32::MAX, 0);
    while streaks < 2 {
        let step = alice.hunt().await;
        assert_eq!(step.rules, 2);
        since = since.saturating_add(1);
        if step.taken > 0 {
            if step.taken == 1 && since < 50 {
                assert_eq!(step.points, 2, "{step:?} {since} ticks after the last coin");
                streaks += 1;
            }
            since = 0;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_who_keep_pinging_lose_nothing() {
    let world = World::start(&guests().v1).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let players: Vec<_> = (0..8).map(|name| format!("pinger {name}")).collect();
    let mut pinging = Vec::new();
    for player in &players {
        let mut client = world.client(player).await;
        let stop = stop.clone();
        pinging.push(tokio::spawn(async move {
            let (mut sent, mut answered) = (0, 0);
            while !stop.is_cancelled() {
                // Never fewer than a few on their way, so that the swap meets some of them.
                for _ in 0..16 {
                    client.queue(PING_REQ, &Ping { id: sent }.to_bytes().unwrap()).unwrap();
                    sent += 1;
                }
                client.flush().await.unwrap();
                while answered < sent - 4 {
                    let answer = client.expect(PING_ACK).await.unwrap();
                    assert_eq!(Ping::from_bytes(&answer).unwrap().id, answered);
                    answered += 1;
                }
            }
            while answered < sent {
                let answer = client.expect(PING_ACK).await.unwrap();
                assert_eq!(Ping::from_bytes(&answer).unwrap().id, answered);
                answered += 1;
            }
            (answered, client)
        }));
    }
    world.deploy(&guests().v2).await.unwrap();
    world.deploy(&versioned(&guests().v2, 5)).await.unwrap();
    world.deploy(&versioned(&guests().v2, 6)).await.unwrap();
    stop.cancel();
    let played = join_all(pinging).await;
    assert!(played.iter().all(|played| played.as_ref().unwrap().0 > 0));
    assert_eq!(world.metric("hotseat_agent_logged_in").await, 8);
    assert_eq!(world.metric("hotseat_frames_undelivered_total").await, 0);
    world.counted("hotseat_room_swaps_total{outcome=\"done\"}", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_whose_migration_fails_is_refused_and_nobody_notices() {
    let world = World::start(&guests().v1).await;
    let mut alice = Player::enter(&world, "alice").await;
    alice.head(1, 1).await;
    for _ in 0..3 {
        alice.step().await;
    }
    let (refused, ()) = join(world.deploy(&guests().bad_migration), async {
        for _ in 0..10 {
            assert_eq!(alice.step().await.rules, 1);
        }
    })
    .await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("home/0") && text.contains("schema 3 is broken on purpose"), "{text}");
    assert_eq!(world.history().await, ["started 1.0.0", "refused 4.0.0"]);
    assert_eq!(world.live().await, "1.0.0");
    ping(&mut world.client("bob").await, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_traps_is_taken_back_and_the_message_answered_by_the_one_before() {
    let world = World::start(&guests().v1).await;
    let mut alice = Player::enter(&world, "alice").await;
    let mut bob = world.client("bob").await;
    world.deploy(&guests().trapping).await.unwrap();
    ping(&mut bob, 49).await;
    // This one traps on 3.0.0. Bob's next frame is its answer all the same.
    ping(&mut bob, 50).await;
    eventually("roll-back", async || (world.live().await == "1.0.0").then_some(())).await;
    ping(&mut bob, 100).await;
    world.idle().await;
    assert_eq!(world.history().await, ["started 1.0.0", "deployed 3.0.0", "reverted 1.0.0"]);
    let reason = world.events().await.pop().unwrap().reason;
    assert!(reason.contains("3.0.0") && reason.contains("trap"), "{reason}");
    // Built with line tables, so it says where.
    assert!(reason.contains("broken.rs:"), "{reason}");
    assert_eq!(world.plugin().await.previous, None);
    // Ticks went on all the while, each once.
    for _ in 0..5 {
        assert_eq!(alice.step().await.players, 1);
    }
    while alice.step().await.rules != 1 {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_rooms_are_taken_back_when_one_fails() {
    let world =
        World::with(&guests().v1, |config| (config.home_rooms, config.max_rooms) = (65_536, 16)).await;
    let mut players = Vec::new();
    for device in ["a", "b", "c", "d"] {
        players.push(Player::enter(&world, device).await);
    }
    world.counted("hotseat_rooms", 4).await;
    world.deploy(&guests().trapping).await.unwrap();
    for player in &mut players {
        while player.step().await.rules == 1 {}
    }
    let failing = Ping { id: 50 }.to_bytes().unwrap();
    players[0].client.send(PING_REQ, &failing).await.unwrap();
    assert_eq!(players[0].client.wait_for(PING_ACK).await.unwrap(), failing);
    // Its ticks go on from where the guest stood; what other rooms played on 3.0.0 is not lost either.
    for player in &mut players[1..] {
        while player.step().await.rules == 2 {}
    }
    assert_eq!(world.live().await, "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_live_already_is_not_deployed_again() {
    let world = World::start(&guests().v1).await;
    let report = world.deploy(&guests().v1).await.unwrap();
    assert!(report.unchanged);
    assert_eq!(world.history().await, ["started 1.0.0"]);
    let request = DeployRequest {
        name: "game-logic".into(),
        artefact: guests().v2.bytes.clone(),
        cluster: false,
        plan: false,
        ..DeployRequest::default()
    };
    let first = world.admin().await.deploy(request.clone()).await.unwrap().into_inner();
    assert!(!first.unchanged);
    assert_eq!(first.to.unwrap().digest, guests().v2.digest.to_string());
    let second = world.admin().await.deploy(request).await.unwrap().into_inner();
    assert!(second.unchanged);
    assert_eq!(world.history().await, ["started 1.0.0", "deployed 2.0.0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_do_not_fit_are_refused() {
    let world = World::start(&guests().v1).await;
    let request = DeployRequest {
        name: "chat".into(),
        artefact: guests().v2.bytes.clone(),
        cluster: false,
        plan: false,
        ..DeployRequest::default()
    };
    let status = world.admin().await.deploy(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert!(status.message().contains("\"chat\"") && status.message().contains("game-logic"), "{status}");

    let other = relabelled(&guests().v2, |manifest| manifest.name = "other-game".into());
    let error = world.deploy(&other).await.unwrap_err();
    assert!(matches!(error, DeployError::Name { .. }), "{error}");
    assert!(error.to_string().contains("\"other-game\", not \"game-logic\""), "{error}");
    assert_eq!(world.live().await, "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_at_the_same_time_take_turns() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, (1, 1));
    let versions: Vec<_> = (11..15).map(|major| versioned(&guests().ledger, major)).collect();
    let reports = join_all(versions.iter().map(|version| world.deploy(version))).await;
    let mut links: Vec<_> = reports
        .into_iter()
        .map(|report| report.map(|report| (report.from.label(), report.to.label())).unwrap())
        .collect();
    // Each follows on the one before: a chain from the first version to the live one.
    let mut at = "1.0.0".to_owned();
    while !links.is_empty() {
        let next = links.iter().position(|(from, _)| *from == at).expect("a chain");
        at = links.remove(next).1;
    }
    assert_eq!(world.live().await, at);
    assert_eq!(count(&mut alice, 2).await, (2, 1));

    let same = join_all((0..3).map(|_| world.deploy(&guests().ledger_v2))).await;
    let changed = same.into_iter().filter(|report| !report.as_ref().unwrap().unchanged).count();
    assert_eq!(changed, 1);
    assert_eq!(count(&mut alice, 3).await, (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_once_it_is_compiled_does_not_stop_a_deployment() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    let next = versioned(&guests().misbehave, 2);
    // A state that takes a while to be rehearsed and handed over.
    ask(&mut alice, FILL, &(8u32 << 20).to_be_bytes(), FILL + ANSWER).await;
    let begun = async || {
        let state = world.plugin().await.state;
        ["rehearsing", "swapping"].contains(&state.as_str()).then_some(())
    };
    tokio::select! {
        report = world.deploy(&next) => assert!(report.is_ok()),
        () = eventually("a rehearsal", begun) => {}
    }
    eventually("version 2", async || (world.live().await == "2.0.0").then_some(())).await;
    ask(&mut alice, ECHO, b"there", ECHO + ANSWER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_runs_what_it_ran() {
    let world = World::start(&guests().v1).await;
    world.deploy(&guests().v2).await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.live().await, "2.0.0");
    assert_eq!(world.history().await, ["started 1.0.0", "deployed 2.0.0", "started 2.0.0"]);
    assert_eq!(world.plugin().await.previous.unwrap().label, "1.0.0");
    ping(&mut world.client("alice").await, 3).await;
}
