//! Guests past their limits: stopped there, their room restored, everybody else untouched.

use hotseat_client::Client;
use hotseat_packet::code;
use misbehave::{
    ANSWER, BIG_PAYLOAD, CLOSE, ECHO, FLOOD_EFFECTS, GROW, KICK, LOOP, PANIC, RECALL, RECURSE, REFUSE, SPIN,
    STORE, TIMERS, TRANSFER_NOWHERE,
};

use crate::guests::{guests, relabelled};
use crate::world::{World, ask, ended, refusal};

async fn echo(client: &mut Client, text: &[u8]) {
    assert_eq!(ask(client, ECHO, text, ECHO + ANSWER).await, text);
}

async fn recall(client: &mut Client) -> Vec<u8> {
    ask(client, RECALL, b"", RECALL + ANSWER).await
}

/// Alice makes the guest do `op`; it is stopped as `kind`, and neither her room nor bob's forgets anything.
async fn stopped(op: u16, kind: &str) {
    // Little memory, so that it is at an end before the deadline on the slowest machine.
    let guest = relabelled(&guests().misbehave, |manifest| manifest.limits.memory_mib = 4);
    let world = World::with(&guest, |config| {
        (config.home_rooms, config.max_rooms) = (65_536, 16);
    })
    .await;
    let mut alice = world.client("alice").await;
    let mut bob = world.client("bob").await;
    world.counted("hotseat_rooms", 2).await;
    alice.send(STORE, b"alice was here").await.unwrap();
    bob.send(STORE, b"bob was here").await.unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let next_room = tokio::spawn(async move {
        let mut echoed = 0u32;
        while stopped.try_recv().is_err() {
            echo(&mut bob, &echoed.to_be_bytes()).await;
            echoed += 1;
        }
        assert_eq!(recall(&mut bob).await, b"bob was here");
        echoed
    });

    for turn in 1..=2 {
        alice.send(op, b"").await.unwrap();
        // Whatever it had asked for before has not happened: the error is the next frame.
        let (found, text) = refusal(&mut alice).await;
        assert_eq!(found, code::MESSAGE_FAILED, "{text}");
        assert_eq!(recall(&mut alice).await, b"alice was here");
        echo(&mut alice, b"alive").await;
        world.counted(&format!("hotseat_guest_faults_total{{kind={kind:?}}}"), turn).await;
    }
    stop.send(()).unwrap();
    assert!(next_room.await.unwrap() > 0);
    assert_eq!(world.plugin().await.traps, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_loops_is_stopped_at_its_deadline() {
    stopped(LOOP, "deadline").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_recurses_is_stopped_at_its_stack() {
    stopped(RECURSE, "stack").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_grows_is_stopped_at_its_memory() {
    stopped(GROW, "memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_floods_effects_is_stopped_and_none_is_released() {
    stopped(FLOOD_EFFECTS, "limit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_sends_more_than_a_frame_is_stopped() {
    stopped(BIG_PAYLOAD, "limit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_sets_too_many_timers_is_stopped() {
    stopped(TIMERS, "limit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_traps_after_sending_has_sent_nothing() {
    stopped(PANIC, "trap").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_whose_messages_keep_failing_is_disconnected_alone() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    let mut bob = world.client("bob").await;
    bob.send(STORE, b"kept").await.unwrap();
    echo(&mut bob, b"stored").await;
    for _ in 0..3 {
        alice.queue(PANIC, b"").unwrap();
    }
    alice.queue(ECHO, b"never answered").unwrap();
    alice.flush().await.unwrap();
    assert_eq!(refusal(&mut alice).await.0, code::MESSAGE_FAILED);
    assert_eq!(refusal(&mut alice).await.0, code::MESSAGE_FAILED);
    let text = ended(&mut alice, code::MESSAGE_FAILED).await;
    assert!(text.contains("3 messages"), "{text}");
    world.counted("hotseat_agent_closed_total{reason=\"messages_failed\"}", 1).await;
    assert_eq!(recall(&mut bob).await, b"kept");
    world.counted("hotseat_players", 1).await;
    // It is no ban.
    let mut alice = world.client("alice").await;
    assert_eq!(recall(&mut alice).await, b"kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_below_the_deadline_is_no_fault() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    for _ in 0..5 {
        ask(&mut alice, SPIN, b"", SPIN + ANSWER).await;
    }
    assert_eq!(world.plugin().await.traps, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_the_player_as_the_game_put_it() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    alice.send(REFUSE, b"").await.unwrap();
    assert_eq!(refusal(&mut alice).await, (1234, "no".to_owned()));
    echo(&mut alice, b"on we go").await;
    world.counted("hotseat_messages_refused_total", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kick_ends_the_session_with_the_games_reason() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    let mut bob = world.client("bob").await;
    // What was sent before the kick arrives before it.
    alice.queue(ECHO, b"last words").unwrap();
    alice.queue(KICK, b"").unwrap();
    alice.queue(ECHO, b"too late").unwrap();
    alice.flush().await.unwrap();
    assert_eq!(alice.expect(ECHO + ANSWER).await.unwrap(), b"last words");
    ended(&mut alice, 1999).await;
    echo(&mut bob, b"still here").await;
    world.counted("hotseat_agent_closed_total{reason=\"kicked\"}", 1).await;
    world.counted("hotseat_players", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_to_a_room_that_is_not_there_leaves_the_player_where_it_is() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    alice.send(STORE, b"home").await.unwrap();
    ask(&mut alice, TRANSFER_NOWHERE, b"", TRANSFER_NOWHERE + ANSWER).await;
    assert_eq!(recall(&mut alice).await, b"home");
    assert_eq!(world.metric("hotseat_transfers_total").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_room_cannot_be_closed() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    alice.send(STORE, b"home").await.unwrap();
    alice.send(CLOSE, b"").await.unwrap();
    assert_eq!(recall(&mut alice).await, b"home");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_who_does_not_read_is_let_go_and_the_room_goes_on() {
    let world = World::with(&guests().misbehave, |config| config.outbox_max_bytes = 64 << 10).await;
    let mut alice = world.client("alice").await;
    let mut bob = world.client("bob").await;
    // Asks for far more than any socket buffers, and reads nothing of it.
    let flood = tokio::spawn(async move {
        while alice.queue(ECHO, &[7; 8192]).is_ok() && alice.flush().await.is_ok() {}
        alice
    });
    world.counted("hotseat_agent_closed_total{reason=\"slow_client\"}", 1).await;
    echo(&mut bob, b"I read").await;
    world.counted("hotseat_players", 1).await;
    flood.await.unwrap();
}
