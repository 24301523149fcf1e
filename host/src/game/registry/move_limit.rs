//! Moves: how often rooms send a player on. Two rooms that send one to and fro would do nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// What the limit is for.
const WINDOW: Duration = Duration::from_secs(1);

/// A line of the log about it, so often at most.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The moves of the present second. It holds a number for each player who has been moved in it.
#[derive(Debug)]
pub(super) struct Moves {
    most: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    began: Instant,
    moves: HashMap<u64, u32>,
    told: Option<Instant>,
}

impl Moves {
    /// At most `most` moves a second of each player.
    pub(super) fn new(most: u32) -> Self {
        let state = State { began: Instant::now(), moves: HashMap::new(), told: None };
        Self { most, state: Mutex::new(state) }
    }

    /// Counts a move; false if there have been too many in this second.
    pub(super) fn count(&self, user: u64, room: &str, now: Instant) -> bool {
        // The state is whole at every step, so a panic elsewhere does not spoil it.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.began) >= WINDOW {
            state.began = now;
            state.moves.clear();
        }
        let moves = state.moves.entry(user).or_default();
        *moves += 1;
        if *moves <= self.most {
            return true;
        }
        *moves = self.most;
        if state.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY) {
            state.told = Some(now);
            warn!(room, user, limit_per_s = self.most, "a player is not moved again within this second");
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_player_has_so_many_moves_a_second() {
        let moves = Moves::new(3);
        let now = Instant::now();
        for _ in 0..3 {
            assert!(moves.count(1, "a", now));
        }
        assert!(!moves.count(1, "a", now));
        assert!(moves.count(2, "a", now));
        assert!(moves.count(1, "a", now + WINDOW));
    }
}
