//! Rooms that take as much of the node as they can: they wait, are told and closed, and others play on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use greedy::{ANSWER, ECHO, GREED, Greed};
use hotseat::app::DeployError;
use hotseat_client::{Client, ClientError};
use hotseat_packet::{ErrorInfo, Message as _, code, opcode};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::guests::{guests, relabelled};
use crate::unsaved::{files, says};
use crate::world::{PATIENCE, World, ask, eventually, refusal};

fn rooms_of_their_own(config: &mut hotseat::config::Config) {
    (config.home_rooms, config.max_rooms) = (65_536, 65_600);
}

async fn turn(client: &mut Client, greed: Greed, number: u32) {
    let mut request = vec![greed as u8];
    request.extend(number.to_be_bytes());
    client.send(GREED, &request).await.unwrap();
}

async fn echo(client: &mut Client) {
    client.send(ECHO, b"still here").await.unwrap();
    assert_eq!(client.wait_for(ECHO + ANSWER).await.unwrap(), b"still here");
}

/// A good player who plays on until it is told to stop; how many echoes it has had.
fn bystander(mut client: Client) -> (Arc<AtomicU32>, JoinHandle<()>) {
    let echoes = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&echoes);
    let playing = tokio::spawn(async move {
        while Arc::strong_count(&counted) > 1 {
            echo(&mut client).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (echoes, playing)
}

/// The error that ends the session, whatever comes before it.
async fn ended_with(client: &mut Client) -> (i32, String) {
    let mut last = None;
    loop {
        match client.recv().await {
            Ok(frame) if frame.opcode == opcode::CLIENT_ERROR_ACK => {
                let ErrorInfo { code, msg } = ErrorInfo::from_bytes(&frame.payload).unwrap();
                last = Some((code, msg));
            }
            Ok(_) => {}
            Err(ClientError::Closed { .. }) => return last.expect("a reason"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_that_work_without_end_are_closed_with_a_reason_while_others_play() {
    // Each tick is far below its deadline, and far above the room's share.
    let guest = relabelled(&guests().greedy, |manifest| manifest.limits.deadline_ms = 5000);
    let world = World::with(&guest, |config| {
        rooms_of_their_own(config);
        let caps = [("deadline_ms".to_owned(), "5000".to_owned())].into();
        config.plugin_cap = [("game-logic".to_owned(), caps)].into();
        config.overload_close_ms = 1000;
    })
    .await;
    let mut good = world.client("good").await;
    echo(&mut good).await;
    let (echoes, playing) = bystander(good);
    let mut hostile = Vec::new();
    for at in 0..3 {
        let mut client = world.client(&format!("hostile-{at}")).await;
        turn(&mut client, Greed::Work, 40_000_000).await;
        hostile.push(client);
    }
    let before = echoes.load(Ordering::Relaxed);
    for mut client in hostile {
        let (code, text) = ended_with(&mut client).await;
        assert_eq!(code, code::NO_ROOM, "{text}");
        assert!(text.contains("share of 50 % of a core for 1 s"), "{text}");
    }
    assert!(echoes.load(Ordering::Relaxed) > before + 10, "{echoes:?} from {before}");
    world.counted("hotseat_overload_closed_total{plugin=\"game-logic\"}", 3).await;
    // What each was is kept.
    let letters = async || Some(files(&world, "dead-letters", "dead")).filter(|letters| letters.len() == 3);
    for letter in eventually("letters", letters).await {
        says(&letter, &[], 0, &["the state is as it was when the host ended the room"]).await;
    }
    // It is no ban, and the next room is honest again.
    echo(&mut world.client("hostile-0").await).await;
    drop(echoes);
    playing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_full_of_loops_takes_newcomers_in_and_stops() {
    let world = World::with(&guests().greedy, |config| {
        rooms_of_their_own(config);
        config.overload_close_ms = 0;
    })
    .await;
    let mut hostile = Vec::new();
    for at in 0..24 {
        hostile.push(world.client(&format!("hostile-{at}")).await);
    }
    for client in &mut hostile {
        turn(client, Greed::Loop, 0).await;
    }
    eventually("calls that wait", async || {
        (world.metric("hotseat_long_calls_waiting").await > 0).then_some(())
    })
    .await;
    for at in 0..5 {
        echo(&mut world.client(&format!("good-{at}")).await).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_that_are_always_due_keep_neither_their_room_nor_others_from_playing() {
    let world = World::with(&guests().greedy, |config| {
        rooms_of_their_own(config);
        config.plugin_cpu_share = Some(10);
        config.outbox_max_bytes = 64 << 20;
    })
    .await;
    let mut good = world.client("good").await;
    let mut greedy = Vec::new();
    for at in 0..4 {
        let mut client = world.client(&format!("hostile-{at}")).await;
        turn(&mut client, Greed::Frames, 500).await;
        greedy.push(client);
    }
    for client in &mut greedy {
        echo(client).await;
    }
    let rested = "hotseat_guest_rested_seconds_total{plugin=\"game-logic\"}";
    let readers: Vec<_> = greedy.into_iter().map(|client| tokio::spawn(read(client))).collect();
    let rests = async || {
        let all = world.metrics().await;
        let line = all.lines().find_map(|line| line.strip_prefix(rested)).unwrap_or_default();
        (line.trim().parse::<f64>().ok()? > 0.0).then_some(())
    };
    eventually("rooms that rest", rests).await;
    for _ in 0..20 {
        echo(&mut good).await;
    }
    readers.iter().for_each(JoinHandle::abort);
}

async fn read(mut client: Client) {
    while client.recv().await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_who_is_sent_to_and_fro_is_moved_so_often_and_answered() {
    let world = World::with(&guests().greedy, |config| {
        rooms_of_their_own(config);
        config.overload_close_ms = 0;
        config.player_moves_per_s = 10;
    })
    .await;
    let mut shuttled = world.client("shuttled").await;
    let mut good = world.client("good").await;
    turn(&mut shuttled, Greed::Shuttle, 0).await;
    let refused = async || (world.metric("hotseat_moves_refused_total").await > 0).then_some(());
    eventually("moves that are refused", refused).await;
    for _ in 0..3 {
        echo(&mut shuttled).await;
        echo(&mut good).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_has_a_bound_for_all_and_the_small_may_still_grow() {
    // Memory is at its bound before time is.
    let guest = relabelled(&guests().greedy, |manifest| manifest.limits.deadline_ms = 1000);
    let world = World::with(&guest, |config| {
        rooms_of_their_own(config);
        config.guest_memory_max_mib = Some(64);
    })
    .await;
    world.counted("hotseat_guest_memory_max_bytes", 64 << 20).await;
    let mut first = world.client("first").await;
    let mut second = world.client("second").await;
    turn(&mut first, Greed::Memory, 40).await;
    first.expect(GREED + ANSWER).await.unwrap();
    turn(&mut second, Greed::Memory, 40).await;
    let (code, text) = refusal(&mut second).await;
    assert_eq!(code, code::MESSAGE_FAILED, "{text}");
    assert!(world.metric("hotseat_guest_memory_refused_total").await > 0);
    assert_eq!(world.metric("hotseat_guest_faults_total{kind=\"memory\"}").await, 1);
    // Both rooms play on, a small one grows, and another one opens.
    for client in [&mut first, &mut second] {
        echo(client).await;
    }
    turn(&mut second, Greed::Memory, 4).await;
    second.expect(GREED + ANSWER).await.unwrap();
    echo(&mut world.client("third").await).await;
    let used = world.metric("hotseat_guest_memory_bytes").await;
    assert!((44 << 20..64 << 20).contains(&used), "{used}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_manifest_may_ask_for_is_the_operators_to_say() {
    let world = World::with(&guests().greedy, |config| {
        let caps = [("memory_mib".to_owned(), "128".to_owned())].into();
        config.plugin_cap = [("game-logic".to_owned(), caps)].into();
    })
    .await;
    let mut player = world.client("player").await;
    for (change, words) in [
        (
            (|limits| limits.memory_mib = 4096) as fn(&mut hotseat_build::Limits),
            ["memory_mib = 4096", "allows 128"],
        ),
        (|limits| limits.deadline_ms = 10_000, ["deadline_ms = 10000", "allows 1000"]),
        (|limits| limits.tick_hz = 1000, ["tick_hz = 1000", "allows 100"]),
        (
            |limits| limits.snapshot_max_bytes = 1 << 30,
            ["snapshot_max_bytes = 1073741824", "allows 268435456"],
        ),
    ] {
        let greedy = relabelled(&guests().greedy, |manifest| change(&mut manifest.limits));
        let error = world.deploy(&greedy).await.unwrap_err();
        assert!(matches!(error, DeployError::Caps(_)), "{error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    let fitting = relabelled(&guests().greedy, |manifest| manifest.limits.memory_mib = 128);
    timeout(PATIENCE, world.deploy(&fitting)).await.unwrap().unwrap();
    assert_eq!(ask(&mut player, ECHO, b"on", ECHO + ANSWER).await, b"on");
}
