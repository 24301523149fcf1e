//! `proto.RankingService`: from bytes to the sets and back.

use hotseat_guest::{Failure, Shard};
use hotseat_services::rank::{
    self as wire, AroundRequest, CountRequest, Counted, DeleteUserRequest, Increments, Nil, Range, RankList,
    SeasonList, SetId, Surroundings, UserList, Users, method,
};
use prost::Message;

use crate::board::{Board, Change};
use crate::convert;
use crate::error::RankError;
use crate::ranks::Ranks;

/// The shard's one timer: when the next season ends.
const TIMER: u64 = 1;

/// A timer waits no longer than this; then it is set anew.
const WAIT_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// A call that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The encoded response.
    pub response: Vec<u8>,
    /// Scores that the request wrote.
    pub changes: u64,
}

/// A method that may change the state.
///
/// # Errors
/// As `proto/rank.proto` says.
pub fn call(ranks: &mut Ranks, shard: &Shard, method: &str, body: &[u8]) -> Result<Done, Failure> {
    let due_ms = ranks.next_due_ms();
    let done = dispatch(ranks, shard.now_ms(), method, body)?;
    if ranks.next_due_ms() != due_ms {
        set_timer(ranks, shard);
    }
    Ok(done)
}

/// The timer is due.
pub fn timer(ranks: &mut Ranks, shard: &Shard) {
    ranks.reset_all_due(shard.now_ms());
    set_timer(ranks, shard);
}

fn set_timer(ranks: &Ranks, shard: &Shard) {
    match ranks.next_due_ms() {
        Some(due_ms) => {
            let wait_ms = due_ms.saturating_sub(shard.now_ms()).clamp(1, WAIT_MAX_MS);
            shard.set_timer(TIMER, u32::try_from(wait_ms).unwrap_or(u32::MAX));
        }
        None => shard.cancel_timer(TIMER),
    }
}

fn dispatch(ranks: &mut Ranks, now_ms: u64, method: &str, body: &[u8]) -> Result<Done, Failure> {
    let mut changes = 0;
    let response = match method {
        method::RANK_CHANGE => {
            let change: wire::Change = decode(method, body)?;
            ranks.change_one(now_ms, change.set_id, change.user_id, change.score)?;
            changes = 1;
            Nil {}.encode_to_vec()
        }
        method::UPDATE => {
            let wire::Changes { set_id, user_ids, scores } = decode(method, body)?;
            ranks.change(now_ms, set_id, &user_ids, &scores, Change::Set)?;
            changes = user_ids.len() as u64;
            Nil {}.encode_to_vec()
        }
        method::INCREMENT => {
            let Increments { set_id, user_ids, deltas } = decode(method, body)?;
            ranks.change(now_ms, set_id, &user_ids, &deltas, Change::Add)?;
            changes = user_ids.len() as u64;
            standings(ranks.set(set_id)?.board(), &user_ids).encode_to_vec()
        }
        method::DELETE_SET => {
            ranks.delete_set(decode::<SetId>(method, body)?.set_id);
            Nil {}.encode_to_vec()
        }
        method::DELETE_USER => {
            let DeleteUserRequest { set_id, user_id, all_seasons } = decode(method, body)?;
            ranks.delete_user(now_ms, set_id, user_id, all_seasons)?;
            Nil {}.encode_to_vec()
        }
        method::CONFIGURE => {
            let options: wire::Options = decode(method, body)?;
            ranks.configure(now_ms, options.set_id, convert::options(&options)?)?;
            Nil {}.encode_to_vec()
        }
        method::RESET => {
            let finished = ranks.reset(now_ms, decode::<SetId>(method, body)?.set_id)?;
            convert::finished(&finished).encode_to_vec()
        }
        _ => return Err(Failure::unimplemented(method)),
    };
    Ok(Done { response, changes })
}

/// A method that only reads. `changes`: what the shard has counted of them, 0 if it does not count.
///
/// # Errors
/// As `proto/rank.proto` says.
pub fn query(ranks: &Ranks, changes: u64, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(match method {
        method::QUERY_RANK_RANGE => range(ranks, &decode(method, body)?)?.encode_to_vec(),
        method::QUERY_USERS => {
            let Users { user_ids, set_id, season } = decode(method, body)?;
            ranks.check_request(user_ids.len())?;
            standings(&ranks.season(set_id, season)?.board, &user_ids).encode_to_vec()
        }
        method::AROUND => around(ranks, &decode(method, body)?)?.encode_to_vec(),
        method::COUNT => {
            let CountRequest { set_id, season } = decode(method, body)?;
            let entries = ranks.season(set_id, season)?.board.len() as u64;
            Counted { entries }.encode_to_vec()
        }
        method::DESCRIBE => {
            let SetId { set_id } = decode(method, body)?;
            let set = ranks.set(set_id)?;
            let max_entries = ranks.entries_max(set.options());
            convert::description(set_id, set, max_entries, changes).encode_to_vec()
        }
        method::SEASONS => {
            let set = ranks.set(decode::<SetId>(method, body)?.set_id)?;
            let all = set.finished().iter().chain([set.running()]);
            SeasonList { seasons: all.map(convert::season).collect() }.encode_to_vec()
        }
        _ => return Err(Failure::unimplemented(method)),
    })
}

fn decode<M: Message + Default>(method: &str, body: &[u8]) -> Result<M, Failure> {
    M::decode(body)
        .map_err(|error| Failure::undecodable(format!("{method}: request does not decode: {error}")))
}

fn range(ranks: &Ranks, request: &Range) -> Result<RankList, RankError> {
    let board = &ranks.season(request.set_id, request.season)?.board;
    let last = request.b.min(signed(board.len()));
    if request.a < 1 || request.a > last {
        return Ok(RankList::default());
    }
    let n = unsigned(last - request.a + 1);
    ranks.check_answer(n)?;
    let (user_ids, scores) = list(board, unsigned(request.a - 1), n);
    Ok(RankList { user_ids, scores })
}

fn around(ranks: &Ranks, request: &AroundRequest) -> Result<Surroundings, RankError> {
    for (name, value) in [("Before", request.before), ("After", request.after)] {
        if value < 0 {
            return Err(RankError::Negative { name, value });
        }
    }
    let board = &ranks.season(request.set_id, request.season)?.board;
    let Some((position, _)) = board.find(request.user_id) else {
        return Ok(Surroundings { rank: -1, ..Surroundings::default() });
    };
    let first = position.saturating_sub(unsigned(request.before));
    let end = position.saturating_add(unsigned(request.after)).saturating_add(1).min(board.len());
    ranks.check_answer(end - first)?;
    let (user_ids, scores) = list(board, first, end - first);
    Ok(Surroundings { user_ids, scores, first_rank: signed(first + 1), rank: signed(position + 1) })
}

fn standings(board: &Board, users: &[i64]) -> UserList {
    let (ranks, scores) = users
        .iter()
        .map(|user| board.find(*user).map_or((-1, 0), |(position, score)| (signed(position + 1), score)))
        .unzip();
    UserList { ranks, scores }
}

fn list(board: &Board, position: usize, n: usize) -> (Vec<i64>, Vec<i64>) {
    let (mut users, mut scores) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for (user, score) in board.list(position, n) {
        users.push(user);
        scores.push(score);
    }
    (users, scores)
}

/// Positions are below 2^32.
fn signed(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// What does not fit is beyond every position.
fn unsigned(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
