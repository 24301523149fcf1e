//! Options and seasons, from the wire and to it.

use hotseat_services::rank as wire;

use crate::error::RankError;
use crate::order::{Order, Ordering, Ties};
use crate::schedule::Schedule;
use crate::set::{AtLimit, FinishedSeason, KEPT_DEFAULT, KEPT_MAX, Options, Season, Set};

/// Reads the options of a set.
///
/// # Errors
/// If a field says what it may not.
pub(crate) fn options(request: &wire::Options) -> Result<Options, RankError> {
    let order = match wire::Order::try_from(request.order) {
        Ok(wire::Order::Descending) => Order::Descending,
        Ok(wire::Order::Ascending) => Order::Ascending,
        Err(_) => return Err(unknown("Order", request.order, 1)),
    };
    let ties = match wire::TieRule::try_from(request.ties) {
        Ok(wire::TieRule::EarlierFirst) => Ties::EarlierFirst,
        Ok(wire::TieRule::LaterFirst) => Ties::LaterFirst,
        Ok(wire::TieRule::ByUserId) => Ties::ByUser,
        Err(_) => return Err(unknown("Ties", request.ties, 2)),
    };
    let at_limit = match wire::AtLimit::try_from(request.at_limit) {
        Ok(wire::AtLimit::Refuse) => AtLimit::Refuse,
        Ok(wire::AtLimit::DropLast) => AtLimit::DropLast,
        Err(_) => return Err(unknown("AtLimit", request.at_limit, 1)),
    };
    let schedule = match request.schedule.trim() {
        "" => None,
        text => Some(Schedule::parse(text)?),
    };
    let kept = match request.kept_seasons {
        None => KEPT_DEFAULT,
        Some(kept) => {
            u8::try_from(kept).ok().filter(|kept| *kept <= KEPT_MAX).ok_or(RankError::Kept(kept))?
        }
    };
    Ok(Options {
        ordering: Ordering { order, ties },
        schedule,
        kept,
        max_entries: request.max_entries,
        at_limit,
    })
}

fn unknown(name: &'static str, value: i32, highest: i64) -> RankError {
    RankError::Option { name, value: value.into(), highest }
}

/// A set as it stands. `max_entries`: what its running season may have.
#[must_use]
pub(crate) fn description(id: u64, set: &Set, max_entries: u64, changes: u64) -> wire::Description {
    let options = set.options();
    wire::Description {
        options: Some(wire::Options {
            set_id: id,
            order: order(options.ordering),
            ties: ties(options.ordering),
            schedule: options.schedule.as_ref().map_or("", Schedule::as_str).to_owned(),
            kept_seasons: Some(options.kept.into()),
            max_entries,
            at_limit: match options.at_limit {
                AtLimit::Refuse => wire::AtLimit::Refuse,
                AtLimit::DropLast => wire::AtLimit::DropLast,
            }
            .into(),
        }),
        running: Some(season(set.running())),
        finished: u32::try_from(set.finished().len()).unwrap_or(u32::MAX),
        next_reset_ms: set.due_ms().unwrap_or(0),
        shard_changes: changes,
    }
}

/// A season of a set.
#[must_use]
pub(crate) fn season(season: &Season) -> wire::Season {
    wire::Season {
        number: season.number,
        began_ms: season.began_ms,
        ended_ms: season.ended_ms.unwrap_or(0),
        entries: season.board.len() as u64,
        order: order(season.board.ordering()),
        ties: ties(season.board.ordering()),
    }
}

/// A season that has just ended.
#[must_use]
pub(crate) fn finished(season: &FinishedSeason) -> wire::Season {
    wire::Season {
        number: season.number,
        began_ms: season.began_ms,
        ended_ms: season.ended_ms,
        entries: season.entries as u64,
        order: order(season.ordering),
        ties: ties(season.ordering),
    }
}

fn order(ordering: Ordering) -> i32 {
    match ordering.order {
        Order::Descending => wire::Order::Descending,
        Order::Ascending => wire::Order::Ascending,
    }
    .into()
}

fn ties(ordering: Ordering) -> i32 {
    match ordering.ties {
        Ties::EarlierFirst => wire::TieRule::EarlierFirst,
        Ties::LaterFirst => wire::TieRule::LaterFirst,
        Ties::ByUser => wire::TieRule::ByUserId,
    }
    .into()
}
