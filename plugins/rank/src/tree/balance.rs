//! Splitting what is full, filling up what is nearly empty.

use super::node::{Inner, to_count};
use super::{INNER_MAX, Key, LEAF_MAX, Path, Tree};

impl<K: Key> Tree<K> {
    /// Splits the full leaf at the end of a path, and the inner nodes that get full by it.
    pub(super) fn split(&mut self, path: &Path) {
        let keys = self.leaf(path.leaf, path.keys);
        let mut upper = [keys[0]; LEAF_MAX / 2];
        upper.copy_from_slice(&keys[LEAF_MAX / 2..]);
        let (mut low, mut count) = (upper[0], to_count(upper.len()));
        let mut right = self.new_leaf(&upper);

        for &(node, child) in path.steps[..self.levels].iter().rev() {
            let inner = &mut self.inners[node as usize];
            inner.counts[child] -= count;
            inner.insert(child + 1, low, count, right);
            if inner.len < INNER_MAX {
                return;
            }
            let upper = inner.split_off(INNER_MAX / 2);
            (low, count) = (upper.low(0), upper.count());
            right = self.new_inner(upper);
        }
        // The low of a first child is never looked at.
        let mut root = Inner::new(low, to_count(self.len) - count, self.root);
        root.insert(1, low, count, right);
        self.root = self.new_inner(root);
        self.levels += 1;
    }

    /// Fills up the leaf at the end of a path from its neighbour, or makes one of the two; then the inner nodes that
    /// lost a child by it.
    pub(super) fn refill(&mut self, path: &Path) {
        let (parent, child) = path.steps[self.levels - 1];
        self.refill_leaf(parent, child);
        for level in (1..self.levels).rev() {
            let (node, _) = path.steps[level];
            if self.inners[node as usize].len >= INNER_MAX / 4 {
                break;
            }
            let (parent, child) = path.steps[level - 1];
            self.refill_inner(parent, child);
        }
        while self.levels > 0 && self.inners[self.root as usize].len == 1 {
            self.free_inners.push(self.root);
            self.root = self.inners[self.root as usize].kids[0];
            self.levels -= 1;
        }
    }

    fn refill_leaf(&mut self, parent: u32, child: usize) {
        let Some((at, left, right)) = self.neighbours(parent, child) else { return };
        let counts = &self.inners[parent as usize].counts;
        let (lower, upper) = (counts[at] as usize, counts[at + 1] as usize);
        let sum = lower + upper;
        let low = self.leaf(right, upper)[0];
        let mut keys = [low; LEAF_MAX * 2];
        keys[..lower].copy_from_slice(self.leaf(left, lower));
        keys[lower..sum].copy_from_slice(self.leaf(right, upper));
        // One leaf, with room to grow; else two halves.
        let lower = if sum <= LEAF_MAX * 3 / 4 { sum } else { sum / 2 };
        self.fill(left, &keys[..lower]);
        if lower == sum {
            self.free_leaves.push(right);
            self.merged(parent, at, to_count(sum));
        } else {
            self.fill(right, &keys[lower..sum]);
            self.shifted(parent, at, keys[lower], [to_count(lower), to_count(sum - lower)]);
        }
    }

    fn refill_inner(&mut self, parent: u32, child: usize) {
        let Some((at, left, right)) = self.neighbours(parent, child) else { return };
        let mut upper = self.inners[right as usize].clone();
        // The low of a first child is not kept up to date; between two nodes the parent's is.
        upper.set_low(0, self.inners[parent as usize].low(at + 1));
        let lower = &mut self.inners[left as usize];
        let sum = lower.len + upper.len;
        if sum <= INNER_MAX * 3 / 4 {
            lower.append(&upper, 0..upper.len);
            let count = lower.count();
            self.free_inners.push(right);
            self.merged(parent, at, count);
            return;
        }
        if lower.len < sum / 2 {
            let moved = sum / 2 - lower.len;
            lower.append(&upper, 0..moved);
            upper = upper.split_off(moved);
        } else {
            let mut moved = lower.split_off(sum / 2);
            moved.append(&upper, 0..upper.len);
            upper = moved;
        }
        let (low, counts) = (upper.low(0), [lower.count(), upper.count()]);
        self.inners[right as usize] = upper;
        self.shifted(parent, at, low, counts);
    }

    /// Replaces the keys of a leaf.
    fn fill(&mut self, leaf: u32, keys: &[K]) {
        let (chunk, at) = super::place(leaf);
        let chunk = &mut self.chunks[chunk];
        if chunk.len() < at + keys.len() {
            chunk.resize(at + keys.len(), keys[0]);
        }
        chunk[at..at + keys.len()].copy_from_slice(keys);
    }

    /// A child and the one beside it: position of the left one, and both nodes. None for an only child.
    fn neighbours(&self, parent: u32, child: usize) -> Option<(usize, u32, u32)> {
        let parent = &self.inners[parent as usize];
        let at = if child + 1 < parent.len { child } else { child.checked_sub(1)? };
        Some((at, parent.kids[at], parent.kids[at + 1]))
    }

    /// The children `at` and `at + 1` have become the former.
    fn merged(&mut self, parent: u32, at: usize, count: u32) {
        let parent = &mut self.inners[parent as usize];
        parent.remove(at + 1);
        parent.counts[at] = count;
    }

    /// Keys have moved between the children `at` and `at + 1`.
    fn shifted(&mut self, parent: u32, at: usize, low: K, counts: [u32; 2]) {
        let parent = &mut self.inners[parent as usize];
        parent.set_low(at + 1, low);
        parent.counts[at..at + 2].copy_from_slice(&counts);
    }
}
