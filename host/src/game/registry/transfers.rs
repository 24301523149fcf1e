//! Moving: an operator sends a player to another room.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{AT, Registry};
use crate::game::homes::Homes;
use crate::game::room::{RoomCommand, Target};

/// What stands for a user's home room.
pub const HOME: &str = "home";

/// How long a room may take to let a player go.
const PATIENCE: Duration = Duration::from_secs(5);

/// A player that has been sent away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The room it sat in.
    pub from: String,
    /// The room it goes to.
    pub to: String,
}

/// Why a player stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// This host does not know the user.
    #[error("user {0} is not connected")]
    Absent(u64),
    /// The player sits at another host.
    #[error("user {user} is at another host")]
    Away {
        /// Who.
        user: u64,
        /// Which host, if it is known.
        node: Option<String>,
    },
    /// No such room.
    #[error("no room {0} where the player is")]
    NoRoom(String),
    /// It is there already.
    #[error("user {user} is in room {room} already")]
    There {
        /// Who.
        user: u64,
        /// Where.
        room: String,
    },
    /// It goes somewhere already, or its room does not answer.
    #[error("user {0} is on its way to another room")]
    OnTheWay(u64),
}

impl Registry {
    /// Sends a player to another room, as its room could do: by name, as `ROOM@NODE`, or [`HOME`]. Returns once the room
    /// has let it go. Not cancel safe: the room may do it all the same.
    ///
    /// # Errors
    /// [`MoveError`]; nothing has happened then.
    pub async fn move_player(&self, user: u64, to: &str) -> Result<Moved, MoveError> {
        let mailbox = match self.users().get(&user) {
            None => return Err(MoveError::Absent(user)),
            Some(present) => {
                let away = || MoveError::Away { user, node: present.away.clone() };
                present.mailbox.clone().ok_or_else(away)?
            }
        };
        let room = self.rooms().values().find(|room| room.mailbox.same_channel(&mailbox)).cloned();
        let room = room.ok_or(MoveError::OnTheWay(user))?;
        let home = Homes::name(self.homes.of(user));
        let name = if to == HOME { home.clone() } else { to.to_owned() };
        if name == *room.name {
            return Err(MoveError::There { user, room: name });
        }
        if name != home && !self.reaches(&name) {
            return Err(MoveError::NoRoom(name));
        }
        let target = if name == home { Target::Home } else { Target::Room(name.clone()) };
        let (done, answer) = oneshot::channel();
        let order = async {
            room.room_commands.send(RoomCommand::Move { user, to: target, done }).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(PATIENCE, order).await {
            Ok(Some(true)) => Ok(Moved { from: room.name.to_string(), to: name }),
            _ => Err(MoveError::OnTheWay(user)),
        }
    }

    /// The node in `ROOM@NODE`.
    pub fn node_of(room: &str) -> Option<&str> {
        room.split_once(AT).map(|(_, node)| node)
    }
}
