//! Moves between rooms, and rooms that are slower than their clients.

use super::*;

#[tokio::test]
async fn a_fence_parts_the_frames_of_two_rooms() {
    let mut world = World::start(config()).await;
    let (mut client, mut old) = world.player(8).await;
    client.send(PING, b"old").await;
    assert_eq!(old.frames(1).await, [(PING, b"old".to_vec())]);
    old.player.outbox.signal(Signal::Moving);
    old.fence().await;

    // Sent between the rooms: neither sees it yet.
    for id in 0..20 {
        client.send(PING, &[id]).await;
    }
    old.push(PONG, b"on the way");
    assert_eq!(client.recv().await, Some((PONG, b"on the way".to_vec())));
    assert!(old.rx.try_recv().is_err());

    let mut new = old.next_door(8);
    old.player.outbox.signal(Signal::Moved(new.uplink()));
    let ids: Vec<u8> = new.frames(20).await.iter().map(|(_, payload)| payload[0]).collect();
    assert_eq!(ids, (0..20).collect::<Vec<u8>>());
    client.lives().await;
    drop(client);
    assert_eq!(new.left().await, LeaveReason::Closed);
    assert!(old.rx.try_recv().is_err());
}

#[tokio::test]
async fn what_waits_for_the_old_room_goes_before_the_fence() {
    let mut world = World::start(config()).await;
    let (mut client, mut old) = world.player(1).await;
    let user = old.player.user;
    old.tx.try_send(Up::Fence { user, session: SessionId(0) }).unwrap();
    client.send(PING, b"held").await;
    world.counted("reads_held_total 1").await;
    old.player.outbox.signal(Signal::Moving);
    client.send(PING, b"later").await;

    assert!(matches!(old.up().await, Up::Fence { session: SessionId(0), .. }));
    assert_eq!(old.frames(1).await, [(PING, b"held".to_vec())]);
    old.fence().await;
    let mut new = old.next_door(1);
    old.player.outbox.signal(Signal::Moved(new.uplink()));
    assert_eq!(new.frames(1).await, [(PING, b"later".to_vec())]);
}

#[tokio::test]
async fn several_moves_in_a_row_keep_the_order() {
    let mut world = World::start(config()).await;
    let (mut client, mut room) = world.player(2).await;
    let sender = tokio::spawn(async move {
        for id in 0..2000_u32 {
            client.send(PING, &id.to_be_bytes()).await;
        }
        client
    });
    let mut seen = Vec::new();
    let mut note = |up: Up| match up {
        Up::Frames { frames, .. } => {
            seen.extend(frames.iter().map(|(_, payload)| u32::from_be_bytes(payload.try_into().unwrap())));
            seen.len()
        }
        other => panic!("{other:?}"),
    };
    for _ in 0..10 {
        note(room.up().await);
        room.player.outbox.signal(Signal::Moving);
        loop {
            match room.up().await {
                Up::Fence { .. } => break,
                up => note(up),
            };
        }
        let new = room.next_door(2);
        room.player.outbox.signal(Signal::Moved(new.uplink()));
        room = new;
        if seen_all(&mut note) {
            break;
        }
    }
    let client = sender.await.unwrap();
    drop(client);
    loop {
        match room.up().await {
            Up::Leave { .. } => break,
            up => note(up),
        };
    }
    assert_eq!(seen, (0..2000).collect::<Vec<_>>());
}

/// Whether nothing more can come, so that waiting for a frame would be in vain.
fn seen_all(note: &mut impl FnMut(Up) -> usize) -> bool {
    let nothing = Up::Frames { user: UserId(1), session: SessionId(1), frames: Default::default() };
    note(nothing) == 2000
}

#[tokio::test]
async fn a_client_that_goes_during_a_move_leaves_the_old_room() {
    let mut world = World::start(config()).await;
    let (mut client, mut old) = world.player(8).await;
    old.player.outbox.signal(Signal::Moving);
    old.fence().await;
    old.player.outbox.close(close(LeaveReason::Replaced, code::DUPLICATE_LOGIN, "logged in elsewhere"));
    assert_eq!(client.kicked(code::DUPLICATE_LOGIN).await, "logged in elsewhere");
    assert_eq!(old.left().await, LeaveReason::Replaced);
}

#[tokio::test]
async fn a_room_that_ends_in_the_middle_of_a_move_loses_nothing() {
    let mut world = World::start(config()).await;
    let (mut client, old) = world.player(1).await;
    let user = old.player.user;
    old.tx.try_send(Up::Fence { user, session: SessionId(0) }).unwrap();
    client.send(PING, b"held").await;
    world.counted("reads_held_total 1").await;
    old.player.outbox.signal(Signal::Moving);
    let mut new = old.next_door(8);
    let outbox = Arc::clone(&old.player.outbox);
    drop((old.tx, old.rx));
    client.send(PING, b"later").await;
    outbox.signal(Signal::Moved(new.uplink()));
    assert_eq!(new.frames(2).await, [(PING, b"held".to_vec()), (PING, b"later".to_vec())]);
}

#[tokio::test]
async fn a_room_that_ends_after_it_moved_the_player_is_not_missed() {
    let mut world = World::start(config()).await;
    let (mut client, old) = world.player(8).await;
    let mut new = old.next_door(8);
    old.player.outbox.signal(Signal::Moving);
    old.player.outbox.signal(Signal::Moved(new.uplink()));
    drop((old.tx, old.rx));
    client.send(PING, b"hello").await;
    assert_eq!(new.frames(1).await, [(PING, b"hello".to_vec())]);
}

#[tokio::test]
async fn a_move_that_never_ends_ends_the_session() {
    let idle_timeout = Duration::from_millis(100);
    let mut world = World::start(AgentConfig { idle_timeout, ..config() }).await;
    let (mut client, mut old) = world.player(8).await;
    old.player.outbox.signal(Signal::Moving);
    old.fence().await;
    let text = client.kicked(code::NO_ROOM).await;
    assert_eq!(text, "the move out of room home/7 took longer than 100ms");
    assert_eq!(old.left().await, LeaveReason::Lost);
}

#[tokio::test]
async fn a_full_mailbox_holds_the_socket_and_nothing_else() {
    let mut world = World::start(config()).await;
    let (mut client, mut room) = world.player(1).await;
    let mut bytes = Vec::new();
    for id in 0..200_000_u32 {
        bytes.extend(client.encode(PING, &id.to_be_bytes()));
    }
    let (mut read, mut write) = client.stream.into_split();
    let sender = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write
    });
    world.counted("reads_held_total 1").await;
    // The other direction flows.
    room.push(PONG, b"");
    let mut pong = [0; 4];
    timeout(PATIENCE, read.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(pong, [0, 2, 3, 234]);
    // Back-pressure: the rest stays in the system's buffers and then with the client.
    let read = world.metrics.agent.bytes_in.get();
    assert!(read < 256 * 1024, "{read} bytes read for a room that takes none");
    let frames = room.frames(200_000).await;
    for (id, (_, payload)) in (0..200_000_u32).zip(&frames) {
        assert_eq!(payload[..], id.to_be_bytes());
    }
    drop(sender.await.unwrap());
}

#[tokio::test]
async fn a_mailbox_that_stays_full_ends_the_session() {
    let idle_timeout = Duration::from_millis(100);
    let mut world = World::start(AgentConfig { idle_timeout, ..config() }).await;
    let (mut client, mut room) = world.player(1).await;
    client.send(PING, b"taken").await;
    room.frames(1).await;
    client.send(PING, b"in the mailbox").await;
    world.counted("frames_in_total 3").await;
    client.send(PING, b"held").await;
    assert_eq!(client.refused(code::BUSY).await, "the room took no message for 100ms");
    assert_eq!(room.frames(2).await, [(PING, b"in the mailbox".to_vec()), (PING, b"held".to_vec())]);
    assert_eq!(room.left().await, LeaveReason::Lost);
}
