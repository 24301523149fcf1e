//! Seating: who logs in, moves or is turned out gets a seat.

use std::sync::Arc;
use std::time::Duration;

use hotseat_packet::code;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::oneshot;

use super::{CreateError, Present, Registry, Why};
use crate::actor::RegisterError;
use crate::blocking;
use crate::game::homes::Homes;
use crate::game::room::{Gone, Target};
use crate::link::{
    Attach, AttachError, Close, Frames, LeaveReason, LinkRequest, Outbox, Player, Released, SeatRequest,
    Signal, Up, Uplink, UserId,
};
use crate::telemetry::log_limit::limited;

/// How long a login waits for the room of an older session to let go: what that puts last is what the player comes with.
const LETTING_GO: Duration = Duration::from_secs(2);

/// Where a player is about to sit down, with space in the room's mailbox for it.
struct Place {
    player: Player,
    backlog: Vec<Frames>,
    profile: Option<(u64, Arc<[u8]>)>,
    again: bool,
    uplink: Uplink,
    permit: OwnedPermit<Up>,
}

/// A player on the way to a room.
#[derive(Debug, Clone)]
struct Coming {
    player: Player,
    backlog: Vec<Frames>,
    login: u64,
    again: bool,
}

impl Registry {
    /// Answers the agent until its end of the link is gone.
    pub async fn serve(self: Arc<Self>, mut asks: mpsc::Receiver<LinkRequest>) {
        while let Some(ask) = asks.recv().await {
            match ask {
                LinkRequest::Attach(Attach { player, request, seat }) => {
                    let registry = Arc::clone(&self);
                    self.tasks.spawn(async move {
                        let _ = seat.send(registry.attach(player, request).await);
                    });
                }
                LinkRequest::Left { user, session } => self.ended(user.0, session),
                LinkRequest::Note { player, login } => {
                    let registry = Arc::clone(&self);
                    self.tasks.spawn(async move { registry.note(player, login).await });
                }
            }
        }
    }

    /// Seats a player who has logged in, or who sat elsewhere before. An older session of the user is told to go first.
    async fn attach(self: &Arc<Self>, player: Player, request: SeatRequest) -> Result<Uplink, AttachError> {
        let (user, session) = (player.user.0, player.session);
        let home = self.homes.of(user);
        let room = request.room.filter(|room| self.homes.number(room).is_some() || self.exists(room));
        let room = room.unwrap_or_else(|| Homes::name(home));
        if !self.homes.gate().is_open() || self.homes.number(&room).is_some_and(|home| !self.homes.owns(home))
        {
            return Err(AttachError::Elsewhere { room });
        }
        let login = if request.login == 0 { self.homes.next_login() } else { request.login };
        let older = {
            let mut users = self.users();
            if users.get(&user).is_some_and(|older| older.login > login) {
                return Err(AttachError::Replaced);
            }
            let outbox = Arc::clone(&player.outbox);
            users.insert(user, Present { session, login, outbox, mailbox: None, away: None })
        };
        match older {
            Some(older) if older.session == session => {}
            // The same session, by another way: the one before is broken, and nobody has noticed yet.
            Some(older) if older.login == login => self.astray(player.user, older, &room).await,
            Some(older) => self.replace(player.user, older).await,
            None => {}
        }
        let coming = Coming { player, backlog: request.backlog, login, again: request.again };
        match self.place(coming, room).await {
            Ok(place) => Ok(self.sit(place, None).0),
            Err(error) => {
                self.left(user, session);
                Err(error)
            }
        }
    }

    /// Keeps track of a user whose home room has come here while its player sits at another host. Of two sessions of one
    /// user the one of the later login stays.
    async fn note(&self, player: Player, login: u64) {
        let (user, session) = (player.user.0, player.session);
        let older = {
            let mut users = self.users();
            if users.get(&user).is_some_and(|known| known.login > login) {
                player.outbox.close(replaced());
                return;
            }
            let known = users.get(&user).filter(|known| known.session == session);
            let mailbox = known.and_then(|known| known.mailbox.clone());
            let outbox = Arc::clone(&player.outbox);
            users.insert(user, Present { session, login, outbox, mailbox, away: None })
        };
        if let Some(older) = older
            && older.session != session
        {
            self.replace(player.user, older).await;
        }
    }

    async fn replace(&self, user: UserId, older: Present) {
        older.outbox.close(replaced());
        self.let_go(user, older, LeaveReason::Replaced).await;
    }

    /// A session that comes by another way to the room it sits in keeps its place there; in another room it has none.
    async fn astray(&self, user: UserId, older: Present, room: &str) {
        let there = self.rooms().get(room).map(|room| room.mailbox.clone());
        let same = there.zip(older.mailbox.as_ref()).is_some_and(|(there, older)| there.same_channel(older));
        self.let_go(user, older, if same { LeaveReason::LinkLost } else { LeaveReason::Lost }).await;
    }

    /// Waits for the room of an older session to let it go.
    async fn let_go(&self, user: UserId, older: Present, reason: LeaveReason) {
        if let Some(mailbox) = older.mailbox {
            let leave = Up::Leave { user, session: older.session, reason };
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

    /// Finds a player a place in a room of this host.
    async fn place(self: &Arc<Self>, coming: Coming, room: String) -> Result<Place, AttachError> {
        let Coming { player, backlog, login, again } = coming;
        let user = player.user.0;
        let handle = if Homes::is_home(&room) {
            self.open_from(&room, &[], Why::Needed, None, None).map_err(|error| unopened(error, &room))?
        } else {
            // What a guest has opened, a guest alone opens again.
            let open = self.rooms().get(&*room).cloned();
            open.ok_or_else(|| AttachError::Elsewhere { room: room.clone() })?
        };
        let mut opened = handle.opened.clone();
        let outcome = opened.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        if let Some(Err(why)) = outcome {
            return Err(AttachError::Closed { room, why });
        }
        let registry = Arc::clone(self);
        // Who cannot be told from a new player is not let in as one.
        let profile = blocking::run(move || registry.profiles.get(user)).await;
        let profile = profile
            .map_err(|error| AttachError::Refused { why: format!("the profile cannot be read: {error}") })?;
        let uplink = Uplink { room: handle.name, mailbox: handle.mailbox, login };
        let Ok(permit) = uplink.mailbox.clone().reserve_owned().await else {
            // It has just been closed, or handed over.
            return Err(AttachError::Elsewhere { room });
        };
        Ok(Place { player, backlog, profile, again, uplink, permit })
    }

    /// Lets a player sit down; `tell` is a session that has waited for the end of a move. Whether it has heard.
    fn sit(&self, place: Place, tell: Option<&Outbox>) -> (Uplink, bool) {
        let Place { player, backlog, profile, again, uplink, permit } = place;
        let (user, session) = (player.user.0, player.session);
        let join = || drop(permit.send(Up::Join { player, backlog, profile, again }));
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
        let room = match to {
            Target::Room(name) if self.reaches(&name) => name,
            Target::Room(_) | Target::Home => Homes::name(self.homes.of(player.user.0)),
        };
        if !self.has(&room) {
            // Another host has it. If the session has ended, what it sent last is nobody's: it left no seat behind.
            if gone.is_none() {
                self.release(&player, Gone { room, node: None }, backlog, false);
            } else {
                self.metrics.stale.inc_by(backlog.iter().map(|frames| u64::from(frames.count())).sum());
            }
            return;
        }
        let from = Arc::clone(from);
        let registry = Arc::clone(&self);
        self.tasks.spawn(async move {
            let Player { user, session, outbox } = player.clone();
            let login = registry.login_of(user.0);
            let coming = Coming { player, backlog, login, again: false };
            let mut place = registry.place(coming.clone(), room.clone()).await;
            if place.is_err() && !Homes::is_home(&room) {
                let home = Homes::name(registry.homes.of(user.0));
                if gone.is_none() && !registry.has(&home) {
                    registry.release(&coming.player, Gone { room: home, node: None }, coming.backlog, false);
                    return;
                }
                place = registry.place(coming, home).await;
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
                    let plugin = registry.group.plugin();
                    limited!(warn, plugin, &from, %user, %from, %error, "no room for a player who had to move");
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

    /// Whether a room is this host's: it is here, or it is a home room that is ours to open.
    fn has(&self, room: &str) -> bool {
        self.homes.number(room).map_or_else(|| self.exists(room), |home| self.homes.owns(home))
    }

    /// The number of a user's login, as far as it is known here.
    pub(super) fn login_of(&self, user: u64) -> u64 {
        self.users().get(&user).map_or(0, |present| present.login)
    }

    /// Sends a player's session to another host. Whoever has the user's home room goes on keeping track of the user.
    pub(in crate::game) fn release(&self, player: &Player, gone: Gone, backlog: Vec<Frames>, again: bool) {
        let user = player.user.0;
        let login = self.login_of(user);
        let Gone { room, node } = gone;
        if !self.homes.owns(self.homes.of(user)) {
            self.left(user, player.session);
        } else if let Some(present) = self.users().get_mut(&user) {
            present.mailbox = None;
            present.away = node.clone().or_else(|| Self::node_of(&room).map(str::to_owned));
        }
        let released = Released { room: Some(room), node, backlog, login, again };
        player.outbox.signal(Signal::Released(released));
    }

    /// Sends a player who came to a room that is gone to its home room.
    pub(in crate::game) fn send_home(
        self: &Arc<Self>,
        player: Player,
        backlog: Vec<Frames>,
        from: &Arc<str>,
    ) {
        if Homes::is_home(from) {
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

/// Why there is no seat in a home room that cannot be opened.
fn unopened(error: CreateError, room: &str) -> AttachError {
    match error {
        CreateError::Enlist(RegisterError::NoVersion(_)) => AttachError::NoPlugin,
        CreateError::Full { max_rooms, .. } => AttachError::Busy { what: "max_rooms", limit: max_rooms },
        CreateError::Enlist(RegisterError::Stopped) => AttachError::Shutdown,
        CreateError::Name(_) | CreateError::PerRoom(_) | CreateError::PerPlayer { .. } => {
            AttachError::Closed { room: room.to_owned(), why: error.to_string() }
        }
    }
}

/// How a session ends that another one of the same user has taken the place of.
fn replaced() -> Close {
    Close {
        leave: LeaveReason::Replaced,
        reason: "duplicate_login",
        code: code::DUPLICATE_LOGIN,
        text: "the same user has logged in again".to_owned(),
    }
}
