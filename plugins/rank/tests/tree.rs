//! The tree against a sorted vector.

use proptest::prelude::*;
use rank::tree::{Key, Tree};

/// A key whose lead is shared by many, as scores are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u32);

impl Key for Number {
    fn lead(&self) -> u64 {
        u64::from(self.0 / 100)
    }
}

fn check(tree: &Tree<Number>, list: &[u32]) {
    assert_eq!(tree.len(), list.len());
    assert_eq!(tree.is_empty(), list.is_empty());
    assert!(tree.iter().map(|key| key.0).eq(list.iter().copied()));
    assert_eq!(tree.iter().len(), list.len());
    assert_eq!(tree.first().map(|key| key.0), list.first().copied());
    assert_eq!(tree.last().map(|key| key.0), list.last().copied());
    for (at, key) in list.iter().enumerate().step_by(list.len() / 50 + 1) {
        assert_eq!(tree.position(&Number(*key)), Some(at));
        assert_eq!(tree.get(at), Some(Number(*key)));
        let rest = tree.iter_from(at).take(70).map(|key| key.0);
        assert!(rest.eq(list[at..].iter().copied().take(70)));
    }
    assert_eq!(tree.get(list.len()), None);
}

fn run(start: &[u32], steps: impl IntoIterator<Item = (bool, u32)>, check_every: usize) {
    let mut list = start.to_vec();
    list.sort_unstable();
    list.dedup();
    let sorted: Vec<_> = list.iter().map(|key| Number(*key)).collect();
    let mut tree = Tree::from_sorted(&sorted).expect("is sorted");
    check(&tree, &list);
    for (step, (insert, key)) in steps.into_iter().enumerate() {
        match (insert, list.binary_search(&key)) {
            (true, Ok(_)) => assert!(!tree.insert(Number(key))),
            (true, Err(at)) => {
                assert_eq!(tree.position(&Number(key)), None);
                assert!(tree.insert(Number(key)));
                list.insert(at, key);
            }
            (false, Ok(at)) => {
                assert!(tree.remove(&Number(key)));
                list.remove(at);
            }
            (false, Err(_)) => assert!(!tree.remove(&Number(key))),
        }
        if step % check_every == 0 {
            check(&tree, &list);
        }
    }
    check(&tree, &list);
}

/// Replaces keys by others.
fn run_moves(start: &[u32], moves: impl IntoIterator<Item = (u32, u32)>, check_every: usize) {
    let mut list = start.to_vec();
    list.sort_unstable();
    list.dedup();
    let sorted: Vec<_> = list.iter().map(|key| Number(*key)).collect();
    let mut tree = Tree::from_sorted(&sorted).expect("is sorted");
    for (step, (old, new)) in moves.into_iter().enumerate() {
        match (list.binary_search(&old), list.binary_search(&new)) {
            (Ok(from), Err(_)) => {
                assert!(tree.replace(&Number(old), Number(new)));
                list.remove(from);
                let at = list.binary_search(&new).expect_err("is not there");
                list.insert(at, new);
            }
            _ => assert!(!tree.replace(&Number(old), Number(new))),
        }
        if step % check_every == 0 {
            check(&tree, &list);
        }
    }
    check(&tree, &list);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_tree_is_a_sorted_list(
        start in prop::collection::vec(0..5000_u32, 0..3000),
        steps in prop::collection::vec((any::<bool>(), 0..5000_u32), 0..2000),
    ) {
        run(&start, steps, 100);
    }

    #[test]
    fn keys_move(
        start in prop::collection::vec(0..3000_u32, 0..3000),
        moves in prop::collection::vec((0..3000_u32, 0..3000_u32), 0..2000),
    ) {
        run_moves(&start, moves, 100);
    }
}

#[test]
fn keys_come_and_go_from_either_end_and_the_middle() {
    let n = 50_000;
    let orders: [fn(u32, u32) -> u32; 4] = [
        |i, _| i,
        |i, n| n - 1 - i,
        |i, n| (i * 7919) % n,
        |i, n| if i % 2 == 0 { i / 2 } else { n - 1 - i / 2 },
    ];
    for come in orders {
        for go in orders {
            let coming = (0..n).map(|i| (true, come(i, n)));
            let going = (0..n).map(|i| (false, go(i, n)));
            run(&[], coming.chain(going), 20_000);
        }
    }
}

#[test]
fn all_keys_move_to_one_end_and_back() {
    let n = 20_000;
    let all: Vec<_> = (0..n).collect();
    let there = (0..n).map(|i| ((i * 7919) % n, n + i));
    let back = (0..n).map(|i| (2 * n - 1 - i, (i * 7919) % n));
    run_moves(&all, there.chain(back), 5000);
}

#[test]
fn what_is_not_sorted_makes_no_tree() {
    let unsorted = [Number(1), Number(3), Number(2)];
    assert!(Tree::from_sorted(&unsorted).is_none());
    assert!(Tree::from_sorted(&[Number(1), Number(1)]).is_none());
    assert!(Tree::<Number>::from_sorted(&[]).is_some_and(|tree| tree.is_empty()));
}
