//! The cluster as a whole: six processes on a real etcd, two hundred players, and everything that may happen to it,
//! one after the other.

use std::fmt::Display;
use std::time::Duration;

use futures_util::StreamExt as _;
use hotseat::proto::original::snowflake::{Key, NullRequest};
use hotseat::proto::original::snowflake_service_client::SnowflakeServiceClient;
use hotseat_services::chat::{ChatServiceClient, Consumer, Id, Message, NEW_ONLY};
use hotseat_services::rank::{Change, Range, RankingServiceClient};
use tokio_util::sync::CancellationToken;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::arena::enter;
use crate::cluster::{Bots, Cluster, lossless, number, whole};
use crate::cluster_faults::runs;
use crate::cluster_moves::ping_on;
use crate::guests::guests;
use crate::process::{channel, operate};
use crate::world::{PATIENCE, eventually};

/// A client of the cluster's services, which knows what they must say.
struct Customer {
    ids: SnowflakeServiceClient<Channel>,
    chat: ChatServiceClient<Channel>,
    rank: RankingServiceClient<Channel>,
    heard: Streaming<Message>,
}

/// What it has been given.
#[derive(Debug, Default)]
struct Receipt {
    id: u64,
    sequence: i64,
    posted: i64,
}

/// The chat channel and the rank set of the customer.
const OWN: u64 = 77;

/// Rooms stay where they are while a version is on probation; not for half a minute here.
const BRIEF: [&str; 2] = ["--probation-ms", "3000"];

impl Customer {
    /// One of the services at these addresses.
    async fn new(ids: &str, talk: &str) -> Self {
        let mut chat = ChatServiceClient::new(channel(talk));
        chat.reg(Id { id: OWN }).await.unwrap();
        let heard = chat.subscribe(Consumer { id: OWN, from: NEW_ONLY, user: 0 }).await.unwrap().into_inner();
        let rank = RankingServiceClient::new(channel(talk));
        Self { ids: SnowflakeServiceClient::new(channel(ids)), chat, rank, heard }
    }

    /// Uses all of them until told to end.
    async fn shop(mut self, end: CancellationToken) -> Receipt {
        let mut receipt = Receipt::default();
        while !end.is_cancelled() {
            let id = self.ids.get_uuid(NullRequest {}).await;
            rise(&mut receipt.id, id.map(|id| id.into_inner().uuid));
            let next = self.ids.next(Key { name: "orders".to_owned() }).await;
            rise(&mut receipt.sequence, next.map(|next| next.into_inner().value));
            self.talk(&mut receipt).await;
            // Nine of ten scores change an entry, and one the order.
            let (user_id, score) = (receipt.posted % 10 + 1, receipt.posted);
            self.rank.rank_change(Change { user_id, score, set_id: OWN }).await.unwrap();
            // Two hundred players are to play besides.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.check(&receipt).await;
        receipt
    }

    async fn talk(&mut self, receipt: &mut Receipt) {
        let body = receipt.posted.to_string().into_bytes();
        let message = Message { id: OWN, body: body.clone(), ..Message::default() };
        receipt.posted += 1;
        assert_eq!(self.chat.post(message).await.unwrap().into_inner().offset, receipt.posted);
        let heard = tokio::time::timeout(PATIENCE, self.heard.next()).await.expect("the channel is silent");
        let Message { offset, body: said, .. } = heard.unwrap().unwrap();
        assert_eq!((offset, said), (receipt.posted, body));
    }

    /// The ten users have the last ten scores, the best first.
    async fn check(mut self, receipt: &Receipt) {
        let top = Range { a: 1, b: 100, set_id: OWN, season: 0 };
        let top = self.rank.query_rank_range(top).await.unwrap().into_inner();
        let scores: Vec<_> = (0..10).map(|behind| receipt.posted - behind).collect();
        assert_eq!(top.scores, scores);
        assert_eq!(top.user_ids, scores.iter().map(|score| score % 10 + 1).collect::<Vec<_>>());
    }
}

/// Each number is above the last one. Where there is none, an etcd that is away for longer than a lease is the reason.
#[track_caller]
fn rise<T: PartialOrd + Display>(last: &mut T, told: Result<T, Status>) {
    match told {
        Ok(next) => {
            assert!(next > *last, "{next} after {last}");
            *last = next;
        }
        Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
    }
}

/// Sends a player somewhere and back to its home room.
async fn send_about(admin: &str, user: u64, to: &str) {
    let user = user.to_string();
    for to in [to, "home"] {
        let told = operate(admin, &["session", "move", "--user", &user, "--to", to]).await;
        assert!(told.contains(&user), "{told}");
    }
}

/// A hundred bots at each agent; they play until they are told to end.
fn fleets(cluster: &Cluster) -> [Bots; 2] {
    ["agent-1", "agent-2"].map(|agent| cluster.bots(agent, 100, "--home", 300))
}

/// As [`Bots::end`], of both; how often players were found again in a room that had moved.
async fn end(fleets: [Bots; 2], check: fn(&serde_json::Value, u64)) -> (u64, u64) {
    let (mut found, mut lost) = (0, 0);
    for bots in fleets {
        let report = bots.end().await;
        check(&report, 100);
        found += number(&report, "reseated");
        lost += number(&report, "lost");
    }
    (found, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_players_and_all_that_may_happen_to_a_cluster() {
    let mut cluster = Cluster::start().await;
    cluster.add_with("game-1", "game", &BRIEF);
    cluster.add_with("game-2", "game", &BRIEF);
    cluster.add_with("ids-1", "snowflake", &["--sequences-create=on"]);
    cluster.add("talk-1", "chat,rank");
    cluster.add("agent-1", "agent");
    cluster.add("agent-2", "agent");
    cluster.settled(&["game-1", "game-2"]).await;
    let (ids, talk) = (cluster.node("ids-1").grpc().to_owned(), cluster.node("talk-1").grpc().to_owned());
    let closing = CancellationToken::new();
    let shopping = tokio::spawn(Customer::new(&ids, &talk).await.shop(closing.clone()));
    let bots = fleets(&cluster);
    cluster.playing(200).await;

    // A host joins, and rooms with their players go there. Bob has an arena on it that others are sent to.
    cluster.add_with("game-3", "game", &BRIEF);
    cluster.settled(&["game-1", "game-2", "game-3"]).await;
    let (mut bob, _) = cluster.player_of("agent-2", "game-3", "bob").await;
    assert_eq!(enter(&mut bob, "x").await.arena, "x");
    let (alice, user) = cluster.player_of("agent-1", "game-1", "alice").await;
    let leaving = CancellationToken::new();
    let players = [alice, bob].map(|client| tokio::spawn(ping_on(client, leaving.clone())));
    let arena = "arena/x@game-3";
    let doors = ["agent-1", "game-2"].map(|node| cluster.node(node).admin().to_owned());
    send_about(&doors[0], user, arena).await;

    // Another one drains, and all of its rooms leave it.
    cluster.drain("game-1");
    cluster.settled(&["game-2", "game-3"]).await;
    send_about(&doors[1], user, arena).await;

    cluster.etcd.kill();
    cluster.etcd.restart().await;
    cluster.settled(&["game-2", "game-3"]).await;

    // A version goes live on all hosts, through one of them.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("v2.wasm");
    std::fs::write(&file, &guests().v2.bytes).unwrap();
    let told =
        operate(&doors[1], &["plugin", "deploy", "game-logic", file.to_str().unwrap(), "--cluster"]).await;
    assert!(told.contains("game-logic is live") && told.contains("nodes        2"), "{told}");
    send_about(&doors[0], user, arena).await;

    // Of all this nobody has noticed anything.
    leaving.cancel();
    for player in players {
        player.await.unwrap();
    }
    let (found, _) = end(bots, lossless).await;
    assert!(found > 60, "{found} players found again, though the rooms of a whole host have moved");

    // A host dies. Its rooms go on elsewhere from its journal; a host that comes later runs what the others run.
    let bots = fleets(&cluster);
    cluster.playing(200).await;
    cluster.kill("game-2");
    cluster.settled(&["game-3"]).await;
    cluster.add_with("game-4", "game", &BRIEF);
    cluster.settled(&["game-3", "game-4"]).await;
    for host in ["game-3", "game-4"] {
        let admin = cluster.node(host).admin().to_owned();
        eventually("version 2", async || runs(&admin, "2.0.0").await.then_some(())).await;
    }
    // What was on its way to or from the host, or not yet on its disk, at the moment it died.
    let (found, lost) = end(bots, whole).await;
    assert!(found > 60 && lost <= 200, "{found} found again, {lost} messages lost");
    closing.cancel();
    let receipt = shopping.await.unwrap();
    assert!(receipt.posted > 100, "{receipt:?}");
    // An etcd that dies before it answers leaves a gap, no number twice.
    assert!(receipt.sequence <= receipt.posted + 20, "{receipt:?}");
}
