//! Services from outside: what gRPC clients get of a plugin that does its worst.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use clumsy::{Order, Sum, what};
use futures_util::StreamExt as _;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::guests::{relabelled, services};
use crate::world::{World, eventually};

pub(crate) const DO: &str = "/test.Clumsy/Do";
const ASK: &str = "/test.Clumsy/Ask";
const LISTEN: &str = "/test.Clumsy/Listen";

/// Bytes as they are.
#[derive(Clone, Copy)]
struct Bare;

impl Codec for Bare {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A client of the clumsy service.
pub(crate) struct Boss(tonic::client::Grpc<Channel>);

impl Boss {
    pub(crate) async fn of(world: &World) -> Self {
        Self(tonic::client::Grpc::new(world.channel().await))
    }

    pub(crate) async fn send(&mut self, path: &'static str, order: Order) -> Result<Sum, Status> {
        self.send_request(path, Request::new(order)).await
    }

    async fn send_request(&mut self, path: &'static str, order: Request<Order>) -> Result<Sum, Status> {
        self.0.ready().await.unwrap();
        let codec = ProstCodec::<Order, Sum>::default();
        self.0.unary(order, path.parse().unwrap(), codec).await.map(tonic::Response::into_inner)
    }

    /// Orders carried out after this one.
    pub(crate) async fn order(&mut self, what: u32, number: u64) -> Result<u64, Status> {
        self.send(DO, Order { id: 1, what, number }).await.map(|sum| sum.orders)
    }

    async fn ask(&mut self) -> u64 {
        self.send(ASK, Order { id: 1, ..Order::default() }).await.unwrap().orders
    }

    pub(crate) async fn listen(&mut self, what: u32, number: u64) -> Result<Streaming<Sum>, Status> {
        self.0.ready().await.unwrap();
        let codec = ProstCodec::<Order, Sum>::default();
        let order = Request::new(Order { id: 1, what, number });
        let path = LISTEN.parse().unwrap();
        self.0.server_streaming(order, path, codec).await.map(tonic::Response::into_inner)
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, words: &[&str]) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    for word in words {
        assert!(status.message().contains(word), "{status} does not name {word:?}");
    }
}

async fn world() -> World {
    World::serving(&[&services().clumsy]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_fail_has_its_status_and_changes_nothing() {
    let world = world().await;
    let mut boss = Boss::of(&world).await;
    assert_eq!(boss.order(what::COUNT, 0).await.unwrap(), 1);
    refused(boss.order(what::TRAP, 0).await, Code::Internal, &["trap", "nothing of it happened"]);
    refused(boss.order(what::LOOP, 0).await, Code::DeadlineExceeded, &["deadline"]);
    refused(boss.order(what::REFUSE, 5).await, Code::NotFound, &["as ordered"]);
    for odd in [0, 17, u64::MAX] {
        refused(boss.order(what::REFUSE, odd).await, Code::Unknown, &["as ordered"]);
    }
    refused(boss.order(99, 0).await, Code::InvalidArgument, &["99"]);
    let trap = Order { id: 1, what: what::TRAP, number: 0 };
    refused(boss.send(ASK, trap.clone()).await, Code::Internal, &["trap"]);
    refused(boss.listen(what::TRAP, 0).await.map(|_| ()), Code::Internal, &["trap"]);
    refused(boss.listen(what::REFUSE, 7).await.map(|_| ()), Code::PermissionDenied, &["as ordered"]);
    refused(boss.send("/test.Clumsy/Undo", trap.clone()).await, Code::Unimplemented, &["test.Clumsy/Undo"]);
    assert_eq!(boss.ask().await, 1, "refusals and faults left something behind");
    refused(boss.send("/test.Nobody/Do", trap).await, Code::Unimplemented, &["serves no", "test.Nobody"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_leaves_no_trace_whatever_it_asks_for() {
    let world = world().await;
    let mut boss = Boss::of(&world).await;
    let mut heard = boss.listen(what::COUNT, 0).await.unwrap();
    let draw = Order { id: 1, what: what::DRAW, number: 0 };
    let mut drawn = Vec::new();
    for orders in 1..=3 {
        drawn.push(boss.send(ASK, draw.clone()).await.unwrap().orders);
        drawn.push(boss.send(ASK, draw.clone()).await.unwrap().orders);
        assert_eq!(boss.order(what::COUNT, 0).await.unwrap(), orders);
        // Rebuilt from its log.
        refused(boss.order(what::TRAP, 0).await, Code::Internal, &["trap"]);
    }
    drawn.dedup();
    assert_eq!(drawn.len(), 1, "randomness moved on without the log knowing: {drawn:?}");
    for orders in 1..=3 {
        assert_eq!(heard.next().await.unwrap().unwrap().orders, orders);
    }
    assert_eq!(boss.ask().await, 3);
    assert_eq!(world.metric("hotseat_guest_calls_total{kind=\"timer\"}").await, 0);
    assert_eq!(world.metric("hotseat_guest_calls_total{kind=\"reply\"}").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_message_and_messages_that_are_too_large_are_refused() {
    let world = world().await;
    let mut raw = tonic::client::Grpc::new(world.channel().await);
    let mut send = async |bytes: Vec<u8>| {
        raw.ready().await.unwrap();
        let request = Request::new(Bytes::from(bytes));
        raw.unary(request, DO.parse().unwrap(), Bare).await.map(|_| ())
    };
    refused(send(vec![8]).await, Code::Internal, &["test.Clumsy/Do", "no protobuf message"]);
    refused(send(vec![11, 1]).await, Code::Internal, &["no protobuf message"]);
    // For the host it is one; for the plugin it is not.
    refused(send(vec![18, 1, 0]).await, Code::Internal, &[]);
    refused(send(vec![0; (1 << 20) + 1]).await, Code::OutOfRange, &["1048576"]);
    send(vec![]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_deadline_is_kept_and_what_came_too_late_is_not_done() {
    let slow = relabelled(&services().clumsy, |manifest| manifest.limits.deadline_ms = 1000);
    let world = World::serving(&[&slow]).await;
    let mut boss = Boss::of(&world).await;
    let mut busy = Boss(boss.0.clone());
    let busy = tokio::spawn(async move { busy.order(what::LOOP, 0).await });
    eventually("a busy guest", async || {
        let calls = world.metric("hotseat_guest_calls_total{kind=\"call\"}").await;
        (calls == 1).then_some(())
    })
    .await;
    let mut order = Request::new(Order { id: 1, ..Order::default() });
    order.set_timeout(Duration::from_millis(100));
    // The client counts too, and may be the first to give up.
    let late = boss.send_request(DO, order).await.unwrap_err().code();
    assert!(matches!(late, Code::DeadlineExceeded | Code::Cancelled), "{late}");
    refused(busy.await.unwrap(), Code::DeadlineExceeded, &["nothing of it happened"]);
    assert_eq!(boss.ask().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mailbox_refuses_and_the_rest_is_served() {
    let slow = relabelled(&services().clumsy, |manifest| manifest.limits.deadline_ms = 1000);
    let world = World::serving_with(&[&slow], |config| config.shard_mailbox = 4).await;
    let boss = Boss::of(&world).await;
    let orders = (0..100).map(|number| {
        let mut boss = Boss(boss.0.clone());
        // The first one keeps the shard busy until its deadline.
        let what = if number == 0 { what::LOOP } else { what::COUNT };
        tokio::spawn(async move { boss.order(what, 0).await })
    });
    let mut codes = Vec::new();
    for order in orders.collect::<Vec<_>>() {
        codes.push(order.await.unwrap().map_or_else(|status| status.code(), |_| Code::Ok));
    }
    let count = |code| codes.iter().filter(|found| **found == code).count();
    assert!(count(Code::ResourceExhausted) > 0, "{codes:?}");
    assert_eq!(count(Code::Ok) + count(Code::ResourceExhausted) + count(Code::DeadlineExceeded), 100);
    let mut boss = boss;
    assert_eq!(boss.ask().await, u64::try_from(count(Code::Ok)).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_as_the_guest_says() {
    let world = world().await;
    let mut boss = Boss::of(&world).await;
    let mut short = boss.listen(what::END, 0).await.unwrap();
    assert_eq!(short.next().await.unwrap().unwrap().orders, 0);
    assert!(short.next().await.is_none());
    let mut one = boss.listen(what::COUNT, 0).await.unwrap();
    assert_eq!(boss.order(what::COUNT, 0).await.unwrap(), 1);
    boss.order(what::END, 5).await.unwrap();
    assert_eq!(one.next().await.unwrap().unwrap().orders, 1);
    refused(one.next().await.unwrap(), Code::NotFound, &["as ordered"]);
    // Whoever was ended is not told of it again.
    assert_eq!(boss.ask().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_is_noticed() {
    let world = world().await;
    let mut boss = Boss::of(&world).await;
    let stream = boss.listen(what::COUNT, 0).await.unwrap();
    world.counted("hotseat_service_streams", 1).await;
    drop(stream);
    eventually("an unsubscribed stream", async || (boss.ask().await == 1000).then_some(())).await;
    assert_eq!(world.metric("hotseat_service_streams").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_cut_and_delays_nobody() {
    let world = World::serving_with(&[&services().clumsy], |config| config.stream_messages = 100).await;
    let (mut boss, mut reader) = (Boss::of(&world).await, Boss::of(&world).await);
    let mut stalled = Boss::of(&world).await.listen(what::COUNT, 0).await.unwrap();
    let mut stream = reader.listen(what::COUNT, 0).await.unwrap();
    let mut read = 0;
    while world.metric("hotseat_service_streams_cut_total").await == 0 {
        boss.order(what::FLOOD, 50).await.unwrap();
        for _ in 0..50 {
            stream.next().await.unwrap().unwrap();
            read += 1;
        }
    }
    assert!(read >= 100, "{read}");
    let end = loop {
        if let Err(status) = stalled.next().await.unwrap() {
            break status;
        }
    };
    assert_eq!(end.code(), Code::ResourceExhausted, "{end}");
    assert!(end.message().contains("100 messages"), "{end}");
    // The guest hears of it.
    eventually("word of the cut", async || (boss.ask().await >= 1000).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_run_and_those_that_fail_do_not_come_back() {
    let world = world().await;
    let mut boss = Boss::of(&world).await;
    boss.order(what::LATER, 20).await.unwrap();
    eventually("a timer", async || (boss.ask().await == 2).then_some(())).await;
    boss.order(what::TRAP_LATER, 1).await.unwrap();
    world.counted("hotseat_guest_faults_total{kind=\"trap\"}", 1).await;
    assert_eq!(boss.order(what::COUNT, 0).await.unwrap(), 4);
    assert_eq!(world.metric("hotseat_guest_faults_total{kind=\"trap\"}").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_calls_services_and_more_calls_than_allowed_are_answered_all_the_same() {
    let world = world().await;
    let mut boss = Boss::of(&world).await;
    boss.order(what::CALL, 1).await.unwrap();
    // The order, the order it gave itself, and its answer.
    eventually("its own answer", async || (boss.ask().await == 3).then_some(())).await;
    boss.order(what::FEED, 100).await.unwrap();
    // 64 of them are made and answered; the others are refused.
    eventually("all answers", async || (boss.ask().await == 4 + 2 * 64).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_faults_on_and_on_goes_down_and_comes_back_with_its_state() {
    let world = world().await;
    let mut boss = Boss::of(&world).await;
    for _ in 0..10 {
        // The last ones meet a shard that is down already.
        let _ = boss.order(what::TRAP_LATER, 0).await;
    }
    eventually("a shard that is down", async || {
        let status = boss.order(what::COUNT, 0).await.err()?;
        (status.code() == Code::Unavailable).then_some(())
    })
    .await;
    // The other shard serves on.
    let other = (2..100).map(|id| Order { id, ..Order::default() });
    let mut served = 0;
    for order in other {
        served += usize::from(boss.send(DO, order).await.is_ok());
    }
    assert!(served > 20, "{served}");
    assert_eq!(world.metric("hotseat_service_shards_down").await, 1);
    let mended = relabelled(&services().clumsy, |manifest| manifest.version.major = 2);
    world.deploy(&mended).await.unwrap();
    world.counted("hotseat_service_shards_down", 0).await;
    assert!(boss.order(what::COUNT, 0).await.unwrap() > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_and_health_tell_what_is_served() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let world = world().await;
    let mut health = HealthClient::new(world.channel().await);
    for service in ["", "test.Clumsy"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status.as_str_name(), "SERVING");
    }
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut reflection = ServerReflectionClient::new(world.channel().await);
    let asked = reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = asked.into_inner().next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"test.Clumsy".to_owned()), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_shards_cannot_change_under_data() {
    let world = world().await;
    Boss::of(&world).await.order(what::COUNT, 0).await.unwrap();
    let (config, dir) = world.stop_and_keep().await;
    let mut other = config.clone();
    other.shards = 3;
    let error = World::again(other, tempfile::tempdir().unwrap()).await.map(drop).unwrap_err().to_string();
    for word in ["clumsy", "2 shards", "shards = 3", "--shards 2"] {
        assert!(error.contains(word), "{error:?} does not name {word:?}");
    }
    let world = World::again(config, dir).await.unwrap();
    assert_eq!(Boss::of(&world).await.ask().await, 1);
}
