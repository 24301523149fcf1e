//! A shard that speaks in messages instead of bytes.

use hotseat_guest::testing::{Setup, TestShard};
use hotseat_guest::{Failure, Service};
use hotseat_services::rank::{
    AroundRequest, Change, Changes, CountRequest, Counted, DeleteUserRequest, Description, Increments, Nil,
    Options, Range, RankList, Season, SeasonList, SetId, Surroundings, UserList, Users, method,
};
use prost::Message;
use rank::V1;

/// Monday, 2024-01-01 00:00:00 UTC.
pub(crate) const MONDAY_MS: u64 = 1_704_067_200_000;

pub(crate) const HOUR_MS: u64 = 3_600_000;

pub(crate) struct Ranking<S: Service> {
    pub(crate) shard: TestShard<S>,
}

pub(crate) fn open() -> Ranking<V1> {
    open_with(&[])
}

pub(crate) fn open_with(settings: &[(&str, &str)]) -> Ranking<V1> {
    let setup =
        settings.iter().fold(Setup::new().now_ms(MONDAY_MS), |setup, (key, value)| setup.config(key, *value));
    Ranking { shard: setup.open_shard("rank#0").expect("opens") }
}

impl<S: Service> Ranking<S> {
    fn call<R: Message + Default>(&mut self, method: &str, request: &impl Message) -> Result<R, Failure> {
        let response = self.shard.call(method, &request.encode_to_vec())?;
        Ok(R::decode(response.as_slice()).expect("a response of the method's type"))
    }

    fn query<R: Message + Default>(&self, method: &str, request: &impl Message) -> Result<R, Failure> {
        let response = self.shard.query(method, &request.encode_to_vec())?;
        Ok(R::decode(response.as_slice()).expect("a response of the method's type"))
    }

    pub(crate) fn change(&mut self, set_id: u64, user_id: i64, score: i64) -> Result<(), Failure> {
        self.call::<Nil>(method::RANK_CHANGE, &Change { user_id, score, set_id }).map(drop)
    }

    pub(crate) fn update(&mut self, set_id: u64, scores: &[(i64, i64)]) -> Result<(), Failure> {
        let (user_ids, scores) = scores.iter().copied().unzip();
        self.call::<Nil>(method::UPDATE, &Changes { set_id, user_ids, scores }).map(drop)
    }

    pub(crate) fn update_unequal(&mut self, set_id: u64, users: usize, scores: usize) -> Result<(), Failure> {
        let request = Changes { set_id, user_ids: vec![1; users], scores: vec![1; scores] };
        self.call::<Nil>(method::UPDATE, &request).map(drop)
    }

    /// Ranks and scores.
    pub(crate) fn increment(
        &mut self,
        set_id: u64,
        deltas: &[(i64, i64)],
    ) -> Result<Vec<(i64, i64)>, Failure> {
        let (user_ids, deltas) = deltas.iter().copied().unzip();
        let list: UserList = self.call(method::INCREMENT, &Increments { set_id, user_ids, deltas })?;
        Ok(pairs(list.ranks, list.scores))
    }

    /// Users and scores.
    pub(crate) fn range(&self, set_id: u64, a: i64, b: i64) -> Result<Vec<(i64, i64)>, Failure> {
        self.range_of(set_id, 0, a, b)
    }

    pub(crate) fn range_of(
        &self,
        set_id: u64,
        season: u64,
        a: i64,
        b: i64,
    ) -> Result<Vec<(i64, i64)>, Failure> {
        let list: RankList = self.query(method::QUERY_RANK_RANGE, &Range { a, b, set_id, season })?;
        Ok(pairs(list.user_ids, list.scores))
    }

    /// All users, in order.
    pub(crate) fn order(&self, set_id: u64) -> Vec<i64> {
        let list = self.range(set_id, 1, i64::MAX).expect("the set is there");
        list.into_iter().map(|(user, _)| user).collect()
    }

    /// Ranks and scores.
    pub(crate) fn users(&self, set_id: u64, users: &[i64]) -> Result<Vec<(i64, i64)>, Failure> {
        self.users_of(set_id, 0, users)
    }

    pub(crate) fn users_of(
        &self,
        set_id: u64,
        season: u64,
        users: &[i64],
    ) -> Result<Vec<(i64, i64)>, Failure> {
        let request = Users { user_ids: users.to_vec(), set_id, season };
        let list: UserList = self.query(method::QUERY_USERS, &request)?;
        Ok(pairs(list.ranks, list.scores))
    }

    pub(crate) fn around(
        &self,
        set_id: u64,
        user_id: i64,
        before: i64,
        after: i64,
    ) -> Result<Surroundings, Failure> {
        self.query(method::AROUND, &AroundRequest { set_id, user_id, before, after, season: 0 })
    }

    pub(crate) fn count(&self, set_id: u64) -> Result<u64, Failure> {
        self.query(method::COUNT, &CountRequest { set_id, season: 0 }).map(|counted: Counted| counted.entries)
    }

    pub(crate) fn delete_set(&mut self, set_id: u64) -> Result<(), Failure> {
        self.call::<Nil>(method::DELETE_SET, &SetId { set_id }).map(drop)
    }

    pub(crate) fn delete_user(&mut self, set_id: u64, user_id: i64) -> Result<(), Failure> {
        self.delete_user_of(set_id, user_id, false)
    }

    pub(crate) fn delete_user_of(
        &mut self,
        set_id: u64,
        user_id: i64,
        all_seasons: bool,
    ) -> Result<(), Failure> {
        self.call::<Nil>(method::DELETE_USER, &DeleteUserRequest { set_id, user_id, all_seasons }).map(drop)
    }

    pub(crate) fn configure(&mut self, options: Options) -> Result<(), Failure> {
        self.call::<Nil>(method::CONFIGURE, &options).map(drop)
    }

    pub(crate) fn describe(&self, set_id: u64) -> Result<Description, Failure> {
        self.query(method::DESCRIBE, &SetId { set_id })
    }

    pub(crate) fn reset(&mut self, set_id: u64) -> Result<Season, Failure> {
        self.call(method::RESET, &SetId { set_id })
    }

    pub(crate) fn seasons(&self, set_id: u64) -> Result<Vec<Season>, Failure> {
        self.query(method::SEASONS, &SetId { set_id }).map(|list: SeasonList| list.seasons)
    }

    /// Saved and loaded, with timers and settings.
    pub(crate) fn restart(self) -> Self {
        self.swap()
    }

    pub(crate) fn swap<N: Service>(self) -> Ranking<N> {
        Ranking { shard: self.shard.swap().expect("the state is taken over") }
    }
}

fn pairs(a: Vec<i64>, b: Vec<i64>) -> Vec<(i64, i64)> {
    assert_eq!(a.len(), b.len());
    a.into_iter().zip(b).collect()
}

/// The failure of a request that must not be accepted.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Failure>) -> (u32, String) {
    let failure = result.expect_err("is refused");
    (failure.status, failure.text)
}
