//! Moves between rooms that end or fail: whatever a player sends is answered by the room it ends in, in order.

use std::time::{Duration, Instant};

use hotseat_build::Artefact;
use hotseat_client::{Client, ClientError};
use hotseat_packet::{ErrorInfo, Message as _, code, opcode};
use misbehave::{ANSWER, CLOSE, ECHO, MOVE, RECALL, SPIN_CLOSE, STORE};

use crate::guests::{guests, relabelled};
use crate::world::{World, ask, refusal};

/// Frames that a player sends right behind its move.
const BEHIND: u32 = 50;

/// The guest, with time for calls that keep a room busy on purpose.
fn guest() -> Artefact {
    relabelled(&guests().misbehave, |manifest| manifest.limits.deadline_ms = 1_000)
}

fn queue_echoes(client: &mut Client, from: u32, count: u32) {
    for number in from..from + count {
        client.queue(ECHO, &number.to_be_bytes()).unwrap();
    }
}

async fn echoes(client: &mut Client, from: u32, count: u32) {
    for number in from..from + count {
        // Where the room was gone before the player was let go, it hears of that by `rejoin`.
        assert_eq!(client.wait_for(ECHO + ANSWER).await.unwrap(), number.to_be_bytes());
    }
}

async fn recall(client: &mut Client) -> Vec<u8> {
    ask(client, RECALL, b"", RECALL + ANSWER).await
}

async fn stays_whole(world: &World, sessions: u64) {
    assert_eq!(world.metric("hotseat_frames_stale_total").await, 0);
    assert_eq!(world.metric("hotseat_agent_logged_in").await, sessions);
    world.counted("hotseat_players", sessions).await;
}

/// Bob keeps room q busy and closes it. Alice arrives there at each moment of that: before the room is busy, while her
/// seat and her frames wait behind the closing, and when the room has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_closes_while_a_player_moves_there_loses_no_frame() {
    let world = World::start(&guest()).await;
    let mut alice = world.client("alice").await;
    let mut bob = world.client("bob").await;
    for turn in 0..30 {
        bob.queue(MOVE, b"q").unwrap();
        queue_echoes(&mut bob, 0, 1);
        bob.flush().await.unwrap();
        echoes(&mut bob, 0, 1).await;
        bob.queue(SPIN_CLOSE, &[turn % 5]).unwrap();
        queue_echoes(&mut bob, 1, 5);
        bob.flush().await.unwrap();
        alice.queue(MOVE, b"q").unwrap();
        queue_echoes(&mut alice, 0, BEHIND);
        if turn % 2 == 0 {
            alice.flush().await.unwrap();
            queue_echoes(&mut alice, BEHIND, BEHIND);
            alice.flush().await.unwrap();
        } else {
            queue_echoes(&mut alice, BEHIND, BEHIND);
            alice.flush().await.unwrap();
        }
        echoes(&mut alice, 0, 2 * BEHIND).await;
        echoes(&mut bob, 1, 5).await;
    }
    stays_whole(&world, 2).await;
}

/// What a read brought is cut where one of its frames closes the room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_behind_the_one_that_closes_the_room_are_answered_at_home() {
    let world = World::start(&guest()).await;
    let mut alice = world.client("alice").await;
    alice.send(STORE, b"home").await.unwrap();
    alice.queue(MOVE, b"q").unwrap();
    alice.queue(STORE, b"q").unwrap();
    alice.queue(CLOSE, b"").unwrap();
    alice.queue(RECALL, b"").unwrap();
    queue_echoes(&mut alice, 0, BEHIND);
    alice.flush().await.unwrap();
    assert_eq!(alice.expect(RECALL + ANSWER).await.unwrap(), b"home");
    echoes(&mut alice, 0, BEHIND).await;
    stays_whole(&world, 1).await;
    world.counted("hotseat_rooms", 1).await;
}

/// Players who go to and fro between rooms that they close under each other, for a while.
async fn stress(mailbox: usize) {
    const PLAYERS: u64 = 6;
    let world = World::with(&guest(), |config| config.room_mailbox = mailbox).await;
    let end = Instant::now() + Duration::from_secs(2);
    let mut players = Vec::new();
    for number in 0..PLAYERS {
        let mut client = world.client(&format!("player-{number}")).await;
        players.push(tokio::spawn(async move {
            let mut random = number + 1;
            let (mut sent, mut rounds) = (0, 0u32);
            while Instant::now() < end {
                let from = sent;
                for _ in 0..8 {
                    // Xorshift: every player has an order of its own, the same in each run.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    match random % 4 {
                        0 => client.queue(CLOSE, b"").unwrap(),
                        1 => client.queue(SPIN_CLOSE, &[0]).unwrap(),
                        _ => client.queue(MOVE, format!("q{}", random % 3).as_bytes()).unwrap(),
                    }
                    queue_echoes(&mut client, sent, 2);
                    sent += 2;
                    if random.is_multiple_of(3) {
                        client.flush().await.unwrap();
                    }
                }
                client.flush().await.unwrap();
                for number in from..sent {
                    echoes(&mut client, number, 1).await;
                }
                rounds += 1;
            }
            (client, rounds)
        }));
    }
    let mut clients = Vec::new();
    for player in players {
        let (client, rounds) = player.await.unwrap();
        assert!(rounds > 0);
        clients.push(client);
    }
    stays_whole(&world, PLAYERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_who_close_rooms_under_each_other_lose_no_frame() {
    stress(1024).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_where_mailboxes_are_full() {
    stress(1).await;
}

/// The guest of the room fails to let alice in: she is told, and is at home with all her frames.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_whom_a_room_fails_to_let_in_is_at_home() {
    for mode in ["trap-join", "loop-join"] {
        let world = World::start(&guests().misbehave).await;
        let mut alice = world.client("alice").await;
        alice.send(STORE, b"home").await.unwrap();
        for turn in 1..=2 {
            alice.queue(MOVE, format!("{mode}/1").as_bytes()).unwrap();
            queue_echoes(&mut alice, 0, BEHIND);
            alice.flush().await.unwrap();
            let (found, text) = refusal(&mut alice).await;
            assert_eq!(found, code::NO_ROOM, "{text}");
            assert_eq!(
                text,
                format!("the game failed to let you into room {mode}/1; you go to your home room")
            );
            echoes(&mut alice, 0, BEHIND).await;
            assert_eq!(recall(&mut alice).await, b"home");
            world.counted("hotseat_joins_failed_total", turn).await;
        }
        stays_whole(&world, 1).await;
        // Only who meets it again and again is let go.
        alice.queue(MOVE, format!("{mode}/2").as_bytes()).unwrap();
        alice.flush().await.unwrap();
        let text = crate::world::ended(&mut alice, code::NO_ROOM).await;
        assert!(text.contains("again and again"), "{text}");
        world.counted("hotseat_agent_closed_total{reason=\"join_failed\"}", 1).await;
        world.counted("hotseat_players", 0).await;
    }
}

/// There is no other place to go to: it is tried again, and then the player is let go with the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_room_that_lets_nobody_in_says_so() {
    let world = World::with(&guests().misbehave, |config| {
        let settings = [("mode".to_owned(), "trap-join".to_owned())].into();
        config.plugin_config = [("game-logic".to_owned(), settings)].into();
    })
    .await;
    let mut alice = world.client("alice").await;
    let mut told = Vec::new();
    let end = loop {
        match alice.recv().await {
            Ok(frame) => {
                assert_eq!(frame.opcode, opcode::CLIENT_ERROR_ACK);
                let info = ErrorInfo::from_bytes(&frame.payload).unwrap();
                assert_eq!(info.code, code::NO_ROOM);
                told.push(info.msg);
            }
            Err(end) => break end,
        }
    };
    assert!(matches!(end, ClientError::Closed { unfinished: 0, .. }), "{end:?}");
    let again = "the game failed to let you into your home room home/0; it is tried again";
    assert_eq!(told, [again, again, "the game failed again and again to let you in"]);
    world.counted("hotseat_players", 0).await;
}
