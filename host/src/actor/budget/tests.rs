//! Budgets, on a clock of the test's own.

use super::*;
use crate::plugin::Engine;

const MS: Duration = Duration::from_millis(1);

fn shares(actor: f64, plugin: f64) -> Shares {
    Shares { actor, plugin, close_after: Some(10 * WINDOW) }
}

struct Case {
    all: PluginBudget,
    meter: std::sync::Arc<Meter>,
    now: Instant,
}

impl Case {
    fn new(shares: Shares) -> Self {
        let all = PluginBudget::new(shares, BudgetMetrics::unregistered());
        Self { all, meter: Engine::transient().unwrap().meter(), now: Instant::now() }
    }

    /// Lets `budget` use `ran` of the next `time`, unless it rests.
    fn turn(&mut self, budget: &mut Budget, ran: Duration, waited: Duration) -> Accounted {
        budget.wake(self.now);
        if budget.rest().is_some() {
            return Accounted::Fine;
        }
        budget.account(self.now, Used { ran, held: ran, waited }, &self.all, &self.meter, ("plugin", "actor"))
    }
}

#[test]
fn who_uses_more_than_its_share_rests_and_is_ended() {
    let mut case = Case::new(shares(0.5, 4.0));
    let mut budget = Budget::new();
    let (mut used, started) = (Duration::ZERO, case.now);
    let why = loop {
        case.now += 10 * MS;
        budget.wake(case.now);
        if budget.rest().is_none() {
            used += 10 * MS;
        }
        match case.turn(&mut budget, 10 * MS, Duration::ZERO) {
            Accounted::Fine => {}
            Accounted::TooMuch(why) => break why,
        }
        assert!(case.now - started < 20 * WINDOW, "never ended");
    };
    assert!(why.contains("50 %") && why.contains("10 s"), "{why}");
    let part = used.as_secs_f64() / (case.now - started).as_secs_f64();
    assert!((0.45..0.6).contains(&part), "{part}");
}

#[test]
fn who_keeps_to_its_share_never_rests() {
    let mut case = Case::new(shares(0.5, 1.0));
    let mut budget = Budget::new();
    for _ in 0..3000 {
        case.now += 20 * MS;
        assert_eq!(case.turn(&mut budget, 9 * MS, Duration::ZERO), Accounted::Fine);
        assert_eq!(budget.rest(), None);
    }
}

#[test]
fn a_plugin_over_its_share_slows_down_those_who_use_much() {
    let mut case = Case::new(shares(0.5, 1.0));
    let mut greedy: Vec<Budget> = (0..10).map(|_| Budget::new()).collect();
    let mut modest = Budget::new();
    let mut used = Duration::ZERO;
    for step in 0..5000 {
        case.now += MS;
        for budget in &mut greedy {
            budget.wake(case.now);
            if budget.rest().is_none() {
                used += MS;
            }
            assert_eq!(case.turn(budget, MS, Duration::ZERO), Accounted::Fine);
        }
        if step % 20 == 0 {
            case.turn(&mut modest, MS / 2, Duration::ZERO);
            assert_eq!(modest.rest(), None, "step {step}");
        }
    }
    let part = used.as_secs_f64() / 5.0;
    assert!(part < 1.3, "{part}");
}

/// So many actors of a plugin, which has one core, work in turns of this length whenever they may; how many are ended within 30 s.
fn ended(count: usize, turn: Duration) -> usize {
    let mut case = Case::new(shares(0.5, 1.0));
    let mut budgets: Vec<Budget> = (0..count).map(|_| Budget::new()).collect();
    let started = case.now;
    while case.now - started < 30 * WINDOW {
        case.now += turn;
        budgets.retain_mut(|budget| case.turn(budget, turn, Duration::ZERO) == Accounted::Fine);
    }
    count - budgets.len()
}

#[test]
fn who_runs_on_and_on_is_ended_also_if_its_plugin_holds_it_back() {
    assert_eq!(ended(4, 50 * MS), 4);
    assert_eq!(ended(63, 50 * MS), 63);
}

#[test]
fn rooms_with_much_to_do_are_slow_together_and_none_is_ended() {
    assert_eq!(ended(4, 3 * MS), 0);
    assert_eq!(ended(63, 3 * MS), 0);
}

#[test]
fn who_waits_for_others_is_not_ended_for_it() {
    let mut case = Case::new(shares(0.5, 4.0));
    let mut budget = Budget::new();
    for _ in 0..20 {
        case.now += WINDOW;
        assert_eq!(case.turn(&mut budget, MS, WINDOW), Accounted::Fine);
    }
}

#[test]
fn frames_cost_what_sending_them_does() {
    assert_eq!(sending_ns(1, 500), 3_000);
    assert_eq!(sending_ns(10, 500), 30_000);
    assert_eq!(sending_ns(0, 500), 0);
    assert_eq!(sending_ns(usize::MAX, usize::MAX), u64::MAX);
}
