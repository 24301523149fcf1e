//! Bounds, and requests that make no sense.

use hotseat_guest::testing::{Setup, TestShard};
use hotseat_services::rank::{AtLimit, Options, method};
use rank::V1;

use crate::support::{open, open_with, refused};

#[test]
fn bytes_that_do_not_decode_are_refused_with_the_method() {
    let mut ranking = open();
    ranking.change(1, 1, 1).expect("is accepted");
    let calls = [
        method::RANK_CHANGE,
        method::UPDATE,
        method::INCREMENT,
        method::DELETE_SET,
        method::DELETE_USER,
        method::CONFIGURE,
        method::RESET,
    ];
    let queries = [
        method::QUERY_RANK_RANGE,
        method::QUERY_USERS,
        method::AROUND,
        method::COUNT,
        method::DESCRIBE,
        method::SEASONS,
    ];
    // A length beyond the end, a field of the wrong type, an endless varint.
    for body in [&[0x0a, 0x7f, 0x01][..], &[0x0d, 1, 2, 3, 4], &[0x08, 0xff, 0xff]] {
        for method in calls {
            let (status, text) = refused(ranking.shard.call(method, body));
            assert_eq!(status, 13, "{method}: {text}");
            assert!(text.starts_with(method), "{text}");
        }
        for method in queries {
            let (status, text) = refused(ranking.shard.query(method, body));
            assert_eq!(status, 13, "{method}: {text}");
            assert!(text.starts_with(method), "{text}");
        }
    }
    assert_eq!(refused(ranking.shard.call("proto.RankingService/Nothing", &[])).0, 12);
    assert_eq!(refused(ranking.shard.query("proto.RankingService/Nothing", &[])).0, 12);
    assert_eq!(ranking.order(1), [1], "nothing has changed");
}

#[test]
fn lists_of_different_lengths_are_refused() {
    let mut ranking = open();
    assert_eq!(
        refused(ranking.update_unequal(1, 3, 2)),
        (3, "3 users with 2 scores, must be as many".to_owned())
    );
    assert_eq!(refused(ranking.count(1)).0, 5, "the set was not made");
}

#[test]
fn a_request_names_a_bounded_number_of_users() {
    let mut ranking = open_with(&[("max_request", "3")]);
    ranking.update(1, &[(1, 1), (2, 2), (3, 3)]).expect("is accepted");
    let four = [(1, 9), (2, 9), (3, 9), (4, 9)];
    let expected = (8, "4 users in a request, at most 3".to_owned());
    assert_eq!(refused(ranking.update(1, &four)), expected);
    assert_eq!(refused(ranking.increment(1, &four)), expected);
    assert_eq!(refused(ranking.users(1, &[1, 2, 3, 4])), expected);
    assert_eq!(ranking.order(1), [3, 2, 1]);
}

#[test]
fn an_answer_has_a_bounded_number_of_entries() {
    let mut ranking = open_with(&[("max_answer", "3")]);
    ranking.update(1, &[(1, 1), (2, 2), (3, 3)]).expect("is accepted");
    assert_eq!(ranking.range(1, 1, i64::MAX).expect("there are no more than that").len(), 3);
    ranking.change(1, 4, 4).expect("is accepted");
    let expected = (8, "4 entries in an answer, at most 3: ask for parts".to_owned());
    assert_eq!(refused(ranking.range(1, 1, 4)), expected);
    assert_eq!(refused(ranking.around(1, 2, i64::MAX, i64::MAX)), expected);
    assert_eq!(ranking.range(1, 2, 4).expect("reads").len(), 3);
}

#[test]
fn a_shard_has_a_bounded_number_of_sets() {
    let mut ranking = open_with(&[("max_sets", "2")]);
    ranking.change(1, 1, 1).expect("is accepted");
    ranking.configure(Options { set_id: 2, ..Options::default() }).expect("is accepted");
    let expected = (8, "shard is full: 2 sets".to_owned());
    assert_eq!(refused(ranking.change(3, 1, 1)), expected);
    assert_eq!(refused(ranking.increment(3, &[(1, 1)])), expected);
    assert_eq!(refused(ranking.configure(Options { set_id: 3, ..Options::default() })), expected);
    ranking.delete_set(1).expect("is accepted");
    ranking.change(3, 1, 1).expect("there is room again");
}

#[test]
fn a_full_set_refuses_new_users_and_nobody_else() {
    let mut ranking = open_with(&[("max_set_entries", "3")]);
    ranking.update(1, &[(1, 1), (2, 2)]).expect("is accepted");
    let expected = (8, "set 1 is full: 3 entries".to_owned());
    assert_eq!(refused(ranking.update(1, &[(1, 9), (3, 3), (4, 4)])), expected);
    assert_eq!(ranking.range(1, 1, 9).expect("reads"), [(2, 2), (1, 1)], "all or nothing");
    ranking.update(1, &[(1, 9), (3, 3), (3, 4), (1, 10)]).expect("three users are not more than three");
    assert_eq!(refused(ranking.change(1, 4, 4)), expected);
    ranking.change(1, 2, 100).expect("is accepted");
    assert_eq!(ranking.order(1), [2, 1, 3]);
    ranking.delete_user(1, 1).expect("is accepted");
    ranking.change(1, 4, 4).expect("there is room again");
}

#[test]
fn a_full_set_may_drop_whoever_is_last() {
    let mut ranking = open();
    let options =
        Options { set_id: 1, max_entries: 3, at_limit: AtLimit::DropLast.into(), ..Options::default() };
    ranking.configure(options).expect("is accepted");
    ranking.update(1, &[(1, 10), (2, 20), (3, 30), (4, 15)]).expect("is accepted");
    assert_eq!(ranking.order(1), [3, 2, 4]);
    let standing = ranking.increment(1, &[(5, 1), (3, 1)]).expect("is accepted");
    assert_eq!(standing, [(-1, 0), (1, 31)], "who comes last leaves at once");
    ranking.change(1, 3, 0).expect("is accepted");
    assert_eq!(ranking.order(1), [2, 4, 3], "who is in the set may sink");
    ranking.change(1, 6, 0).expect("is accepted");
    assert_eq!(ranking.order(1), [2, 4, 3], "among ties the later one leaves");
    assert_eq!(ranking.restart().order(1), [2, 4, 3]);
}

#[test]
fn a_shard_has_a_bounded_number_of_entries_in_all_seasons() {
    let mut ranking = open_with(&[("max_entries", "4")]);
    ranking.update(1, &[(1, 1), (2, 2)]).expect("is accepted");
    ranking.update(2, &[(1, 1), (2, 2)]).expect("is accepted");
    let expected = (8, "shard is full: 4 entries, finished seasons included".to_owned());
    assert_eq!(refused(ranking.change(3, 1, 1)), expected);
    ranking.reset(1).expect("is accepted");
    assert_eq!(refused(ranking.change(1, 1, 1)), expected);
    ranking
        .configure(Options { set_id: 1, kept_seasons: Some(0), ..Options::default() })
        .expect("is accepted");
    ranking.update(1, &[(1, 1), (2, 2)]).expect("the finished season is gone");
    ranking.delete_set(2).expect("is accepted");
    let mut ranking = ranking.restart();
    ranking.update(3, &[(1, 1), (2, 2)]).expect("is accepted");
    assert_eq!(refused(ranking.update(3, &[(3, 3)])), expected);
    ranking.delete_user(3, 1).expect("is accepted");
    ranking.update(3, &[(3, 3)]).expect("is accepted");
}

#[test]
fn a_set_whose_limit_was_lowered_comes_down_to_it_step_by_step() {
    let mut ranking = open();
    let options = Options { set_id: 1, at_limit: AtLimit::DropLast.into(), ..Options::default() };
    ranking.configure(options).expect("is accepted");
    let ten: Vec<_> = (1..=10).map(|user| (user, user)).collect();
    ranking.update(1, &ten).expect("is accepted");
    ranking.shard.set_config("max_set_entries", "5");
    let mut ranking = ranking.restart();
    assert_eq!(ranking.count(1).expect("reads"), 10, "nothing is lost by a restart");
    for left in [9, 8, 7, 6, 5, 5] {
        let new = 100 - left;
        ranking.change(1, new, 100).expect("is accepted");
        assert!(ranking.count(1).expect("reads") <= left as u64);
    }
    assert_eq!(ranking.count(1).expect("reads"), 5);
}

#[test]
fn settings_that_make_no_sense_keep_the_shard_closed() {
    for (key, value) in [
        ("max_sets", "0"),
        ("max_entries", "many"),
        ("max_answer", "50001"),
        ("max_request", "-1"),
        ("max_set_entries", ""),
    ] {
        let error = Setup::new().config(key, value).open_shard::<V1>("rank#0").expect_err("stays closed");
        assert!(
            error.starts_with(&format!("setting {key} is {value:?}, not a number from 1 to ")),
            "{error}"
        );
    }
    assert!(TestShard::<V1>::open("rank#0").is_ok());
}
