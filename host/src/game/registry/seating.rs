//! Seating: who logs in, moves or is turned out gets a seat.

use std::sync::Arc;
use std::time::Duration;

use hotseat_packet::code;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::oneshot;
use tracing::warn;

use super::{CreateError, Present, Registry};
use crate::actor::EnlistError;
use crate::game::room::Target;
use crate::link::{
    Attach, AttachError, Close, Frames, LeaveReason, Outbox, Player, Signal, Up, Uplink, UserId,
};

/// How long a login waits for the room of an older session to let go: what that puts last is what the player comes with.
const LETTING_GO: Duration = Duration::from_secs(2);

/// Where a player is about to sit down, with space in the room's mailbox for it.
struct Place {
    player: Player,
    backlog: Vec<Frames>,
    profile: Option<(u64, Arc<[u8]>)>,
    uplink: Uplink,
    permit: OwnedPermit<Up>,
}

impl Registry {
    /// Answers the agent until its end of the link is gone.
    pub async fn serve(self: Arc<Self>, mut requests: mpsc::Receiver<Attach>) {
        while let Some(Attach { player, seat }) = requests.recv().await {
            let registry = Arc::clone(&self);
            self.tasks.spawn(async move {
                let _ = seat.send(registry.attach(player).await);
            });
        }
    }

    /// Seats a player who has logged in. An older session of the user is told to go first.
    async fn attach(self: &Arc<Self>, player: Player) -> Result<Uplink, AttachError> {
        let (user, session) = (player.user.0, player.session);
        let present = Present { session, outbox: Arc::clone(&player.outbox), mailbox: None };
        let older = self.users().insert(user, present);
        if let Some(older) = older {
            self.replace(player.user, older).await;
        }
        match self.place(player, Vec::new(), None).await {
            Ok(place) => Ok(self.sit(place, None).0),
            Err(error) => {
                self.left(user, session);
                Err(error)
            }
        }
    }

    async fn replace(&self, user: UserId, older: Present) {
        older.outbox.close(Close {
            leave: LeaveReason::Replaced,
            reason: "duplicate_login",
            code: code::DUPLICATE_LOGIN,
            text: "the same user has logged in again".to_owned(),
        });
        if let Some(mailbox) = older.mailbox {
            let leave = Up::Leave { user, session: older.session, reason: LeaveReason::Replaced };
            let (gone, waiting) = oneshot::channel();
            self.leaving().insert(older.session, gone);
            // A room that is gone has let the player go already. One that does not come to it in time is not waited
            // for: of what the two rooms put then, the store takes the first.
            if mailbox.send(leave).await.is_ok() {
                let _ = tokio::time::timeout(LETTING_GO, waiting).await;
            }
            self.leaving().remove(&older.session);
        }
    }

    /// Finds a player a place in its home room, or another one.
    async fn place(
        self: &Arc<Self>,
        player: Player,
        backlog: Vec<Frames>,
        room: Option<String>,
    ) -> Result<Place, AttachError> {
        let user = player.user.0;
        let room = room.unwrap_or_else(|| self.home_of(user));
        let handle = self.open(&room, &[]).map_err(|error| match error {
            CreateError::Enlist(EnlistError::NoVersion(_)) => AttachError::NoPlugin,
            CreateError::Full(limit) => AttachError::Busy { what: "max_rooms", limit },
            CreateError::Enlist(EnlistError::Stopped) => AttachError::Shutdown,
            CreateError::Name(_) => AttachError::Closed { room: room.clone(), why: error.to_string() },
        })?;
        let mut opened = handle.opened.clone();
        let outcome = opened.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        if let Some(Err(why)) = outcome {
            return Err(AttachError::Closed { room, why });
        }
        let registry = Arc::clone(self);
        let profile = tokio::task::spawn_blocking(move || registry.profiles.get(user)).await.ok().flatten();
        let uplink = Uplink { room: handle.name, mailbox: handle.mailbox };
        let Ok(permit) = uplink.mailbox.clone().reserve_owned().await else {
            return Err(AttachError::Closed { room, why: "it has just been closed".into() });
        };
        Ok(Place { player, backlog, profile, uplink, permit })
    }

    /// Lets a player sit down; `tell` is a session that has waited for the end of a move. Whether it has heard.
    fn sit(&self, place: Place, tell: Option<&Outbox>) -> (Uplink, bool) {
        let Place { player, backlog, profile, uplink, permit } = place;
        let (user, session) = (player.user.0, player.session);
        let join = || drop(permit.send(Up::Join { player, backlog, profile }));
        let heard = match tell {
            // The room may move the player on at once: the session must hear of this move before it hears of that
            // one, and send nothing there before the room knows the player.
            Some(outbox) => outbox.signal_after(Signal::Moved(uplink.clone()), join),
            None => {
                join();
                false
            }
        };
        if let Some(present) = self.users().get_mut(&user)
            && present.session == session
        {
            present.mailbox = Some(uplink.mailbox.clone());
        }
        (uplink, heard)
    }

    /// Carries a player to another room, or home if that one is gone. If the session has ended meanwhile (`gone`),
    /// what it sent before still reaches the room, and then its leaving.
    pub(in crate::game) fn forward(
        self: Arc<Self>,
        player: Player,
        to: Target,
        backlog: Vec<Frames>,
        gone: Option<LeaveReason>,
        from: &Arc<str>,
    ) {
        if gone.is_some() && backlog.is_empty() {
            return;
        }
        let from = Arc::clone(from);
        let registry = Arc::clone(&self);
        self.tasks.spawn(async move {
            let Player { user, session, outbox } = player.clone();
            let room = match to {
                Target::Room(name) if registry.exists(&name) => Some(name),
                Target::Room(_) | Target::Home => None,
            };
            let there = room.is_some();
            let mut place = registry.place(player.clone(), backlog.clone(), room).await;
            if there && place.is_err() {
                place = registry.place(player, backlog, None).await;
            }
            match place {
                Ok(place) => {
                    let (uplink, heard) = registry.sit(place, gone.is_none().then_some(&*outbox));
                    if !heard {
                        // The session has ended on the way: nobody else will tell the room.
                        let reason = gone.unwrap_or(LeaveReason::Lost);
                        let _ = uplink.mailbox.send(Up::Leave { user, session, reason }).await;
                    }
                }
                Err(error) => {
                    warn!(%user, %from, %error, "no room for a player who had to move");
                    outbox.close(Close {
                        leave: LeaveReason::Closed,
                        reason: "no_room",
                        code: code::NO_ROOM,
                        text: error.to_string(),
                    });
                }
            }
        });
    }

    /// Sends a player who came to a room that is gone to its home room.
    pub(in crate::game) fn send_home(
        self: &Arc<Self>,
        player: Player,
        backlog: Vec<Frames>,
        from: &Arc<str>,
    ) {
        if self.is_home(from) {
            player.outbox.close(Close {
                leave: LeaveReason::Closed,
                reason: "no_room",
                code: code::NO_ROOM,
                text: "the room cannot be opened".to_owned(),
            });
            return;
        }
        player.outbox.signal(Signal::Moving);
        Arc::clone(self).forward(player, Target::Home, backlog, None, from);
    }
}
