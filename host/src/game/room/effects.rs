//! Release: what a guest asked for, carried out once its call has returned.

use std::sync::Arc;

use hotseat_packet::code;
use tracing::debug;

use super::seats::Target;
use super::shutdown::Closing;
use super::{Deferred, Departure, Room};
use crate::actor::{IN_FLIGHT_MAX, Request};
use crate::game::homes::Homes;
use crate::game::registry::Maker;
use crate::link::{Close, LeaveReason, Push};
use crate::plugin::{Effect, Input};
use crate::telemetry::log_limit::limited;

/// A refusal's text is cut here before it goes to the client (`wit/types.wit`).
const REFUSAL_MAX: usize = 512;

impl Room {
    /// Carries out the effects of the last call, in order.
    /// `cause` is the player whose event it was.
    pub(super) fn release(&mut self, cause: Option<u64>) {
        self.take_puts();
        if self.actor.sandbox.effects().is_empty() {
            return;
        }
        let mut effects = std::mem::take(self.actor.sandbox.effects());
        for effect in effects.iter() {
            self.carry_out(effect, cause);
        }
        effects.clear();
        *self.actor.sandbox.effects() = effects;
    }

    fn carry_out(&mut self, effect: Effect<'_>, cause: Option<u64>) {
        match effect {
            Effect::Send { user, op, payload } => {
                self.actor.sends(1, payload.len());
                if self.seats.send(user, op, payload).is_some_and(|push| push != Push::Queued) {
                    self.registry.metrics.undelivered.inc();
                }
            }
            Effect::Broadcast { users: [], op, payload } => {
                self.actor.sends(self.seats.len(), payload.len());
                let missed = self.seats.send_all(op, payload);
                self.registry.metrics.undelivered.inc_by(missed);
            }
            Effect::Broadcast { users, op, payload } => {
                self.actor.sends(users.len(), payload.len());
                let missed = self.seats.send_some(users, op, payload);
                self.registry.metrics.undelivered.inc_by(missed);
            }
            Effect::Kick { user, reason } => self.kick(user, reason),
            Effect::Transfer { user, room } => self.transfer(user, room),
            Effect::CreateRoom { room, args } => {
                let maker = Maker { room: Arc::clone(&self.name), user: cause };
                if let Err(error) = self.registry.create(room, args, maker) {
                    self.registry.metrics.rooms_refused.with_label_values(&[error.reason()]).inc();
                    let plugin = self.registry.group().plugin();
                    limited!(warn, plugin, &self.name, room = %self.name, wanted = room, %error, "room not created");
                }
            }
            Effect::CloseRoom { reason } if Homes::is_home(&self.name) => {
                debug!(room = %self.name, reason, "a home room cannot be closed");
            }
            Effect::CloseRoom { reason } => {
                self.closing = Some(Closing::ByGame { reason });
            }
            Effect::Call { token, service, instance, method, body } => {
                let request = Request { token, service, instance, method, body };
                self.call_service(&request);
            }
            // The sandbox keeps timers and documents, since a rebuild must restore them.
            Effect::SetTimer { .. } | Effect::CancelTimer { .. } | Effect::PutProfile { .. } => {}
            // Rooms have no streams: their world does not import them.
            Effect::SendChannels { .. } | Effect::EndChannel { .. } => {}
        }
    }

    fn kick(&mut self, user: u64, reason: u32) {
        let close = Close {
            leave: LeaveReason::Kicked,
            reason: "kicked",
            // As for refusals: the codes below are the host's.
            code: i32::try_from(reason).unwrap_or(i32::MAX).max(code::PLUGIN_MIN),
            text: "kicked by the game".to_owned(),
        };
        if self.seats.kick(user, close) {
            self.pending.push_back(Departure(user, LeaveReason::Kicked));
        }
    }

    fn transfer(&mut self, user: u64, room: &str) {
        if room == &*self.name || !self.registry.reaches(room) {
            debug!(room = %self.name, user, to = room, "no such room to move to");
            self.deferred.push_back(Deferred::Rejoin(user));
        } else if self.seats.sits(user) && !self.registry.may_move(user, &self.name) {
            self.deferred.push_back(Deferred::Rejoin(user));
        } else if self.seats.start_move(user, Target::Room(room.to_owned())) {
            self.pending.push_back(Departure(user, LeaveReason::Transferred));
        }
    }

    fn call_service(&mut self, request: &Request<'_>) {
        if self.in_flight == IN_FLIGHT_MAX {
            self.deferred.push_back(Deferred::Refused(request.token));
        } else {
            self.in_flight += 1;
            self.registry.services.start(request, self.replies.clone());
        }
    }

    /// Tells the sender that the guest said no.
    pub(super) fn refuse(&mut self, input: &Input<'_>, game_code: i32, text: &str) {
        self.registry.metrics.refused.inc();
        if let Some(user) = input.sender() {
            let text = &text[..text.floor_char_boundary(REFUSAL_MAX)];
            // Codes below 1000 are the host's; a plugin that uses one gets the first of its own.
            let game_code = if game_code < code::PLUGIN_MIN { code::PLUGIN_MIN } else { game_code };
            self.seats.send_error(user, game_code, text);
        }
    }
}
