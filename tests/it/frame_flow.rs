//! The way of a frame: socket, session, room, guest and back.

use game_logic::messages::{
    Code, ENTER_ACK, ENTER_REQ, EnterReq, LEAVE_ACK, LEAVE_REQ, MOVE_REQ, MoveReq, PING_ACK, PING_REQ, Ping,
};
use hotseat_packet::{Message as _, UserLoginInfo, UserSnapshot, decode_down, encode_up, opcode};

use crate::arena::{Player, enter, ping};
use crate::guests::guests;
use crate::world::{World, ask, refusal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_in_and_the_answers_bytes_come_out() {
    let world = World::start(&guests().v1).await;
    let mut wire = world.raw().await;
    // A heartbeat before the login, as the original answers it.
    wire.send(&[0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 3, 9]).await;
    assert_eq!(wire.frame().await.unwrap(), [0, 6, 0, 1, 0, 0, 3, 9]);

    let info = UserLoginInfo { login_way: 1, device_id: "alice".into(), ..UserLoginInfo::default() };
    let mut login = Vec::new();
    encode_up(&mut login, 2, opcode::USER_LOGIN_REQ, &info.to_bytes().unwrap()).unwrap();
    wire.send(&login).await;
    let answer = wire.frame().await.unwrap();
    let (answer, _) = decode_down(&answer).unwrap().unwrap();
    assert_eq!(answer.opcode, opcode::USER_LOGIN_SUCCEED_ACK);
    let snapshot = UserSnapshot::from_bytes(answer.payload).unwrap();
    assert_eq!(snapshot, UserSnapshot::new(snapshot.user));
    assert_ne!(snapshot.user, 0);

    // 1001 to the guest, 1002 back with the same id.
    wire.send(&[0, 10, 0, 0, 0, 3, 3, 233, 0, 0, 3, 9]).await;
    assert_eq!(wire.frame().await.unwrap(), [0, 6, 3, 234, 0, 0, 3, 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_may_come_in_pieces_and_many_at_once() {
    let world = World::start(&guests().v1).await;
    let (mut client, _) = world.player("alice").await;
    let mut bytes = Vec::new();
    for id in 0..20 {
        let seq = client.next_seq() + u32::try_from(id).unwrap();
        encode_up(&mut bytes, seq, PING_REQ, &Ping { id }.to_bytes().unwrap()).unwrap();
    }
    let (first, rest) = bytes.split_at(17);
    for byte in first {
        client.send_raw(&[*byte]).await.unwrap();
    }
    client.send_raw(rest).await.unwrap();
    for id in 0..20 {
        assert_eq!(client.expect(PING_ACK).await.unwrap(), Ping { id }.to_bytes().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_logs_in_and_pings() {
    let world = World::start(&guests().v1).await;
    let mut alice = world.client("alice").await;
    alice.heartbeat(7).await.unwrap();
    ping(&mut alice, 42).await;
    ping(&mut alice, -1).await;
    world.counted("hotseat_agent_logged_in", 1).await;
    world.counted("hotseat_guest_calls_total{kind=\"message\"}", 2).await;
    drop(alice);
    world.counted("hotseat_agent_logged_in", 0).await;
    world.counted("hotseat_players", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_who_has_only_logged_in_is_pushed_nothing() {
    let world = World::start(&guests().v1).await;
    let mut alice = world.client("alice").await;
    let mut bob = Player::enter(&world, "bob").await;
    for _ in 0..5 {
        bob.step().await;
    }
    // Five ticks went out to the same room; the first frame alice gets is the answer to her ping.
    ping(&mut alice, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_in_an_arena_see_each_other_move() {
    let world = World::start(&guests().v1).await;
    let mut alice = Player::enter(&world, "alice").await;
    let mut bob = Player::enter(&world, "bob").await;
    alice.head(1, 0).await;
    // What bob sees of alice is what alice sees of herself.
    let seen = loop {
        let notify = crate::arena::notify(&mut bob.client).await;
        let seen = *notify.players.iter().find(|seen| seen.user == alice.user).unwrap();
        if seen.last_move == 1 && (seen.at.x > 900 || notify.tick > 20) {
            break (notify.tick, seen);
        }
    };
    loop {
        let notify = crate::arena::notify(&mut alice.client).await;
        if notify.tick == seen.0 {
            assert_eq!(*notify.players.iter().find(|it| it.user == alice.user).unwrap(), seen.1);
            assert_eq!(notify.players.len(), 2);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_who_leaves_the_arena_is_pushed_nothing_more() {
    let world = World::start(&guests().v1).await;
    let mut alice = Player::enter(&world, "alice").await;
    let mut bob = Player::enter(&world, "bob").await;
    while bob.step().await.players < 2 {}
    alice.client.send(LEAVE_REQ, b"").await.unwrap();
    alice.client.wait_for(LEAVE_ACK).await.unwrap();
    while bob.step().await.players > 1 {}
    bob.step().await;
    ping(&mut alice.client, 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_to_another_arena_keeps_the_socket_and_the_order() {
    let world = World::start(&guests().v1).await;
    let mut alice = world.client("alice").await;
    for turn in 0..3 {
        // A hundred pings in one go, with the way to another room in their middle.
        for id in 0..100 {
            if id == 50 {
                let request = EnterReq { arena: format!("blue-{turn}") }.to_bytes().unwrap();
                alice.queue(ENTER_REQ, &request).unwrap();
            }
            alice.queue(PING_REQ, &Ping { id }.to_bytes().unwrap()).unwrap();
        }
        alice.flush().await.unwrap();
        let mut answers = Vec::new();
        while answers.len() < 101 {
            let frame = alice.recv().await.unwrap();
            match frame.opcode {
                PING_ACK => answers.push(Ping::from_bytes(&frame.payload).unwrap().id),
                ENTER_ACK => answers.push(-1),
                opcode => assert_eq!(opcode, game_logic::messages::ARENA_NOTIFY),
            }
        }
        let expected: Vec<i32> = (0..50).chain([-1]).chain(50..100).collect();
        assert_eq!(answers, expected);
    }
    world.counted("hotseat_transfers_total", 3).await;
    world.counted("hotseat_rooms", 4).await;
    world.counted("hotseat_players", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_of_different_arenas_do_not_see_each_other() {
    let world = World::start(&guests().v1).await;
    let (mut alice, alice_id) = world.player("alice").await;
    let (mut bob, bob_id) = world.player("bob").await;
    assert_eq!(enter(&mut alice, "red").await.arena, "red");
    assert_eq!(enter(&mut bob, "blue").await.arena, "blue");
    for (client, user) in [(&mut alice, alice_id), (&mut bob, bob_id)] {
        let notify = crate::arena::notify(client).await;
        assert_eq!(notify.players.iter().map(|seen| seen.user).collect::<Vec<_>>(), [user]);
    }
    // Bob follows.
    assert_eq!(enter(&mut bob, "red").await.arena, "red");
    while crate::arena::notify(&mut alice).await.players.len() < 2 {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_game_refuses_is_told_with_its_code() {
    let world = World::start(&guests().v1).await;
    let mut alice = world.client("alice").await;
    let heading = MoveReq { seq: 1, dx: 1, dy: 0 }.to_bytes().unwrap();
    let bad_name = EnterReq { arena: "Not A Name".into() }.to_bytes().unwrap();
    let table: [(u16, &[u8], Code); 5] = [
        (MOVE_REQ, &heading, Code::NotEntered),
        (LEAVE_REQ, b"", Code::NotEntered),
        (ENTER_REQ, &bad_name, Code::BadArena),
        (PING_REQ, b"\0", Code::BadPayload),
        (1999, b"", Code::UnknownOpcode),
    ];
    for (op, payload, code) in table {
        alice.send(op, payload).await.unwrap();
        let (found, text) = refusal(&mut alice).await;
        assert_eq!(found, code as i32, "{text}");
    }
    ping(&mut alice, 5).await;
    world.counted("hotseat_messages_refused_total", 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_find_health_and_metrics_on_the_admin_port() {
    let world = World::start(&guests().v1).await;
    let mut alice = world.client("alice").await;
    ask(&mut alice, PING_REQ, &[0; 4], PING_ACK).await;
    for path in ["/healthz", "/readyz"] {
        let (head, body) = crate::world::http_get(&world.admin_addr(), path).await;
        assert!(head.starts_with("HTTP/1.1 200 ") && !body.is_empty(), "{path}: {head}");
    }
    assert_eq!(world.metric("hotseat_agent_sessions").await, 1);
    assert!(world.metrics().await.contains("# TYPE hotseat_swap_pause_seconds histogram"));
    let status = world.admin().await.status(hotseat::proto::admin::StatusRequest {}).await.unwrap();
    let status = status.into_inner();
    assert_eq!((status.sessions, status.rooms, status.listen), (1, 1, world.listen()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_on_from_room_to_room_loses_nothing() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    // Each room finds the way on among what came along with the player: it moves it while it is still arriving.
    let mut visits = std::collections::BTreeMap::new();
    let mut seq = 0;
    for turn in 0..200 {
        let mut expected = Vec::new();
        for step in 0..5 {
            let room = format!("room/{}", (turn + step) % 5);
            let mut target = hotseat_packet::Writer::new();
            target.string(&room).unwrap();
            alice.queue(ledger::MOVE, target.as_bytes()).unwrap();
            seq += 1;
            alice.queue(ledger::COUNT, &u32::to_be_bytes(seq)).unwrap();
            *visits.entry(room).or_insert(0u32) += 1;
            expected.push(seq);
        }
        alice.flush().await.unwrap();
        for seq in expected {
            assert_eq!(alice.expect(ledger::COUNTED).await.unwrap()[..4], seq.to_be_bytes());
            assert_eq!(alice.expect(ledger::CLOSED).await.unwrap(), seq.to_be_bytes());
        }
    }
    world.counted("hotseat_players", 1).await;
    assert_eq!(world.metric("hotseat_frames_stale_total").await, 0);
}
