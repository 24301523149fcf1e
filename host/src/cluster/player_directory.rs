//! Players: what is for a user, brought to it wherever it is connected.
//!
//! The host of a user's home room keeps track of the user, so that is where every such call goes; any node takes it and
//! passes it on once.

use std::sync::Arc;
use std::time::Duration;

use hotseat_packet::opcode;
use tokio::time::Instant;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};

use super::placement::Placement;
use crate::game::Homes;
use crate::game::registry::{HOME, MoveError, Moved, Registry};
use crate::peer::{Dialer, PeerChannel};
use crate::proto::cluster::players_client::PlayersClient;
use crate::proto::cluster::players_server::Players;
use crate::proto::cluster::{MoveReply, MoveRequest, PushReply, PushRequest};

/// The name under which guests call this service on their own node.
pub const SERVICE: &str = "players";

/// Set on what has been passed on, so that it is not passed on again.
const PASSED: &str = "hotseat-passed";

/// How long a home room that nobody has is waited for.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks at a placement that has not changed.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// How long the other host may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The service of one node. Cheap to clone.
#[derive(Clone)]
pub struct PlayerDirectory {
    /// This node.
    pub node: Arc<str>,
    /// Which home rooms are this host's.
    pub homes: Arc<Homes>,
    /// The rooms of this host, if it has any.
    pub registry: Option<Arc<Registry>>,
    /// Who has the others.
    pub placement: Placement,
    /// How other nodes are reached.
    pub dialer: Dialer,
}

/// Who keeps track of a user.
enum HomeHost<'a> {
    Here(&'a Arc<Registry>),
    There(PlayersClient<PeerChannel>),
}

impl PlayerDirectory {
    /// Whether the user's home room has come here so lately that a user who is connected may not be known yet.
    fn is_new(&self, user: u64) -> bool {
        self.homes.is_new(self.homes.of(user))
    }

    /// Who keeps track of the user. Looks for as long as [`SEARCH_TIMEOUT`], unless it is asked by who has
    /// looked.
    async fn home_host(&self, user: u64, deadline: Instant, passed: bool) -> Result<HomeHost<'_>, Status> {
        let home = self.homes.of(user);
        let mut placement = self.placement.clone();
        loop {
            if let Some(registry) = &self.registry
                && self.homes.owns(home)
                && self.homes.gate().is_open()
            {
                return Ok(HomeHost::Here(registry));
            }
            let room = Homes::name(home);
            if passed {
                return Err(Status::failed_precondition(format!("room {room} is another host's")));
            }
            let owner = self.placement.owner(home).filter(|owner| **owner != *self.node);
            if let Some(info) = owner.and_then(|owner| self.placement.node(&owner)) {
                let channel = self.dialer.open(&info.grpc);
                let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
                return Ok(HomeHost::There(PlayersClient::new(channel)));
            }
            if Instant::now() >= deadline {
                return Err(Status::unavailable(format!("no host has room {room} at present")));
            }
            again(&mut placement).await;
        }
    }

    /// Sends a frame to a user's client. Whether the user is connected; if so, the frame is queued, behind what its room
    /// has sent before. At most once: what fails may have arrived.
    ///
    /// # Errors
    /// UNAVAILABLE if the host that keeps track of the user is not there or does not answer.
    pub async fn push(&self, push: &PushRequest, passed: bool) -> Result<bool, Status> {
        let &PushRequest { user, opcode, ref payload } = push;
        let invalid = |text: String| Err(Status::invalid_argument(text));
        if user == 0 {
            return invalid("user 0 is nobody".into());
        }
        let Some(opcode) = u16::try_from(opcode).ok().filter(|opcode| opcode::is_game(*opcode)) else {
            let (min, max) = (opcode::GAME_MIN, opcode::GAME_MAX);
            return invalid(format!("opcode {opcode}: must be {min} to {max}, the others are the agent's"));
        };
        let max = hotseat_packet::MAX_DOWN_PAYLOAD;
        if payload.len() > max {
            return invalid(format!("payload of {} bytes: at most {max}", payload.len()));
        }
        let deadline = Instant::now() + SEARCH_TIMEOUT;
        let mut placement = self.placement.clone();
        loop {
            let mut home_host = match self.home_host(user, deadline, passed).await? {
                HomeHost::Here(registry) => {
                    let connected = registry.push(user, opcode, payload);
                    if connected || !self.is_new(user) {
                        return Ok(connected);
                    }
                    again(&mut placement).await;
                    continue;
                }
                HomeHost::There(home_host) => home_host,
            };
            match answer(home_host.push(mark(push.clone()))).await {
                Ok(reply) => return Ok(reply.connected),
                Err(status) if moved(&status) && Instant::now() < deadline => again(&mut placement).await,
                Err(status) => return Err(status),
            }
        }
    }
}

impl PlayerDirectory {
    /// Sends a player to another room; `to` is the name of one where the player is, ROOM@NODE, `home`, or the id of the
    /// node that has the home room. The room that lets it go, and where it is sent.
    ///
    /// # Errors
    /// As `MoveSession` in `proto/admin.proto` says, and UNAVAILABLE as for [`Self::push`].
    pub async fn move_player(&self, user: u64, to: &str) -> Result<MoveReply, Status> {
        let to = self.target(user, to)?;
        self.send(&MoveRequest { user, to, away: false }, false).await
    }

    fn target(&self, user: u64, to: &str) -> Result<String, Status> {
        let home = self.homes.of(user);
        if *to == *self.node || self.placement.node(to).is_some() {
            let owner =
                if self.homes.owns(home) { Some(self.node.to_string()) } else { self.placement.owner(home) };
            if owner.as_deref() == Some(to) {
                return Ok(HOME.to_owned());
            }
            let at = owner.as_deref().unwrap_or("no host");
            return Err(Status::invalid_argument(format!(
                "node {to} has not the home room of user {user}, {} at {at}: name a room there, ROOM@{to}",
                Homes::name(home)
            )));
        }
        match Registry::node_of(to) {
            _ if user == 0 => Err(Status::invalid_argument("user 0 is nobody")),
            _ if to.is_empty() => Err(Status::invalid_argument("no room is named")),
            Some(node) if *node != *self.node && self.placement.node(node).is_none() => {
                Err(Status::not_found(format!("no node {node}")))
            }
            _ => Ok(to.to_owned()),
        }
    }

    async fn send(&self, request: &MoveRequest, passed: bool) -> Result<MoveReply, Status> {
        let deadline = Instant::now() + SEARCH_TIMEOUT;
        let mut placement = self.placement.clone();
        loop {
            let home_host = match (&self.registry, request.away) {
                (Some(registry), true) => HomeHost::Here(registry),
                _ => self.home_host(request.user, deadline, passed).await?,
            };
            let mut home_host = match home_host {
                HomeHost::Here(registry) => match self.let_go(registry, request).await {
                    Err(status) if status.code() == Code::NotFound && self.is_new(request.user) => {
                        again(&mut placement).await;
                        continue;
                    }
                    decided => return decided,
                },
                HomeHost::There(home_host) => home_host,
            };
            match answer(home_host.r#move(mark(request.clone()))).await {
                Err(status) if moved(&status) && Instant::now() < deadline => again(&mut placement).await,
                decided => return decided,
            }
        }
    }

    async fn let_go(&self, registry: &Arc<Registry>, request: &MoveRequest) -> Result<MoveReply, Status> {
        let error = match registry.move_player(request.user, &request.to).await {
            Ok(Moved { from, to }) => return Ok(MoveReply { from, to }),
            Err(error) => error,
        };
        let text = error.to_string();
        let node = match error {
            MoveError::Away { node: Some(node), .. } if !request.away => node,
            MoveError::Absent(_) | MoveError::NoRoom(_) => return Err(Status::not_found(text)),
            MoveError::There { .. } => return Err(Status::already_exists(text)),
            MoveError::OnTheWay(_) | MoveError::Away { .. } => return Err(Status::aborted(text)),
        };
        let info =
            self.placement.node(&node).ok_or_else(|| Status::unavailable(format!("no node {node}")))?;
        let channel = self.dialer.open(&info.grpc).map_err(|error| Status::unavailable(error.to_string()))?;
        let request = MoveRequest { away: true, ..request.clone() };
        answer(PlayersClient::new(channel).r#move(mark(request))).await
    }
}

/// Waits for news of who has which room, a little while.
async fn again(placement: &mut Placement) {
    tokio::select! {
        () = placement.changed() => {}
        () = tokio::time::sleep(RETRY_INTERVAL) => {}
    }
}

/// Whether the other host has nothing done, since the room is not its own any more, or not yet.
fn moved(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition
}

fn mark<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(PASSED, MetadataValue::from_static("1"));
    request
}

fn is_marked<T>(request: &Request<T>) -> bool {
    request.metadata().contains_key(PASSED)
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    let late = |_| Status::unavailable(format!("no answer within {ANSWER_TIMEOUT:?}"));
    Ok(tokio::time::timeout(ANSWER_TIMEOUT, call).await.map_err(late)??.into_inner())
}

#[tonic::async_trait]
impl Players for PlayerDirectory {
    async fn push(&self, request: Request<PushRequest>) -> Result<Response<PushReply>, Status> {
        let passed = is_marked(&request);
        let connected = PlayerDirectory::push(self, request.get_ref(), passed).await?;
        Ok(Response::new(PushReply { connected }))
    }

    async fn r#move(&self, request: Request<MoveRequest>) -> Result<Response<MoveReply>, Status> {
        let passed = is_marked(&request);
        Ok(Response::new(self.send(request.get_ref(), passed).await?))
    }
}
