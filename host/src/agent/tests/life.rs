//! A session that does nothing wrong, from the first byte to the last.

use super::*;

#[tokio::test]
async fn frames_go_up_and_down_in_order() {
    let mut world = World::start(config()).await;
    let (mut client, mut room) = world.player(8).await;
    for id in 0..50_u8 {
        client.send(PING, &[id]).await;
        assert_eq!(room.frames(1).await, [(PING, vec![id])]);
        room.push(PONG, &[id]);
        room.push(PONG, &[id, id]);
        assert_eq!(client.recv().await, Some((PONG, vec![id])));
        assert_eq!(client.recv().await, Some((PONG, vec![id, id])));
    }
    client.lives().await;
    drop(client);
    assert_eq!(room.left().await, LeaveReason::Closed);
    world.counted("frames_in_total 52").await;
    world.counted("frames_out_total 102").await;
    world.counted("accepted_total 1").await;
    world.counted("closed_total{reason=\"closed\"} 1").await;
    world.counted("sessions 0").await;
    assert_eq!(world.sessions.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn frames_may_come_in_any_pieces() {
    let mut world = World::start(config()).await;
    let (mut client, mut room) = world.player(8).await;
    client.stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    for id in 0..40_u8 {
        bytes.extend(client.encode(PING, &vec![id; usize::from(id) * 5]));
    }
    for (turn, piece) in bytes.chunks(7).enumerate() {
        client.raw(piece).await;
        if turn % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for (id, (opcode, payload)) in (0..40_u8).zip(room.frames(40).await) {
        assert_eq!((opcode, payload), (PING, vec![id; usize::from(id) * 5]));
    }
}

#[tokio::test]
async fn what_is_sent_behind_the_login_keeps_its_place() {
    let mut world = World::start(config()).await;
    let mut client = world.connect().await;
    let mut bytes = client.encode(opcode::HEART_BEAT_REQ, &[1; 4]);
    bytes.extend(client.encode(opcode::USER_LOGIN_REQ, &device("tablet")));
    for id in 0..100_u8 {
        bytes.extend(client.encode(PING, &[id]));
    }
    bytes.extend(client.encode(opcode::HEART_BEAT_REQ, &[2; 4]));
    client.raw(&bytes).await;

    let attach = world.attach().await;
    assert_eq!(client.recv().await, Some((opcode::HEART_BEAT_ACK, vec![1; 4])));
    // The room speaks before the agent knows of the seat: the client hears of its login first all the same.
    attach.player.outbox.push(PONG, b"welcome");
    let user = attach.player.user;
    let mut room = Room::seat(attach, 8);
    let (opcode, payload) = client.recv().await.unwrap();
    assert_eq!(opcode, opcode::USER_LOGIN_SUCCEED_ACK);
    assert_eq!(payload[4..], user.0.to_be_bytes());
    assert_eq!(payload[..4], (user.0 as u32 & 0x7FFF_FFFF).to_be_bytes());
    let ids: Vec<u8> = room.frames(100).await.iter().map(|(_, payload)| payload[0]).collect();
    assert_eq!(ids, (0..100).collect::<Vec<u8>>());
    let mut rest = [client.recv().await.unwrap(), client.recv().await.unwrap()];
    rest.sort_unstable();
    assert_eq!(rest, [(opcode::HEART_BEAT_ACK, vec![2; 4]), (PONG, b"welcome".to_vec())]);
}

#[tokio::test]
async fn a_login_without_a_seat_says_why() {
    let mut world = World::start(config()).await;
    let busy = AttachError::Busy { what: "room", limit: 3 };
    let table = [
        (AttachError::NoPlugin, code::NO_ROOM, "no game logic is loaded"),
        (busy, code::BUSY, "room limit of 3 reached"),
        (AttachError::Shutdown, code::SHUTTING_DOWN, "the game host is shutting down"),
    ];
    for (error, code, text) in table {
        let mut client = world.connect().await;
        client.send(opcode::USER_LOGIN_REQ, &device("tablet")).await;
        world.attach().await.seat.send(Err(error)).unwrap();
        assert_eq!(client.error().await, (opcode::USER_LOGIN_FAILD_ACK, code, text.to_owned()));
        assert_eq!(client.recv().await, None);
    }
    world.counted("logged_in 0").await;
}

#[tokio::test]
async fn a_seat_that_comes_too_late_is_left_again() {
    let mut world = World::start(AgentConfig { attach_timeout: Duration::from_millis(50), ..config() }).await;
    let mut client = world.connect().await;
    client.send(opcode::USER_LOGIN_REQ, &device("tablet")).await;
    let attach = world.attach().await;
    let error = client.error().await;
    assert_eq!(error, (opcode::USER_LOGIN_FAILD_ACK, code::BUSY, "no seat within 50ms".to_owned()));
    assert_eq!(client.recv().await, None);
    assert_eq!(Room::seat(attach, 8).left().await, LeaveReason::Lost);
}

#[tokio::test]
async fn a_close_by_the_game_comes_after_what_was_queued() {
    let mut world = World::start(config()).await;
    let (mut client, room) = world.player(8).await;
    for id in 0..100 {
        room.push(PONG, &[id; 100]);
    }
    room.player.outbox.close(close(LeaveReason::Kicked, 1234, "cheater"));
    room.push(PONG, b"never seen");
    for id in 0..100 {
        assert_eq!(client.recv().await, Some((PONG, vec![id; 100])));
    }
    assert_eq!(client.kicked(1234).await, "cheater");
    assert_eq!(room.left().await, LeaveReason::Kicked);
    world.counted("closed_total{reason=\"kicked\"} 1").await;
    world.counted("errors_total{code=\"plugin\"} 1").await;
}

#[tokio::test]
async fn a_reset_connection_is_left_as_lost() {
    let mut world = World::start(config()).await;
    let (client, room) = world.player(8).await;
    client.stream.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(room.left().await, LeaveReason::Lost);
    world.counted("closed_total{reason=\"lost\"} 1").await;
}

#[tokio::test]
async fn a_stopped_agent_says_good_bye_to_everybody() {
    let mut world = World::start(config()).await;
    let (mut player, room) = world.player(8).await;
    let mut fresh = world.connect().await;
    fresh.lives().await;
    // One that is stuck in its login is told as soon as its room has an answer.
    let mut waiting = world.connect().await;
    waiting.send(opcode::USER_LOGIN_REQ, &device("phone")).await;
    let attach = world.attach().await;
    room.push(PONG, b"last");

    world.stop.cancel();
    assert_eq!(player.recv().await, Some((PONG, b"last".to_vec())));
    assert_eq!(player.kicked(code::SHUTTING_DOWN).await, "the node is shutting down");
    fresh.kicked(code::SHUTTING_DOWN).await;
    let late = Room::seat(attach, 8);
    assert_eq!(waiting.recv().await.unwrap().0, opcode::USER_LOGIN_SUCCEED_ACK);
    waiting.kicked(code::SHUTTING_DOWN).await;
    assert_eq!(room.left().await, LeaveReason::Shutdown);
    assert_eq!(late.left().await, LeaveReason::Shutdown);
    drop((player, fresh, waiting));

    timeout(PATIENCE, world.running).await.unwrap().unwrap();
    assert_eq!(world.sessions.load(Ordering::Relaxed), 0);
    assert!(TcpStream::connect(world.addr).await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let grace = Duration::from_millis(50);
    let mut world = World::start(AgentConfig { grace, ..config() }).await;
    let (_client, room) = world.player(1).await;
    // A mailbox that is full for good.
    room.tx.try_send(Up::Fence { user: UserId(1), session: SessionId(1) }).unwrap();
    world.stop.cancel();
    timeout(PATIENCE, world.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let world = World::start(config()).await;
    let (link, _asks) = link(1);
    let metrics = Arc::new(Metrics::new().unwrap());
    let taken = AgentConfig { listen: world.addr, ..config() };
    let error = Agent::bind(taken, Authenticator::Dev, link, metrics).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen for clients on {}: ", world.addr)), "{text}");
}
