//! Who is ahead of whom.

use serde::{Deserialize, Serialize};

/// Which scores are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Order {
    /// The highest score has rank 1.
    #[default]
    Descending,
    /// The lowest score has rank 1.
    Ascending,
}

/// Who is ahead among equal scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Ties {
    /// Whoever had the score first.
    #[default]
    EarlierFirst,
    /// Whoever reached the score last.
    LaterFirst,
    /// The lower user id, as a signed number.
    ByUser,
}

/// The rules of one season: a total order of all its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ordering {
    /// Which scores are good.
    pub order: Order,
    /// Who is ahead among equal ones.
    pub ties: Ties,
}

/// One user's score, and when it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The score.
    pub score: i64,
    /// The serial number of the change that brought the score; one season uses none twice.
    pub since: u64,
}

/// An entry as the tree sorts it: the lower key has the better rank.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    score: u64,
    tie: u64,
    /// Whose entry it is. Not compared: no two entries of a season have the same tie.
    pub user: i64,
}

impl crate::tree::Key for Key {
    #[inline]
    fn lead(&self) -> u64 {
        self.score
    }
}

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        (self.score, self.tie) == (other.score, other.tie)
    }
}

impl Eq for Key {}

impl Ord for Key {
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.score, self.tie).cmp(&(other.score, other.tie))
    }
}

// Without branches, which nobody could predict: this is what the tree spends its time on.
impl PartialOrd for Key {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }

    #[inline]
    fn lt(&self, other: &Self) -> bool {
        (self.score < other.score) | ((self.score == other.score) & (self.tie < other.tie))
    }

    #[inline]
    fn le(&self, other: &Self) -> bool {
        (self.score < other.score) | ((self.score == other.score) & (self.tie <= other.tie))
    }
}

impl Ordering {
    /// The key of an entry.
    #[inline]
    #[must_use]
    pub fn key(self, user: i64, place: Place) -> Key {
        let score = rising(place.score);
        Key {
            score: match self.order {
                Order::Descending => !score,
                Order::Ascending => score,
            },
            tie: match self.ties {
                Ties::EarlierFirst => place.since,
                Ties::LaterFirst => !place.since,
                Ties::ByUser => rising(user),
            },
            user,
        }
    }

    /// The score of a key that was made under the same rules.
    #[inline]
    #[must_use]
    pub fn score(self, key: Key) -> i64 {
        let score = match self.order {
            Order::Descending => !key.score,
            Order::Ascending => key.score,
        };
        (score ^ SIGN).cast_signed()
    }

    /// The change that brought a key's score, if the tie rule makes it part of the key.
    #[inline]
    #[must_use]
    pub fn since(self, key: Key) -> Option<u64> {
        match self.ties {
            Ties::EarlierFirst => Some(key.tie),
            Ties::LaterFirst => Some(!key.tie),
            Ties::ByUser => None,
        }
    }
}

const SIGN: u64 = 1 << 63;

/// The same order as of the signed numbers, in unsigned ones.
#[inline]
fn rising(signed: i64) -> u64 {
    signed.cast_unsigned() ^ SIGN
}
