//! Attach: how a session gets its seat, and another one when it has lost it.

use std::sync::Arc;

use hotseat_packet::code;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{Session, Step};
use crate::agent::ending::End;
use crate::link::{
    AttachError, Attaching, Frames, Player, Released, Seat, Signal, Uplink, UserId, Wish, unseat,
};

/// Words of a room that may wait for the seat there: a move takes two, and a room asks for a pause now and then.
const EARLY_MAX: usize = 64;

impl Session {
    /// Gets a seat for a user who has logged in, then goes on with what was sent behind the login.
    pub(super) async fn attach(&mut self, user: UserId) -> Step {
        if self.flush().is_err() {
            return Step::End(End::lost());
        }
        let mut seat = self.ask(user, Wish::default());
        let asked = Instant::now();
        let limit = self.shared.config.attach_timeout;
        let metrics = &self.shared.metrics.agent;
        match timeout(limit, &mut seat).await {
            Ok(Ok(uplink)) => {
                metrics.attach_seconds.observe(asked.elapsed().as_secs_f64());
                metrics.logged_in.inc();
                debug!(session = %self.id, %user, room = %uplink.room, "logged in");
                self.seat = Some(Seat::new(user, self.id, uplink));
                // Before anything is taken from the outbox: the client hears of its login first.
                self.out.logged_in(user);
                self.input.heard_now();
                self.resume()
            }
            Ok(Err(error)) => Step::End(End::no_seat(&error)),
            Err(_elapsed) => {
                self.shared.tasks.spawn(unseat(seat, user, self.id));
                Step::End(End::login_failed(code::BUSY, format!("no seat within {limit:?}")))
            }
        }
    }

    fn ask(&self, user: UserId, wish: Wish) -> Attaching {
        let player = Player { user, session: self.id, outbox: Arc::clone(&self.outbox) };
        let link = self.shared.link.clone();
        Box::pin(async move { link.attach(player, wish).await })
    }

    /// The next room is on another host.
    pub(super) fn released(&mut self, released: Released) {
        let Released { room, node, backlog, login, again } = released;
        self.attach_again(Wish { room, node, backlog, login, again });
    }

    /// The host the player sat at cannot be reached any more; the room may have another one by now.
    pub(super) fn lost(&mut self, backlog: Vec<Frames>) {
        let Some(seat) = &self.seat else { return };
        let (room, login) = (Some(seat.room().to_owned()), seat.login());
        self.attach_again(Wish { room, node: None, backlog, login, again: true });
    }

    fn attach_again(&mut self, wish: Wish) {
        let Some(seat) = &mut self.seat else { return };
        seat.lost(Instant::now());
        let user = seat.user();
        debug!(session = %self.id, %user, room = wish.room, "looking for another seat");
        if let Some(older) = self.attaching.replace(self.ask(user, wish)) {
            self.shared.tasks.spawn(unseat(older, user, self.id));
        }
    }

    /// Does what the game side says. A room may move a player on before the session has heard that it sits there; what is
    /// said of the seat waits until then, or the fence would be forgotten with the seat before.
    pub(super) fn heed(&mut self, signal: Signal) -> Step {
        if self.attaching.is_some() && !matches!(signal, Signal::Close(_)) {
            if self.early.len() == EARLY_MAX {
                return Step::End(End::no_room(format!("more than {EARLY_MAX} words of a room to come")));
            }
            self.early.push(signal);
            return Step::On;
        }
        match (signal, &mut self.seat) {
            (Signal::Close(close), _) => return Step::End(End::told(close)),
            (Signal::Moving, Some(seat)) => seat.moving(Instant::now()),
            (Signal::Moved(uplink), Some(seat)) => {
                seat.moved(uplink);
                self.input.heard_now();
            }
            (Signal::Released(released), Some(_)) => self.released(released),
            (Signal::Lost(unsent), Some(_)) => self.lost(unsent),
            (Signal::Pause, Some(seat)) => seat.pause(Instant::now()),
            (Signal::Resume, Some(seat)) => seat.resume(),
            // Only a seated player can be moved.
            (_, None) => {}
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
                for signal in std::mem::take(&mut self.early) {
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
