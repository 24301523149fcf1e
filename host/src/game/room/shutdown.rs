//! Closing: a room ends, its players do not.
//!
//! A room that has ended goes on sending people on for as long as anybody can send to it, so that no frame is lost on the
//! way: each session that sits here, or is just sitting down, is fenced off as for any move.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::Room;
use super::handover::Gone;
use super::seats::{Here, Target};
use crate::game::homes::Homes;
use crate::game::registry::Registry;
use crate::link::{Frames, LeaveReason, Player, Up, UserId};
use crate::telemetry::log_limit::limited;

/// How long a room that has ended waits for its players to move out. A session that takes longer is sent on without its
/// fence; its frames that have not come by then are lost.
const CLOSING: Duration = Duration::from_secs(10);

/// How long it then waits for what was promised space in its mailbox.
const PROMISED: Duration = Duration::from_secs(2);

/// Why a room ends for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closing {
    /// Its guest wants it.
    ByGame {
        /// What the guest says of it.
        reason: u32,
    },
    /// The host ends it, for this reason. What it was is kept as a dead letter.
    Forced(String),
    /// It cannot go on, or is not to. What it was has been set aside.
    SetAside(String),
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByGame { reason } => write!(f, "closed by the game, reason {reason}"),
            Self::Forced(why) | Self::SetAside(why) => f.write_str(why),
        }
    }
}

/// What is left to do once the guest takes nothing any more.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// What came behind the event that ended the room, in order; at most one batch.
    pub(super) late: Vec<Up>,
    /// Another host has the room: players follow it there.
    pub(super) gone: Option<Gone>,
}

impl Ending {
    /// Another host has claimed the room without having been handed its state, and reads that from this
    /// host's disk.
    pub(super) fn stays_on_disk(&self) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone.node.is_none())
    }
}

impl Room {
    /// Moves everyone out, then ends.
    pub(super) async fn close(&mut self, closing: &Closing, mailbox: &mut mpsc::Receiver<Up>) {
        let (plugin, room, players) = (self.registry.group().plugin(), &*self.name, self.seats.len());
        let why = closing.to_string();
        match closing {
            Closing::ByGame { .. } => limited!(info, plugin, room, room, why, players, "room closed"),
            _ => limited!(warn, plugin, room, room, why, players, "room closed by the host"),
        }
        self.seats.clear_out(Homes::is_home(&self.name), &why);
        self.see_off(mailbox).await;
    }

    /// Sends on everyone who is here or on the way here, until nobody can send to this room any more.
    pub(super) async fn see_off(&mut self, mailbox: &mut mpsc::Receiver<Up>) {
        for up in std::mem::take(&mut self.ending.late) {
            self.pass_on(up);
        }
        let deadline = Instant::now() + CLOSING;
        loop {
            match timeout_at(deadline, mailbox.recv()).await {
                Ok(Some(up)) => self.pass_on(up),
                // All who could send have another room by now, or have ended.
                Ok(None) => break,
                Err(_) => {
                    mailbox.close();
                    while let Ok(Some(up)) = timeout(PROMISED, mailbox.recv()).await {
                        self.pass_on(up);
                    }
                    break;
                }
            }
            self.count_players();
        }
        // Sessions that have not fenced by now find the mailbox closed, and what they hold goes along with them.
        for (player, to, backlog) in self.seats.take_all_moving() {
            self.send_on(player, to, backlog, None);
        }
        self.count_players();
    }

    /// What still comes to a room whose guest is gone.
    fn pass_on(&mut self, up: Up) {
        match up {
            Up::Frames { user, session, frames } => match self.seats.here(user.0, session) {
                Here::Moving(backlog) => frames.iter().for_each(|(op, payload)| backlog.push(op, payload)),
                // The session has ended, or has been told to.
                Here::Yes | Here::No => self.registry.metrics.stale.inc_by(frames.count().into()),
            },
            Up::Fence { user, session } => {
                if let Some((player, to, backlog)) = self.seats.take_moving(user.0, session) {
                    self.send_on(player, to, backlog, None);
                }
            }
            Up::Leave { user, session, reason } => {
                if let Some((player, to, backlog)) = self.seats.take_moving(user.0, session) {
                    self.send_on(player, to, backlog, Some(reason));
                } else {
                    self.seats.remove_session(user.0, session);
                }
                self.registry.left(user.0, session);
            }
            Up::Join { player, backlog, .. } => self.turn_back(player, backlog),
        }
    }

    /// Somebody sits down in a room that has ended, and has to get up again. The session knows this room by now and may
    /// send to it already, so it is fenced off, too.
    fn turn_back(&mut self, player: Player, backlog: Vec<Frames>) {
        let (user, session) = (player.user.0, player.session);
        if player.outbox.is_shut() && self.seats.holds(user) {
            return;
        }
        let to = if self.ending.gone.is_some() { self.own() } else { Target::Home };
        self.seats.insert(player);
        self.seats.start_move(user, to);
        for frames in backlog {
            self.pass_on(Up::Frames { user: UserId(user), session, frames });
        }
    }

    /// Sends a player to where it goes from here.
    fn send_on(&mut self, player: Player, to: Target, backlog: Vec<Frames>, ended: Option<LeaveReason>) {
        match &self.ending.gone {
            Some(gone) if to == self.own() => {
                if ended.is_none() {
                    self.registry.release(&player, gone.clone(), backlog, true);
                } else {
                    let frames = backlog.iter().map(|frames| u64::from(frames.count())).sum();
                    self.registry.metrics.stale.inc_by(frames);
                }
            }
            _ => {
                self.registry.metrics.transfers.inc_by(ended.is_none().into());
                self.registry.clone().forward(player, to, backlog, ended, &self.name);
            }
        }
    }

    /// This room, as a target.
    pub(super) fn own(&self) -> Target {
        Target::Room(self.name.to_string())
    }
}

/// Sends whoever still comes to a room that is gone to their home rooms.
pub(super) async fn evict(registry: &Arc<Registry>, mailbox: &mut mpsc::Receiver<Up>, name: &Arc<str>) {
    while let Ok(Some(up)) = tokio::time::timeout(CLOSING, mailbox.recv()).await {
        if let Up::Join { player, backlog, .. } = up {
            registry.send_home(player, backlog, name);
        }
    }
}
