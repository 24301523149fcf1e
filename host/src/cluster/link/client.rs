//! Link client: the agent's end of the link to a game host on another node.
//!
//! Its queue is the mailbox of every session that sits over there. The request stream drains it, up to 512 items a
//! message; one task takes what comes back and gives it to the sessions' outboxes.

mod outgoing;
mod refusal_log;
mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming};
use tracing::{debug, info, warn};

use self::outgoing::Outgoing;
pub(in crate::cluster) use self::refusal_log::RefusalLog;
use self::wire::{read, reason};
use crate::actor::Raw;
use crate::cluster::LINK_VERSION;
use crate::cluster::metrics::ClusterMetrics;
use crate::game::registry::AT;
use crate::link::{
    AttachError, Close, Frames, Outbox, Player, SeatRequest, SessionId, Signal, Up, Uplink, UserId,
};
use crate::peer::PeerChannel;
use crate::proto::cluster::down::What;
use crate::proto::cluster::refused::Why;
use crate::proto::cluster::{self, DownBatch, Hello};

/// The method's path.
pub(in crate::cluster) const PATH: &str = "/hotseat.cluster.v1.Link/Open";

/// Items that may wait for the stream; beyond that sessions wait, and their sockets are not read.
const QUEUE: usize = 8192;

/// How long the host may take to answer the hello.
const WELCOME: Duration = Duration::from_secs(5);

/// How long the transport may take to drop a stream that has ended, and how long a host is read that takes nothing any more:
/// what it had said before is on its way.
const DRAIN: Duration = Duration::from_secs(1);

/// The largest message of a host: what may wait for an agent there.
const DOWN_MAX: usize = 65 << 20;

/// The link to one host.
#[derive(Debug)]
pub(in crate::cluster) struct LinkClient {
    node: Arc<str>,
    ups: mpsc::Sender<Up>,
    sessions: Arc<Mutex<Sessions>>,
    /// Ends it.
    end: CancellationToken,
    /// The host is being drained: the link ends once nobody sits there any more.
    leaving: AtomicBool,
    /// Wakes the reader to see whether that is so.
    look: Notify,
}

#[derive(Debug, Default)]
struct Sessions {
    here: HashMap<u64, LinkedSession>,
    /// What had not been sent when the stream ended, by session, in order.
    unsent: HashMap<u64, Vec<Frames>>,
    /// The link is no more.
    ended: bool,
    /// Nothing can be sent any more.
    closed: bool,
}

#[derive(Debug)]
struct LinkedSession {
    outbox: Arc<Outbox>,
    asking: Option<(SeatRequest, oneshot::Sender<Result<Uplink, AttachError>>)>,
    /// Frames come from there now; else the host only keeps track of the user.
    seated: bool,
    /// The number of the login that the host is to be told of.
    noted: Option<u64>,
}

/// A room's name as its own host knows it.
pub(in crate::cluster) fn local_name<'a>(room: &'a str, node: &str) -> &'a str {
    room.split_once(AT).filter(|(_, at)| *at == node).map_or(room, |(name, _)| name)
}

fn lock(sessions: &Mutex<Sessions>) -> MutexGuard<'_, Sessions> {
    // Each entry is whole at every step.
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LinkClient {
    /// Opens the link to `node` for the agent `own`.
    pub(in crate::cluster) fn open(
        node: Arc<str>,
        own: &str,
        channel: PeerChannel,
        metrics: ClusterMetrics,
        refusals: Arc<RefusalLog>,
    ) -> Arc<Self> {
        let (ups, queue) = mpsc::channel(QUEUE);
        let link_client = Arc::new(Self {
            node,
            ups,
            sessions: Arc::default(),
            end: CancellationToken::new(),
            leaving: AtomicBool::new(false),
            look: Notify::new(),
        });
        let hello = Hello { version: LINK_VERSION, node: own.to_owned() };
        let outgoing_ended = CancellationToken::new();
        let (reading, over) = oneshot::channel();
        let outgoing = Outgoing::new(
            queue,
            hello,
            Arc::clone(&link_client.sessions),
            metrics.clone(),
            outgoing_ended.clone(),
            over,
        );
        let reader =
            Reader { link_client: Arc::clone(&link_client), metrics, reading, outgoing_ended, refusals };
        tokio::spawn(reader.run(channel, outgoing));
        link_client
    }

    /// Whether it can be used.
    pub(in crate::cluster) fn is_open(&self) -> bool {
        !lock(&self.sessions).ended
    }

    /// Ends the link: the host is known to be gone, or frozen for so long that it has lost its rooms.
    pub(in crate::cluster) fn close(&self) {
        self.end.cancel();
    }

    /// The host is being drained: the link ends once it has said its last word, so that the host knows that it was heard.
    pub(in crate::cluster) fn leave(&self) {
        if !self.leaving.swap(true, Ordering::Relaxed) {
            self.look.notify_one();
        }
    }

    /// The host takes rooms again.
    pub(in crate::cluster) fn stay(&self) {
        self.leaving.store(false, Ordering::Relaxed);
    }

    /// Nobody sits there, or asks for a seat.
    fn is_idle(&self) -> bool {
        lock(&self.sessions).here.values().all(|seat| !seat.seated && seat.asking.is_none())
    }

    /// Sessions that the host knows.
    pub(in crate::cluster) fn knows(&self, session: SessionId) -> bool {
        lock(&self.sessions).here.contains_key(&session.0)
    }

    /// Seats a player over there. Not cancel safe, as [`crate::link::Link::attach`] is not.
    pub(in crate::cluster) async fn attach(
        &self,
        player: Player,
        mut request: SeatRequest,
    ) -> Result<Uplink, AttachError> {
        let unreachable = || AttachError::Unreachable { node: self.node.to_string() };
        request.room = request.room.map(|room| local_name(&room, &self.node).to_owned());
        let (seat, answer) = oneshot::channel();
        {
            let mut sessions = lock(&self.sessions);
            if sessions.ended {
                return Err(unreachable());
            }
            let outbox = Arc::clone(&player.outbox);
            let asking = Some((request, seat));
            sessions
                .here
                .insert(player.session.0, LinkedSession { outbox, asking, seated: false, noted: None });
        }
        let join = Up::Join { player, backlog: Vec::new(), profile: None, again: false };
        self.ups.send(join).await.map_err(|_| unreachable())?;
        answer.await.map_err(|_| unreachable())?
    }

    /// The host is to keep track of a player who sits elsewhere.
    pub(in crate::cluster) async fn note(&self, player: Player, login: u64) {
        {
            let mut sessions = lock(&self.sessions);
            if sessions.ended {
                return;
            }
            let outbox = Arc::clone(&player.outbox);
            let seat = sessions.here.entry(player.session.0);
            seat.or_insert(LinkedSession { outbox, asking: None, seated: false, noted: None }).noted =
                Some(login);
        }
        // A link that has ended is made again by the next look at the placement.
        let join = Up::Join { player, backlog: Vec::new(), profile: None, again: false };
        let _ = self.ups.send(join).await;
    }

    /// The session has ended; the host need not keep track of its user.
    pub(in crate::cluster) async fn left(&self, user: UserId, session: SessionId) {
        let reason = crate::link::LeaveReason::Closed;
        // A link that has ended has told the host already.
        let _ = self.ups.send(Up::Leave { user, session, reason }).await;
    }

    fn uplink(&self, seated: cluster::Seated) -> Uplink {
        let cluster::Seated { room, login } = seated;
        // What is known in the whole cluster keeps its name; what the host calls its own gets the host's.
        let known = crate::game::Homes::is_home(&room) || room.contains(AT);
        let room = if known { room } else { format!("{room}{AT}{}", self.node) };
        Uplink { room: room.into(), mailbox: self.ups.clone(), login }
    }
}

/// Takes what the host says.
struct Reader {
    link_client: Arc<LinkClient>,
    metrics: ClusterMetrics,
    /// Dropped once nothing is read any more: the outgoing ends the stream then.
    reading: oneshot::Sender<()>,
    outgoing_ended: CancellationToken,
    refusals: Arc<RefusalLog>,
}

impl Reader {
    async fn run(self, channel: PeerChannel, outgoing: Outgoing) {
        let node = Arc::clone(&self.link_client.node);
        let mut was_open = false;
        let why = match self.connect(channel, outgoing).await {
            Ok(downs) => {
                was_open = true;
                info!(host = %node, "link open");
                self.metrics.links.inc();
                let end = self.link_client.end.clone();
                let deaf = async {
                    self.outgoing_ended.cancelled().await;
                    tokio::time::sleep(DRAIN).await;
                };
                let why = tokio::select! {
                    why = self.read(downs) => why,
                    () = end.cancelled() => "the host is not there any more".to_owned(),
                    () = deaf => "the host takes nothing any more".to_owned(),
                };
                self.metrics.links.dec();
                why
            }
            Err(status) => {
                self.refusals.tell(&self.link_client.node, &status);
                status.message().to_owned()
            }
        };
        lock(&self.link_client.sessions).ended = true;
        drop(self.reading);
        // Where the transport takes nothing any more, what waits in there is lost.
        let _ = tokio::time::timeout(DRAIN, self.outgoing_ended.cancelled()).await;
        let (lost, mut unsent) = {
            let mut sessions = lock(&self.link_client.sessions);
            (std::mem::take(&mut sessions.here), std::mem::take(&mut sessions.unsent))
        };
        if self.link_client.leaving.load(Ordering::Relaxed) {
            info!(host = %node, why, "link ended");
        } else if was_open {
            warn!(host = %node, why, sessions = lost.len(), "link ended");
        } else {
            debug!(host = %node, why, sessions = lost.len(), "host not reached");
        }
        for (number, seat) in lost {
            match seat.asking {
                Some((_, asking)) => {
                    let _ = asking.send(Err(AttachError::Unreachable { node: node.to_string() }));
                }
                None if seat.seated => {
                    self.metrics.lost_seats.inc();
                    seat.outbox.signal(Signal::Lost(unsent.remove(&number).unwrap_or_default()));
                }
                None => {}
            }
        }
    }

    async fn connect(&self, channel: PeerChannel, outgoing: Outgoing) -> Result<Streaming<Bytes>, Status> {
        let ups = futures_util::stream::unfold(outgoing, async |mut outgoing| {
            Some((outgoing.next().await?, outgoing))
        });
        let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(DOWN_MAX);
        let open = async {
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let path = PATH.parse().map_err(|_| Status::internal("path"))?;
            let mut downs = client.streaming(Request::new(ups), path, Raw).await?.into_inner();
            let first = downs.message().await?.ok_or_else(|| Status::unavailable("closed"))?;
            let batch = DownBatch::decode(first).map_err(|error| Status::internal(error.to_string()))?;
            let welcome =
                batch.welcome.ok_or_else(|| Status::internal("the host's first word is no welcome"))?;
            if *welcome.node != *self.link_client.node {
                let text = format!("{} answers for {}", welcome.node, self.link_client.node);
                return Err(Status::unavailable(text));
            }
            // The line is one: what the host has said since may come with its first word.
            self.take_all(batch.downs);
            Ok(downs)
        };
        let late = |_| Status::unavailable(format!("no welcome within {WELCOME:?}"));
        tokio::time::timeout(WELCOME, open).await.map_err(late)?
    }

    async fn read(&self, mut downs: Streaming<Bytes>) -> String {
        loop {
            if self.link_client.leaving.load(Ordering::Relaxed) && self.link_client.is_idle() {
                return "the host is drained".to_owned();
            }
            let message = tokio::select! {
                message = downs.message() => message,
                () = self.link_client.look.notified() => continue,
            };
            let batch = match message {
                Ok(Some(bytes)) => DownBatch::decode(bytes),
                Ok(None) => return "closed".to_owned(),
                Err(status) => return status.message().to_owned(),
            };
            let Ok(batch) = batch else { return "a message that cannot be read".to_owned() };
            self.take_all(batch.downs);
        }
    }

    fn take_all(&self, downs: Vec<cluster::Down>) {
        let mut sessions = lock(&self.link_client.sessions);
        for down in downs {
            for number in &down.sessions {
                self.take(&mut sessions, *number, down.what.as_ref());
            }
        }
    }

    fn take(&self, sessions: &mut Sessions, number: u64, what: Option<&What>) {
        let Some(seat) = sessions.here.get_mut(&number) else { return };
        match what {
            // It would sit where nothing can be sent. That the link is lost is all that it hears now.
            Some(What::Seated(_) | What::Moved(_)) if sessions.closed => {}
            Some(What::Frames(frames)) => {
                seat.outbox.push_encoded(frames);
            }
            Some(What::Seated(seated)) => {
                seat.seated = true;
                if let Some((_, asking)) = seat.asking.take() {
                    // A session that has given up leaves the seat by itself.
                    let _ = asking.send(Ok(self.link_client.uplink(seated.clone())));
                }
            }
            // The host has forgotten the session by now.
            Some(What::Refused(refused)) => {
                let Some(seat) = sessions.here.remove(&number) else { return };
                if let Some((_, asking)) = seat.asking {
                    let _ = asking.send(Err(self.refused(refused)));
                }
            }
            Some(What::Moving(_)) => drop(seat.outbox.signal(Signal::Moving)),
            Some(What::Moved(seated)) => {
                seat.outbox.signal(Signal::Moved(self.link_client.uplink(seated.clone())));
            }
            Some(What::Released(released)) => {
                seat.seated = false;
                seat.outbox.signal(Signal::Released(read(released)));
            }
            Some(What::Close(close)) => seat.outbox.close(Close {
                leave: crate::link::LeaveReason::from_number(close.leave),
                reason: reason(&close.reason),
                code: close.code,
                text: close.text.clone(),
            }),
            Some(What::Pause(_)) => drop(seat.outbox.signal(Signal::Pause)),
            Some(What::Resume(_)) => drop(seat.outbox.signal(Signal::Resume)),
            None => {
                debug!(host = %self.link_client.node, number, "link carried a word this agent does not know")
            }
        }
    }

    fn refused(&self, refused: &cluster::Refused) -> AttachError {
        let text = refused.text.clone();
        match refused.why() {
            Why::NoPlugin => AttachError::NoPlugin,
            Why::Closed | Why::Unspecified => {
                AttachError::Closed { room: format!("of {}", self.link_client.node), why: text }
            }
            Why::Busy => AttachError::Refused { why: text },
            Why::Shutdown => AttachError::Shutdown,
            Why::Elsewhere => AttachError::Elsewhere { room: text },
            Why::Replaced => AttachError::Replaced,
        }
    }
}
