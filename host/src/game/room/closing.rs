//! Closing: a room ends, its players do not.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::info;

use super::Room;
use super::seats::Here;
use crate::game::homes::Homes;
use crate::game::registry::Registry;
use crate::link::Up;

/// How long a closing room waits for its players to move out.
const CLOSING: Duration = Duration::from_secs(2);

impl Room {
    /// Moves everyone out, then ends.
    pub(super) async fn close(&mut self, why: &str, mailbox: &mut mpsc::Receiver<Up>) {
        info!(room = %self.name, why, players = self.seats.len(), "room closed");
        let home = Homes::is_home(&self.name);
        self.seats.clear_out(home, why);
        let deadline = tokio::time::Instant::now() + CLOSING;
        while !self.seats.is_empty() {
            match tokio::time::timeout_at(deadline, mailbox.recv()).await {
                Ok(Some(up)) => self.pass_on(up),
                Ok(None) | Err(_) => break,
            }
        }
        mailbox.close();
        // Who has been promised space still uses it.
        while let Ok(Some(up)) = tokio::time::timeout(CLOSING, mailbox.recv()).await {
            self.pass_on(up);
        }
        // Sessions that have not fenced by now find the mailbox closed, and what they hold goes along with them.
        for (player, to, backlog) in self.seats.take_all_moving() {
            self.registry.clone().forward(player, to, backlog, None, &self.name);
        }
    }

    /// What still comes to a room whose guest is gone.
    fn pass_on(&mut self, up: Up) {
        match up {
            Up::Frames { user, session, frames } => {
                if let Here::Moving(backlog) = self.seats.here(user.0, session) {
                    frames.iter().for_each(|(op, payload)| backlog.push(op, payload));
                }
            }
            Up::Fence { user, session } => self.on_fence(user.0, session),
            Up::Leave { user, session, reason } => {
                if let Some((player, to, backlog)) = self.seats.take_moving(user.0, session) {
                    self.registry.clone().forward(player, to, backlog, Some(reason), &self.name);
                }
                self.registry.left(user.0, session);
            }
            Up::Join { player, backlog, .. } => self.registry.send_home(player, backlog, &self.name),
        }
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
