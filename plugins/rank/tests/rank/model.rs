//! The whole service against a list that is sorted anew each time.

use std::collections::{BTreeMap, VecDeque};

use hotseat_services::rank::{AtLimit, Options, Order, TieRule};
use proptest::prelude::*;
use rank::V1;

use crate::support::{Ranking, open};

/// Few sets, users and scores, so that they meet.
const SETS: u64 = 3;
const USERS: i64 = 60;

#[derive(Debug, Clone)]
enum Step {
    Change(u64, i64, i64),
    Update(u64, Vec<(i64, i64)>),
    Increment(u64, Vec<(i64, i64)>),
    DeleteUser(u64, i64, bool),
    DeleteSet(u64),
    Configure(u64, Order, TieRule, u32, u64, AtLimit),
    Reset(u64),
    Restart,
    Compare(u64),
}

fn steps(users: i64, scores: i64) -> impl Strategy<Value = Step> {
    let set = 0..SETS;
    let user = (-users / 2)..users - users / 2;
    let score = -scores / 2..scores;
    let list = prop::collection::vec((user.clone(), score.clone()), 0..20);
    let order = prop_oneof![Just(Order::Descending), Just(Order::Ascending)];
    let ties = prop_oneof![Just(TieRule::EarlierFirst), Just(TieRule::LaterFirst), Just(TieRule::ByUserId)];
    let at_limit = prop_oneof![Just(AtLimit::Refuse), Just(AtLimit::DropLast)];
    let limit = prop_oneof![Just(0), 1..users.cast_unsigned()];
    prop_oneof![
        40 => (set.clone(), user.clone(), score).prop_map(|(set, user, score)| Step::Change(set, user, score)),
        20 => (set.clone(), list.clone()).prop_map(|(set, list)| Step::Update(set, list)),
        20 => (set.clone(), list).prop_map(|(set, list)| Step::Increment(set, list)),
        10 => (set.clone(), user, any::<bool>()).prop_map(|(set, user, all)| Step::DeleteUser(set, user, all)),
        1 => set.clone().prop_map(Step::DeleteSet),
        2 => (set.clone(), order, ties, 0..4_u32, limit, at_limit)
            .prop_map(|(set, order, ties, kept, limit, at)| Step::Configure(set, order, ties, kept, limit, at)),
        2 => set.clone().prop_map(Step::Reset),
        3 => Just(Step::Restart),
        10 => set.prop_map(Step::Compare),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    user: i64,
    score: i64,
    since: u64,
}

#[derive(Debug, Clone)]
struct Season {
    number: u64,
    order: Order,
    ties: TieRule,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Set {
    running: Season,
    finished: VecDeque<Season>,
    kept: usize,
    limit: usize,
    at_limit: AtLimit,
}

impl Season {
    fn new(number: u64, order: Order, ties: TieRule) -> Self {
        Self { number, order, ties, entries: Vec::new() }
    }

    fn sorted(&self) -> Vec<Entry> {
        let mut sorted = self.entries.clone();
        sorted.sort_by(|a, b| {
            let by_score = match self.order {
                Order::Descending => b.score.cmp(&a.score),
                Order::Ascending => a.score.cmp(&b.score),
            };
            by_score.then_with(|| match self.ties {
                TieRule::EarlierFirst => a.since.cmp(&b.since),
                TieRule::LaterFirst => b.since.cmp(&a.since),
                TieRule::ByUserId => a.user.cmp(&b.user),
            })
        });
        sorted
    }
}

impl Set {
    fn new() -> Self {
        Self {
            running: Season::new(1, Order::Descending, TieRule::EarlierFirst),
            finished: VecDeque::new(),
            kept: 1,
            limit: usize::MAX,
            at_limit: AtLimit::Refuse,
        }
    }

    fn forget(&mut self) {
        while self.finished.len() > self.kept {
            self.finished.pop_front();
        }
    }
}

#[derive(Debug, Default)]
struct Model {
    sets: BTreeMap<u64, Set>,
    clock: u64,
}

impl Model {
    /// False if it must be refused.
    fn change(&mut self, id: u64, list: &[(i64, i64)], add: bool) -> bool {
        let set = self.sets.get(&id).cloned().unwrap_or_else(Set::new);
        let mut next = set;
        for (user, value) in list {
            self.clock += 1;
            let found = next.running.entries.iter_mut().find(|entry| entry.user == *user);
            match found {
                Some(entry) => {
                    let score = if add { entry.score + value } else { *value };
                    if score != entry.score {
                        (entry.score, entry.since) = (score, self.clock);
                    }
                }
                None => next.running.entries.push(Entry { user: *user, score: *value, since: self.clock }),
            }
            if next.running.entries.len() > next.limit {
                if next.at_limit == AtLimit::Refuse {
                    return false;
                }
                let last = next.running.sorted().pop().expect("there are some").user;
                next.running.entries.retain(|entry| entry.user != last);
            }
        }
        self.sets.insert(id, next);
        true
    }

    fn configure(&mut self, options: &Options, order: Order, ties: TieRule, at_limit: AtLimit) -> bool {
        let set = self.sets.get(&options.set_id);
        let limit = if options.max_entries == 0 { usize::MAX } else { options.max_entries as usize };
        if set.is_some_and(|set| set.running.entries.len() > limit) {
            return false;
        }
        let set = self.sets.entry(options.set_id).or_insert_with(Set::new);
        (set.running.order, set.running.ties) = (order, ties);
        (set.limit, set.at_limit) = (limit, at_limit);
        set.kept = options.kept_seasons.unwrap_or(1) as usize;
        set.forget();
        true
    }

    fn reset(&mut self, id: u64) -> bool {
        let Some(set) = self.sets.get_mut(&id) else { return false };
        let next = Season::new(set.running.number + 1, set.running.order, set.running.ties);
        set.finished.push_back(std::mem::replace(&mut set.running, next));
        set.forget();
        true
    }

    fn delete_user(&mut self, id: u64, user: i64, all: bool) -> bool {
        let Some(set) = self.sets.get_mut(&id) else { return false };
        set.running.entries.retain(|entry| entry.user != user);
        if all {
            for season in &mut set.finished {
                season.entries.retain(|entry| entry.user != user);
            }
        }
        true
    }
}

struct Pair {
    ranking: Option<Ranking<V1>>,
    model: Model,
    users: i64,
}

impl Pair {
    fn new(users: i64) -> Self {
        Self { ranking: Some(open()), model: Model::default(), users }
    }

    fn ranking(&mut self) -> &mut Ranking<V1> {
        self.ranking.as_mut().expect("is there between steps")
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Change(set, user, score) => {
                let accepted = self.model.change(*set, &[(*user, *score)], false);
                assert_eq!(self.ranking().change(*set, *user, *score).is_ok(), accepted, "{step:?}");
            }
            Step::Update(set, list) => {
                let accepted = self.model.change(*set, list, false);
                assert_eq!(self.ranking().update(*set, list).is_ok(), accepted, "{step:?}");
            }
            Step::Increment(set, list) => {
                let accepted = self.model.change(*set, list, true);
                let answer = self.ranking().increment(*set, list);
                assert_eq!(answer.is_ok(), accepted, "{step:?}");
                if let Ok(answer) = answer {
                    let users: Vec<_> = list.iter().map(|(user, _)| *user).collect();
                    assert_eq!(answer, self.ranking().users(*set, &users).expect("reads"));
                }
            }
            Step::DeleteUser(set, user, all) => {
                let known = self.model.delete_user(*set, *user, *all);
                assert_eq!(self.ranking().delete_user_of(*set, *user, *all).is_ok(), known, "{step:?}");
            }
            Step::DeleteSet(set) => {
                self.model.sets.remove(set);
                self.ranking().delete_set(*set).expect("is never an error");
            }
            Step::Configure(set, order, ties, kept, limit, at_limit) => {
                let options = Options {
                    set_id: *set,
                    order: (*order).into(),
                    ties: (*ties).into(),
                    schedule: String::new(),
                    kept_seasons: Some(*kept),
                    max_entries: *limit,
                    at_limit: (*at_limit).into(),
                };
                let accepted = self.model.configure(&options, *order, *ties, *at_limit);
                assert_eq!(self.ranking().configure(options).is_ok(), accepted, "{step:?}");
            }
            Step::Reset(set) => {
                let known = self.model.reset(*set);
                assert_eq!(self.ranking().reset(*set).is_ok(), known, "{step:?}");
            }
            Step::Restart => self.ranking = self.ranking.take().map(Ranking::restart),
            Step::Compare(set) => self.compare(*set),
        }
    }

    fn compare(&self, id: u64) {
        let ranking = self.ranking.as_ref().expect("is there between steps");
        let Some(set) = self.model.sets.get(&id) else {
            assert_eq!(ranking.count(id).expect_err("is unknown").text, "name not exists");
            return;
        };
        assert_eq!(ranking.count(id).expect("reads"), set.running.entries.len() as u64);
        let numbers: Vec<_> =
            ranking.seasons(id).expect("reads").iter().map(|season| season.number).collect();
        let seasons = set.finished.iter().chain([&set.running]);
        assert_eq!(numbers, seasons.clone().map(|season| season.number).collect::<Vec<_>>());
        for season in seasons {
            let sorted = season.sorted();
            let expected: Vec<_> = sorted.iter().map(|entry| (entry.user, entry.score)).collect();
            assert_eq!(ranking.range_of(id, season.number, 1, i64::MAX).expect("reads"), expected);
            let all: Vec<_> = (-self.users / 2 - 1..=self.users - self.users / 2).collect();
            let mut standings: BTreeMap<_, _> = all.iter().map(|user| (*user, (-1, 0))).collect();
            for (rank, entry) in (1..).zip(&sorted) {
                standings.insert(entry.user, (rank, entry.score));
            }
            let expected: Vec<_> = all.iter().map(|user| standings[user]).collect();
            assert_eq!(ranking.users_of(id, season.number, &all).expect("reads"), expected);
        }
        let sorted = set.running.sorted();
        for (at, entry) in sorted.iter().enumerate().step_by(sorted.len() / 5 + 1) {
            let around = ranking.around(id, entry.user, 3, 2).expect("reads");
            let (from, to) = (at.saturating_sub(3), (at + 3).min(sorted.len()));
            let expected: Vec<_> = sorted[from..to].iter().map(|entry| entry.user).collect();
            assert_eq!(around.user_ids, expected);
            assert_eq!((around.first_rank, around.rank), (from as i64 + 1, at as i64 + 1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_service_is_a_sorted_list(
        steps in prop::collection::vec(steps(USERS, 12), 1..120),
    ) {
        let mut pair = Pair::new(USERS);
        for step in &steps {
            pair.apply(step);
        }
        for set in 0..SETS {
            pair.compare(set);
        }
    }
}

/// 100,000 changes of sets that grow to several thousand users and shrink again.
#[test]
fn a_hundred_thousand_operations_leave_no_difference() {
    const MANY: i64 = 4000;
    let mut random = Random(42);
    let mut pair = Pair::new(MANY);
    let mut operations = 0;
    while operations < 100_000 {
        let set = random.below(2);
        // Tides: more come, then more leave.
        let growing = operations / 10_000 % 2 == 0;
        let user = random.below(MANY as u64) as i64 - MANY / 2;
        let score = random.below(500) as i64 - 250;
        let step = match random.below(100) {
            0..5 => Step::Increment(set, vec![(user, score % 3), (user + 1, 1)]),
            5..8 => Step::Update(set, (0..10).map(|i| ((user + i * 7) % (MANY / 2), score + i)).collect()),
            8..20 if growing => Step::DeleteUser(set, user, false),
            8..80 if !growing => Step::DeleteUser(set, user, false),
            _ => Step::Change(set, user, score),
        };
        pair.apply(&step);
        operations += 1;
        if operations % 2500 == 0 {
            pair.compare(set);
        }
        if operations % 10_000 == 0 {
            pair.apply(&Step::Restart);
        }
        if operations == 60_000 {
            pair.apply(&Step::Reset(0));
            pair.apply(&Step::Configure(1, Order::Ascending, TieRule::LaterFirst, 2, 0, AtLimit::Refuse));
        }
    }
    pair.compare(0);
    pair.compare(1);
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}
