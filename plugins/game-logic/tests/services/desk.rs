//! The services an arena calls, as far as it sees them, and the arena that calls them.

use std::collections::{BTreeMap, BTreeSet};

use game_logic::V1;
use game_logic::arena::{Arena, Player, Rules};
use game_logic::field::{Heading, Point};
use game_logic::scores::{LEADERBOARD, Scores};
use game_logic::talk::Talk;
use hotseat_guest::testing::{ServiceCall, TestRoom};
use hotseat_guest::{Answer, Snapshot, UserId};
use hotseat_services::{chat, rank};
use prost::Message as _;

pub(crate) const SECOND_MS: u64 = 1_000;

/// Rank and chat as far as an arena sees them.
#[derive(Default)]
pub(crate) struct Services {
    /// Best scores as they were reported.
    pub(crate) scores: BTreeMap<i64, i64>,
    pub(crate) endpoints: BTreeSet<u64>,
    pub(crate) lines: Vec<chat::Message>,
}

impl Services {
    pub(crate) fn answer(&mut self, call: &ServiceCall, now_ms: u64) -> Answer {
        let body = &call.body[..];
        match (&call.service[..], &call.method[..]) {
            ("rank", rank::method::UPDATE) => {
                let update = rank::Changes::decode(body).expect("decodes");
                assert_eq!(update.set_id, LEADERBOARD);
                self.scores.extend(update.user_ids.into_iter().zip(update.scores));
                Answer::ok([])
            }
            ("rank", rank::method::QUERY_RANK_RANGE) => {
                let range = rank::Range::decode(body).expect("decodes");
                assert_eq!((range.a, range.b, range.set_id), (1, 10, LEADERBOARD));
                if self.scores.is_empty() {
                    return Answer::error(5, "name not exists");
                }
                let mut top: Vec<_> = self.scores.iter().map(|(user, score)| (*score, *user)).collect();
                top.sort_by_key(|(score, _)| -score);
                let (scores, user_ids) = top.into_iter().take(10).unzip();
                Answer::ok(rank::RankList { user_ids, scores }.encode_to_vec())
            }
            ("chat", chat::method::REG) => {
                self.endpoints.insert(chat::Id::decode(body).expect("decodes").id);
                Answer::ok([])
            }
            ("chat", chat::method::POST) => {
                let line = chat::Message::decode(body).expect("decodes");
                if !self.endpoints.contains(&line.id) {
                    return Answer::error(5, "id not exists");
                }
                if line.sender == 13 {
                    return Answer::error(7, "user 13 is muted");
                }
                let body = String::from_utf8(line.body.clone()).expect("is text").replace("darn", "****");
                let line = self.put(line.id, line.sender, body.as_bytes(), now_ms);
                Answer::ok(chat::Posted { offset: line.offset, time_ms: line.time_ms }.encode_to_vec())
            }
            ("chat", chat::method::LATEST) => {
                let latest = chat::ConsumeLatest::decode(body).expect("decodes");
                let skip = self.lines.len().saturating_sub(latest.length as usize);
                self.list(latest.id, &self.lines[skip..])
            }
            ("chat", chat::method::QUERY) => {
                let range = chat::ConsumeRange::decode(body).expect("decodes");
                assert!(1 <= range.from && range.from <= range.to, "{range:?}");
                self.list(range.id, &self.lines[range.from as usize - 1..range.to as usize])
            }
            other => panic!("the arena calls {other:?}"),
        }
    }

    fn list(&self, id: u64, lines: &[chat::Message]) -> Answer {
        if !self.endpoints.contains(&id) {
            return Answer::error(5, "id not exists");
        }
        Answer::ok(chat::List { messages: lines.to_vec(), cut: false }.encode_to_vec())
    }

    pub(crate) fn put(&mut self, id: u64, sender: u64, body: &[u8], time_ms: u64) -> chat::Message {
        let offset = self.lines.len() as i64 + 1;
        self.lines.push(chat::Message { id, body: body.into(), offset, sender, time_ms });
        self.lines[self.lines.len() - 1].clone()
    }

    /// Answers what is pending, and what is called for then.
    pub(crate) fn serve<R: Rules>(&mut self, room: &mut TestRoom<Arena<R>>) {
        while let Some(call) = room.calls().first() {
            let answer = self.answer(call, room.now_ms());
            room.answer_next(answer);
        }
    }
}

/// A room in which these players stand with a coin in reach each, and one that comes in reach with a step to the right.
pub(crate) fn arena(players: std::ops::RangeInclusive<UserId>) -> TestRoom<Arena<V1>> {
    let place = |user: UserId| Point { x: 100 * user as i16, y: 500 };
    let player = |at| Player { at, heading: Heading::default(), score: 0, best: 0, last_move: 0, memory: () };
    let arena = Arena::<V1> {
        name: String::new(),
        enter_on_join: false,
        tick: 0,
        coins: players.clone().map(place).flat_map(|at| [at, Point { x: at.x + 30, ..at }]).collect(),
        players: players.clone().map(|user| (user, player(place(user)))).collect(),
        asked: BTreeSet::new(),
        scores: Scores::default(),
        talk: Talk::new("home/1"),
    };
    let bytes = postcard::to_stdvec(&arena).expect("encodes");
    let mut room = TestRoom::load(&Snapshot { schema: V1::SCHEMA, bytes }).expect("loads");
    players.for_each(|user| room.join(user));
    room
}

pub(crate) fn ask<R: Rules>(room: &mut TestRoom<Arena<R>>, user: UserId, op: u16, payload: &[u8]) {
    room.message(user, op, payload).expect("is accepted");
}

/// Once what is under way is done, nothing else begins by itself.
#[track_caller]
pub(crate) fn is_quiet<R: Rules>(mut room: TestRoom<Arena<R>>, mut services: Services) {
    room.advance(SECOND_MS);
    services.serve(&mut room);
    room.advance(100 * SECOND_MS);
    assert_eq!((room.calls(), room.timers()), (vec![], vec![]));
}
