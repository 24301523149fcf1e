//! The reference game with rank and chat beside it: scores that show up in rank, lines that everybody hears, and a
//! game that plays on without either.

use game_logic::messages::{
    PING_ACK, PING_REQ, Ping, Ranked, SAID_NOTIFY, SAY_FAILED_ACK, SAY_REQ, Said, SayFailedAck, SayReq,
    TOP_ACK, TOP_REQ, TopAck,
};
use game_logic::scores::LEADERBOARD;
use game_logic::talk::endpoint;
use hotseat_client::Client;
use hotseat_packet::Message as _;
use hotseat_services::chat::{ChatServiceClient, ConsumeLatest, Message, Silence};
use hotseat_services::rank::{RankingServiceClient, Users};
use tonic::transport::Channel;

use crate::arena::{Player, enter};
use crate::guests::{guests, services};
use crate::world::{World, eventually};

/// The room of everybody who has not gone elsewhere.
const HOME: &str = "home/0";

async fn world() -> World {
    World::serving_with(&[&services().rank, &services().chat], |config| {
        // As many lines as the test likes.
        let settings = [("words", "darn"), ("messages_per_minute", "0")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        config.plugin_config.insert("chat".to_owned(), settings.into());
    })
    .await
}

/// Plays until rank has this player with the score that the player sees.
async fn ranked(rank: &mut RankingServiceClient<Channel>, player: &mut Player) -> i64 {
    let user = player.user.cast_signed();
    eventually("score in rank", async || {
        player.step().await;
        let users = Users { user_ids: vec![user], set_id: LEADERBOARD, season: 0 };
        // There is no set before somebody has scored.
        let list = rank.query_users(users).await.ok()?.into_inner();
        let score = i64::from(player.score());
        (list.ranks[0] > 0 && list.scores == [score]).then_some(score)
    })
    .await
}

/// Hunts until the score has risen by this much.
async fn hunt(player: &mut Player, points: u32) {
    let score = player.score() + points;
    while player.score() < score {
        player.hunt().await;
    }
    player.head(0, 0).await;
}

async fn top(client: &mut Client) -> TopAck {
    client.send(TOP_REQ, b"").await.unwrap();
    TopAck::from_bytes(&client.wait_for(TOP_ACK).await.unwrap()).unwrap()
}

async fn say(client: &mut Client, text: &str) {
    let request = SayReq { text: text.to_owned() }.to_bytes().unwrap();
    client.send(SAY_REQ, &request).await.unwrap();
}

/// The next line the player hears.
async fn heard(client: &mut Client) -> Said {
    Said::from_bytes(&client.wait_for(SAID_NOTIFY).await.unwrap()).unwrap()
}

async fn refused(client: &mut Client) -> (u8, String) {
    let payload = client.wait_for(SAY_FAILED_ACK).await.unwrap();
    let SayFailedAck { status, text } = SayFailedAck::from_bytes(&payload).unwrap();
    (status, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scores_reach_rank_across_a_swap_of_the_game_and_one_of_rank() {
    let world = world().await;
    let mut rank = RankingServiceClient::new(world.channel().await);
    let mut alice = Player::enter(&world, "alice").await;
    assert_eq!(top(&mut world.client("bob").await).await, TopAck { status: 0, top: vec![] });
    hunt(&mut alice, 1).await;
    let first = ranked(&mut rank, &mut alice).await;
    assert!(first >= 1);
    // With points under way.
    hunt(&mut alice, 1).await;
    world.deploy(&guests().v2).await.unwrap();
    hunt(&mut alice, 1).await;
    world.deploy(&services().rank_v2).await.unwrap();
    let second = ranked(&mut rank, &mut alice).await;
    assert!(second >= first + 2);
    let mine = Ranked { user: alice.user, score: second, rank: 1 };
    assert_eq!(top(&mut alice.client).await, TopAck { status: 0, top: vec![mine] });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_best_score_outlives_the_visit_and_the_node() {
    let world = world().await;
    let mut alice = Player::enter(&world, "alice").await;
    hunt(&mut alice, 3).await;
    let best = i64::from(alice.score());
    // Gone before it is reported, and so is the node.
    drop(alice);
    let world = world.restart().await;
    let mut rank = RankingServiceClient::new(world.channel().await);
    let (mut alice, user) = world.player("alice").await;
    enter(&mut alice, "").await;
    eventually("score in rank", async || {
        let users = Users { user_ids: vec![user.cast_signed()], set_id: LEADERBOARD, season: 0 };
        let list = rank.query_users(users).await.ok()?.into_inner();
        (list.scores[0] >= best).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_is_heard_by_everybody_as_chat_has_kept_it() {
    let world = world().await;
    let mut chat = ChatServiceClient::new(world.channel().await);
    let (mut alice, first) = world.player("alice").await;
    let (mut bob, second) = world.player("bob").await;
    enter(&mut alice, "").await;
    enter(&mut bob, "").await;
    say(&mut alice, "Darn, hello").await;
    let line = Said { user: first, offset: 1, text: "****, hello".to_owned() };
    assert_eq!((heard(&mut alice).await, heard(&mut bob).await), (line.clone(), line.clone()));
    // What comes from elsewhere is told with the next line.
    let system = Message { id: endpoint(HOME), body: b"a notice".to_vec(), ..Message::default() };
    chat.post(system).await.unwrap();
    say(&mut bob, "hello yourself").await;
    let notice = Said { user: 0, offset: 2, text: "a notice".to_owned() };
    let answer = Said { user: second, offset: 3, text: "hello yourself".to_owned() };
    for client in [&mut alice, &mut bob] {
        assert_eq!((heard(client).await, heard(client).await), (notice.clone(), answer.clone()));
    }
    let mute = Silence { id: endpoint(HOME), user: second, until_ms: 0 };
    chat.mute(mute).await.unwrap();
    say(&mut bob, "still there").await;
    let (status, text) = refused(&mut bob).await;
    assert_eq!(status, 7, "{text}");
    let mut carol = world.client("carol").await;
    enter(&mut carol, "").await;
    for expected in [line, notice, answer] {
        assert_eq!(heard(&mut carol).await, expected);
    }
    // Another arena is another chat.
    enter(&mut carol, "pit").await;
    say(&mut carol, "alone?").await;
    assert_eq!(heard(&mut carol).await.offset, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_loses_no_line_and_doubles_none() {
    let world = world().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    enter(&mut alice, "").await;
    enter(&mut bob, "").await;
    say(&mut alice, "first").await;
    heard(&mut alice).await;
    let talking = tokio::spawn(async move {
        for round in 0..40 {
            for line in 0..8 {
                say(&mut alice, &format!("{round} {line}")).await;
            }
            // Their order among one another is chat's.
            for line in 0..8 {
                assert_eq!(heard(&mut alice).await.offset, 2 + 8 * round + line);
            }
        }
        alice
    });
    world.deploy(&guests().v2).await.unwrap();
    world.deploy(&services().chat_v2).await.unwrap();
    world.deploy(&guests().trapping).await.unwrap();
    let mut texts = Vec::new();
    for offset in 1..=321 {
        let line = heard(&mut bob).await;
        assert_eq!(line.offset, offset);
        texts.push(line.text);
    }
    let _alice = talking.await.unwrap();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 321);
    // A fault makes the version on probation go; what was said is still there for who enters.
    world.client("dave").await.send(PING_REQ, &Ping { id: 50 }.to_bytes().unwrap()).await.unwrap();
    let back = async || (world.live().await == "2.0.0").then_some(());
    eventually("the version before", back).await;
    let mut carol = world.client("carol").await;
    enter(&mut carol, "").await;
    for offset in 312..=321 {
        assert_eq!(heard(&mut carol).await.offset, offset);
    }
    let mut chat = ChatServiceClient::new(world.channel().await);
    let latest = ConsumeLatest { id: endpoint(HOME), length: 1 };
    let list = chat.latest(latest).await.unwrap().into_inner();
    assert_eq!(list.messages[0].offset, 321);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_services_the_game_plays_on() {
    let world = World::start(&guests().v1).await;
    let mut alice = Player::enter(&world, "alice").await;
    hunt(&mut alice, 1).await;
    assert_eq!(top(&mut alice.client).await, TopAck { status: 14, top: vec![] });
    say(&mut alice.client, "anybody?").await;
    assert_eq!(refused(&mut alice.client).await, (14, "service chat is not configured".to_owned()));
    let ping = Ping { id: 7 }.to_bytes().unwrap();
    alice.client.send(PING_REQ, &ping).await.unwrap();
    assert_eq!(alice.client.wait_for(PING_ACK).await.unwrap(), ping);
}
