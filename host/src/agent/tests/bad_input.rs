//! What bad input gets: every row of the original's table, with an answer in words instead of silence.

use super::*;

#[tokio::test]
async fn a_wrong_sequence_number_is_named_and_ends_the_session_at_once() {
    let world = World::start(config()).await;
    // (good frames before it, the bad number, text)
    let table = [
        (0, 0, "sequence number 0, expected 1"),
        (0, 2, "sequence number 2, expected 1"),
        (2, 2, "sequence number 2, expected 3"),
        (2, 4, "sequence number 4, expected 3"),
        (1, u32::MAX, "sequence number 4294967295, expected 2"),
    ];
    for (good, bad, text) in table {
        let mut client = world.connect().await;
        for _ in 0..good {
            client.lives().await;
        }
        client.seq = bad.wrapping_sub(1);
        client.send(opcode::HEART_BEAT_REQ, &[0; 4]).await;
        assert_eq!(client.kicked(code::BAD_SEQUENCE).await, text);
    }
    world.counted("closed_total{reason=\"bad_sequence\"} 5").await;
    world.counted("errors_total{code=\"bad_sequence\"} 5").await;
    world.counted("sessions 0").await;
}

#[tokio::test]
async fn a_frame_too_short_for_its_head_is_no_frame() {
    let world = World::start(config()).await;
    for size in 0..6_u16 {
        let mut client = world.connect().await;
        client.lives().await;
        // The announced bytes are all there: it is the size that is wrong.
        let bytes = [&size.to_be_bytes()[..], &[0, 0, 0, 2, 0]].concat();
        client.raw(&bytes).await;
        let text = client.kicked(code::BAD_FRAME).await;
        assert_eq!(text, format!("frame size {size} is below the 6 bytes of its own header"));
    }
    world.counted("closed_total{reason=\"bad_frame\"} 6").await;
}

#[tokio::test]
async fn an_oversized_frame_is_refused_by_its_size_alone() {
    let mut world = World::start(config()).await;
    let mut client = world.connect().await;
    client.raw(&1025_u16.to_be_bytes()).await;
    assert_eq!(client.kicked(code::TOO_LARGE).await, "frame size 1025 is above the limit of 1024 bytes");

    // After the login another limit holds.
    let (mut client, mut room) = world.player(8).await;
    client.send(PING, &[7; 4090]).await;
    assert_eq!(room.frames(1).await[0].1.len(), 4090);
    client.raw(&4097_u16.to_be_bytes()).await;
    assert_eq!(client.kicked(code::TOO_LARGE).await, "frame size 4097 is above the limit of 4096 bytes");
    assert_eq!(room.left().await, LeaveReason::Violation);
    world.counted("closed_total{reason=\"too_large\"} 2").await;
}

#[tokio::test]
async fn an_unknown_opcode_is_answered_and_the_session_goes_on() {
    let mut world = World::start(config()).await;
    let (mut player, _room) = world.player(8).await;
    for client in [&mut world.connect().await, &mut player] {
        for unknown in [1, 2, 9, 11, 12, 13, 31, 999, 1000, 0x8000, 0xFC18, u16::MAX] {
            client.send(unknown, b"whatever").await;
            let text = client.refused(code::UNKNOWN_OPCODE).await;
            assert_eq!(text, format!("opcode {unknown} is not known"));
            client.lives().await;
        }
        client.send(opcode::GET_SEED_REQ, &[0; 8]).await;
        assert!(client.refused(code::UNKNOWN_OPCODE).await.contains("not offered"));
        client.lives().await;
    }
    world.counted("errors_total{code=\"unknown_opcode\"} 26").await;
}

#[tokio::test]
async fn a_game_frame_before_the_login_is_answered_and_the_session_goes_on() {
    let world = World::start(config()).await;
    let mut client = world.connect().await;
    for early in [1001, 32_767] {
        client.send(early, b"").await;
        let text = client.refused(code::NOT_LOGGED_IN).await;
        assert_eq!(text, format!("opcode {early} needs a login first"));
    }
    client.lives().await;
}

#[tokio::test]
async fn a_game_frame_after_the_room_has_ended_ends_the_session_with_a_reason() {
    let mut world = World::start(config()).await;
    let (mut client, room) = world.player(8).await;
    drop((room.tx, room.rx));
    client.send(PING, b"").await;
    assert_eq!(client.kicked(code::NO_ROOM).await, "room home/7 has ended");
    world.counted("closed_total{reason=\"no_room\"} 1").await;
    world.counted("logged_in 0").await;
}

#[tokio::test]
async fn a_short_payload_is_answered_and_the_session_goes_on() {
    let mut world = World::start(config()).await;
    let mut client = world.connect().await;
    for short in [&b""[..], b"abc"] {
        client.send(opcode::HEART_BEAT_REQ, short).await;
        let text = client.refused(code::BAD_PAYLOAD).await;
        assert_eq!(text, format!("heart_beat_req has {} bytes, its id needs 4", short.len()));
        client.lives().await;
    }
    let login = device("tablet");
    for cut in [0, 3, 5, login.len() - 1] {
        client.send(opcode::USER_LOGIN_REQ, &login[..cut]).await;
        let text = client.refused(code::BAD_PAYLOAD).await;
        assert!(text.starts_with("user_login_req: "), "{text}");
        client.lives().await;
    }
    client.send(opcode::USER_LOGIN_REQ, &login).await;
    let _room = Room::seat(world.attach().await, 1);
    assert_eq!(client.recv().await.unwrap().0, opcode::USER_LOGIN_SUCCEED_ACK);
}

#[tokio::test]
async fn bytes_behind_a_known_payload_are_ignored() {
    let mut world = World::start(config()).await;
    let mut client = world.connect().await;
    client.send(opcode::HEART_BEAT_REQ, b"\0\0\x03\x09 and more").await;
    assert_eq!(client.recv().await, Some((opcode::HEART_BEAT_ACK, vec![0, 0, 3, 9])));
    let login = [&device("tablet")[..], b"and more"].concat();
    client.send(opcode::USER_LOGIN_REQ, &login).await;
    let _room = Room::seat(world.attach().await, 1);
    assert_eq!(client.recv().await.unwrap().0, opcode::USER_LOGIN_SUCCEED_ACK);
}

#[tokio::test]
async fn a_second_login_is_answered_and_the_session_goes_on() {
    let mut world = World::start(config()).await;
    let (mut client, mut room) = world.player(8).await;
    client.send(opcode::USER_LOGIN_REQ, &device("phone")).await;
    assert_eq!(client.refused(code::ALREADY_LOGGED_IN).await, "this session is logged in already");
    client.send(PING, b"still here").await;
    assert_eq!(room.frames(1).await, [(PING, b"still here".to_vec())]);
    assert!(world.asks.try_recv().is_err());
}

#[tokio::test]
async fn a_bad_login_is_refused_in_words() {
    let world = World::start(config()).await;
    let token = World::with(config(), Authenticator::token(&[7; 32]).unwrap()).await;
    let table = [
        (&world, certificate("x"), "login_way 2 is not accepted here, this node takes 1 (device id)"),
        (&world, device(""), "device id has 0 bytes, allowed are 1 to 256"),
        (&token, device("tablet"), "login_way 1 is not accepted here, this node takes 2 (signed token)"),
        (&token, certificate("x"), "client_certificate is not a signed token (JWT)"),
    ];
    for (world, login, words) in table {
        let mut client = world.connect().await;
        client.send(opcode::USER_LOGIN_REQ, &login).await;
        let error = client.error().await;
        assert_eq!(error, (opcode::USER_LOGIN_FAILD_ACK, code::LOGIN_FAILED, words.to_owned()));
        assert_eq!(client.recv().await, None);
    }
    world.counted("closed_total{reason=\"login_failed\"} 2").await;
    world.counted("errors_total{code=\"login_failed\"} 2").await;
}

#[tokio::test]
async fn frames_before_a_violation_still_count() {
    let mut world = World::start(config()).await;
    let (mut client, mut room) = world.player(8).await;
    let mut bytes = client.encode(PING, b"one");
    bytes.extend(client.encode(PING, b"two"));
    client.seq += 1;
    bytes.extend(client.encode(PING, b"four"));
    client.raw(&bytes).await;
    assert_eq!(room.frames(2).await, [(PING, b"one".to_vec()), (PING, b"two".to_vec())]);
    client.kicked(code::BAD_SEQUENCE).await;
    assert_eq!(room.left().await, LeaveReason::Violation);
}

#[tokio::test]
async fn the_last_words_survive_a_client_that_goes_on_sending() {
    let world = World::start(config()).await;
    for _ in 0..20 {
        let mut client = world.connect().await;
        // Unread input would reset the connection if the agent just closed.
        let mut bytes = vec![0; 2];
        bytes.resize(60_000, 0xAA);
        client.raw(&bytes).await;
        client.kicked(code::BAD_FRAME).await;
    }
}
