//! Attach: how a session gets its seat, and another one when it has lost it.

use std::sync::Arc;

use hotseat_packet::code;
use tokio::time::Instant;
use tracing::debug;

use super::{Session, Step};
use crate::agent::close::End;
use crate::link::{
    AttachError, Attaching, EARLY_MAX, Player, Seat, SeatRequest, Signal, SignalOutcome, Uplink, UserId,
    unseat,
};
use crate::overdue::within;

impl Session {
    /// Gets a seat for a user who has logged in, then goes on with what was sent behind the login.
    pub(super) async fn attach(&mut self, user: UserId) -> Step {
        if self.flush().is_err() {
            return Step::End(End::lost());
        }
        let mut seat = self.ask(user, SeatRequest::default());
        let asked = Instant::now();
        let limit = self.shared.config.attach_timeout;
        let metrics = &self.shared.metrics.agent;
        match within(limit, &mut seat).await {
            Some(Ok(uplink)) => {
                metrics.attach_seconds.observe(asked.elapsed().as_secs_f64());
                metrics.logged_in.inc();
                debug!(session = %self.id, %user, room = %uplink.room, "logged in");
                self.seat = Some(Seat::new(user, self.id, uplink));
                // Before anything is taken from the outbox: the client hears of its login first.
                self.out.logged_in(user);
                self.input.heard_now();
                self.resume()
            }
            Some(Err(error)) => Step::End(End::no_seat(&error)),
            None => {
                self.shared.tasks.spawn(unseat(seat, user, self.id));
                Step::End(End::login_failed(code::BUSY, format!("no seat within {limit:?}")))
            }
        }
    }

    fn ask(&self, user: UserId, request: SeatRequest) -> Attaching {
        let player = Player { user, session: self.id, outbox: Arc::clone(&self.outbox) };
        let link = self.shared.link.clone();
        Box::pin(async move { link.attach(player, request).await })
    }

    fn attach_again(&mut self, request: SeatRequest) {
        let Some(user) = self.seat.as_ref().map(Seat::user) else { return };
        debug!(session = %self.id, %user, room = request.room, "looking for another seat");
        if let Some(older) = self.attaching.replace(self.ask(user, request)) {
            self.shared.tasks.spawn(unseat(older, user, self.id));
        }
    }

    /// Does what the game side says.
    pub(super) fn heed(&mut self, signal: Signal) -> Step {
        match self.early.heed(signal, self.attaching.is_some(), self.seat.as_mut(), Instant::now()) {
            SignalOutcome::Done => {}
            SignalOutcome::Moved => self.input.heard_now(),
            SignalOutcome::LinkRequest(request) => self.attach_again(request),
            SignalOutcome::Close(close) => return Step::End(End::told(close)),
            SignalOutcome::Flooded => {
                return Step::End(End::no_room(format!("more than {EARLY_MAX} words of a room to come")));
            }
        }
        Step::On
    }

    /// What became of it.
    pub(super) fn seated_again(&mut self, result: Result<Uplink, AttachError>) -> Step {
        match (result, &mut self.seat) {
            (Ok(uplink), Some(seat)) => {
                debug!(session = %self.id, user = %seat.user(), room = %uplink.room, "seated again");
                seat.moved(uplink);
                self.input.heard_now();
                // What the new room has said already.
                for signal in self.early.take() {
                    if let Step::End(end) = self.heed(signal) {
                        return Step::End(end);
                    }
                }
                self.take()
            }
            (Ok(_), None) => Step::On,
            (Err(error), _) => Step::End(End::unseated(&error)),
        }
    }
}
