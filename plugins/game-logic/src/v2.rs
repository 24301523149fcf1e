//! Version 2: coins in quick succession are worth more.

use hotseat_guest::{decode, encode};
use serde::{Deserialize, Serialize};

use crate::arena::{Arena, Player, Rules};
use crate::v1::V1;

/// The longest pause between two coins of a streak, in milliseconds.
const STREAK_MS: u64 = 3_000;

/// The rules of version 2.
pub struct V2;

/// What version 2 remembers of a player.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    /// When the player took its last coin (milliseconds since 1970).
    pub last_coin_ms: Option<u64>,
}

impl Streak {
    /// What a coin taken now is worth: 2 if the one before is not too long ago, else 1.
    pub(crate) fn points(&mut self, now_ms: u64) -> u32 {
        let before = self.last_coin_ms.replace(now_ms);
        if before.is_some_and(|before| now_ms.saturating_sub(before) <= STREAK_MS) { 2 } else { 1 }
    }
}

impl Rules for V2 {
    const NUMBER: u8 = 2;
    const SCHEMA: u32 = 4;
    type Memory = Streak;

    fn points(streak: &mut Streak, now_ms: u64) -> u32 {
        streak.points(now_ms)
    }

    fn migrate(from: u32, bytes: &[u8]) -> Result<Arena<Self>, String> {
        match from {
            V1::SCHEMA => decode::<Arena<V1>>(bytes).map(with_streaks),
            _ => Err(format!("no migration from schema {from} to {}", Self::SCHEMA)),
        }
    }

    fn downgrade(arena: &Arena<Self>, schema: u32) -> Result<Vec<u8>, String> {
        match schema {
            // The arena lives on: what is taken apart is a copy of it.
            V1::SCHEMA => encode(&without_streaks(decode(&encode(arena)?)?)),
            _ => Err(format!("no downgrade from schema {} to {schema}", Self::SCHEMA)),
        }
    }
}

/// A room of version 1 whose players go on where they are; that version remembers no streaks.
fn without_streaks(arena: Arena<V2>) -> Arena<V1> {
    let players = arena.players.into_iter().map(|(user, player)| {
        let Player { at, heading, score, best, last_move, memory: Streak { .. } } = player;
        (user, Player { at, heading, score, best, last_move, memory: () })
    });
    Arena {
        name: arena.name,
        enter_on_join: arena.enter_on_join,
        tick: arena.tick,
        coins: arena.coins,
        players: players.collect(),
        asked: arena.asked,
        scores: arena.scores,
        talk: arena.talk,
    }
}

/// A room of version 1 whose players go on where they are, none of them on a streak yet.
pub(crate) fn with_streaks<R: Rules<Memory = Streak>>(old: Arena<V1>) -> Arena<R> {
    let players = old.players.into_iter().map(|(user, player)| {
        let Player { at, heading, score, best, last_move, memory: () } = player;
        (user, Player { at, heading, score, best, last_move, memory: Streak::default() })
    });
    Arena {
        name: old.name,
        enter_on_join: old.enter_on_join,
        tick: old.tick,
        coins: old.coins,
        players: players.collect(),
        asked: old.asked,
        scores: old.scores,
        talk: old.talk,
    }
}
