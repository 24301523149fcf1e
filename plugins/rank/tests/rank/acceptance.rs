//! The original's behaviour where it was meant, and its defects gone.

use crate::support::{open, refused};

#[test]
fn a_lower_score_moves_a_user_down_by_no_more_than_it_should() {
    let mut ranking = open();
    ranking.update(7, &[(1, 10), (2, 8), (3, 5)]).expect("is accepted");
    ranking.change(7, 2, 6).expect("is accepted");
    assert_eq!(ranking.range(7, 1, 3).expect("reads"), [(1, 10), (2, 6), (3, 5)]);
}

#[test]
fn the_same_score_again_keeps_the_place_among_ties() {
    let mut ranking = open();
    ranking.update(7, &[(1, 5), (2, 5), (3, 3)]).expect("is accepted");
    ranking.change(7, 1, 5).expect("is accepted");
    assert_eq!(ranking.order(7), [1, 2, 3]);
    ranking.update(7, &[(1, 4), (1, 5)]).expect("is accepted");
    assert_eq!(ranking.order(7), [2, 1, 3], "who leaves a score and comes back comes last");
}

#[test]
fn five_thousand_users_are_listed_best_first() {
    let mut ranking = open();
    for user in 1..=4999 {
        ranking.change(1, user, user).expect("is accepted");
        if user % 1000 == 0 {
            let first: Vec<_> = (0..100).map(|i| (user - i, user - i)).collect();
            assert_eq!(ranking.range(1, 1, 100).expect("reads"), first);
        }
    }
    let expected: Vec<_> = (4900..=4999).rev().map(|user| (user, user)).collect();
    assert_eq!(ranking.range(1, 1, 100).expect("reads"), expected);
    assert_eq!(ranking.users(1, &[4999, 1, 5000]).expect("reads"), [(1, 4999), (4999, 1), (-1, 0)]);
}

#[test]
fn sizes_at_which_the_original_changed_its_structure_change_nothing() {
    let mut ranking = open();
    let all: Vec<_> = (1..=1100).map(|user| (user, user * 10)).collect();
    ranking.update(1, &all).expect("is accepted");
    for user in 1..=600 {
        ranking.delete_user(1, user).expect("is accepted");
        let order: Vec<_> = (user + 1..=1100).rev().collect();
        assert_eq!(ranking.order(1), order);
    }
    assert_eq!(ranking.range(1, 1, 2).expect("reads"), [(1100, 11_000), (1099, 10_990)]);
}

#[test]
fn ranges_are_cut_to_what_is_there() {
    let mut ranking = open();
    ranking.update(1, &[(10, 3), (20, 2), (30, 1)]).expect("is accepted");
    for (a, b) in [(0, 2), (-5, 3), (2, 1), (4, 4), (i64::MIN, i64::MAX), (i64::MAX, i64::MAX), (1, 0)] {
        assert_eq!(ranking.range(1, a, b).expect("is no error"), [], "{a} to {b}");
    }
    assert_eq!(ranking.range(1, 2, 2).expect("reads"), [(20, 2)]);
    assert_eq!(ranking.range(1, 2, 99).expect("reads"), [(20, 2), (30, 1)]);
    assert_eq!(ranking.range(1, 1, i64::MAX).expect("reads").len(), 3);
}

#[test]
fn users_are_answered_in_the_order_of_the_request() {
    let mut ranking = open();
    ranking.update(1, &[(10, 3), (20, -2), (-30, 1)]).expect("is accepted");
    let answer = ranking.users(1, &[20, 99, 10, 20, -30]).expect("reads");
    assert_eq!(answer, [(3, -2), (-1, 0), (1, 3), (3, -2), (2, 1)]);
    assert_eq!(ranking.users(1, &[]).expect("reads"), []);
}

#[test]
fn unknown_sets_are_named_as_the_original_does() {
    let mut ranking = open();
    let unknown = (5, "name not exists".to_owned());
    assert_eq!(refused(ranking.range(9, 1, 2)), unknown);
    assert_eq!(refused(ranking.users(9, &[1])), unknown);
    assert_eq!(refused(ranking.delete_user(9, 1)), unknown);
    assert_eq!(refused(ranking.around(9, 1, 1, 1)), unknown);
    assert_eq!(refused(ranking.count(9)), unknown);
    assert_eq!(refused(ranking.describe(9)), unknown);
    assert_eq!(refused(ranking.reset(9)), unknown);
    assert_eq!(refused(ranking.seasons(9)), unknown);
    ranking.delete_set(9).expect("deleting nothing is no error");
}

#[test]
fn deleting_an_unknown_user_is_no_error_in_sets_of_all_sizes() {
    let mut ranking = open();
    ranking.change(1, 5, 5).expect("is accepted");
    ranking.delete_user(1, 6).expect("is no error");
    let many: Vec<_> = (0..5000).map(|user| (user, user % 7)).collect();
    ranking.update(1, &many).expect("is accepted");
    ranking.delete_user(1, 99_999).expect("is no error");
    assert_eq!(ranking.count(1).expect("reads"), 5000);
}

#[test]
fn deletions_survive_a_restart() {
    let mut ranking = open();
    ranking.update(1, &[(1, 1), (2, 2), (3, 2)]).expect("is accepted");
    ranking.update(2, &[(1, 1)]).expect("is accepted");
    let mut ranking = ranking.restart();
    ranking.delete_user(1, 2).expect("is accepted");
    ranking.delete_set(2).expect("is accepted");
    let mut ranking = ranking.restart();
    assert_eq!(ranking.order(1), [3, 1]);
    assert_eq!(refused(ranking.count(2)).0, 5);
    ranking.delete_user(1, 3).expect("is accepted");
    ranking.delete_user(1, 1).expect("is accepted");
    assert_eq!(ranking.restart().count(1).expect("an empty set is a set"), 0);
}

#[test]
fn wide_scores_and_ids_keep_their_value() {
    let mut ranking = open();
    let extremes = [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (0, 0), (-1, -1), (1, 1)];
    ranking.update(u64::MAX, &extremes).expect("is accepted");
    let expected = [(i64::MIN, i64::MAX), (1, 1), (0, 0), (-1, -1), (i64::MAX, i64::MIN)];
    assert_eq!(ranking.range(u64::MAX, 1, 9).expect("reads"), expected);
    assert_eq!(ranking.restart().range(u64::MAX, 1, 9).expect("reads"), expected);
}

/// Bytes as an original client sends them: int32 fields, negative ones as ten-byte varints.
#[test]
fn messages_of_int32_clients_are_understood_and_answered() {
    let mut ranking = open();
    let minus_two = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let change: Vec<u8> = [&[0x08][..], &minus_two, &[0x10, 0x05, 0x18, 0x07]].concat();
    let nothing = ranking.shard.call("proto.RankingService/RankChange", &change).expect("is accepted");
    assert_eq!(nothing, []);
    assert_eq!(ranking.range(7, 1, 1).expect("reads"), [(-2, 5)]);
    let users = [&[0x0a, 10][..], &minus_two, &[0x10, 0x07]].concat();
    let standing = ranking.shard.query("proto.RankingService/QueryUsers", &users).expect("reads");
    assert_eq!(standing, [0x0a, 1, 1, 0x12, 1, 5]);
    let unpacked = [&[0x08][..], &minus_two, &[0x10, 0x07]].concat();
    let standing = ranking.shard.query("proto.RankingService/QueryUsers", &unpacked).expect("reads");
    assert_eq!(standing, [0x0a, 1, 1, 0x12, 1, 5]);
    let range =
        ranking.shard.query("proto.RankingService/QueryRankRange", &[8, 1, 16, 9, 24, 7]).expect("reads");
    assert_eq!(range, [&[0x0a, 10][..], &minus_two, &[0x12, 1, 5]].concat());
}
