//! Faults: what a failure of the guest costs the player whose event it was, or the room.
//!
//! Who is not let in is told, and goes to its home room with all that it has sent. Only failures that go on cost a
//! connection or a room.

use hotseat_packet::code;

use super::Room;
use super::seats::Target;
use super::shutdown::Closing;
use crate::game::homes::Homes;
use crate::link::{Close, LeaveReason};
use crate::plugin::{Fault, Input};

/// Faults of one player's messages within the window of `actor::FaultWindow` that end its session.
const STRIKES: u32 = 3;

/// Faults of other inputs (ticks, timers) within the same window that end the room.
const ROOM_STRIKES: u32 = 10;

impl Room {
    /// The guest has failed on an event, and stands where it stood before.
    pub(super) fn on_fault(&mut self, input: &Input<'_>, fault: &Fault) {
        match *input {
            Input::Message { user, .. } | Input::Rejoin { user } => {
                self.seats.failed(user, STRIKES, &mut self.pending);
            }
            Input::Join { user, .. } => self.turn_away(user),
            _ => {}
        }
        let by_player = matches!(input, Input::Message { .. } | Input::Join { .. } | Input::Rejoin { .. });
        if !by_player && self.faults_lately.count(ROOM_STRIKES) {
            let why = format!("{ROOM_STRIKES} faults, the last one: {fault}");
            self.closing = Some(Closing::Forced(why));
        }
    }

    /// The guest has failed on the `join` of a player, and does not know it.
    fn turn_away(&mut self, user: u64) {
        self.registry.metrics.joins_failed.inc();
        if self.registry.entry_faults.count(user) {
            let close = Close {
                leave: LeaveReason::Violation,
                reason: "join_failed",
                code: code::NO_ROOM,
                text: "the game failed again and again to let you in".to_owned(),
            };
            self.seats.kick(user, close);
            return;
        }
        let home = Homes::name(self.registry.homes.of(user));
        let text = if *home == *self.name {
            format!("the game failed to let you into your home room {home}; it is tried again")
        } else {
            format!("the game failed to let you into room {}; you go to your home room", self.name)
        };
        self.seats.send_error(user, code::NO_ROOM, &text);
        // What the session sends meanwhile goes along, as in any move.
        self.seats.start_move(user, Target::Home);
    }
}
