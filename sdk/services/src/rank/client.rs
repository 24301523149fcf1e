//! Calling `proto.RankingService` from within a plugin.

use hotseat_guest::{Game, Handle};

use super::{
    AroundRequest, Change, Changes, CountRequest, Counted, DeleteUserRequest, Description, Increments, Nil,
    Options, Range, RankList, Season, SeasonList, SetId, Surroundings, UserList, Users, method,
};
use crate::caller::{CallError, call};

/// One entry of a leaderboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// From 1, the best.
    pub rank: i64,
    /// Whose score it is.
    pub user: i64,
    /// The score.
    pub score: i64,
}

/// Where a user stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// From 1, the best.
    pub rank: i64,
    /// The score.
    pub score: i64,
}

/// The leaderboards of one configured service. Every method makes its call at once; awaiting waits for the answer,
/// dropping the future does not take the call back. Limits and errors are those of `proto/rank.proto`; what the
/// host adds to them (no answer in time, too many calls at once) is a [`CallError`] too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    service: &'static str,
}

impl Client {
    /// The service of this name in the operator's configuration.
    #[must_use]
    pub const fn new(service: &'static str) -> Self {
        Self { service }
    }

    /// Sets a user's score.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn change<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
        user: i64,
        score: i64,
    ) -> impl Future<Output = Result<(), CallError>> + use<G> {
        let request = Change { user_id: user, score, set_id: set };
        let call = call::<G, Nil>(handle, self.service, method::RANK_CHANGE, &request);
        async move { call.await.map(drop) }
    }

    /// Sets the scores of many users of one set, `(user, score)` each: all or none.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn update<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
        scores: &[(i64, i64)],
    ) -> impl Future<Output = Result<(), CallError>> + use<G> {
        let (user_ids, scores) = scores.iter().copied().unzip();
        let request = Changes { set_id: set, user_ids, scores };
        let call = call::<G, Nil>(handle, self.service, method::UPDATE, &request);
        async move { call.await.map(drop) }
    }

    /// Adds to a user's score; answers where they stand then. None: the set is full of better ones.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn increment<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
        user: i64,
        delta: i64,
    ) -> impl Future<Output = Result<Option<Standing>, CallError>> + use<G> {
        let request = Increments { set_id: set, user_ids: vec![user], deltas: vec![delta] };
        let call = call::<G, UserList>(handle, self.service, method::INCREMENT, &request);
        async move { Ok(standings(call.await?).into_iter().next().flatten()) }
    }

    /// The first `n` entries, fewer if there are not as many.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn top<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
        n: i64,
    ) -> impl Future<Output = Result<Vec<Entry>, CallError>> + use<G> {
        self.range(handle, set, 1, n)
    }

    /// The entries of the ranks `first` to `last`, both included.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn range<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
        first: i64,
        last: i64,
    ) -> impl Future<Output = Result<Vec<Entry>, CallError>> + use<G> {
        let request = Range { a: first, b: last, set_id: set, season: 0 };
        let call = call::<G, RankList>(handle, self.service, method::QUERY_RANK_RANGE, &request);
        async move { call.await.map(|list| entries(first, &list.user_ids, &list.scores)) }
    }

    /// Where users stand, in their order; none for those who are not in the set.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn ranks<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
        users: &[i64],
    ) -> impl Future<Output = Result<Vec<Option<Standing>>, CallError>> + use<G> {
        let request = Users { user_ids: users.to_vec(), set_id: set, season: 0 };
        let call = call::<G, UserList>(handle, self.service, method::QUERY_USERS, &request);
        async move { call.await.map(standings) }
    }

    /// A user with up to `before` entries of better and `after` of worse rank; empty if the user is not in the set.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn around<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
        user: i64,
        before: i64,
        after: i64,
    ) -> impl Future<Output = Result<Vec<Entry>, CallError>> + use<G> {
        let request = AroundRequest { set_id: set, user_id: user, before, after, season: 0 };
        let call = call::<G, Surroundings>(handle, self.service, method::AROUND, &request);
        async move { call.await.map(|list| entries(list.first_rank, &list.user_ids, &list.scores)) }
    }

    /// The number of users in a set.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn count<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
    ) -> impl Future<Output = Result<u64, CallError>> + use<G> {
        let request = CountRequest { set_id: set, season: 0 };
        let call = call::<G, Counted>(handle, self.service, method::COUNT, &request);
        async move { call.await.map(|counted| counted.entries) }
    }

    /// Removes a user from the running season of a set.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn delete_user<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
        user: i64,
    ) -> impl Future<Output = Result<(), CallError>> + use<G> {
        let request = DeleteUserRequest { set_id: set, user_id: user, all_seasons: false };
        let call = call::<G, Nil>(handle, self.service, method::DELETE_USER, &request);
        async move { call.await.map(drop) }
    }

    /// Removes a set.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn delete_set<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
    ) -> impl Future<Output = Result<(), CallError>> + use<G> {
        let call = call::<G, Nil>(handle, self.service, method::DELETE_SET, &SetId { set_id: set });
        async move { call.await.map(drop) }
    }

    /// Replaces the options of a set, and creates it if need be.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn configure<G: Game>(
        &self,
        handle: &Handle<G>,
        options: &Options,
    ) -> impl Future<Output = Result<(), CallError>> + use<G> {
        let call = call::<G, Nil>(handle, self.service, method::CONFIGURE, options);
        async move { call.await.map(drop) }
    }

    /// Options and numbers of a set.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn describe<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
    ) -> impl Future<Output = Result<Description, CallError>> + use<G> {
        call(handle, self.service, method::DESCRIBE, &SetId { set_id: set })
    }

    /// Finishes the running season of a set; answers the finished one.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn reset<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
    ) -> impl Future<Output = Result<Season, CallError>> + use<G> {
        call(handle, self.service, method::RESET, &SetId { set_id: set })
    }

    /// The kept seasons of a set, oldest first; the running one is the last.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn seasons<G: Game>(
        &self,
        handle: &Handle<G>,
        set: u64,
    ) -> impl Future<Output = Result<Vec<Season>, CallError>> + use<G> {
        let call = call::<G, SeasonList>(handle, self.service, method::SEASONS, &SetId { set_id: set });
        async move { call.await.map(|list| list.seasons) }
    }
}

fn entries(first: i64, users: &[i64], scores: &[i64]) -> Vec<Entry> {
    let pairs = users.iter().zip(scores);
    (first..).zip(pairs).map(|(rank, (user, score))| Entry { rank, user: *user, score: *score }).collect()
}

fn standings(list: UserList) -> Vec<Option<Standing>> {
    let pairs = list.ranks.into_iter().zip(list.scores);
    pairs.map(|(rank, score)| (rank > 0).then_some(Standing { rank, score })).collect()
}
