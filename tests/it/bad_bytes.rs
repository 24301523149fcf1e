//! Bytes that no client should send: each gets an error frame, a close where the protocol is broken, and a count.

use hotseat_packet::{Message as _, UserLoginInfo, code, encode_up, opcode};

use crate::arena::ping;
use crate::guests::guests;
use crate::world::{Wire, World};

/// One frame of a client.
fn frame(seq: u32, opcode: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_up(&mut bytes, seq, opcode, payload).unwrap();
    bytes
}

fn login(seq: u32) -> Vec<u8> {
    let info = UserLoginInfo { login_way: 1, device_id: "mallory".into(), ..UserLoginInfo::default() };
    frame(seq, opcode::USER_LOGIN_REQ, &info.to_bytes().unwrap())
}

/// A connection that has logged in; the next frame is number 2.
async fn logged_in(world: &World) -> Wire {
    let mut wire = world.raw().await;
    wire.send(&login(1)).await;
    assert_eq!(wire.frame().await.unwrap()[..4], [0, 14, 0, 11]);
    wire
}

/// The session lives: frame `seq`, a heartbeat, is answered.
async fn lives(wire: &mut Wire, seq: u32) {
    wire.send(&frame(seq, opcode::HEART_BEAT_REQ, &[1, 2, 3, 4])).await;
    assert_eq!(wire.frame().await.unwrap(), [0, 6, 0, 1, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_protocol_is_told_counted_and_closed() {
    let world = World::start(&guests().v1).await;
    let oversize = [&[0xFF, 0xFF][..], &[0; 8]].concat();
    let table: [(&str, Vec<u8>, i32, &str); 8] = [
        ("an empty frame", vec![0, 0], code::BAD_FRAME, "bad_frame"),
        ("a size below 6", vec![0, 5, 0, 0, 0, 1, 0], code::BAD_FRAME, "bad_frame"),
        ("more than a frame may have", oversize, code::TOO_LARGE, "too_large"),
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), code::TOO_LARGE, "too_large"),
        ("a sequence that begins at 0", frame(0, 0, &[0; 4]), code::BAD_SEQUENCE, "bad_sequence"),
        ("a sequence that begins at 2", frame(2, 0, &[0; 4]), code::BAD_SEQUENCE, "bad_sequence"),
        ("a login of no known way", frame(1, 10, &[0; 64]), code::LOGIN_FAILED, "login_failed"),
        (
            "a sequence that repeats",
            [frame(1, 0, &[0; 4]), frame(1, 0, &[0; 4])].concat(),
            code::BAD_SEQUENCE,
            "bad_sequence",
        ),
    ];
    let mut counts = std::collections::BTreeMap::new();
    for (what, bytes, code, reason) in table {
        let mut wire = world.raw().await;
        wire.send(&bytes).await;
        if what == "a sequence that repeats" {
            wire.frame().await.expect("the first of them is answered");
        }
        let (_, found, text) = wire.error().await;
        assert_eq!(found, code, "{what}: {text}");
        assert_eq!(wire.frame().await, None, "{what}: the node closes");
        let count = counts.entry(reason).or_insert(0);
        *count += 1;
        world.counted(&format!("hotseat_agent_closed_total{{reason={reason:?}}}"), *count).await;
        world.counted(&format!("hotseat_agent_errors_total{{code={reason:?}}}"), *count).await;
    }
    world.counted("hotseat_agent_sessions", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_protocol_after_the_login_frees_the_seat() {
    let world = World::start(&guests().v1).await;
    for bytes in [frame(7, 1001, &[0; 4]), vec![0, 1, 0], [&[0x7F, 0xFF][..], &[0; 8]].concat()] {
        let mut wire = logged_in(&world).await;
        world.counted("hotseat_players", 1).await;
        wire.send(&bytes).await;
        let (op, ..) = wire.error().await;
        assert_eq!(op, opcode::CLIENT_ERROR_ACK);
        assert_eq!(wire.frame().await, None);
        world.counted("hotseat_players", 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_make_no_sense_are_refused_and_the_session_goes_on() {
    let world = World::start(&guests().v1).await;
    let mut stranger = world.raw().await;
    let before: [(u16, &[u8], i32); 6] = [
        (1001, &[0; 4], code::NOT_LOGGED_IN),
        (2, b"", code::UNKNOWN_OPCODE),
        (1000, b"", code::UNKNOWN_OPCODE),
        (30, &[0; 8], code::UNKNOWN_OPCODE),
        (0, &[0; 3], code::BAD_PAYLOAD),
        (10, &[0; 3], code::BAD_PAYLOAD),
    ];
    let mut seq = 0;
    for (op, payload, code) in before {
        seq += 1;
        stranger.send(&frame(seq, op, payload)).await;
        let (_, found, text) = stranger.error().await;
        assert_eq!(found, code, "opcode {op}: {text}");
    }
    lives(&mut stranger, seq + 1).await;

    let mut player = logged_in(&world).await;
    let after: [(u16, &[u8], i32); 4] = [
        (10, &[0; 64], code::ALREADY_LOGGED_IN),
        (500, b"", code::UNKNOWN_OPCODE),
        (0x8000, b"", code::UNKNOWN_OPCODE),
        (0xFFFF, b"", code::UNKNOWN_OPCODE),
    ];
    let mut seq = 1;
    for (op, payload, code) in after {
        seq += 1;
        player.send(&frame(seq, op, payload)).await;
        let (_, found, text) = player.error().await;
        assert_eq!(found, code, "opcode {op}: {text}");
    }
    lives(&mut player, seq + 1).await;
    world.counted("hotseat_agent_errors_total{code=\"not_logged_in\"}", 1).await;
    world.counted("hotseat_agent_errors_total{code=\"unknown_opcode\"}", 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_before_the_login_is_small() {
    let world = World::with(&guests().v1, |config| config.login_frame_max_bytes = 200).await;
    let mut wire = world.raw().await;
    wire.send(&[0, 201]).await;
    let (_, found, text) = wire.error().await;
    assert_eq!(found, code::TOO_LARGE, "{text}");
    assert_eq!(wire.frame().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_too_much_is_cut_off_and_the_others_are_not() {
    let world = World::with(&guests().v1, |config| {
        config.limits = true;
        (config.frames_per_s, config.frames_burst) = (1, 20);
    })
    .await;
    let mut alice = world.client("alice").await;
    let mut mallory = logged_in(&world).await;
    let flood: Vec<u8> = (2..40).flat_map(|seq| frame(seq, opcode::HEART_BEAT_REQ, &[0; 4])).collect();
    mallory.send(&flood).await;
    for _ in 0..19 {
        assert_eq!(mallory.frame().await.unwrap()[..4], [0, 6, 0, 1]);
    }
    let (_, found, text) = mallory.error().await;
    assert_eq!(found, code::RATE_LIMITED, "{text}");
    assert_eq!(mallory.frame().await, None);
    world.counted("hotseat_agent_closed_total{reason=\"rate_limited\"}", 1).await;
    ping(&mut alice, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_silent_is_let_go() {
    let world = World::with(&guests().v1, |config| {
        (config.login_timeout_ms, config.idle_timeout_ms) = (100, 300);
    })
    .await;
    let mut silent = world.raw().await;
    let mut player = logged_in(&world).await;
    assert_eq!(silent.error().await.1, code::LOGIN_TIMEOUT);
    assert_eq!(silent.frame().await, None);
    assert_eq!(player.error().await.1, code::IDLE);
    assert_eq!(player.frame().await, None);
    world.counted("hotseat_players", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_full_says_so() {
    let world = World::with(&guests().v1, |config| config.max_sessions = 1).await;
    let mut alice = world.client("alice").await;
    let mut late = world.raw().await;
    let (_, found, text) = late.error().await;
    assert_eq!(found, code::BUSY, "{text}");
    assert_eq!(late.frame().await, None);
    world.counted("hotseat_agent_refused_total{reason=\"max_sessions\"}", 1).await;
    ping(&mut alice, 1).await;
}
