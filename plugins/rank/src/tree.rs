//! A counted B+tree: a sorted collection that knows positions.
//!
//! Everything is O(log n): insert, remove, the position of a key, the key at a position. Keys stand in leaves; inner
//! nodes know how many keys are below each of their children. Nodes live in a few large vectors and name each other
//! by index: no pointer to follow but the index, and nothing to free one by one.
//!
//! With a million entries an access to memory costs more than anything that is done there. Hence small leaves that
//! are searched from end to end: the processor fetches all of a leaf at once, where a binary search would wait for
//! one cache line after the other.

mod balance;
mod build;
mod iter;
mod node;

pub use iter::Iter;
use node::{Inner, NONE, place};

/// Keys in a leaf, at most. Of 16, 24, 32, 48 and 64 the fastest with keys of 24 bytes in a set of a million, if
/// not by much.
const LEAF_MAX: usize = 32;

/// With as few keys as this a leaf is filled up, or merged with its neighbour.
const LEAF_MIN: usize = LEAF_MAX / 4 - 1;

/// Children of an inner node, at most. Chosen like [`LEAF_MAX`].
const INNER_MAX: usize = 32;

/// Levels above the leaves, at most: there are fewer than 2^32 keys, and all nodes but the root have at least 8 keys
/// or children.
const LEVELS_MAX: usize = 11;

/// What a tree sorts.
pub trait Key: Copy + Ord {
    /// A number that is not lower for a higher key, and seldom equal for two.
    fn lead(&self) -> u64;
}

/// A sorted set of keys with positions, counted from 0. At most `u32::MAX` keys.
#[derive(Debug, Clone)]
pub struct Tree<K> {
    /// The leaves' keys, [`node::CHUNK`] leaves a vector. How many keys a leaf has stands in the node above it.
    chunks: Vec<Vec<K>>,
    leaves: u32,
    inners: Vec<Inner<K>>,
    free_leaves: Vec<u32>,
    free_inners: Vec<u32>,
    /// An inner node if there are levels, else a leaf; `NONE` if the tree is empty.
    root: u32,
    /// Levels of inner nodes above the leaves.
    levels: usize,
    len: usize,
}

/// The inner nodes from the root to a leaf, and which child was taken in each.
struct Path {
    steps: [(u32, usize); LEVELS_MAX],
    leaf: u32,
    /// Keys in the leaf.
    keys: usize,
}

impl<K: Key> Tree<K> {
    /// A tree without keys. It takes no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            leaves: 0,
            inners: Vec::new(),
            free_leaves: Vec::new(),
            free_inners: Vec::new(),
            root: NONE,
            levels: 0,
            len: 0,
        }
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a key. False, and nothing changes, if it is there.
    pub fn insert(&mut self, key: K) -> bool {
        if self.root == NONE {
            self.root = self.new_leaf(&[key]);
            self.len = 1;
            return true;
        }
        let path = self.descend(&key);
        let Err(at) = find(self.leaf(path.leaf, path.keys), &key) else { return false };
        self.insert_at(path, at, key);
        true
    }

    /// Takes a key out. False, and nothing changes, if it is not there.
    pub fn remove(&mut self, key: &K) -> bool {
        if self.root == NONE {
            return false;
        }
        let path = self.descend(key);
        let Ok(at) = find(self.leaf(path.leaf, path.keys), key) else { return false };
        self.remove_at(&path, at);
        true
    }

    /// Takes one key out and adds another; faster than one after the other. False, and nothing changes, if the one is
    /// not there or the other one is.
    pub fn replace(&mut self, old: &K, new: K) -> bool {
        if self.root == NONE {
            return false;
        }
        let (from, to) = (self.descend(old), self.descend(&new));
        // Both searches before any change: the processor waits for both leaves at once.
        let found = (find(self.leaf(from.leaf, from.keys), old), find(self.leaf(to.leaf, to.keys), &new));
        let (Ok(out), Err(at)) = found else { return false };
        if from.leaf == to.leaf {
            let keys = self.leaf_mut(from.leaf, from.keys);
            if out < at {
                keys.copy_within(out + 1..at, out);
                keys[at - 1] = new;
            } else {
                keys.copy_within(at..out, at + 1);
                keys[at] = new;
            }
        } else if from.keys > LEAF_MIN + 1 {
            self.remove_at(&from, out);
            self.insert_at(to, at, new);
        } else {
            // Filling up the one leaf may change the way to the other.
            self.remove_at(&from, out);
            self.insert(new);
        }
        true
    }

    fn insert_at(&mut self, mut path: Path, at: usize, key: K) {
        self.insert_in_leaf(path.leaf, path.keys, at, key);
        path.keys += 1;
        for (node, child) in &path.steps[..self.levels] {
            self.inners[*node as usize].counts[*child] += 1;
        }
        self.len += 1;
        if path.keys == LEAF_MAX {
            self.split(&path);
        }
    }

    fn remove_at(&mut self, path: &Path, at: usize) {
        self.leaf_mut(path.leaf, path.keys).copy_within(at + 1.., at);
        for (node, child) in &path.steps[..self.levels] {
            self.inners[*node as usize].counts[*child] -= 1;
        }
        self.len -= 1;
        if self.len == 0 {
            self.clear();
        } else if path.keys <= LEAF_MIN + 1 && self.levels > 0 {
            self.refill(path);
        }
    }

    /// The position of a key, none if it is not there.
    #[must_use]
    pub fn position(&self, key: &K) -> Option<usize> {
        if self.root == NONE {
            return None;
        }
        let path = self.descend(key);
        let at = find(self.leaf(path.leaf, path.keys), key).ok()?;
        let before = path.steps[..self.levels].iter().map(|(node, child)| {
            let counts = &self.inners[*node as usize].counts[..*child];
            counts.iter().sum::<u32>() as usize
        });
        Some(before.sum::<usize>() + at)
    }

    /// The key at a position, none if there are not as many.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<K> {
        self.iter_from(position).next()
    }

    /// The first key, none if the tree is empty.
    #[must_use]
    pub fn first(&self) -> Option<K> {
        self.get(0)
    }

    /// The last key, none if the tree is empty.
    #[must_use]
    pub fn last(&self) -> Option<K> {
        self.get(self.len.checked_sub(1)?)
    }

    /// Takes all keys out and gives the memory back.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    fn descend(&self, key: &K) -> Path {
        let mut path = Path { steps: [(NONE, 0); LEVELS_MAX], leaf: self.root, keys: self.len };
        for step in &mut path.steps[..self.levels] {
            let inner = &self.inners[path.leaf as usize];
            let child = inner.child_of(key);
            *step = (path.leaf, child);
            path.leaf = inner.kids[child];
            path.keys = inner.counts[child] as usize;
        }
        path
    }

    fn leaf(&self, leaf: u32, keys: usize) -> &[K] {
        let (chunk, at) = place(leaf);
        &self.chunks[chunk][at..at + keys]
    }

    fn leaf_mut(&mut self, leaf: u32, keys: usize) -> &mut [K] {
        let (chunk, at) = place(leaf);
        &mut self.chunks[chunk][at..at + keys]
    }
}

impl<K: Key> Default for Tree<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a key stands in a leaf, or where it would. Looks at every key, see the module.
#[inline]
fn find<K: Key>(keys: &[K], key: &K) -> Result<usize, usize> {
    let lead = key.lead();
    let mut at = keys.iter().map(|other| usize::from(other.lead() < lead)).sum();
    while keys.get(at).is_some_and(|other| other < key) {
        at += 1;
    }
    if keys.get(at) == Some(key) { Ok(at) } else { Err(at) }
}
