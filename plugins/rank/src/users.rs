//! The score of each user.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use crate::order::Place;

/// With more users than this in one hash table it is split into [`PARTS`].
const ONE_PART_MAX: usize = 16 << 10;

/// Hash tables of a large map. A table that grows moves all it has: 1/256 of a million entries takes well below a
/// millisecond, the whole would take a call's deadline.
const PARTS: usize = 256;

type Part = HashMap<i64, Place, BuildHasherDefault<IdHasher>>;

/// Places by user. Its order of iteration says nothing, so there is none.
#[derive(Debug, Clone)]
pub struct Users {
    /// One, or [`PARTS`].
    parts: Vec<Part>,
    len: usize,
}

impl Users {
    /// No users yet, but soon about `expected`.
    #[must_use]
    pub fn with_capacity(expected: usize) -> Self {
        let parts = if expected > ONE_PART_MAX { PARTS } else { 1 };
        // A part has a few more than its share.
        let each = if parts == 1 { expected } else { expected / PARTS + expected / PARTS / 16 };
        Self {
            parts: (0..parts).map(|_| Part::with_capacity_and_hasher(each, Default::default())).collect(),
            len: 0,
        }
    }

    /// Where a user stands, none for an unknown one.
    #[inline]
    #[must_use]
    pub fn get(&self, user: i64) -> Option<Place> {
        self.parts[self.part(user)].get(&user).copied()
    }

    /// The place of a user to write to, none for an unknown one.
    #[inline]
    pub fn get_mut(&mut self, user: i64) -> Option<&mut Place> {
        let part = self.part(user);
        self.parts[part].get_mut(&user)
    }

    /// Adds a user. False, and nothing changes, if there is one of that id.
    pub fn insert(&mut self, user: i64, place: Place) -> bool {
        if self.parts.len() == 1 && self.len >= ONE_PART_MAX {
            self.split();
        }
        let part = self.part(user);
        match self.parts[part].entry(user) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(place);
                self.len += 1;
                true
            }
        }
    }

    /// Takes a user out; none if there was none of that id.
    pub fn remove(&mut self, user: i64) -> Option<Place> {
        let part = self.part(user);
        let place = self.parts[part].remove(&user)?;
        self.len -= 1;
        Some(place)
    }

    fn split(&mut self) {
        let mut split = Self::with_capacity(ONE_PART_MAX * 2);
        for (user, place) in self.parts.drain(..).flatten() {
            split.insert(user, place);
        }
        *self = split;
    }

    #[inline]
    fn part(&self, user: i64) -> usize {
        if self.parts.len() == 1 {
            return 0;
        }
        // Not the bits the tables themselves use.
        usize::from(mix(user.cast_unsigned()).to_be_bytes()[2])
    }
}

/// Hashes one id. Equal everywhere, so equal inputs lead to equal states; the ids are those of accounts, which the
/// game's own services hand out, so nobody can choose ones that collide.
#[derive(Debug, Clone, Copy, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    #[inline]
    fn write_i64(&mut self, id: i64) {
        self.0 = mix(id.cast_unsigned());
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// A multiplication spreads low bits upwards, the shift brings them back down, where the tables look. The factor is
/// 2^64 divided by the golden ratio, made odd.
#[inline]
fn mix(id: u64) -> u64 {
    let spread = (id ^ (id >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    spread ^ (spread >> 32)
}
