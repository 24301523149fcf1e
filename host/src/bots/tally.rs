//! Tally: what players count, and the board on which they put it together.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

/// The counters from one list, so that none is forgotten in a sum.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of one player, of all, or of a stretch of time.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct Tally {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Tally {
            pub(super) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// What came since `before`, an earlier state of the same counters.
            #[must_use]
            pub(super) fn since(&self, before: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(before.$name),)* }
            }
        }
    };
}

counters! {
    /// Pings sent.
    pings,
    /// Pings answered, each counted once.
    answered,
    /// Pings that were never answered, those refused with an error included.
    lost,
    /// Answers to pings that had been answered already.
    duplicated,
    /// Answers that came after the answer to a later ping.
    out_of_order,
    /// Answers to pings that were never sent.
    unasked,
    /// Pings that were not sent because too many were unanswered.
    held_back,
    /// Moves sent.
    moves,
    /// Players whose last move was never seen to count.
    moves_lost,
    /// Arena notifies received.
    notifies,
    /// Ticks of which no notify came.
    ticks_missed,
    /// Notifies with a tick that had been seen already.
    ticks_repeated,
    /// Notifies in which the player's score was lower than before.
    scores_fallen,
    /// Notifies in which the player was further away than it can have moved, or not there at all.
    positions_jumped,
    /// Notifies that showed an older move than before, or one that was never sent.
    moves_undone,
    /// Times a room told a player that it had found it again.
    reseated,
    /// Error frames received.
    errors,
    /// Frames received that nothing was known about, or that did not decode.
    odd_frames,
    /// Bytes sent, frame heads included.
    bytes_out,
    /// Bytes received, frame heads included.
    bytes_in,
}

impl Tally {
    /// Breaks in what a player saw of its arena: time, place, score and moves.
    pub fn discontinuities(&self) -> u64 {
        self.ticks_missed
            + self.ticks_repeated
            + self.scores_fallen
            + self.positions_jumped
            + self.moves_undone
            + self.moves_lost
    }
}

/// The longest a player waited from one notify to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) length: Duration,
    /// When it ended, from the fleet's start.
    pub(super) at: Duration,
}

impl Wait {
    pub(super) fn max(self, other: Self) -> Self {
        if other.length > self.length { other } else { self }
    }
}

/// Error frames with one code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refusals {
    pub(super) count: u64,
    /// The text of the first.
    pub(super) text: String,
}

/// Codes kept apart; what else comes is counted in [`Tally::errors`] only.
const CODES_MAX: usize = 32;
/// Texts of failures kept.
const FAILURES_MAX: usize = 4;
/// Rules numbers that are told apart; above is 0, which no game has.
const RULES: usize = 8;

/// How many players are how far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Crowd {
    /// Logged in and, where they are to play, in an arena.
    pub(super) playing: usize,
    /// Never got there.
    pub(super) failed: usize,
    /// Were thrown out before they were done.
    pub(super) disconnected: usize,
    /// By the rules in the last notify.
    pub(super) rules: [usize; RULES],
}

/// What all players have seen so far.
pub(super) struct Totals {
    pub(super) tally: Tally,
    /// Microseconds from ping to answer, since they were last taken off.
    pub(super) latency: Histogram<u64>,
    /// Since it was last taken off.
    pub(super) wait: Wait,
    pub(super) refusals: BTreeMap<i32, Refusals>,
    pub(super) failures: Vec<String>,
}

/// Where all players of a fleet report to.
pub(super) struct Board {
    pub(super) started: Instant,
    totals: Mutex<Totals>,
    pub(super) crowd: watch::Sender<Crowd>,
}

impl Board {
    pub(super) fn new() -> Self {
        let totals = Totals {
            tally: Tally::default(),
            latency: latencies(),
            wait: Wait::default(),
            refusals: BTreeMap::new(),
            failures: Vec::new(),
        };
        Self { started: Instant::now(), totals: Mutex::new(totals), crowd: watch::Sender::default() }
    }

    pub(super) fn totals(&self) -> MutexGuard<'_, Totals> {
        // Counters are whole at every step, so a panic elsewhere does not spoil them.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refused(&self, code: i32, text: &str) {
        let mut totals = self.totals();
        if totals.refusals.len() < CODES_MAX || totals.refusals.contains_key(&code) {
            let refusals = totals.refusals.entry(code).or_default();
            if refusals.count == 0 {
                text.clone_into(&mut refusals.text);
            }
            refusals.count += 1;
        }
    }

    pub(super) fn failed(&self, text: String) {
        let mut totals = self.totals();
        if totals.failures.len() < FAILURES_MAX {
            totals.failures.push(text);
        }
    }

    /// A player sees other rules than before; `None` is no notify yet, or no more.
    pub(super) fn rules(&self, before: Option<u8>, now: Option<u8>) {
        self.crowd.send_modify(|crowd| {
            if let Some(before) = before {
                crowd.rules[slot(before)] -= 1;
            }
            if let Some(now) = now {
                crowd.rules[slot(now)] += 1;
            }
        });
    }
}

/// Where players with these rules are counted.
pub(super) fn slot(rules: u8) -> usize {
    Some(usize::from(rules)).filter(|rules| *rules < RULES).unwrap_or(0)
}

/// An empty histogram of microseconds: 1 µs to 60 s, three digits.
pub(super) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in the crate's range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences_have_every_counter() {
        let one = Tally { pings: 3, bytes_in: 9, ticks_missed: 1, moves_lost: 1, ..Tally::default() };
        let mut sum = one;
        sum.add(&one);
        assert_eq!(sum.since(&one), one);
        assert_eq!(sum.discontinuities(), 4);
    }

    #[test]
    fn players_move_from_rules_to_rules() {
        let board = Board::new();
        board.rules(None, Some(1));
        board.rules(None, Some(1));
        board.rules(Some(1), Some(2));
        board.rules(None, Some(200));
        assert_eq!(board.crowd.borrow().rules[..3], [1, 1, 1]);
        board.rules(Some(2), None);
        assert_eq!(board.crowd.borrow().rules[..3], [1, 1, 0]);
    }

    #[test]
    fn the_first_text_of_a_code_is_kept() {
        let board = Board::new();
        board.refused(16, "first");
        board.refused(16, "second");
        let totals = board.totals();
        assert_eq!(totals.refusals[&16], Refusals { count: 2, text: "first".into() });
    }
}
