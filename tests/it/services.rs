//! Calls that guests make to other services: each is answered exactly once.

use std::net::SocketAddr;
use std::time::Duration;

use hotseat_client::Client;
use hotseat_packet::code;
use misbehave::{ANSWER, CALL, ECHO, PANIC};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use crate::guests::{guests, versioned};
use crate::world::{World, ask, refusal};

const CHECK: &str = "grpc.health.v1.Health/Check";

/// A real gRPC service, the standard one that tells health.
fn serve(listener: TcpListener) {
    tokio::spawn(async move {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let incoming = TcpListenerStream::new(listener);
        tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming).await
    });
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A node that knows one service, `health`, there.
async fn world(addr: SocketAddr, timeout_ms: u64) -> World {
    World::with(&guests().misbehave, |config| {
        config.service = [("health".to_owned(), vec![format!("http://{addr}")])].into();
        config.service_timeout_ms = timeout_ms;
    })
    .await
}

/// What the guest got: status and body.
async fn call(client: &mut Client, method: &str) -> (u32, Vec<u8>) {
    let answer = ask(client, CALL, method.as_bytes(), CALL + ANSWER).await;
    let (status, body) = answer.split_first_chunk::<4>().unwrap();
    (u32::from_be_bytes(*status), body.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_answered_by_the_service() {
    let (listener, addr) = listener().await;
    serve(listener);
    let world = world(addr, 10_000).await;
    let mut alice = world.client("alice").await;
    // HealthCheckResponse { status: SERVING }.
    assert_eq!(call(&mut alice, &format!("health/{CHECK}")).await, (0, vec![8, 1]));
    assert_eq!(call(&mut alice, "health/grpc.health.v1.Health/NoSuchMethod").await, (12, vec![]));
    world.counted("hotseat_service_calls_total{status=\"0\"}", 1).await;
    world.counted("hotseat_service_calls_total{status=\"12\"}", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_unknown_or_away_is_unavailable() {
    let (listener, addr) = listener().await;
    drop(listener);
    let world = world(addr, 10_000).await;
    let mut alice = world.client("alice").await;
    assert_eq!(call(&mut alice, &format!("weather/{CHECK}")).await, (14, vec![]));
    assert_eq!(call(&mut alice, &format!("health/{CHECK}")).await, (14, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_slow_is_given_up_and_the_room_plays_on_meanwhile() {
    // It listens and says nothing, ever.
    let (_listener, addr) = listener().await;
    let world = world(addr, 200).await;
    let mut alice = world.client("alice").await;
    alice.send(CALL, format!("health/{CHECK}").as_bytes()).await.unwrap();
    ask(&mut alice, ECHO, b"meanwhile", ECHO + ANSWER).await;
    let answer = alice.expect(CALL + ANSWER).await.unwrap();
    assert_eq!(answer, 4u32.to_be_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_limit_of_a_room_are_answered_at_once() {
    let (_listener, addr) = listener().await;
    let world = world(addr, 1_000).await;
    let mut alice = world.client("alice").await;
    for _ in 0..70 {
        alice.queue(CALL, format!("health/{CHECK}").as_bytes()).unwrap();
    }
    alice.flush().await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..70 {
        let answer = alice.expect(CALL + ANSWER).await.unwrap();
        statuses.push(u32::from_be_bytes(answer[..4].try_into().unwrap()));
    }
    // 64 may be under way; the others hear so before those have timed out.
    assert_eq!(statuses[..6], [8; 6]);
    assert_eq!(statuses[6..], [4; 64]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_a_swap_reaches_the_new_version() {
    // The connection waits in the system until somebody serves it.
    let (listener, addr) = listener().await;
    let world = world(addr, 10_000).await;
    let mut alice = world.client("alice").await;
    alice.send(CALL, format!("health/{CHECK}").as_bytes()).await.unwrap();
    ask(&mut alice, ECHO, b"called", ECHO + ANSWER).await;
    world.deploy(&versioned(&guests().misbehave, 2)).await.unwrap();
    serve(listener);
    let answer = alice.with_timeout(Duration::from_secs(10)).expect(CALL + 2 * ANSWER).await.unwrap();
    assert_eq!(answer, [0, 0, 0, 0, 8, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_a_trap_finds_the_future_that_waits_for_it() {
    let (listener, addr) = listener().await;
    let world = world(addr, 10_000).await;
    let mut alice = world.client("alice").await;
    alice.send(CALL, format!("health/{CHECK}").as_bytes()).await.unwrap();
    ask(&mut alice, ECHO, b"called", ECHO + ANSWER).await;
    alice.send(PANIC, b"").await.unwrap();
    assert_eq!(refusal(&mut alice).await.0, code::MESSAGE_FAILED);
    serve(listener);
    // Doing its inputs again has brought the future back that waits for it.
    let answer = alice.with_timeout(Duration::from_secs(10)).expect(CALL + ANSWER).await.unwrap();
    assert_eq!(answer, [0, 0, 0, 0, 8, 1]);
}
