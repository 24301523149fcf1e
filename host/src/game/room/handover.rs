//! Handing: a room goes to another host with its players, or lets them go there without it.
//!
//! Players are fenced off as for any move, but the guest does not hear of it: it is to find them where it goes. If the
//! other host does not take the room, it goes on here as if nothing had happened.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::seats::{Here, Target};
use super::{Departure, Room};
use crate::actor::Reply;
use crate::journal::SavedState;
use crate::link::{Frames, LeaveReason, Player, Signal, Up, UserId};
use crate::plugin::Input;
use crate::telemetry::log_limit::limited;

/// How long the sessions may take to fence off. Those that do not are sent along with what has come from them.
const FENCING: Duration = Duration::from_secs(2);

/// How long service calls under way are waited for. Later ones are answered with status 1 where the room goes.
const CALLS: Duration = Duration::from_secs(1);

/// What a room is told beside what its players send.
#[derive(Debug)]
pub(in crate::game) enum RoomCommand {
    /// It is to leave this host.
    Leave(Departing),
    /// A player is to go to another room, as if the guest had said so. Answered with whether it was here.
    Move {
        /// Who.
        user: u64,
        /// Where to.
        to: Target,
        /// The answer.
        done: oneshot::Sender<bool>,
    },
}

/// How a room leaves this host.
#[derive(Debug)]
pub(in crate::game) struct Departing {
    /// Where its state goes, all players fenced off; none if nobody wants it.
    pub(in crate::game) state: Option<oneshot::Sender<Result<SavedState, String>>>,
    /// Where it has gone, if another host has it now. A verdict that never comes is a no.
    pub(in crate::game) gone: oneshot::Receiver<Gone>,
}

/// Where a room has gone.
#[derive(Debug, Clone)]
pub(in crate::game) struct Gone {
    /// What it is called in the cluster.
    pub(in crate::game) room: String,
    /// The host, if it is known.
    pub(in crate::game) node: Option<String>,
}

/// A document and its version, if there is one.
type Profile = Option<(u64, Arc<[u8]>)>;

/// Players and whoever has come meanwhile.
#[derive(Default)]
struct Aboard {
    fenced: Vec<(Player, Vec<Frames>)>,
    /// Those among them whom the guest has never seen, with their documents.
    came: HashMap<u64, Profile>,
}

impl Room {
    /// Does what it is told; true if the room has gone and its task is to end.
    pub(super) async fn run_command(
        &mut self,
        room_command: RoomCommand,
        mailbox: &mut mpsc::Receiver<Up>,
        answers: &mut mpsc::Receiver<Reply>,
    ) -> bool {
        match room_command {
            RoomCommand::Leave(departing) => self.hand_over(departing, mailbox, answers).await,
            RoomCommand::Move { user, to, done } => {
                // A host that cannot prove its lease lets nothing happen.
                let moved = self.registry.homes.gate().is_open() && self.seats.start_move(user, to);
                if moved {
                    self.pending.push_back(Departure(user, LeaveReason::Transferred));
                    self.settle(self.now());
                }
                // Who asked may have given up.
                let _ = done.send(moved);
                false
            }
        }
    }

    async fn hand_over(
        &mut self,
        departing: Departing,
        mailbox: &mut mpsc::Receiver<Up>,
        answers: &mut mpsc::Receiver<Reply>,
    ) -> bool {
        let Departing { state, gone } = departing;
        if state.is_some() {
            self.await_calls(answers).await;
        }
        let mut aboard = self.fence_off(mailbox).await;
        if let Some(state) = state {
            self.checkpoint();
            self.write_out();
            let past = match &self.closing {
                Some(why) => Err(why.to_string()),
                None => Ok(self.actor.sandbox.past()),
            };
            // Who asked has given up: no verdict comes then either.
            let _ = state.send(past);
        }
        match gone.await {
            Ok(gone) => {
                self.depart(aboard, gone);
                true
            }
            Err(_) => {
                self.stay(&mut aboard);
                false
            }
        }
    }

    async fn await_calls(&mut self, answers: &mut mpsc::Receiver<Reply>) {
        let deadline = Instant::now() + CALLS;
        while self.in_flight > 0 {
            match timeout_at(deadline, answers.recv()).await {
                Ok(Some(reply)) => self.on_reply(&reply),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Stops everybody who sits here, and collects what they have sent.
    async fn fence_off(&mut self, mailbox: &mut mpsc::Receiver<Up>) -> Aboard {
        let mut aboard = Aboard::default();
        let own = self.own();
        for user in self.seats.users() {
            self.seats.start_move(user, own.clone());
        }
        self.collect(mailbox, &own, &mut aboard).await;
        aboard
    }

    /// Takes in what players send until all of them have stopped.
    async fn collect(&mut self, mailbox: &mut mpsc::Receiver<Up>, own: &Target, aboard: &mut Aboard) {
        // Whoever is on the way in already is to stop, too.
        while let Ok(up) = mailbox.try_recv() {
            self.take_aboard(up, own, aboard);
        }
        let deadline = Instant::now() + FENCING;
        while self.seats.any_moving() {
            match timeout_at(deadline, mailbox.recv()).await {
                Ok(Some(up)) => self.take_aboard(up, own, aboard),
                Ok(None) => break,
                Err(_) => {
                    let (plugin, room) = (self.registry.group().plugin(), &*self.name);
                    limited!(
                        warn,
                        plugin,
                        room,
                        room,
                        "players have not stopped in time for their room to move"
                    );
                    break;
                }
            }
        }
        // Who has not stopped keeps the seat, and what comes from there is kept with it.
        self.settle(self.now());
    }

    fn take_aboard(&mut self, up: Up, own: &Target, aboard: &mut Aboard) {
        match up {
            Up::Frames { user, session, frames } => match self.seats.here(user.0, session) {
                Here::Moving(backlog) => frames.iter().for_each(|(op, payload)| backlog.push(op, payload)),
                // The session has ended, or has been told to.
                Here::Yes | Here::No => self.registry.metrics.stale.inc_by(frames.count().into()),
            },
            Up::Fence { user, session } => match self.seats.take_moving(user.0, session) {
                Some((player, to, backlog)) if to == *own => aboard.fenced.push((player, backlog)),
                Some((player, to, backlog)) => {
                    self.registry.metrics.transfers.inc();
                    self.registry.clone().forward(player, to, backlog, None, &self.name);
                }
                None => {}
            },
            Up::Leave { user, session, reason } => self.left_aboard(user.0, session, reason, own, aboard),
            Up::Join { player, backlog, profile, .. } => {
                // It stops like the others, or what it sends until it hears that the room has gone would be lost.
                let (user, session) = (player.user.0, player.session);
                if player.outbox.is_shut() && self.seats.holds(user) {
                    return;
                }
                aboard.came.insert(user, profile);
                self.seats.insert(player);
                self.seats.start_move(user, own.clone());
                for frames in backlog {
                    let user = UserId(user);
                    self.take_aboard(Up::Frames { user, session, frames }, own, aboard);
                }
            }
        }
    }

    /// A session ends while its room is being packed: the guest, which is still here, sees what it sent and its leaving.
    fn left_aboard(
        &mut self,
        user: u64,
        session: crate::link::SessionId,
        reason: LeaveReason,
        own: &Target,
        aboard: &mut Aboard,
    ) {
        let fenced =
            aboard.fenced.iter().position(|(player, _)| player.user.0 == user && player.session == session);
        let backlog = match fenced {
            Some(at) => Some(aboard.fenced.swap_remove(at).1),
            None => match self.seats.take_moving(user, session) {
                Some((_, to, backlog)) if to == *own => Some(backlog),
                Some((player, to, backlog)) => {
                    self.registry.clone().forward(player, to, backlog, Some(reason), &self.name);
                    None
                }
                None => None,
            },
        };
        if let Some(backlog) = backlog
            && aboard.came.remove(&user).is_none()
        {
            let now_ms = self.now();
            for frames in &backlog {
                for (op, payload) in frames.iter() {
                    self.deliver(now_ms, &Input::Message { user, op, payload });
                    self.settle(now_ms);
                }
            }
            self.gone(now_ms, user, reason);
        }
        self.left.push((user, session));
    }

    /// The room has gone; its players follow it. Those who have not stopped yet, or come only now, do so when the room
    /// ends here ([`Room::see_off`]).
    fn depart(&mut self, aboard: Aboard, gone: Gone) {
        debug!(room = %self.name, players = aboard.fenced.len(), "room has gone to another host");
        for (player, backlog) in aboard.fenced {
            self.registry.release(&player, gone.clone(), backlog, true);
        }
        self.ending.gone = Some(gone);
    }

    /// The room stays, and so do its players.
    fn stay(&mut self, aboard: &mut Aboard) {
        debug!(room = %self.name, players = aboard.fenced.len(), "room stays");
        let now_ms = self.now();
        let own = self.own();
        let unfenced = self.seats.take_moving_to(&own);
        for (player, backlog) in aboard.fenced.drain(..).chain(unfenced) {
            let (user, session) = (player.user.0, player.session);
            let Some(uplink) = self.registry.uplink(&self.name, user) else { return };
            let outbox = Arc::clone(&player.outbox);
            if let Some(profile) = aboard.came.remove(&user) {
                self.on_join(now_ms, player, &backlog, profile, true);
            } else {
                self.seats.insert(player);
                for frames in &backlog {
                    self.on_frames(now_ms, user, session, frames);
                }
            }
            let heard = outbox.signal(Signal::Moved(uplink));
            if !heard {
                self.on_leave(now_ms, user, session, LeaveReason::Lost);
            }
        }
        self.write_out();
    }
}
