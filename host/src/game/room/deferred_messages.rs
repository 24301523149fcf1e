//! Deferred: events of the room's own making, which take their turn with what comes from outside.

use super::shutdown::Closing;
use super::{BATCH, Room};
use crate::actor::IN_FLIGHT_MAX;
use crate::plugin::Input;

/// Deferred events a room may heap up; one that has more feeds itself and is ended.
const DEFERRED_MAX: usize = 8192;

/// An event of the room's own making that a guest could answer with another one, for ever.
#[derive(Debug)]
pub(super) enum Deferred {
    /// A transfer failed.
    Rejoin(u64),
    /// Too many service calls are under way for this one.
    Refused(u64),
}

impl Room {
    /// A batch of what earlier calls caused.
    pub(super) fn on_deferred(&mut self) {
        if self.deferred.len() > DEFERRED_MAX {
            let why = format!("it feeds itself: {DEFERRED_MAX} events of its own making wait");
            self.closing = Some(Closing::Forced(why));
            return;
        }
        let now_ms = self.now();
        for _ in 0..BATCH.min(self.deferred.len()) {
            if self.closing.is_some() {
                return;
            }
            match self.deferred.pop_front() {
                Some(Deferred::Rejoin(user)) => self.deliver(now_ms, &Input::Rejoin { user }),
                Some(Deferred::Refused(token)) => {
                    let text = format!("{IN_FLIGHT_MAX} calls of this room are under way");
                    let status = tonic::Code::ResourceExhausted as u32;
                    self.deliver(now_ms, &Input::Reply { token, status, body: &[], text: &text });
                }
                None => return,
            }
            self.settle(now_ms);
        }
    }
}
