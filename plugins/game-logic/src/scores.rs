//! Scores: what the rank service hears from the arena, and the players of the rank service.
//!
//! Futures end with a swap, a fault or a restart; the state and the timers stay. So the state says what is still to be
//! done, a timer does it, and is set anew before each try: whatever becomes of the future, there is a next one.

use std::collections::BTreeMap;

use hotseat_guest::{Game, Refusal, Room, UserId};
use hotseat_services::CallError;
use hotseat_services::rank::{Client, Entry};
use serde::{Deserialize, Serialize};

use crate::arena::{Arena, Rules, send};
use crate::messages::{Code, Ranked, TOP_ACK, TopAck};

/// The rank service, by its name in the operator's configuration.
const RANK: Client = Client::new("rank");

/// The set of all arenas: the best score of each player, of any visit to any of them. A report that is repeated or
/// comes late does no harm.
pub const LEADERBOARD: u64 = 1;

/// How many players a [`TopAck`] lists.
pub const TOP: i64 = 10;

/// The timer that reports; set as long as there is something to report.
pub(crate) const REPORT: u64 = 1;
/// The timer that asks for the leaderboard again; set as long as somebody waits for it.
pub(crate) const ASK: u64 = 2;

/// The time between two reports, and between the first change and its report.
const EVERY_MS: u32 = 1_000;
/// A call whose answer has not reached us after so long is made again: the host gives up after 5 s, unless the operator
/// says otherwise.
const LOST_MS: u32 = 10_000;
/// The time between two reports doubles with each that fails, so many times: up to 64 s.
const DOUBLINGS: u32 = 6;
/// Users that wait for a report: what rank takes in one. Who is beyond that is reported when entering again.
const MAX_UNREPORTED: usize = 10_000;
/// Requests for the leaderboard that wait for one answer.
const MAX_ASKING: usize = 1_000;

/// gRPC's status of a set that does not exist.
const NOT_FOUND: u32 = 5;
/// gRPC's status of a service that is unknown or away.
const UNAVAILABLE: u32 = 14;

/// What is under way between the arena and the rank service.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Scores {
    /// Best scores that rank has not acknowledged, also of players who have left.
    pub unreported: BTreeMap<UserId, u32>,
    /// Reports that failed since the last one that did not.
    pub failures: u32,
    /// Who waits for the leaderboard, once for each request.
    pub asking: Vec<UserId>,
}

impl Scores {
    /// A player's best score is to be reported; 0 is not worth it.
    pub(crate) fn note<G: Game>(&mut self, room: &Room<G>, user: UserId, best: u32) {
        let is_full = self.unreported.len() >= MAX_UNREPORTED && !self.unreported.contains_key(&user);
        if best == 0 || is_full {
            return;
        }
        if self.unreported.is_empty() {
            room.set_timer(REPORT, EVERY_MS);
        }
        self.unreported.insert(user, best);
    }

    /// A player is gone and waits for nothing any more.
    pub(crate) fn forget(&mut self, user: UserId) {
        self.asking.retain(|asking| *asking != user);
    }

    /// The answer to one of our calls is lost: what waited for it need not wait for its timer.
    pub(crate) fn catch_up<G: Game>(&self, room: &Room<G>) {
        if !self.unreported.is_empty() {
            room.set_timer(REPORT, EVERY_MS);
        }
        if !self.asking.is_empty() {
            room.set_timer(ASK, 0);
        }
    }

    fn reported<G: Game>(
        &mut self,
        room: &Room<G>,
        sent: &BTreeMap<UserId, u32>,
        outcome: Result<(), CallError>,
    ) {
        match outcome {
            Ok(()) => {
                self.failures = 0;
                // A score that has changed since is still to be reported.
                self.unreported.retain(|user, best| sent.get(user) != Some(best));
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                // Ever less often, and for operators without rank not at all.
                let line = format_args!("{} players' scores wait for rank: {error}", self.unreported.len());
                match error.status() {
                    _ if !self.failures.is_power_of_two() => {}
                    UNAVAILABLE => room.debug(line),
                    _ => room.info(line),
                }
            }
        }
        if self.unreported.is_empty() {
            room.cancel_timer(REPORT);
        } else {
            room.set_timer(REPORT, EVERY_MS << self.failures.min(DOUBLINGS));
        }
    }

    fn answer<G: Game>(&mut self, room: &Room<G>, outcome: Result<Vec<Entry>, CallError>) {
        let ack = match outcome {
            Ok(entries) => TopAck { status: 0, top: entries.iter().filter_map(ranked).collect() },
            // Nobody has scored yet.
            Err(error) if error.status() == NOT_FOUND => TopAck { status: 0, top: Vec::new() },
            Err(error) => TopAck { status: status(&error), top: Vec::new() },
        };
        for user in self.asking.drain(..) {
            send(room, user, TOP_ACK, &ack);
        }
        room.cancel_timer(ASK);
    }
}

impl<R: Rules> Arena<R> {
    /// Reports all that is to be reported, in one call.
    pub(crate) fn report(&mut self, room: &Room<Self>) {
        if self.scores.unreported.is_empty() {
            return;
        }
        room.set_timer(REPORT, LOST_MS);
        let sent = self.scores.unreported.clone();
        room.spawn(async move |handle| {
            let scores: Vec<_> =
                sent.iter().map(|(user, best)| (user.cast_signed(), i64::from(*best))).collect();
            let outcome = RANK.update(&handle, LEADERBOARD, &scores).await;
            handle.update(|arena, room| arena.scores.reported(room, &sent, outcome));
        });
    }

    /// A player wants to see the leaderboard; requests that come while one is answered share its answer.
    pub(crate) fn top_req(&mut self, room: &Room<Self>, user: UserId) -> Result<(), Refusal> {
        if self.scores.asking.len() >= MAX_ASKING {
            return Err(Code::Busy.refusal(format!("{MAX_ASKING} requests wait for the leaderboard")));
        }
        self.scores.asking.push(user);
        if self.scores.asking.len() == 1 {
            self.ask(room);
        }
        Ok(())
    }

    /// Asks for the leaderboard on behalf of all who wait for it.
    pub(crate) fn ask(&mut self, room: &Room<Self>) {
        if self.scores.asking.is_empty() {
            return;
        }
        room.set_timer(ASK, LOST_MS);
        room.spawn(async move |handle| {
            let outcome = RANK.top(&handle, LEADERBOARD, TOP).await;
            handle.update(|arena, room| arena.scores.answer(room, outcome));
        });
    }
}

/// The best score in a player's profile: 4 bytes, big-endian, and nothing else.
pub(crate) fn kept<G: Game>(room: &Room<G>, user: UserId) -> u32 {
    let bytes = room.profile(user).unwrap_or_default();
    bytes.try_into().map_or(0, u32::from_be_bytes)
}

/// Puts it there.
pub(crate) fn keep<G: Game>(room: &Room<G>, user: UserId, best: u32) {
    room.put_profile(user, &best.to_be_bytes());
}

/// A call's status as it goes to players; 2 (unknown) if it is none of gRPC's.
pub(crate) fn status(error: &CallError) -> u8 {
    u8::try_from(error.status()).unwrap_or(2)
}

fn ranked(entry: &Entry) -> Option<Ranked> {
    let rank = u32::try_from(entry.rank).ok()?;
    Some(Ranked { user: entry.user.cast_unsigned(), score: entry.score, rank })
}
