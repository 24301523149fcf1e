//! A tree out of keys that are sorted already.

use super::node::{Inner, to_count};
use super::{INNER_MAX, Key, LEAF_MAX, Tree};

/// How full built nodes are: what comes next need not split them.
const LEAF_FILL: usize = LEAF_MAX * 3 / 4;
const INNER_FILL: usize = INNER_MAX * 3 / 4;

impl<K: Key> Tree<K> {
    /// A tree of these keys, in O(n). None if they are not strictly rising.
    #[must_use]
    pub fn from_sorted(keys: &[K]) -> Option<Self> {
        if !keys.is_sorted_by(|a, b| a < b) {
            return None;
        }
        let mut tree = Self::new();
        tree.len = keys.len();
        // The nodes of one level: low, keys below, index.
        let mut row: Vec<(K, u32, u32)> = even_chunks(keys, LEAF_FILL)
            .map(|chunk| (chunk[0], to_count(chunk.len()), tree.new_leaf(chunk)))
            .collect();
        while row.len() > 1 {
            row = even_chunks(&row, INNER_FILL)
                .map(|chunk| {
                    let (low, count, kid) = chunk[0];
                    let mut inner = Inner::new(low, count, kid);
                    for (low, count, kid) in &chunk[1..] {
                        inner.insert(inner.len, *low, *count, *kid);
                    }
                    (low, inner.count(), tree.new_inner(inner))
                })
                .collect();
            tree.levels += 1;
        }
        if let Some((_, _, root)) = row.first() {
            tree.root = *root;
        }
        Some(tree)
    }
}

/// Slices of at most `max`, of about equal length: none is nearly empty.
fn even_chunks<T>(list: &[T], max: usize) -> impl Iterator<Item = &[T]> {
    let parts = list.len().div_ceil(max);
    let (each, longer) = (list.len() / parts.max(1), list.len() % parts.max(1));
    let mut left = list;
    (0..parts).map(move |part| {
        let (chunk, rest) = left.split_at(each + usize::from(part < longer));
        left = rest;
        chunk
    })
}
