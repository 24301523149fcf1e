//! One leaderboard: the running season, the finished ones, and how it works.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::order::Ordering;
use crate::schedule::Schedule;

/// Finished seasons a set keeps if nothing else is said.
pub const KEPT_DEFAULT: u8 = 1;

/// Finished seasons a set may keep.
pub const KEPT_MAX: u8 = 12;

/// What becomes of a new user when the set is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AtLimit {
    /// The change is refused.
    #[default]
    Refuse,
    /// The user enters, then whoever is last leaves.
    DropLast,
}

/// How a set works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// How seasons are sorted.
    pub ordering: Ordering,
    /// When a season ends by itself.
    pub schedule: Option<Schedule>,
    /// Finished seasons that stay readable, at most [`KEPT_MAX`].
    pub kept: u8,
    /// Entries the running season may have; 0: as many as the operator allows.
    pub max_entries: u64,
    /// What happens at that limit.
    pub at_limit: AtLimit,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ordering: Ordering::default(),
            schedule: None,
            kept: KEPT_DEFAULT,
            max_entries: 0,
            at_limit: AtLimit::default(),
        }
    }
}

/// One season of a set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Season {
    /// From 1, rising.
    pub number: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub began_ms: u64,
    /// Milliseconds since 1970-01-01 UTC, none while it runs.
    pub ended_ms: Option<u64>,
    /// Its entries.
    pub board: Board,
}

/// A leaderboard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Set {
    options: Options,
    running: Season,
    /// Oldest first.
    finished: VecDeque<Season>,
    /// When the schedule ends the running season, milliseconds since 1970-01-01 UTC.
    due_ms: Option<u64>,
}

impl Set {
    /// A set with the default options, whose first season begins now.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        let options = Options::default();
        let board = Board::new(options.ordering);
        Self {
            options,
            running: Season { number: 1, began_ms: now_ms, ended_ms: None, board },
            finished: VecDeque::new(),
            due_ms: None,
        }
    }

    /// How the set works.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The entries of the running season.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.running.board
    }

    /// The entries of the running season, to change.
    pub fn board_mut(&mut self) -> &mut Board {
        &mut self.running.board
    }

    /// The running season.
    #[must_use]
    pub fn running(&self) -> &Season {
        &self.running
    }

    /// The finished seasons that are kept, oldest first.
    #[must_use]
    pub fn finished(&self) -> &VecDeque<Season> {
        &self.finished
    }

    /// A kept season by its number, 0 for the running one.
    #[must_use]
    pub fn season(&self, number: u64) -> Option<&Season> {
        if number == 0 || number == self.running.number {
            return Some(&self.running);
        }
        self.finished.iter().find(|season| season.number == number)
    }

    /// When the schedule ends the running season, milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Entries of all seasons.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.running.board.len() + self.finished.iter().map(|season| season.board.len()).sum::<usize>()
    }

    /// Takes over other options: sorts anew, drops finished seasons that are too many, plans the end of the season.
    pub fn configure(&mut self, options: Options, now_ms: u64) {
        self.running.board.sort_by(options.ordering);
        self.due_ms = match (&options.schedule, self.due_ms) {
            (Some(schedule), Some(due_ms)) if self.options.schedule.as_ref() == Some(schedule) => {
                Some(due_ms)
            }
            (schedule, _) => schedule.as_ref().and_then(|schedule| schedule.after(now_ms)),
        };
        self.options = options;
        self.drop_oldest();
    }

    /// Finishes the running season and begins the next one. Takes no longer for many entries than for few, but what
    /// falls out of the kept seasons is freed.
    pub fn reset(&mut self, now_ms: u64) -> FinishedSeason {
        let next = Season {
            number: self.running.number + 1,
            began_ms: now_ms,
            ended_ms: None,
            board: Board::new(self.options.ordering),
        };
        let mut finished = std::mem::replace(&mut self.running, next);
        finished.ended_ms = Some(now_ms);
        let summary = FinishedSeason {
            number: finished.number,
            began_ms: finished.began_ms,
            ended_ms: now_ms,
            entries: finished.board.len(),
            ordering: finished.board.ordering(),
        };
        self.finished.push_back(finished);
        self.drop_oldest();
        self.due_ms = self.options.schedule.as_ref().and_then(|schedule| schedule.after(now_ms));
        summary
    }

    /// Takes a user off all seasons, or off the running one.
    pub fn remove(&mut self, user: i64, all_seasons: bool) {
        self.running.board.remove(user);
        if all_seasons {
            for season in &mut self.finished {
                season.board.remove(user);
            }
        }
    }

    fn drop_oldest(&mut self) {
        while self.finished.len() > usize::from(self.options.kept) {
            self.finished.pop_front();
        }
    }
}

/// What is said about a season that has just ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishedSeason {
    /// Its number.
    pub number: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub began_ms: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub ended_ms: u64,
    /// Its users.
    pub entries: usize,
    /// How it was sorted.
    pub ordering: Ordering,
}
