//! Link server: the game host's end of the link to an agent on another node.
//!
//! One task a stream takes what the agent sends and hands it to the rooms on the spot; a room that does not keep up is
//! waited for by its own sessions, not by the stream. What the rooms send gathers in the agent's [`Line`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use crate::cluster::LINK_VERSION;
use crate::cluster::metrics::ClusterMetrics;
use crate::link::{
    AttachError, Frames, LeaveReason, Line, Link, Outbox, Player, Remote, SeatRequest, SessionId, Up, UserId,
};
use crate::proto::cluster::down::What as Told;
use crate::proto::cluster::refused::Why;
use crate::proto::cluster::up::What;
use crate::proto::cluster::{self, Down, Hello, Refused, UpBatch, Welcome};
use crate::telemetry::log_limit::limited;

/// Bytes that may wait for an agent; beyond that it is taken for dead. A broadcast to 10,000 players a tick stays far below.
const LINE_BYTES: usize = 64 << 20;

/// The largest message of an agent. It sends 512 batches of at most 16 KiB at a time, and a few more bytes each.
pub(in crate::cluster) const UP_MAX: usize = 16 << 20;

/// Between two looks at whether all links have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The game host's side of every link. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LinkServer {
    node: Arc<str>,
    /// To this host's rooms.
    rooms: Link,
    metrics: ClusterMetrics,
    /// Sessions that one agent may have here.
    max_sessions: usize,
    /// Agents whose links are open.
    open: Arc<AtomicUsize>,
}

/// One agent's stream.
struct AgentStream {
    link_server: LinkServer,
    node: String,
    line: Arc<Line>,
    sessions: HashMap<u64, RemoteSession>,
    /// Sessions whose attach was refused, with the attempt: they have no seat, unless they have asked again meanwhile.
    refused: Arc<Mutex<Vec<(u64, u64)>>>,
}

/// One session of the agent, as long as it has a seat here or this host keeps track of its user.
struct RemoteSession {
    user: UserId,
    id: SessionId,
    remote: Arc<Remote>,
    /// Times it has asked for a seat.
    attempts: u64,
}

impl RemoteSession {
    fn player(&self) -> Player {
        let outbox = Arc::new(Outbox::remote(Arc::clone(&self.remote)));
        Player { user: self.user, session: self.id, outbox }
    }
}

impl LinkServer {
    /// The end of a host named `node`, whose rooms `rooms` leads to.
    pub fn new(node: &str, rooms: Link, metrics: ClusterMetrics, max_sessions: usize) -> Self {
        Self { node: node.into(), rooms, metrics, max_sessions, open: Arc::default() }
    }

    /// Waits until all agents have ended their links, as they do once a host is drained. Cancel safe.
    pub async fn emptied(&self) {
        while self.open.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Serves one agent. The answer begins once its first message has been read.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` for an agent of another version, `INVALID_ARGUMENT` for what is no message.
    pub async fn open(
        self,
        request: Request<Streaming<Bytes>>,
    ) -> Result<Response<impl tokio_stream::Stream<Item = Result<Bytes, Status>> + use<>>, Status> {
        let mut ups = request.into_inner();
        let first = ups.message().await?.ok_or_else(|| Status::invalid_argument("no hello"))?;
        let first = read(first)?;
        let Some(Hello { version, node }) = first.hello else {
            return Err(Status::invalid_argument("the first message of a link must be a hello"));
        };
        if version != LINK_VERSION {
            limited!(
                warn,
                "",
                &node,
                agent = node,
                version,
                ours = LINK_VERSION,
                "agent of another link version refused"
            );
            let text = format!("link version {version} of agent {node}: this host speaks {LINK_VERSION}");
            return Err(Status::failed_precondition(text));
        }
        let line = Arc::new(Line::new(LINE_BYTES));
        // It is empty, and takes more than this.
        let _ = line.welcome(Welcome { version: LINK_VERSION, node: self.node.to_string() });
        info!(agent = node, "link open");
        let (sessions, refused) = (HashMap::new(), Arc::default());
        let agent = AgentStream { link_server: self, node, line: Arc::clone(&line), sessions, refused };
        tokio::spawn(agent.run(ups));
        let guard = CutOnDrop(line);
        let downs = futures_util::stream::unfold(guard, async |guard| {
            let bytes = guard.0.take().await?;
            Some((Ok(Bytes::from(bytes)), guard))
        });
        Ok(Response::new(downs))
    }
}

/// The stream to the agent is gone: rooms need not write to it any more.
struct CutOnDrop(Arc<Line>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cut();
    }
}

fn read(bytes: Bytes) -> Result<UpBatch, Status> {
    UpBatch::decode(bytes).map_err(|error| Status::invalid_argument(format!("link message: {error}")))
}

impl AgentStream {
    async fn run(mut self, mut ups: Streaming<Bytes>) {
        self.link_server.metrics.links.inc();
        self.link_server.open.fetch_add(1, Ordering::Relaxed);
        let why = loop {
            match ups.next().await {
                Some(Ok(bytes)) => match read(bytes) {
                    Ok(batch) => batch.ups.into_iter().for_each(|up| self.take(up)),
                    Err(status) => break status.message().to_owned(),
                },
                Some(Err(status)) => break status.message().to_owned(),
                None => break "closed".to_owned(),
            }
            if self.line.is_cut() {
                break "the agent does not read".to_owned();
            }
        };
        self.line.cut();
        self.link_server.metrics.links.dec();
        self.link_server.open.fetch_sub(1, Ordering::Relaxed);
        info!(agent = self.node, why, sessions = self.sessions.len(), "link ended");
        for (_, seat) in self.sessions.drain() {
            seat.remote.end();
            let (user, session) = (seat.user, seat.id);
            seat.remote.up(Up::Leave { user, session, reason: LeaveReason::LinkLost });
            self.link_server.rooms.left(user, session).await;
        }
    }

    fn take(&mut self, up: cluster::Up) {
        let number = up.session;
        match up.what {
            Some(What::Frames(bytes)) => {
                let Some(seat) = self.sessions.get(&number) else { return };
                let Ok(frames) = Frames::read(bytes) else {
                    limited!(
                        warn,
                        "",
                        &self.node,
                        agent = self.node,
                        session = number,
                        "link carried torn frames, dropped"
                    );
                    return;
                };
                seat.remote.up(Up::Frames { user: seat.user, session: seat.id, frames });
            }
            Some(What::Attach(attach)) => self.attach(number, attach),
            Some(What::Fence(_)) => {
                if let Some(seat) = self.sessions.get(&number) {
                    seat.remote.up(Up::Fence { user: seat.user, session: seat.id });
                }
            }
            Some(What::Leave(reason)) => self.leave(number, reason),
            Some(What::Note(cluster::Note { user, login })) => self.note(number, UserId(user), login),
            None => {
                debug!(agent = self.node, session = number, "link carried a word this host does not know")
            }
        }
    }

    /// Forgets sessions that have been refused since the last time.
    fn forget_refused(&mut self) {
        let refused = std::mem::take(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner));
        for (number, attempt) in refused {
            if self.sessions.get(&number).is_some_and(|seat| seat.attempts == attempt) {
                self.sessions.remove(&number);
            }
        }
    }

    fn attach(&mut self, number: u64, attach: cluster::Attach) {
        self.forget_refused();
        let refuse = |why: Why, text: String| {
            let what = Some(Told::Refused(Refused { why: why.into(), text }));
            // A line that is cut ends the stream.
            let _ = self.line.tell(Down { sessions: vec![number], what });
        };
        let cluster::Attach { user, room, backlog, login, again } = attach;
        if user == 0 {
            return refuse(Why::Closed, "user 0 is nobody".into());
        }
        let backlog: Result<Vec<_>, _> = backlog.into_iter().map(Frames::read).collect();
        let Ok(backlog) = backlog else { return refuse(Why::Closed, "torn frames".into()) };
        if self.sessions.len() >= self.link_server.max_sessions && !self.sessions.contains_key(&number) {
            let limit = self.link_server.max_sessions;
            return refuse(Why::Busy, format!("max_sessions limit of {limit} reached"));
        }
        let seat = self.seat(number, UserId(user));
        seat.attempts += 1;
        let (attempt, remote, player) = (seat.attempts, Arc::clone(&seat.remote), seat.player());
        let refused = Arc::clone(&self.refused);
        let request =
            SeatRequest { room: (!room.is_empty()).then_some(room), node: None, backlog, login, again };
        let (rooms, line) = (self.link_server.rooms.clone(), Arc::clone(&self.line));
        remote.asking();
        tokio::spawn(async move {
            match rooms.attach(player, request).await {
                Ok(uplink) => {
                    let login = uplink.login;
                    remote.seated(uplink, login);
                }
                Err(error) => {
                    remote.refused();
                    refused.lock().unwrap_or_else(PoisonError::into_inner).push((number, attempt));
                    let (why, text) = refusal(error);
                    let what = Some(Told::Refused(Refused { why: why.into(), text }));
                    let _ = line.tell(Down { sessions: vec![number], what });
                }
            }
        });
    }

    fn seat(&mut self, number: u64, user: UserId) -> &mut RemoteSession {
        let line = &self.line;
        self.sessions.entry(number).or_insert_with(|| RemoteSession {
            user,
            id: SessionId::next(),
            remote: Arc::new(Remote::new(number, Arc::clone(line))),
            attempts: 0,
        })
    }

    fn note(&mut self, number: u64, user: UserId, login: u64) {
        if self.sessions.len() < self.link_server.max_sessions || self.sessions.contains_key(&number) {
            let player = self.seat(number, user).player();
            let rooms = self.link_server.rooms.clone();
            tokio::spawn(async move { rooms.note(player, login).await });
        }
    }

    fn leave(&mut self, number: u64, reason: u32) {
        let Some(seat) = self.sessions.remove(&number) else { return };
        seat.remote.end();
        let (user, session, reason) = (seat.user, seat.id, LeaveReason::from_number(reason));
        if !seat.remote.up(Up::Leave { user, session, reason }) {
            let rooms = self.link_server.rooms.clone();
            tokio::spawn(async move { rooms.left(user, session).await });
        }
    }
}

fn refusal(error: AttachError) -> (Why, String) {
    match error {
        AttachError::NoPlugin => (Why::NoPlugin, String::new()),
        AttachError::Closed { why, .. } => (Why::Closed, why),
        AttachError::Busy { .. } | AttachError::Refused { .. } => (Why::Busy, error.to_string()),
        AttachError::Shutdown => (Why::Shutdown, String::new()),
        AttachError::Elsewhere { room } => (Why::Elsewhere, room),
        AttachError::Replaced => (Why::Replaced, String::new()),
        AttachError::Unreachable { node } => (Why::Elsewhere, node),
    }
}
