//! Orders, tie rules, increments, surroundings.

use hotseat_services::rank::{AtLimit, Options, Order, TieRule};

use crate::support::{open, refused};

fn options(order: Order, ties: TieRule) -> Options {
    Options { set_id: 1, order: order.into(), ties: ties.into(), ..Options::default() }
}

#[test]
fn every_order_and_tie_rule_sorts_as_it_says() {
    let cases = [
        (Order::Descending, TieRule::EarlierFirst, [9, 8, 3, 5, 1]),
        (Order::Descending, TieRule::LaterFirst, [9, 5, 3, 8, 1]),
        (Order::Descending, TieRule::ByUserId, [9, 3, 5, 8, 1]),
        (Order::Ascending, TieRule::EarlierFirst, [1, 8, 3, 5, 9]),
        (Order::Ascending, TieRule::LaterFirst, [1, 5, 3, 8, 9]),
        (Order::Ascending, TieRule::ByUserId, [1, 3, 5, 8, 9]),
    ];
    let scores = [(8, 20), (1, 10), (3, 20), (9, 30), (5, 20)];
    for (order, ties, expected) in cases {
        let mut before = open();
        before.configure(options(order, ties)).expect("is accepted");
        before.update(1, &scores).expect("is accepted");
        assert_eq!(before.order(1), expected, "{order:?} {ties:?}");
        let mut after = open();
        after.update(1, &scores).expect("is accepted");
        after.configure(options(order, ties)).expect("is accepted");
        assert_eq!(after.order(1), expected, "{order:?} {ties:?} chosen later");
        let mut after = after.restart();
        assert_eq!(after.order(1), expected, "{order:?} {ties:?} after a restart");
        after.configure(options(Order::Descending, TieRule::EarlierFirst)).expect("is accepted");
        assert_eq!(after.order(1), [9, 8, 3, 5, 1], "who was first is not forgotten");
    }
}

#[test]
fn negative_ids_come_before_positive_ones() {
    let mut ranking = open();
    ranking.configure(options(Order::Descending, TieRule::ByUserId)).expect("is accepted");
    ranking.update(1, &[(1, 5), (-1, 5), (i64::MIN, 5), (0, 5)]).expect("is accepted");
    assert_eq!(ranking.order(1), [i64::MIN, -1, 0, 1]);
}

#[test]
fn increments_add_up_and_stop_at_the_bounds() {
    let mut ranking = open();
    assert_eq!(ranking.increment(1, &[(1, 5), (2, -5), (1, 2)]).expect("adds"), [(1, 7), (2, -5), (1, 7)]);
    assert_eq!(ranking.increment(1, &[(3, 0)]).expect("adds"), [(2, 0)]);
    let ends = [(1, i64::MAX), (2, i64::MIN), (1, 1), (2, -1)];
    assert_eq!(
        ranking.increment(1, &ends).expect("adds"),
        [(1, i64::MAX), (3, i64::MIN), (1, i64::MAX), (3, i64::MIN)]
    );
    assert_eq!(ranking.increment(1, &[]).expect("adds nothing"), []);
}

#[test]
fn adding_nothing_keeps_the_place() {
    let mut ranking = open();
    ranking.update(1, &[(1, 5), (2, 5)]).expect("is accepted");
    ranking.increment(1, &[(1, 0)]).expect("adds");
    assert_eq!(ranking.order(1), [1, 2]);
    ranking.increment(1, &[(1, 1), (1, -1)]).expect("adds");
    assert_eq!(ranking.order(1), [2, 1]);
}

#[test]
fn a_user_is_listed_with_those_around() {
    let mut ranking = open();
    let ten: Vec<_> = (1..=10).map(|user| (user, 100 - user)).collect();
    ranking.update(1, &ten).expect("is accepted");
    let around = ranking.around(1, 5, 2, 1).expect("reads");
    assert_eq!((around.user_ids, around.scores), (vec![3, 4, 5, 6], vec![97, 96, 95, 94]));
    assert_eq!((around.first_rank, around.rank), (3, 5));
    let around = ranking.around(1, 1, 5, 0).expect("reads");
    assert_eq!((around.user_ids, around.first_rank, around.rank), (vec![1], 1, 1));
    let around = ranking.around(1, 10, 1, i64::MAX).expect("reads");
    assert_eq!((around.user_ids, around.first_rank, around.rank), (vec![9, 10], 9, 10));
    let around = ranking.around(1, 99, 1, 1).expect("is no error");
    assert_eq!((around.user_ids, around.first_rank, around.rank), (vec![], 0, -1));
    assert_eq!(refused(ranking.around(1, 5, -1, 0)), (3, "Before is -1, must be at least 0".to_owned()));
    assert_eq!(refused(ranking.around(1, 5, 0, i64::MIN)).0, 3);
}

#[test]
fn options_are_checked_before_anything_changes() {
    let mut ranking = open();
    ranking.update(1, &[(1, 1), (2, 2), (3, 3)]).expect("is accepted");
    let base = Options { set_id: 1, ..Options::default() };
    let cases = [
        (Options { order: 2, ..base.clone() }, 3, "Order is 2, must be 0 to 1"),
        (Options { ties: -1, ..base.clone() }, 3, "Ties is -1, must be 0 to 2"),
        (Options { at_limit: 9, ..base.clone() }, 3, "AtLimit is 9, must be 0 to 1"),
        (Options { kept_seasons: Some(13), ..base.clone() }, 3, "KeptSeasons is 13, must be 0 to 12"),
        (
            Options { max_entries: 2, ..base.clone() },
            9,
            "MaxEntries is 2, but set 1 has 3 entries: reset it first",
        ),
        (
            Options { max_entries: u64::MAX, ..base.clone() },
            8,
            "MaxEntries is 18446744073709551615, at most 2000000 here",
        ),
        (
            Options { schedule: "0 0".to_owned(), ..base.clone() },
            3,
            "schedule \"0 0\" has 2 fields, not 5: minute hour day-of-month month day-of-week",
        ),
        (
            Options { schedule: "0 0 30 2 *".to_owned(), ..base.clone() },
            3,
            "schedule \"0 0 30 2 *\" names no day that ever comes",
        ),
    ];
    for (options, status, text) in cases {
        assert_eq!(refused(ranking.configure(options)), (status, text.to_owned()));
    }
    assert_eq!(ranking.order(1), [3, 2, 1]);
}

#[test]
fn a_large_set_is_not_sorted_anew() {
    let mut ranking = open();
    for start in (0..100_001).step_by(10_000) {
        let part: Vec<_> = (start..(start + 10_000).min(100_001)).map(|user| (user, user)).collect();
        ranking.update(1, &part).expect("is accepted");
    }
    let (status, text) = refused(ranking.configure(options(Order::Ascending, TieRule::EarlierFirst)));
    assert_eq!(status, 9);
    assert!(text.starts_with("set 1 has 100001 entries"), "{text}");
    ranking
        .configure(Options { set_id: 1, kept_seasons: Some(3), ..Options::default() })
        .expect("sorts nothing");
    ranking.reset(1).expect("is accepted");
    ranking.configure(options(Order::Ascending, TieRule::EarlierFirst)).expect("is accepted");
}

#[test]
fn a_description_says_what_was_configured() {
    let mut ranking = open();
    let asked = Options {
        set_id: 1,
        order: Order::Ascending.into(),
        ties: TieRule::LaterFirst.into(),
        schedule: " 0  0 * *  1 ".to_owned(),
        kept_seasons: Some(4),
        max_entries: 77,
        at_limit: AtLimit::DropLast.into(),
    };
    ranking.configure(asked.clone()).expect("is accepted");
    let description = ranking.describe(1).expect("reads");
    assert_eq!(description.options, Some(Options { schedule: "0 0 * * 1".to_owned(), ..asked }));
    assert_eq!((description.finished, description.shard_changes), (0, 0));
    ranking.change(2, 1, 1).expect("is accepted");
    let options = ranking.describe(2).expect("reads").options.expect("is there");
    assert_eq!((options.kept_seasons, options.max_entries), (Some(1), 2_000_000));
}
