//! Seasons: finished by hand and by schedule.

use hotseat_services::rank::{Options, Order};

use crate::support::{HOUR_MS, MONDAY_MS, Ranking, open, refused};

fn scheduled(schedule: &str, kept: u32) -> Options {
    Options { set_id: 1, schedule: schedule.to_owned(), kept_seasons: Some(kept), ..Options::default() }
}

#[test]
fn a_finished_season_stays_readable() {
    let mut ranking = open();
    ranking.update(1, &[(1, 10), (2, 20)]).expect("is accepted");
    ranking.shard.advance(HOUR_MS);
    let finished = ranking.reset(1).expect("is accepted");
    assert_eq!((finished.number, finished.entries), (1, 2));
    assert_eq!((finished.began_ms, finished.ended_ms), (MONDAY_MS, MONDAY_MS + HOUR_MS));
    ranking.update(1, &[(3, 5)]).expect("is accepted");
    let mut ranking = ranking.restart();
    assert_eq!(ranking.range(1, 1, 9).expect("reads"), [(3, 5)]);
    assert_eq!(ranking.range_of(1, 1, 1, 9).expect("reads"), [(2, 20), (1, 10)]);
    assert_eq!(ranking.range_of(1, 2, 1, 9).expect("the running one by number"), [(3, 5)]);
    assert_eq!(ranking.users_of(1, 1, &[1, 3]).expect("reads"), [(2, 10), (-1, 0)]);
    assert_eq!(
        refused(ranking.range_of(1, 3, 1, 9)),
        (5, "season 3 of set 1 not exists, 1 to 2 do".to_owned())
    );
    ranking.reset(1).expect("is accepted");
    assert_eq!(refused(ranking.range_of(1, 1, 1, 9)).0, 5, "one is kept");
    let numbers: Vec<_> = ranking.seasons(1).expect("reads").iter().map(|season| season.number).collect();
    assert_eq!(numbers, [2, 3]);
}

#[test]
fn a_season_keeps_the_order_it_ran_under() {
    let mut ranking = open();
    ranking.update(1, &[(1, 10), (2, 20)]).expect("is accepted");
    ranking.reset(1).expect("is accepted");
    ranking
        .configure(Options { set_id: 1, order: Order::Ascending.into(), ..Options::default() })
        .expect("is accepted");
    ranking.update(1, &[(1, 10), (2, 20)]).expect("is accepted");
    assert_eq!(ranking.order(1), [1, 2]);
    assert_eq!(ranking.range_of(1, 1, 1, 2).expect("reads"), [(2, 20), (1, 10)]);
    let orders: Vec<_> = ranking.seasons(1).expect("reads").iter().map(|season| season.order).collect();
    assert_eq!(orders, [Order::Descending as i32, Order::Ascending as i32]);
}

#[test]
fn a_deleted_user_may_leave_all_seasons() {
    let mut ranking = open();
    ranking.update(1, &[(1, 10), (2, 20)]).expect("is accepted");
    ranking.reset(1).expect("is accepted");
    ranking.update(1, &[(1, 10), (2, 20)]).expect("is accepted");
    ranking.delete_user(1, 2).expect("is accepted");
    assert_eq!(ranking.range_of(1, 1, 1, 9).expect("reads"), [(2, 20), (1, 10)]);
    ranking.delete_user_of(1, 2, true).expect("is accepted");
    assert_eq!(ranking.range_of(1, 1, 1, 9).expect("reads"), [(1, 10)]);
    assert_eq!(ranking.range(1, 1, 9).expect("reads"), [(1, 10)]);
}

#[test]
fn a_schedule_ends_seasons_at_its_moments() {
    let mut ranking = open();
    ranking.configure(scheduled("0 */6 * * *", 12)).expect("is accepted");
    assert_eq!(ranking.describe(1).expect("reads").next_reset_ms, MONDAY_MS + 6 * HOUR_MS);
    ranking.change(1, 1, 1).expect("is accepted");
    ranking.shard.advance(6 * HOUR_MS - 1);
    assert_eq!(ranking.seasons(1).expect("reads").len(), 1);
    ranking.shard.advance(1);
    assert_eq!(ranking.count(1).expect("reads"), 0);
    ranking.shard.advance(24 * HOUR_MS);
    let seasons = ranking.seasons(1).expect("reads");
    assert_eq!(seasons.len(), 6);
    for (finished, next) in seasons.iter().zip(&seasons[1..]) {
        assert_eq!(finished.ended_ms % (6 * HOUR_MS), 0);
        assert_eq!(finished.ended_ms, next.began_ms);
    }
    let mut ranking = ranking.restart();
    ranking.shard.advance(24 * HOUR_MS);
    assert_eq!(ranking.seasons(1).expect("reads").len(), 10);
    ranking.configure(scheduled("", 12)).expect("is accepted");
    assert!(ranking.shard.timers().is_empty());
    ranking.shard.advance(24 * HOUR_MS);
    assert_eq!(ranking.seasons(1).expect("reads").len(), 10);
}

#[test]
fn one_timer_serves_all_sets() {
    let mut ranking = open();
    for set_id in 1..=3000 {
        let hour = set_id % 24;
        let schedule = format!("0 {hour} * * *");
        ranking.configure(Options { set_id, schedule, ..Options::default() }).expect("is accepted");
        assert_eq!(ranking.shard.timers().len(), 1);
    }
    for hour in 1..=48 {
        ranking.shard.advance(HOUR_MS);
        for set_id in [1, 24, 1777, 2999] {
            let resets = ranking.describe(set_id).expect("reads").running.expect("is there").number - 1;
            let own = set_id % 24;
            let expected = (1..=hour).filter(|passed| passed % 24 == own).count() as u64;
            assert_eq!(resets, expected, "set {set_id} after {hour} hours");
        }
    }
    assert_eq!(ranking.shard.timers().len(), 1);
}

#[test]
fn moments_that_pass_while_nobody_is_there_count_once() {
    let mut ranking = open();
    ranking.configure(scheduled("0 * * * *", 12)).expect("is accepted");
    ranking.change(1, 1, 1).expect("is accepted");
    let snapshot = ranking.shard.save();
    // A week later. The timer is late, as it is after a node was down; here the first call stands for it.
    let late = MONDAY_MS + 168 * HOUR_MS + 5;
    let shard =
        hotseat_guest::testing::Setup::new().now_ms(late).load_shard::<rank::V1>(&snapshot).expect("loads");
    let mut ranking = Ranking { shard };
    ranking.change(1, 2, 2).expect("is accepted");
    let seasons = ranking.seasons(1).expect("reads");
    assert_eq!(seasons.len(), 2);
    assert_eq!(seasons[0].ended_ms, late);
    assert_eq!(
        ranking.range(1, 1, 9).expect("reads"),
        [(2, 2)],
        "what comes late counts for the next season"
    );
    assert_eq!(ranking.describe(1).expect("reads").next_reset_ms, MONDAY_MS + 169 * HOUR_MS);
    assert_eq!(ranking.shard.timers().len(), 1);
}

#[test]
fn the_same_schedule_again_moves_nothing() {
    let mut ranking = open();
    ranking.configure(scheduled("30 12 29 2 *", 1)).expect("is accepted");
    let due_ms = ranking.describe(1).expect("reads").next_reset_ms;
    assert_eq!(due_ms, MONDAY_MS + 59 * 24 * HOUR_MS + 12 * HOUR_MS + HOUR_MS / 2, "2024 is a leap year");
    ranking.shard.advance(58 * 24 * HOUR_MS);
    ranking.configure(scheduled("30 12 29 2 *", 2)).expect("is accepted");
    assert_eq!(ranking.describe(1).expect("reads").next_reset_ms, due_ms);
    ranking.shard.advance(2 * 24 * HOUR_MS);
    let seasons = ranking.seasons(1).expect("reads");
    assert_eq!((seasons.len(), seasons[0].ended_ms), (2, due_ms), "more than a timer's reach away");
}

#[test]
fn a_deleted_set_is_not_reset_any_more() {
    let mut ranking = open();
    ranking.configure(scheduled("0 * * * *", 1)).expect("is accepted");
    ranking.delete_set(1).expect("is accepted");
    assert!(ranking.shard.timers().is_empty());
    ranking.change(1, 1, 1).expect("is accepted");
    ranking.shard.advance(5 * HOUR_MS);
    assert_eq!(ranking.seasons(1).expect("reads").len(), 1);
}
