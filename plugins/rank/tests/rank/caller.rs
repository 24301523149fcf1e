//! A game that calls the leaderboards through the SDK's caller.

use hotseat_guest::testing::{TestRoom, TestShard};
use hotseat_guest::{Answer, Game, Handle, Refusal, Room, UserId};
use hotseat_services::CallError;
use hotseat_services::rank::{Client, Options};
use rank::V1;
use serde::{Deserialize, Serialize};

const RANKS: Client = Client::new("boards");

#[derive(Default, Serialize, Deserialize)]
struct Caller {
    seen: Vec<String>,
}

impl Game for Caller {
    const SCHEMA: u32 = 1;

    fn open(_room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn message(&mut self, room: &Room<Self>, _user: UserId, op: u16, _payload: &[u8]) -> Result<(), Refusal> {
        room.spawn(move |handle| async move {
            let seen = match op {
                1001 => every_method(&handle).await.map(|()| "all is well".to_owned()),
                _ => RANKS.top(&handle, 404, 3).await.map(|list| format!("{list:?}")),
            };
            let seen = seen.unwrap_or_else(|error| format!("{} {error}", error.status()));
            handle.update(|game, _| game.seen.push(seen));
        });
        Ok(())
    }
}

async fn every_method(handle: &Handle<Caller>) -> Result<(), CallError> {
    let options = Options { set_id: 7, kept_seasons: Some(2), ..Options::default() };
    RANKS.configure(handle, &options).await?;
    RANKS.change(handle, 7, 1, 10).await?;
    // Under way at once, answered in order.
    let (many, count) = (RANKS.update(handle, 7, &[(2, 20), (3, 30)]), RANKS.count(handle, 7));
    many.await?;
    assert_eq!(count.await?, 3);
    let standing = RANKS.increment(handle, 7, 1, 15).await?.expect("is in the set");
    assert_eq!((standing.rank, standing.score), (2, 25));
    let top: Vec<_> = RANKS.top(handle, 7, 2).await?.iter().map(|entry| (entry.rank, entry.user)).collect();
    assert_eq!(top, [(1, 3), (2, 1)]);
    let rest: Vec<_> =
        RANKS.range(handle, 7, 3, 9).await?.iter().map(|entry| (entry.rank, entry.user)).collect();
    assert_eq!(rest, [(3, 2)]);
    let ranks = RANKS.ranks(handle, 7, &[2, 99]).await?;
    assert_eq!(ranks.iter().map(|standing| standing.map(|it| it.rank)).collect::<Vec<_>>(), [Some(3), None]);
    let around: Vec<_> = RANKS
        .around(handle, 7, 1, 0, 1)
        .await?
        .iter()
        .map(|entry| (entry.rank, entry.user, entry.score))
        .collect();
    assert_eq!(around, [(2, 1, 25), (3, 2, 20)]);
    RANKS.delete_user(handle, 7, 2).await?;
    assert_eq!(RANKS.reset(handle, 7).await?.entries, 2);
    assert_eq!(RANKS.seasons(handle, 7).await?.len(), 2);
    assert_eq!(RANKS.describe(handle, 7).await?.finished, 1);
    RANKS.delete_set(handle, 7).await
}

/// Carries calls to the shard and answers back until there are none.
fn serve(room: &mut TestRoom<Caller>, shard: &mut TestShard<V1>) {
    while let Some(call) = room.calls().into_iter().next() {
        assert_eq!((call.service.as_str(), call.instance.as_str()), ("boards", ""));
        // As the host does: by what the method's declaration says.
        let queries = ["Query", "Around", "Count", "Describe", "Seasons"];
        let method = call.method.strip_prefix("proto.RankingService/").expect("is of the service");
        let result = if queries.iter().any(|query| method.starts_with(query)) {
            shard.query(&call.method, &call.body)
        } else {
            shard.call(&call.method, &call.body)
        };
        let answer = match result {
            Ok(body) => Answer::ok(body),
            Err(failure) => Answer::error(failure.status, failure.text),
        };
        room.answer(call.token, answer);
    }
}

#[test]
fn a_game_reaches_every_method() {
    let mut room = TestRoom::<Caller>::open("home/1", b"").expect("opens");
    let mut shard = TestShard::<V1>::open("rank#0").expect("opens");
    room.join(1);
    room.message(1, 1001, b"").expect("is accepted");
    serve(&mut room, &mut shard);
    assert_eq!(room.state().seen, ["all is well"]);
}

#[test]
fn a_game_learns_why_there_is_no_answer() {
    let mut room = TestRoom::<Caller>::open("home/1", b"").expect("opens");
    let mut shard = TestShard::<V1>::open("rank#0").expect("opens");
    room.join(1);
    room.message(1, 1002, b"").expect("is accepted");
    serve(&mut room, &mut shard);
    room.message(1, 1002, b"").expect("is accepted");
    room.answer_next(Answer::error(14, "boards is away"));
    room.message(1, 1002, b"").expect("is accepted");
    room.answer_next(Answer::ok([0x0a, 0x7f]));
    let seen = &room.state().seen;
    assert_eq!(seen[0], "5 proto.RankingService/QueryRankRange: status 5: name not exists");
    assert_eq!(seen[1], "14 proto.RankingService/QueryRankRange: status 14: boards is away");
    assert!(
        seen[2].starts_with("13 proto.RankingService/QueryRankRange: the response does not decode: "),
        "{seen:?}"
    );
}
