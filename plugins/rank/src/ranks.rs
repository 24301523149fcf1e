//! All sets of one shard: the state that is saved.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::board::{Board, Change};
use crate::error::{RankError, SORT_MAX};
use crate::limits::Limits;
use crate::set::{AtLimit, FinishedSeason, Options, Season, Set};

/// Seasons that one timer ends; more that are due follow with the next one.
const RESETS_MAX: usize = 1000;

/// Entries a full set may lose by one change. Above one, so that a set whose limit was lowered comes down to it.
const DROPS_MAX: usize = 2;

/// The sets of one shard.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ranks {
    sets: BTreeMap<u64, Set>,
    /// When seasons end, and of which sets. Follows from the sets.
    #[serde(skip)]
    due: BTreeSet<(u64, u64)>,
    /// Entries of all sets and seasons. Follows from the sets.
    #[serde(skip)]
    entries: usize,
    #[serde(skip)]
    limits: Limits,
}

impl Ranks {
    /// A shard without sets.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Completes a state that was read back.
    pub fn loaded(&mut self, limits: Limits) {
        self.limits = limits;
        self.entries = self.sets.values().map(Set::entries).sum();
        self.due = self.sets.iter().filter_map(|(id, set)| Some((set.due_ms()?, *id))).collect();
    }

    /// What the operator allows.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// When the next season ends by its schedule, milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// A set, to read.
    ///
    /// # Errors
    /// If there is none.
    pub fn set(&self, id: u64) -> Result<&Set, RankError> {
        self.sets.get(&id).ok_or(RankError::UnknownSet)
    }

    /// A season of a set, to read; 0 is the running one.
    ///
    /// # Errors
    /// If there is no such set or season.
    pub fn season(&self, id: u64, season: u64) -> Result<&Season, RankError> {
        let set = self.set(id)?;
        set.season(season).ok_or_else(|| RankError::UnknownSeason {
            set: id,
            season,
            oldest: set.finished().front().unwrap_or(set.running()).number,
            running: set.running().number,
        })
    }

    /// Entries the running season of a set may have.
    #[must_use]
    pub fn entries_max(&self, options: &Options) -> u64 {
        match options.max_entries {
            0 => self.limits.set_entries,
            own => own.min(self.limits.set_entries),
        }
    }

    /// Changes one user's score.
    ///
    /// # Errors
    /// Where a limit is reached.
    pub fn change_one(&mut self, now_ms: u64, id: u64, user: i64, score: i64) -> Result<(), RankError> {
        self.change(now_ms, id, &[user], &[score], Change::Set)
    }

    /// Changes the scores of users: all, in their order, or none.
    ///
    /// # Errors
    /// If the lists do not fit each other, or where a limit is reached.
    pub fn change(
        &mut self,
        now_ms: u64,
        id: u64,
        users: &[i64],
        values: &[i64],
        change: Change,
    ) -> Result<(), RankError> {
        if users.len() != values.len() {
            let what = if change == Change::Set { "scores" } else { "deltas" };
            return Err(RankError::Lengths { users: users.len(), values: values.len(), what });
        }
        self.check_request(users.len())?;
        self.reset_due(now_ms, id);
        self.admit(id, users)?;
        let limit = self.sets.get(&id).map_or(self.limits.set_entries, |set| self.entries_max(set.options()));
        let set = self.sets.entry(id).or_insert_with(|| Set::new(now_ms));
        let drops = set.options().at_limit == AtLimit::DropLast;
        let board = set.board_mut();
        let before = board.len();
        if drops && before as u64 + users.len() as u64 > limit {
            for (user, value) in users.iter().zip(values) {
                board.change(*user, *value, change);
                for _ in 0..DROPS_MAX {
                    if board.len() as u64 > limit {
                        board.remove_last();
                    }
                }
            }
        } else {
            board.change_many(users, values, change);
        }
        self.entries = self.entries - before + board.len();
        Ok(())
    }

    /// Whether a request or answer about so many users is too long.
    ///
    /// # Errors
    /// If it is.
    pub fn check_request(&self, users: usize) -> Result<(), RankError> {
        let limit = self.limits.request;
        if users as u64 > limit { Err(RankError::Request { users, limit }) } else { Ok(()) }
    }

    /// Whether an answer of so many entries is too long.
    ///
    /// # Errors
    /// If it is.
    pub fn check_answer(&self, entries: usize) -> Result<(), RankError> {
        let limit = self.limits.answer;
        if entries as u64 > limit { Err(RankError::Answer { entries, limit }) } else { Ok(()) }
    }

    /// Whether there is room for these users in a set.
    fn admit(&self, id: u64, users: &[i64]) -> Result<(), RankError> {
        let set = self.sets.get(&id);
        if set.is_none() {
            self.check_sets()?;
        }
        let default = Options::default();
        let options = set.map_or(&default, Set::options);
        let limit = self.entries_max(options);
        let present = set.map_or(0, |set| set.board().len()) as u64;
        let fit = |more: u64| present + more <= limit && self.entries as u64 + more <= self.limits.entries;
        // Nearly always all fit, be they new or not.
        if fit(users.len() as u64) {
            return Ok(());
        }
        let new = count_new(set.map(Set::board), users);
        if new == 0 || fit(new) {
            return Ok(());
        }
        let growth = match options.at_limit {
            AtLimit::Refuse if present + new > limit => return Err(RankError::Entries { set: id, limit }),
            AtLimit::Refuse => new,
            AtLimit::DropLast => new.min(limit.saturating_sub(present)),
        };
        if self.entries as u64 + growth > self.limits.entries && growth > 0 {
            return Err(RankError::ShardEntries { limit: self.limits.entries });
        }
        Ok(())
    }

    fn check_sets(&self) -> Result<(), RankError> {
        let limit = self.limits.sets;
        if self.sets.len() as u64 >= limit { Err(RankError::Sets { limit }) } else { Ok(()) }
    }

    /// Removes a set; nothing happens if there is none.
    pub fn delete_set(&mut self, id: u64) {
        if let Some(set) = self.sets.remove(&id) {
            self.entries -= set.entries();
            self.plan(id, set.due_ms(), None);
        }
    }

    /// Removes a user from a set; nothing happens if the set has no such user.
    ///
    /// # Errors
    /// If there is no such set.
    pub fn delete_user(
        &mut self,
        now_ms: u64,
        id: u64,
        user: i64,
        all_seasons: bool,
    ) -> Result<(), RankError> {
        self.reset_due(now_ms, id);
        let set = self.sets.get_mut(&id).ok_or(RankError::UnknownSet)?;
        let before = set.entries();
        set.remove(user, all_seasons);
        self.entries = self.entries - before + set.entries();
        Ok(())
    }

    /// Replaces the options of a set, and creates it if need be.
    ///
    /// # Errors
    /// Where a limit is reached, or the set has too many entries for the change.
    pub fn configure(&mut self, now_ms: u64, id: u64, options: Options) -> Result<(), RankError> {
        let (value, limit) = (options.max_entries, self.limits.set_entries);
        if value > limit {
            return Err(RankError::MaxEntries { value, limit });
        }
        self.reset_due(now_ms, id);
        match self.sets.get(&id).map(Set::board) {
            None => self.check_sets()?,
            Some(board) => {
                let entries = board.len();
                if value > 0 && entries as u64 > value {
                    return Err(RankError::Above { set: id, entries, limit: value });
                }
                if options.ordering != board.ordering() && entries > SORT_MAX {
                    return Err(RankError::Sort { set: id, entries });
                }
            }
        }
        let set = match self.sets.entry(id) {
            Entry::Vacant(free) => free.insert(Set::new(now_ms)),
            Entry::Occupied(set) => set.into_mut(),
        };
        let (entries, due_ms) = (set.entries(), set.due_ms());
        set.configure(options, now_ms);
        let planned = set.due_ms();
        self.entries = self.entries - entries + set.entries();
        self.plan(id, due_ms, planned);
        Ok(())
    }

    /// Finishes the running season of a set.
    ///
    /// # Errors
    /// If there is no such set.
    pub fn reset(&mut self, now_ms: u64, id: u64) -> Result<FinishedSeason, RankError> {
        let set = self.sets.get_mut(&id).ok_or(RankError::UnknownSet)?;
        let (entries, due_ms) = (set.entries(), set.due_ms());
        let finished = set.reset(now_ms);
        let planned = set.due_ms();
        self.entries = self.entries - entries + set.entries();
        self.plan(id, due_ms, planned);
        Ok(finished)
    }

    /// Finishes the seasons whose schedule says so, up to 1,000 of them.
    pub fn reset_all_due(&mut self, now_ms: u64) {
        for _ in 0..RESETS_MAX {
            let Some((_, id)) = self.due.first().copied().filter(|(due_ms, _)| *due_ms <= now_ms) else {
                return;
            };
            self.reset_due(now_ms, id);
        }
    }

    /// Finishes a set's season if it is due: a change that comes just before the timer counts for the next one.
    fn reset_due(&mut self, now_ms: u64, id: u64) {
        let due_ms = self.sets.get(&id).and_then(Set::due_ms);
        if due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            // It is there.
            let _ = self.reset(now_ms, id);
        }
    }

    fn plan(&mut self, id: u64, before: Option<u64>, after: Option<u64>) {
        if let Some(due_ms) = before {
            self.due.remove(&(due_ms, id));
        }
        if let Some(due_ms) = after {
            self.due.insert((due_ms, id));
        }
    }
}

/// How many of these users are not on the board, each counted once.
fn count_new(board: Option<&Board>, users: &[i64]) -> u64 {
    let mut new: Vec<i64> =
        users.iter().copied().filter(|user| !board.is_some_and(|board| board.has(*user))).collect();
    new.sort_unstable();
    new.dedup();
    new.len() as u64
}
