//! Guests that reach too far: into the host's opcodes and codes, the log, and the places of other rooms.

use std::time::Instant;

use game_logic::messages::{ENTER_ACK, ENTER_REQ, EnterReq};
use hotseat_client::{Client, Login};
use hotseat_packet::{Message as _, code};
use misbehave::{
    ANSWER, BROADCAST_AS, CREATE_FLOOD, CREATE_MANY, ECHO, KICK_WITH, PANIC_WITH, REFUSE_WITH, SAY, SEND_AS,
};

use crate::arena::ping;
use crate::guests::guests;
use crate::process::Process;
use crate::world::{PATIENCE, World, ask, ended, http_get, refusal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_opcodes_are_the_hosts_alone() {
    let world = World::start(&guests().misbehave).await;
    let mut bob = world.client("bob").await;
    let forged: [u16; 10] = [0, 1, 11, 12, 13, 30, 31, 1000, 32_768, u16::MAX];
    for (number, pair) in forged.chunks(2).enumerate() {
        for op in [SEND_AS, BROADCAST_AS] {
            let mut client = world.client(&format!("{op}-{number}")).await;
            for forged in pair {
                client.send(op, &forged.to_be_bytes()).await.unwrap();
                // The next frame is the host's own word of it.
                let (found, text) = refusal(&mut client).await;
                assert_eq!(
                    (found, text.contains("failed")),
                    (code::MESSAGE_FAILED, true),
                    "{forged}: {text}"
                );
            }
        }
    }
    world.counted("hotseat_guest_faults_total{kind=\"limit\"}", 20).await;
    // Nothing of it has reached anybody.
    assert_eq!(ask(&mut bob, ECHO, b"next", ECHO + ANSWER).await, b"next");
    for fine in [1001u16, 32_767] {
        bob.send(SEND_AS, &fine.to_be_bytes()).await.unwrap();
        assert_eq!(bob.expect(fine).await.unwrap(), b"forged");
        bob.expect(SEND_AS + ANSWER).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_and_texts_of_guests_are_told_from_the_hosts() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    let said = "no\r\n\u{1b}[31mway\u{202e}\u{2028}.".as_bytes();
    for (code, told) in [(5i32, 1000), (-1, 1000), (1234, 1234)] {
        alice.send(REFUSE_WITH, &[&code.to_be_bytes(), said].concat()).await.unwrap();
        assert_eq!(refusal(&mut alice).await, (told, "no   [31mway  .".to_owned()));
    }
    alice.send(REFUSE_WITH, &[&[0; 4], &[b'x'; 10_000][..]].concat()).await.unwrap();
    assert_eq!(refusal(&mut alice).await, (1000, "x".repeat(512)));
    for (reason, told) in [(3u32, 1000), (1999, 1999), (u32::MAX, i32::MAX)] {
        let mut client = world.client(&format!("kicked-{reason}")).await;
        client.send(KICK_WITH, &reason.to_be_bytes()).await.unwrap();
        ended(&mut client, told).await;
    }
}

/// What the log of a process says of one kind.
fn lines(process: &Process, message: &str) -> usize {
    process.events().iter().filter(|event| event["message"] == message).count()
}

async fn client_of(process: &Process, device: &str) -> Client {
    let mut client = Client::connect(process.clients()).await.unwrap().with_timeout(PATIENCE);
    client.login(&Login::device(device)).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_bad_requests_leaves_a_few_lines_in_the_log() {
    let process = Process::start(&guests().misbehave, &[]);
    let mut alice = client_of(&process, "alice").await;
    let begin = Instant::now();
    for _ in 0..20 {
        ask(&mut alice, CREATE_FLOOD, b"BAD NAME", CREATE_FLOOD + ANSWER).await;
    }
    // What a guest logs is one line, and shows what it is.
    let forged = "a\n{\"message\":\"forged\"}\u{1b}[2J\u{202e}b";
    ask(&mut alice, SAY, forged.as_bytes(), SAY + ANSWER).await;
    for turn in 0..30 {
        let mut client = client_of(&process, &format!("device-{turn}")).await;
        client.send(PANIC_WITH, format!("{turn}\u{1b}[2J\u{202e}").as_bytes()).await.unwrap();
        assert_eq!(refusal(&mut client).await.0, code::MESSAGE_FAILED);
    }
    let windows = usize::try_from(begin.elapsed().as_secs()).unwrap() + 1;
    let (_, metrics) = http_get(process.admin(), "/metrics").await;
    let metric = |name: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        value.unwrap_or_default()
    };
    assert_eq!(metric("hotseat_rooms_refused_total{reason=\"name\"}"), 80_000);
    assert!(metric("hotseat_log_lines_suppressed_total") >= 80_000 - 2 * windows as u64);
    for message in ["room not created", "guest failed"] {
        let count = lines(&process, message);
        assert!((1..=2 * windows).contains(&count), "{count} lines {message:?} in {windows} s");
    }
    assert!(lines(&process, "a {\"message\":\"forged\"} [2J b") == 1);
    assert_eq!(lines(&process, "forged"), 0);
    for event in process.events() {
        let text = event.to_string();
        assert!(!text.contains('\u{202e}') && !text.contains("\\u001b"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_room_takes_the_place_of_a_home_room() {
    let mut world = World::with(&guests().misbehave, |config| {
        (config.home_rooms, config.max_rooms, config.rooms_per_player) = (4, 10, 100);
    })
    .await;
    let mut alice = world.client("alice").await;
    ask(&mut alice, CREATE_MANY, &100u32.to_be_bytes(), CREATE_MANY + ANSWER).await;
    world.counted("hotseat_rooms", 7).await;
    assert_eq!(world.metric("hotseat_rooms_refused_total{reason=\"max_rooms\"}").await, 94);
    for again in [false, true] {
        if again {
            drop(alice);
            world = world.restart().await;
            alice = world.client("alice").await;
        }
        let mut others = Vec::new();
        for number in 0..20 {
            others.push(world.client(&format!("new-{number}")).await);
        }
        world.counted("hotseat_rooms", 10).await;
        assert_eq!(ask(&mut alice, ECHO, b"on we go", ECHO + ANSWER).await, b"on we go");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_and_a_room_have_so_many_rooms_opened() {
    let world = World::with(&guests().misbehave, |config| {
        (config.rooms_per_player, config.rooms_per_room) = (5, 8);
    })
    .await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    ask(&mut alice, CREATE_MANY, &20u32.to_be_bytes(), CREATE_MANY + ANSWER).await;
    world.counted("hotseat_rooms", 6).await;
    assert_eq!(world.metric("hotseat_rooms_refused_total{reason=\"rooms_per_player\"}").await, 15);
    ask(&mut bob, CREATE_MANY, &20u32.to_be_bytes(), CREATE_MANY + ANSWER).await;
    world.counted("hotseat_rooms", 9).await;
    assert_eq!(world.metric("hotseat_rooms_refused_total{reason=\"rooms_per_room\"}").await, 17);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arenas_close_when_nobody_plays_in_them_after_a_restart_too() {
    let world = World::with(&guests().v1, |config| {
        let settings = [("arena_empty_ms".to_owned(), "100".to_owned())].into();
        config.plugin_config = [("game-logic".to_owned(), settings)].into();
    })
    .await;
    let mut alice = world.client("alice").await;
    for number in 0..10 {
        let request = EnterReq { arena: format!("pit-{number}") }.to_bytes().unwrap();
        alice.send(ENTER_REQ, &request).await.unwrap();
        alice.wait_for(ENTER_ACK).await.unwrap();
    }
    // The one that she plays in stays.
    world.counted("hotseat_rooms", 2).await;
    let world = world.restart().await;
    world.counted("hotseat_rooms", 1).await;
    ping(&mut world.client("alice").await, 1).await;
}
