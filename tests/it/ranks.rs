//! The rank plugin as its clients see it, those of the original included.

use std::collections::HashMap;

use hotseat_services::rank::{
    Change, Changes, CountRequest, DeleteUserRequest, Increments, Options, Range, RankList,
    RankingServiceClient, SetId, Users,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::guests::services;
use crate::world::{World, eventually};

type Client = RankingServiceClient<Channel>;

async fn client(world: &World) -> Client {
    RankingServiceClient::new(world.channel().await)
}

async fn world() -> (World, Client) {
    let world = World::serving(&[&services().rank]).await;
    let client = client(&world).await;
    (world, client)
}

async fn change(client: &mut Client, set_id: u64, user_id: i64, score: i64) {
    client.rank_change(Change { user_id, score, set_id }).await.unwrap();
}

async fn range(client: &mut Client, set_id: u64, a: i64, b: i64) -> Result<Vec<(i64, i64)>, Status> {
    let list = client.query_rank_range(Range { a, b, set_id, season: 0 }).await?;
    let RankList { user_ids, scores } = list.into_inner();
    Ok(user_ids.into_iter().zip(scores).collect())
}

/// Users in the order of their ranks.
async fn order(client: &mut Client, set_id: u64) -> Vec<i64> {
    range(client, set_id, 1, 10_000).await.unwrap().into_iter().map(|(user, _)| user).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_originals_methods_mean_what_they_meant() {
    let (_world, mut client) = world().await;
    for (user, score) in [(1, 10), (2, 8), (3, 5)] {
        change(&mut client, 7, user, score).await;
    }
    // A lower score moves a user down to where it belongs, and an equal one keeps its place.
    change(&mut client, 7, 2, 6).await;
    change(&mut client, 7, 1, 10).await;
    assert_eq!(range(&mut client, 7, 1, 100).await.unwrap(), [(1, 10), (2, 6), (3, 5)]);
    change(&mut client, 7, 3, 6).await;
    assert_eq!(order(&mut client, 7).await, [1, 2, 3], "who came first is ahead");
    for (a, b) in [(0, 2), (3, 2), (4, 9), (-1, -1)] {
        assert_eq!(range(&mut client, 7, a, b).await.unwrap(), [], "{a}..{b}");
    }
    let users = Users { user_ids: vec![3, 99, -1, 1], set_id: 7, season: 0 };
    let list = client.query_users(users).await.unwrap().into_inner();
    assert_eq!((list.ranks, list.scores), (vec![3, -1, -1, 1], vec![6, 0, 0, 10]));
    client.delete_user(DeleteUserRequest { set_id: 7, user_id: 1, all_seasons: false }).await.unwrap();
    client.delete_user(DeleteUserRequest { set_id: 7, user_id: 99, all_seasons: false }).await.unwrap();
    assert_eq!(order(&mut client, 7).await, [2, 3]);
    client.delete_set(SetId { set_id: 7 }).await.unwrap();
    client.delete_set(SetId { set_id: 7 }).await.unwrap();
    let gone = range(&mut client, 7, 1, 1).await.unwrap_err();
    assert_eq!((gone.code(), gone.message()), (Code::NotFound, "name not exists"));
    let delete = DeleteUserRequest { set_id: 7, user_id: 1, all_seasons: false };
    assert_eq!(client.delete_user(delete).await.unwrap_err().code(), Code::NotFound);
}

/// Messages as the original declares them, with 32 bits.
mod original {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Change {
        #[prost(int32, tag = "1")]
        pub(super) user: i32,
        #[prost(int32, tag = "2")]
        pub(super) score: i32,
        #[prost(uint64, tag = "3")]
        pub(super) set: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Range {
        #[prost(int32, tag = "1")]
        pub(super) a: i32,
        #[prost(int32, tag = "2")]
        pub(super) b: i32,
        #[prost(uint64, tag = "3")]
        pub(super) set: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct RankList {
        #[prost(int32, repeated, tag = "1")]
        pub(super) users: Vec<i32>,
        #[prost(int32, repeated, tag = "2")]
        pub(super) scores: Vec<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Nil {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unmodified_client_of_the_original_is_served() {
    let (world, _) = world().await;
    let mut client = tonic::client::Grpc::new(world.channel().await);
    for (user, score) in [(1, -5), (-2, i32::MAX), (3, i32::MIN)] {
        client.ready().await.unwrap();
        let path = "/proto.RankingService/RankChange".parse().unwrap();
        let codec = ProstCodec::<original::Change, original::Nil>::default();
        client.unary(Request::new(original::Change { user, score, set: 9 }), path, codec).await.unwrap();
    }
    client.ready().await.unwrap();
    let path = "/proto.RankingService/QueryRankRange".parse().unwrap();
    let codec = ProstCodec::<original::Range, original::RankList>::default();
    let list = client.unary(Request::new(original::Range { a: 1, b: 3, set: 9 }), path, codec).await.unwrap();
    let original::RankList { users, scores } = list.into_inner();
    assert_eq!((users, scores), (vec![-2, 1, 3], vec![i32::MAX, -5, i32::MIN]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_works_too() {
    let (_world, mut client) = world().await;
    let (users, scores) = ((1..=4999).collect::<Vec<i64>>(), (1..=4999).collect::<Vec<i64>>());
    client.update(Changes { set_id: 5, user_ids: users, scores }).await.unwrap();
    let best: Vec<i64> = (4900..=4999).rev().collect();
    let top: Vec<i64> =
        range(&mut client, 5, 1, 100).await.unwrap().into_iter().map(|(user, _)| user).collect();
    assert_eq!(top, best);
    let count = client.count(CountRequest { set_id: 5, season: 0 }).await.unwrap().into_inner();
    assert_eq!(count.entries, 4999);
    let more = Increments { set_id: 5, user_ids: vec![1, 2], deltas: vec![i64::MAX, 5000] };
    let list = client.increment(more).await.unwrap().into_inner();
    assert_eq!((list.ranks, list.scores), (vec![1, 2], vec![i64::MAX, 5002]));
    let season = client.reset(SetId { set_id: 5 }).await.unwrap().into_inner();
    assert_eq!((season.number, season.entries), (1, 4999));
    assert_eq!(order(&mut client, 5).await, [0_i64; 0]);
    let old = client.query_rank_range(Range { a: 1, b: 2, set_id: 5, season: 1 }).await.unwrap().into_inner();
    assert_eq!(old.user_ids, [1, 2]);
    let every_minute = Options { set_id: 6, schedule: "* * * * *".to_owned(), ..Options::default() };
    client.configure(every_minute).await.unwrap();
    assert!(client.describe(SetId { set_id: 6 }).await.unwrap().into_inner().next_reset_ms > 0);
    let bad = Options { set_id: 6, schedule: "61 * * * *".to_owned(), ..Options::default() };
    let status = client.configure(bad).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("61"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_outlive_the_node_and_what_was_deleted_stays_deleted() {
    let (world, mut client) = world().await;
    for set in 0..20 {
        for user in 0..10 {
            change(&mut client, set, user, user * 10).await;
        }
        client.delete_user(DeleteUserRequest { set_id: set, user_id: 9, all_seasons: false }).await.unwrap();
    }
    client.delete_set(SetId { set_id: 3 }).await.unwrap();
    let world = world.restart().await;
    let mut client = self::client(&world).await;
    for set in (0..20).filter(|set| *set != 3) {
        assert_eq!(order(&mut client, set).await, [8, 7, 6, 5, 4, 3, 2, 1, 0], "set {set}");
    }
    assert_eq!(range(&mut client, 3, 1, 1).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_under_load_loses_no_score() {
    let (world, client) = world().await;
    let writers: Vec<_> = (0..8_i64)
        .map(|writer| {
            let mut client = client.clone();
            tokio::spawn(async move {
                for step in 1..=150 {
                    change(&mut client, 1, writer, step).await;
                    change(&mut client, 100 + u64::try_from(writer).unwrap(), step, step).await;
                }
            })
        })
        .collect();
    let report = world.deploy(&services().rank_v2).await.unwrap();
    assert_eq!((report.from.label(), report.to.label()), ("1.0.0".into(), "2.0.0".into()));
    assert_eq!(report.pauses.len(), 2);
    let refused = world.deploy(&services().chat).await.unwrap_err().to_string();
    assert!(refused.contains("chat"), "{refused}");
    for writer in writers {
        writer.await.unwrap();
    }
    let mut client = client;
    let scores: HashMap<i64, i64> = range(&mut client, 1, 1, 100).await.unwrap().into_iter().collect();
    assert_eq!(scores, (0..8).map(|writer| (writer, 150)).collect());
    for set in 100..108 {
        assert_eq!(order(&mut client, set).await, (1..=150).rev().collect::<Vec<i64>>());
    }
    // What the new version counts, it has counted.
    let described = client.describe(SetId { set_id: 1 }).await.unwrap().into_inner();
    assert!(described.shard_changes > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_traps_on_a_score_is_taken_back_and_the_score_is_kept() {
    let (world, mut client) = world().await;
    change(&mut client, 1, 1, 10).await;
    world.deploy(&services().rank_trapping).await.unwrap();
    change(&mut client, 1, 2, 20).await;
    // The version on probation traps; the version before it takes the change.
    change(&mut client, 1, 3, rank::TRAP_SCORE).await;
    assert_eq!(order(&mut client, 1).await, [2, 1, 3]);
    let live = async || (world.plugin_named("rank").await.live?.label == "1.0.0").then_some(());
    eventually("the version before", live).await;
    // Live from the start there is nothing to go back to: the trapped change alone is refused.
    let world = World::serving(&[&services().rank_trapping]).await;
    let mut client = self::client(&world).await;
    change(&mut client, 1, 1, 10).await;
    let bad = Change { user_id: 1, score: rank::TRAP_SCORE, set_id: 1 };
    assert_eq!(client.rank_change(bad).await.unwrap_err().code(), Code::Internal);
    assert_eq!(range(&mut client, 1, 1, 9).await.unwrap(), [(1, 10)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_set_outlives_the_node() {
    let (world, mut client) = world().await;
    let users: Vec<i64> = (1..=100_000).collect();
    for user_ids in users.chunks(10_000) {
        let scores = user_ids.iter().map(|user| user * 7919 % 100_003).collect();
        client.update(Changes { set_id: 1, user_ids: user_ids.to_vec(), scores }).await.unwrap();
    }
    let before = range(&mut client, 1, 49_990, 50_010).await.unwrap();
    let world = world.restart().await;
    let mut client = self::client(&world).await;
    assert_eq!(range(&mut client, 1, 49_990, 50_010).await.unwrap(), before);
    let count = client.count(CountRequest { set_id: 1, season: 0 }).await.unwrap().into_inner();
    assert_eq!(count.entries, 100_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_does_not_take_the_state_leaves_it_alone() {
    let world = World::serving(&[&services().rank_v2]).await;
    change(&mut client(&world).await, 1, 7, 70).await;
    let (mut config, dir) = world.stop_and_keep().await;
    // The operator starts an older artefact on the data of a newer one.
    let older = dir.path().join("older.wasm");
    std::fs::write(&older, &services().rank.bytes).unwrap();
    let newer = config.plugin.insert("rank".to_owned(), older).unwrap();
    let world = World::again(config.clone(), dir).await.unwrap();
    let mut client = self::client(&world).await;
    let down = range(&mut client, 1, 1, 1).await.unwrap_err();
    assert_eq!(down.code(), Code::Unavailable, "{down}");
    assert!(down.message().contains("is down") && down.message().contains("schema"), "{down}");
    assert!(world.metric("hotseat_service_shards_down").await > 0);
    // The rest of the node serves on, and the state comes back with a version that takes it.
    world.client("alice").await;
    world.deploy(&services().rank_v2).await.unwrap();
    world.counted("hotseat_service_shards_down", 0).await;
    assert_eq!(range(&mut client, 1, 1, 9).await.unwrap(), [(7, 70)]);
    // So it does when the node is started with it.
    let (_, dir) = world.stop_and_keep().await;
    config.plugin.insert("rank".to_owned(), newer);
    let world = World::again(config, dir).await.unwrap();
    assert_eq!(range(&mut self::client(&world).await, 1, 1, 9).await.unwrap(), [(7, 70)]);
}
