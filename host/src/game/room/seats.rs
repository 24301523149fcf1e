//! Seats: who sits in a room, and who is on the way out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hotseat_packet::{ErrorInfo, Message};
use hotseat_packet::{code, opcode};

use super::Departure;
use crate::actor::FaultWindow;
use crate::link::{
    Broadcast, Close, Frames, FramesBuilder, LeaveReason, Outbox, Player, Push, SessionId, Signal, UserId,
};

/// The room's players.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: HashMap<u64, Seat>,
    changes: u64,
}

#[derive(Debug)]
struct Seat {
    session: SessionId,
    outbox: Arc<Outbox>,
    faults_lately: FaultWindow,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Here,
    /// The guest has let the player go; the session has not yet fenced off what it sent here.
    Moving {
        to: Target,
        backlog: FramesBuilder,
    },
}

/// Where a player goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::game) enum Target {
    /// A room by name.
    Room(String),
    /// The user's home room.
    Home,
}

/// Where a session stands with this room.
pub(super) enum Here<'a> {
    Yes,
    Moving(&'a mut FramesBuilder),
    No,
}

impl Seats {
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Everybody who has a seat, on the way out or not.
    pub(super) fn users(&self) -> Vec<u64> {
        let mut users: Vec<_> = self.seats.keys().copied().collect();
        // A map has no order, and what happens to players should have one.
        users.sort_unstable();
        users
    }

    /// Whether anybody is on the way out.
    pub(super) fn any_moving(&self) -> bool {
        self.seats.values().any(|seat| matches!(seat.place, Place::Moving { .. }))
    }

    /// Whether some session of the user sits here.
    pub(super) fn holds(&self, user: u64) -> bool {
        self.seats.contains_key(&user)
    }

    /// Whether the user sits here and is not on the way out.
    pub(super) fn sits(&self, user: u64) -> bool {
        self.seats.get(&user).is_some_and(|seat| matches!(seat.place, Place::Here))
    }

    /// The session of a user who sits here and is not on the way out.
    pub(super) fn session(&self, user: u64) -> Option<SessionId> {
        let seat = self.seats.get(&user)?;
        matches!(seat.place, Place::Here).then_some(seat.session)
    }

    /// Rises whenever somebody sits down, gets up or begins to move.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn insert(&mut self, player: Player) {
        self.changes += 1;
        let Player { user, session, outbox } = player;
        let seat = Seat { session, outbox, faults_lately: FaultWindow::new(), place: Place::Here };
        self.seats.insert(user.0, seat);
    }

    pub(super) fn remove(&mut self, user: u64) -> Option<()> {
        self.changes += 1;
        self.seats.remove(&user).map(|_| ())
    }

    /// Removes the user if this session holds its seat.
    pub(super) fn remove_session(&mut self, user: u64, session: SessionId) -> bool {
        let holds = self.seats.get(&user).is_some_and(|seat| seat.session == session);
        if holds {
            self.remove(user);
        }
        holds
    }

    pub(super) fn here(&mut self, user: u64, session: SessionId) -> Here<'_> {
        match self.seats.get_mut(&user) {
            Some(seat) if seat.session == session => match &mut seat.place {
                Place::Here => Here::Yes,
                Place::Moving { backlog, .. } => Here::Moving(backlog),
            },
            _ => Here::No,
        }
    }

    /// Takes out a session that has fenced off, with where it goes and what it has sent since.
    pub(super) fn take_moving(
        &mut self,
        user: u64,
        session: SessionId,
    ) -> Option<(Player, Target, Vec<Frames>)> {
        let seat = self.seats.get(&user)?;
        if seat.session != session || matches!(seat.place, Place::Here) {
            return None;
        }
        self.changes += 1;
        let seat = self.seats.remove(&user)?;
        let Place::Moving { to, mut backlog } = seat.place else { return None };
        let player = Player { user: UserId(user), session, outbox: seat.outbox };
        let backlog = if backlog.is_empty() { Vec::new() } else { vec![backlog.take()] };
        Some((player, to, backlog))
    }

    /// Takes out everyone who moves.
    pub(super) fn take_all_moving(&mut self) -> Vec<(Player, Target, Vec<Frames>)> {
        let sessions =
            self.users().into_iter().filter_map(|user| Some((user, self.seats.get(&user)?.session)));
        let sessions: Vec<_> = sessions.collect();
        sessions.into_iter().filter_map(|(user, session)| self.take_moving(user, session)).collect()
    }

    /// Takes out everyone who moves to `target`, fenced off or not.
    pub(super) fn take_moving_to(&mut self, target: &Target) -> Vec<(Player, Vec<Frames>)> {
        let moves = |seat: &Seat| matches!(&seat.place, Place::Moving { to, .. } if to == target);
        let mut sessions: Vec<_> = self
            .seats
            .iter()
            .filter(|(_, seat)| moves(seat))
            .map(|(user, seat)| (*user, seat.session))
            .collect();
        sessions.sort_unstable_by_key(|(user, _)| *user);
        let taken = sessions.into_iter().filter_map(|(user, session)| self.take_moving(user, session));
        taken.map(|(player, _, backlog)| (player, backlog)).collect()
    }

    /// Begins a move; false if the player is not here.
    pub(super) fn start_move(&mut self, user: u64, to: Target) -> bool {
        let Some(seat) = self.seats.get_mut(&user) else { return false };
        if !matches!(seat.place, Place::Here) {
            return false;
        }
        self.changes += 1;
        seat.place = Place::Moving { to, backlog: FramesBuilder::default() };
        seat.outbox.signal(Signal::Moving);
        true
    }

    /// Ends a session that sits here; false if there is none.
    pub(super) fn kick(&mut self, user: u64, close: Close) -> bool {
        let here = self.seats.get(&user).is_some_and(|seat| matches!(seat.place, Place::Here));
        if here && let Some(seat) = self.seats.remove(&user) {
            self.changes += 1;
            seat.outbox.close(close);
        }
        here
    }

    #[inline]
    pub(super) fn send(&self, user: u64, op: u16, payload: &[u8]) -> Option<Push> {
        let seat = self.seats.get(&user)?;
        matches!(seat.place, Place::Here).then(|| seat.outbox.push(op, payload))
    }

    /// Sends to everyone who sits here; how many did not get it.
    pub(super) fn send_all(&self, op: u16, payload: &[u8]) -> u64 {
        let mut broadcast = Broadcast::new(op, payload);
        for seat in self.seats.values().filter(|seat| matches!(seat.place, Place::Here)) {
            broadcast.to(&seat.outbox);
        }
        broadcast.flush()
    }

    /// Sends to those of `users` who sit here; how many of them did not get it.
    pub(super) fn send_some(&self, users: &[u64], op: u16, payload: &[u8]) -> u64 {
        let mut broadcast = Broadcast::new(op, payload);
        for seat in users.iter().filter_map(|user| self.seats.get(user)) {
            if matches!(seat.place, Place::Here) {
                broadcast.to(&seat.outbox);
            }
        }
        broadcast.flush()
    }

    /// Tells a player that its message was refused or lost.
    pub(super) fn send_error(&self, user: u64, code: i32, text: &str) {
        let info = ErrorInfo { code, msg: text.to_owned() };
        if let Ok(payload) = info.to_bytes() {
            self.send(user, opcode::CLIENT_ERROR_ACK, &payload);
        }
    }

    /// A player's message failed: it is told, and disconnected if it goes on so.
    pub(super) fn failed(&mut self, user: u64, limit: u32, pending: &mut VecDeque<Departure>) {
        let Some(seat) = self.seats.get_mut(&user) else { return };
        if !seat.faults_lately.count(limit) {
            let text = "the game failed on this message; nothing of it happened";
            self.send_error(user, code::MESSAGE_FAILED, text);
            return;
        }
        let close = Close {
            leave: LeaveReason::Violation,
            reason: "messages_failed",
            code: code::MESSAGE_FAILED,
            text: format!("{limit} messages made the game fail"),
        };
        if self.kick(user, close) {
            pending.push_back(Departure(user, LeaveReason::Violation));
        }
    }

    /// The room ends: players go home, or, where this was their home, are disconnected.
    pub(super) fn clear_out(&mut self, home: bool, why: &str) {
        for user in self.users() {
            if home {
                let close = Close {
                    leave: LeaveReason::Closed,
                    reason: "room_closed",
                    code: code::NO_ROOM,
                    text: format!("the room was closed: {why}"),
                };
                self.kick(user, close);
            } else {
                self.start_move(user, Target::Home);
            }
        }
    }
}
