//! Nodes of the tree, and the vectors they live in.

use super::{INNER_MAX, Key, LEAF_MAX, Tree};

/// The index of no node.
pub(super) const NONE: u32 = u32::MAX;

/// Leaves in one vector: a few hundred KiB, so that growing never moves much.
pub(super) const CHUNK: usize = 256;

/// Children in order; the first `len` of the lists are in use.
#[derive(Debug, Clone)]
pub(super) struct Inner<K> {
    pub(super) len: usize,
    pub(super) kids: [u32; INNER_MAX],
    /// Keys below each child.
    pub(super) counts: [u32; INNER_MAX],
    /// The leading parts of `lows`: nearly always these decide, and they take a third of the memory.
    leads: [u64; INNER_MAX],
    /// No key of child `i` is lower than `lows[i]`, all keys of child `i - 1` are. The first one is not used: keys
    /// below it belong to the first child too.
    lows: [K; INNER_MAX],
}

impl<K: Key> Inner<K> {
    /// A node with one child.
    pub(super) fn new(low: K, count: u32, kid: u32) -> Self {
        let mut node = Self {
            len: 1,
            kids: [NONE; INNER_MAX],
            counts: [0; INNER_MAX],
            leads: [low.lead(); INNER_MAX],
            lows: [low; INNER_MAX],
        };
        (node.counts[0], node.kids[0]) = (count, kid);
        node
    }

    /// The child that a key is in, if it is anywhere.
    #[inline]
    pub(super) fn child_of(&self, key: &K) -> usize {
        let lead = key.lead();
        let mut child = self.leads[1..self.len].iter().map(|other| usize::from(*other < lead)).sum::<usize>();
        while child + 1 < self.len && self.leads[child + 1] == lead && self.lows[child + 1] <= *key {
            child += 1;
        }
        child
    }

    /// The lower bound of a child; of the first one it says nothing.
    pub(super) fn low(&self, child: usize) -> K {
        self.lows[child]
    }

    /// Changes the lower bound of a child.
    pub(super) fn set_low(&mut self, child: usize, low: K) {
        (self.lows[child], self.leads[child]) = (low, low.lead());
    }

    /// Keys below this node.
    pub(super) fn count(&self) -> u32 {
        self.counts[..self.len].iter().sum()
    }

    /// Adds a child; there must be room.
    pub(super) fn insert(&mut self, at: usize, low: K, count: u32, kid: u32) {
        self.lows.copy_within(at..self.len, at + 1);
        self.leads.copy_within(at..self.len, at + 1);
        self.counts.copy_within(at..self.len, at + 1);
        self.kids.copy_within(at..self.len, at + 1);
        self.set_low(at, low);
        (self.counts[at], self.kids[at]) = (count, kid);
        self.len += 1;
    }

    /// Takes a child out.
    pub(super) fn remove(&mut self, at: usize) {
        self.lows.copy_within(at + 1..self.len, at);
        self.leads.copy_within(at + 1..self.len, at);
        self.counts.copy_within(at + 1..self.len, at);
        self.kids.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    /// The children from `at` on, in a node of their own.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let mut upper = Self::new(self.lows[at], self.counts[at], self.kids[at]);
        upper.append(self, at + 1..self.len);
        self.len = at;
        upper
    }

    /// Adds children of another node at the end; there must be room.
    pub(super) fn append(&mut self, other: &Self, range: std::ops::Range<usize>) {
        for child in range {
            self.insert(self.len, other.lows[child], other.counts[child], other.kids[child]);
        }
    }
}

/// The vector a leaf's keys are in, and where they begin.
#[inline]
pub(super) fn place(leaf: u32) -> (usize, usize) {
    let leaf = leaf as usize;
    (leaf / CHUNK, leaf % CHUNK * LEAF_MAX)
}

impl<K: Key> Tree<K> {
    /// Adds a leaf with these keys, which must not be none.
    pub(super) fn new_leaf(&mut self, keys: &[K]) -> u32 {
        let leaf = self.free_leaves.pop().unwrap_or_else(|| {
            self.leaves += 1;
            self.leaves - 1
        });
        let (chunk, at) = place(leaf);
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::new());
        }
        let chunk = &mut self.chunks[chunk];
        if chunk.len() < at + keys.len() {
            chunk.resize(at + keys.len(), keys[0]);
        }
        chunk[at..at + keys.len()].copy_from_slice(keys);
        leaf
    }

    /// Adds a key to a leaf of `keys` ones; there must be room.
    pub(super) fn insert_in_leaf(&mut self, leaf: u32, keys: usize, at: usize, key: K) {
        let (chunk, first) = place(leaf);
        let chunk = &mut self.chunks[chunk];
        if chunk.len() == first + keys {
            // The last leaf of a vector grows with it, so a small tree takes little memory.
            chunk.push(key);
        }
        let leaf = &mut chunk[first..=first + keys];
        leaf.copy_within(at..keys, at + 1);
        leaf[at] = key;
    }

    pub(super) fn new_inner(&mut self, inner: Inner<K>) -> u32 {
        if let Some(index) = self.free_inners.pop() {
            self.inners[index as usize] = inner;
            return index;
        }
        self.inners.push(inner);
        to_count(self.inners.len() - 1)
    }
}

/// There are fewer than 2^32 keys, and so of everything.
pub(super) fn to_count(keys: usize) -> u32 {
    u32::try_from(keys).expect("a tree has fewer than 2^32 keys")
}
