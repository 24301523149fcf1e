//! Walking over keys in order.

use super::{Key, Tree};

/// The keys of a tree from a position on.
#[derive(Debug, Clone)]
pub struct Iter<'a, K> {
    tree: &'a Tree<K>,
    /// What is left of the present leaf.
    keys: std::slice::Iter<'a, K>,
    /// The position of the first key that is not in it.
    next: usize,
}

impl<K: Key> Tree<K> {
    /// All keys in order.
    pub fn iter(&self) -> Iter<'_, K> {
        self.iter_from(0)
    }

    /// The keys from a position on; none if there are not as many.
    pub fn iter_from(&self, position: usize) -> Iter<'_, K> {
        let keys = self.keys_from(position);
        Iter { tree: self, keys: keys.iter(), next: position.saturating_add(keys.len()) }
    }

    /// The keys of the leaf that a position is in, from there on.
    fn keys_from(&self, position: usize) -> &[K] {
        if position >= self.len {
            return &[];
        }
        let (mut at, mut node, mut keys) = (position, self.root, self.len);
        for _ in 0..self.levels {
            let inner = &self.inners[node as usize];
            let mut child = 0;
            while at >= inner.counts[child] as usize {
                at -= inner.counts[child] as usize;
                child += 1;
            }
            (node, keys) = (inner.kids[child], inner.counts[child] as usize);
        }
        &self.leaf(node, keys)[at..]
    }
}

impl<K: Key> Iterator for Iter<'_, K> {
    type Item = K;

    #[inline]
    fn next(&mut self) -> Option<K> {
        if let Some(key) = self.keys.next() {
            return Some(*key);
        }
        let keys = self.tree.keys_from(self.next);
        self.next += keys.len();
        self.keys = keys.iter();
        self.keys.next().copied()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.keys.len() + self.tree.len.saturating_sub(self.next);
        (left, Some(left))
    }
}

impl<K: Key> ExactSizeIterator for Iter<'_, K> {}

impl<'a, K: Key> IntoIterator for &'a Tree<K> {
    type Item = K;
    type IntoIter = Iter<'a, K>;

    fn into_iter(self) -> Iter<'a, K> {
        self.iter()
    }
}
