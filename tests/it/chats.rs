//! The chat plugin as its clients see it, those of the original included.

use futures_util::StreamExt as _;
use hotseat_services::chat::{
    ChatServiceClient, ConsumeLatest, ConsumeRange, Consumer, Id, Member, Message, NEW_ONLY, Page, Settings,
};
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::guests::services;
use crate::world::{PATIENCE, World, eventually};

type Client = ChatServiceClient<Channel>;

async fn client(world: &World) -> Client {
    ChatServiceClient::new(world.channel().await)
}

async fn world() -> (World, Client) {
    let world = World::serving(&[&services().chat]).await;
    let client = client(&world).await;
    (world, client)
}

async fn send(client: &mut Client, id: u64, body: &str) {
    client.send(Message { id, body: body.into(), ..Message::default() }).await.unwrap();
}

async fn post(client: &mut Client, id: u64, body: &str) -> Result<i64, Status> {
    let message = Message { id, body: body.into(), ..Message::default() };
    client.post(message).await.map(|posted| posted.into_inner().offset)
}

async fn subscribe(client: &mut Client, id: u64, from: i64) -> Streaming<Message> {
    client.subscribe(Consumer { id, from, user: 0 }).await.unwrap().into_inner()
}

/// The next message: its offset and body.
async fn next(stream: &mut Streaming<Message>) -> (i64, String) {
    let message = tokio::time::timeout(PATIENCE, stream.next()).await.expect("the stream is silent");
    let message = message.unwrap().unwrap();
    (message.offset, String::from_utf8(message.body).unwrap())
}

async fn offsets(client: &mut Client, id: u64, from: i64, to: i64) -> Vec<i64> {
    let list = client.query(ConsumeRange { id, from, to }).await.unwrap().into_inner();
    list.messages.into_iter().map(|message| message.offset).collect()
}

#[track_caller]
fn said<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.unwrap_err();
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_originals_methods_mean_what_they_were_meant_to() {
    let (_world, mut client) = world().await;
    let nobody = Message { id: 1, body: b"x".to_vec(), ..Message::default() };
    said(client.send(nobody).await, Code::NotFound, "id not exists");
    said(client.subscribe(Consumer { id: 1, from: 1, user: 0 }).await, Code::NotFound, "id not exists");
    client.reg(Id { id: 1 }).await.unwrap();
    said(client.reg(Id { id: 1 }).await, Code::AlreadyExists, "id already exists");
    let mut early = subscribe(&mut client, 1, 1).await;
    for number in 1..=10 {
        send(&mut client, 1, &format!("Hello {number}")).await;
    }
    let mut all = subscribe(&mut client, 1, 1).await;
    let mut some = subscribe(&mut client, 1, 8).await;
    let mut new = subscribe(&mut client, 1, NEW_ONLY).await;
    send(&mut client, 1, "live").await;
    for number in 1..=10 {
        let hello = (number, format!("Hello {number}"));
        assert_eq!(next(&mut early).await, hello);
        assert_eq!(next(&mut all).await, hello);
        if number >= 8 {
            assert_eq!(next(&mut some).await, hello);
        }
    }
    for stream in [&mut early, &mut all, &mut some, &mut new] {
        assert_eq!(next(stream).await, (11, "live".to_owned()));
    }
    assert_eq!(offsets(&mut client, 1, 2, 5).await, [2, 3, 4, 5]);
    assert_eq!(offsets(&mut client, 1, -7, 2).await, [1, 2]);
    assert_eq!(offsets(&mut client, 1, 5, 2).await, [0_i64; 0]);
    let latest = client.latest(ConsumeLatest { id: 1, length: 2 }).await.unwrap().into_inner();
    assert_eq!(latest.messages.iter().map(|message| message.offset).collect::<Vec<_>>(), [10, 11]);
    client.unreg(Id { id: 1 }).await.unwrap();
    assert_eq!(new.next().await.unwrap().unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_stand_across_restarts_and_retention_is_exact() {
    let (world, mut client) = world().await;
    client.reg(Id { id: 4 }).await.unwrap();
    client.configure(Settings { id: 4, retention: Some(5), ..Settings::default() }).await.unwrap();
    for number in 1..=7 {
        assert_eq!(post(&mut client, 4, &number.to_string()).await.unwrap(), number);
    }
    let _stream = subscribe(&mut client, 4, 1).await;
    let world = world.restart().await;
    let mut client = self::client(&world).await;
    assert_eq!(offsets(&mut client, 4, 0, 100).await, [3, 4, 5, 6, 7]);
    let described = client.describe(Id { id: 4 }).await.unwrap().into_inner();
    assert_eq!((described.first_offset, described.next_offset, described.subscribers), (3, 8, 0));
    let mut stream = subscribe(&mut client, 4, 0).await;
    assert_eq!(post(&mut client, 4, "8").await.unwrap(), 8);
    for number in 3..=8 {
        assert_eq!(next(&mut stream).await, (number, number.to_string()));
    }
    assert_eq!(offsets(&mut client, 4, 0, 100).await, [4, 5, 6, 7, 8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_reads_on_across_a_swap_and_a_trap() {
    let (world, mut client) = world().await;
    client.reg(Id { id: 1 }).await.unwrap();
    let mut stream = subscribe(&mut client, 1, 1).await;
    let mut writer = client.clone();
    let writing = tokio::spawn(async move {
        for number in 1..=200_i64 {
            assert_eq!(post(&mut writer, 1, &number.to_string()).await.unwrap(), number);
        }
    });
    world.deploy(&services().chat_v2).await.unwrap();
    for number in 1..=200 {
        assert_eq!(next(&mut stream).await, (number, number.to_string()));
    }
    writing.await.unwrap();
    let live = world.plugin_named("chat").await.live.unwrap();
    assert_eq!(live.label, "2.0.0");
    world.deploy(&services().chat_trapping).await.unwrap_err();
    // It takes no state of a newer schema; the one that does is tried from the beginning.
    let world = World::serving(&[&services().chat]).await;
    let mut client = self::client(&world).await;
    client.reg(Id { id: 1 }).await.unwrap();
    let mut stream = subscribe(&mut client, 1, 1).await;
    world.deploy(&services().chat_trapping).await.unwrap();
    assert_eq!(post(&mut client, 1, "fine").await.unwrap(), 1);
    // The version on probation traps on it; the one before takes it.
    assert_eq!(post(&mut client, 1, "!trap!").await.unwrap(), 2);
    assert_eq!(post(&mut client, 1, "on").await.unwrap(), 3);
    for (offset, body) in [(1, "fine"), (2, "!trap!"), (3, "on")] {
        assert_eq!(next(&mut stream).await, (offset, body.to_owned()));
    }
    let back = async || (world.plugin_named("chat").await.live?.label == "1.0.0").then_some(());
    eventually("the version before", back).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_subscriber_delays_nobody_and_is_told_why_it_is_cut() {
    let world = World::serving_with(&[&services().chat], |config| config.stream_messages = 64).await;
    let mut client = client(&world).await;
    client.reg(Id { id: 1 }).await.unwrap();
    let mut stalled = subscribe(&mut self::client(&world).await, 1, NEW_ONLY).await;
    let mut reader = subscribe(&mut self::client(&world).await, 1, NEW_ONLY).await;
    let body = "x".repeat(16 << 10);
    let mut sent = 0;
    while world.metric("hotseat_service_streams_cut_total").await == 0 {
        sent += 1;
        assert_eq!(post(&mut client, 1, &body).await.unwrap(), sent);
        assert_eq!(next(&mut reader).await.0, sent);
    }
    let cut = loop {
        if let Err(status) = stalled.next().await.unwrap() {
            break status;
        }
    };
    assert_eq!(cut.code(), Code::ResourceExhausted, "{cut}");
    assert_eq!(post(&mut client, 1, "after").await.unwrap(), sent + 1);
    assert_eq!(next(&mut reader).await, (sent + 1, "after".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_are_limited_muted_and_filtered_as_the_operator_says() {
    let world = World::serving_with(&[&services().chat], |config| {
        let settings = [("words", "fuck"), ("burst", "3"), ("messages_per_minute", "1")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        config.plugin_config.insert("chat".to_owned(), settings.into());
    })
    .await;
    let mut client = client(&world).await;
    client.reg(Id { id: 1 }).await.unwrap();
    let message = |sender, body: &str| Message { id: 1, sender, body: body.into(), ..Message::default() };
    client.send(message(7, "Fuck you，fuck you sisters!")).await.unwrap();
    let latest = client.latest(ConsumeLatest { id: 1, length: 1 }).await.unwrap().into_inner();
    assert_eq!(String::from_utf8_lossy(&latest.messages[0].body), "**** you，**** you sisters!");
    for _ in 0..2 {
        client.send(message(7, "x")).await.unwrap();
    }
    assert_eq!(client.send(message(7, "x")).await.unwrap_err().code(), Code::ResourceExhausted);
    client.send(message(0, "the system is not limited")).await.unwrap();
    client.join(Member { id: 1, user: 9 }).await.unwrap();
    client.configure(Settings { id: 1, members_post: Some(true), ..Settings::default() }).await.unwrap();
    assert_eq!(client.send(message(8, "x")).await.unwrap_err().code(), Code::PermissionDenied);
    client.send(message(9, "x")).await.unwrap();
    let page = Page { id: 1, after: 0, length: 0 };
    assert_eq!(client.presence(page).await.unwrap().into_inner().users, [0_u64; 0]);
    let stream = client.subscribe(Consumer { id: 1, from: NEW_ONLY, user: 9 }).await.unwrap();
    assert_eq!(client.presence(page).await.unwrap().into_inner().users, [9]);
    drop(stream);
    let absent = async || client.presence(page).await.unwrap().into_inner().users.is_empty().then_some(());
    eventually("an absent member", absent).await;
}
