//! The methods of `proto.RankingService` as the host names them.

/// `RankChange(Change) -> Nil`.
pub const RANK_CHANGE: &str = "proto.RankingService/RankChange";
/// `QueryRankRange(Range) -> RankList`, a query.
pub const QUERY_RANK_RANGE: &str = "proto.RankingService/QueryRankRange";
/// `QueryUsers(Users) -> UserList`, a query.
pub const QUERY_USERS: &str = "proto.RankingService/QueryUsers";
/// `DeleteSet(SetId) -> Nil`.
pub const DELETE_SET: &str = "proto.RankingService/DeleteSet";
/// `DeleteUser(DeleteUserRequest) -> Nil`.
pub const DELETE_USER: &str = "proto.RankingService/DeleteUser";
/// `Update(Changes) -> Nil`.
pub const UPDATE: &str = "proto.RankingService/Update";
/// `Increment(Increments) -> UserList`.
pub const INCREMENT: &str = "proto.RankingService/Increment";
/// `Around(AroundRequest) -> Surroundings`, a query.
pub const AROUND: &str = "proto.RankingService/Around";
/// `Count(CountRequest) -> Counted`, a query.
pub const COUNT: &str = "proto.RankingService/Count";
/// `Configure(Options) -> Nil`.
pub const CONFIGURE: &str = "proto.RankingService/Configure";
/// `Describe(SetId) -> Description`, a query.
pub const DESCRIBE: &str = "proto.RankingService/Describe";
/// `Reset(SetId) -> Season`.
pub const RESET: &str = "proto.RankingService/Reset";
/// `Seasons(SetId) -> SeasonList`, a query.
pub const SEASONS: &str = "proto.RankingService/Seasons";
