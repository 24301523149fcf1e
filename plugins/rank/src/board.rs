//! One season's leaderboard: the order and the users, kept in step.

use serde::{Deserialize, Serialize, Serializer};

use crate::order::{Key, Ordering, Place};
use crate::tree::Tree;
use crate::users::Users;

/// What becomes of a user's score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is replaced. A score the user has already keeps their place.
    Set,
    /// It is added to, up to the bounds of `i64`; a new user has 0.
    Add,
}

impl Change {
    #[inline]
    fn of(self, score: i64, value: i64) -> i64 {
        match self {
            Self::Set => value,
            Self::Add => score.saturating_add(value),
        }
    }
}

/// Users in the order of their scores. Positions count from 0.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Saved<Vec<Entry>>")]
pub struct Board {
    ordering: Ordering,
    /// The serial number of the last change of a score.
    serial: u64,
    tree: Tree<Key>,
    users: Users,
}

/// The layout of a saved board.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Board")]
struct Saved<E> {
    ordering: Ordering,
    serial: u64,
    /// In the order of their ranks.
    entries: E,
}

/// User, score, and the change that brought it.
type Entry = (i64, i64, u64);

impl Board {
    /// A board without users.
    #[must_use]
    pub fn new(ordering: Ordering) -> Self {
        Self { ordering, serial: 0, tree: Tree::new(), users: Users::with_capacity(0) }
    }

    /// The rules it is sorted by.
    #[must_use]
    pub fn ordering(&self) -> Ordering {
        self.ordering
    }

    /// The number of users.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there are no users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Whether a user is on the board.
    #[must_use]
    pub fn has(&self, user: i64) -> bool {
        self.users.get(user).is_some()
    }

    /// Sets a user's score, or adds to it.
    pub fn change(&mut self, user: i64, value: i64, change: Change) {
        let (old, new) = self.place(user, change, value);
        self.apply(user, old, new);
    }

    /// Writes down where a user stands now; answers where they stood and stand.
    #[inline]
    fn place(&mut self, user: i64, change: Change, value: i64) -> (Option<Place>, Place) {
        let since = self.serial + 1;
        if let Some(place) = self.users.get_mut(user) {
            let old = *place;
            let score = change.of(old.score, value);
            if score != old.score {
                self.serial = since;
                *place = Place { score, since };
            }
            return (Some(old), *place);
        }
        let place = Place { score: change.of(0, value), since };
        self.serial = since;
        self.users.insert(user, place);
        (None, place)
    }

    /// Brings the order in step with what was written down.
    #[inline]
    fn apply(&mut self, user: i64, old: Option<Place>, new: Place) {
        if old == Some(new) {
            return;
        }
        let key = self.ordering.key(user, new);
        match old {
            Some(old) => self.tree.replace(&self.ordering.key(user, old), key),
            None => self.tree.insert(key),
        };
    }

    /// Sets, or adds to, the scores of many users in their order. The same as one by one, but faster in a large set:
    /// what the users have is looked up first, so that the processor waits for many of them at once.
    pub fn change_many(&mut self, users: &[i64], values: &[i64], change: Change) {
        let mut moves = Vec::with_capacity(users.len());
        for (user, value) in users.iter().zip(values) {
            moves.push(self.place(*user, change, *value));
        }
        for (user, (old, new)) in users.iter().zip(moves) {
            self.apply(*user, old, new);
        }
    }

    /// Takes a user off. False if there is none.
    pub fn remove(&mut self, user: i64) -> bool {
        let Some(place) = self.users.remove(user) else { return false };
        self.tree.remove(&self.ordering.key(user, place))
    }

    /// Takes off whoever is last.
    pub fn remove_last(&mut self) {
        if let Some(key) = self.tree.last() {
            self.remove(key.user);
        }
    }

    /// Position and score of a user, none for an unknown one.
    #[must_use]
    pub fn find(&self, user: i64) -> Option<(usize, i64)> {
        let place = self.users.get(user)?;
        let position = self.tree.position(&self.ordering.key(user, place))?;
        Some((position, place.score))
    }

    /// User and score of `n` entries from a position on, fewer if there are not as many.
    pub fn list(&self, position: usize, n: usize) -> impl Iterator<Item = (i64, i64)> {
        self.tree.iter_from(position).take(n).map(|key| (key.user, self.ordering.score(key)))
    }

    /// Sorts by other rules. Who reached a score when is not forgotten. O(n log n).
    pub fn sort_by(&mut self, ordering: Ordering) {
        if ordering == self.ordering {
            return;
        }
        let mut keys: Vec<Key> = self
            .tree
            .iter()
            .filter_map(|key| self.users.get(key.user).map(|place| ordering.key(key.user, place)))
            .collect();
        keys.sort_unstable();
        if let Some(tree) = Tree::from_sorted(&keys) {
            self.tree = tree;
            self.ordering = ordering;
        }
    }

    fn entries(&self) -> impl ExactSizeIterator<Item = Entry> {
        self.tree.iter().map(|key| {
            let since = match self.ordering.since(key) {
                Some(since) => since,
                None => self.users.get(key.user).map_or(0, |place| place.since),
            };
            (key.user, self.ordering.score(key), since)
        })
    }
}

impl Serialize for Board {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Saved { ordering: self.ordering, serial: self.serial, entries: Entries(self) }.serialize(serializer)
    }
}

/// The entries of a board, written one by one.
struct Entries<'a>(&'a Board);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.entries())
    }
}

impl TryFrom<Saved<Vec<Entry>>> for Board {
    type Error = String;

    fn try_from(saved: Saved<Vec<Entry>>) -> Result<Self, String> {
        let Saved { ordering, serial, entries } = saved;
        let mut users = Users::with_capacity(entries.len());
        let mut keys = Vec::with_capacity(entries.len());
        for (user, score, since) in entries {
            let place = Place { score, since };
            if since > serial {
                return Err(format!("user {user}: change {since} is beyond the last one, {serial}"));
            }
            if !users.insert(user, place) {
                return Err(format!("user {user} is there twice"));
            }
            keys.push(ordering.key(user, place));
        }
        let tree = Tree::from_sorted(&keys).ok_or("the entries are not in the order of their ranks")?;
        Ok(Self { ordering, serial, tree, users })
    }
}
