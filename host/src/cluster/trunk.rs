//! Trunk: the agent's end of the link to a game host on another node.
//!
//! Its queue is the mailbox of every session that sits over there. The request stream drains it, up to 512 items a
//! message; one task takes what comes back and gives it to the sessions' outboxes.

mod pump;
mod told;
mod words;

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

use self::pump::Pump;
pub(super) use self::told::Told;
use self::words::{read, reason};
use super::LINK_VERSION;
use super::metrics::ClusterMetrics;
use crate::actor::Raw;
use crate::game::registry::AT;
use crate::link::{AttachError, Close, Frames, Outbox, Player, SessionId, Signal, Up, Uplink, UserId, Wish};
use crate::peer::PeerChannel;
use crate::proto::cluster::down::What;
use crate::proto::cluster::refused::Why;
use crate::proto::cluster::{self, DownBatch, Hello};

/// The method's path.
pub(super) const PATH: &str = "/hotseat.cluster.v1.Link/Open";

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
pub(super) struct Trunk {
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
    here: HashMap<u64, Seat>,
    /// What had not been sent when the stream ended, by session, in order.
    unsent: HashMap<u64, Vec<Frames>>,
    /// The link is no more.
    ended: bool,
    /// Nothing can be sent any more.
    closed: bool,
}

#[derive(Debug)]
struct Seat {
    outbox: Arc<Outbox>,
    asking: Option<(Wish, oneshot::Sender<Result<Uplink, AttachError>>)>,
    /// Frames come from there now; else the host only keeps track of the user.
    seated: bool,
    /// The number of the login that the host is to be told of.
    noted: Option<u64>,
}

/// A room's name as its own host knows it.
pub(super) fn local_name<'a>(room: &'a str, node: &str) -> &'a str {
    room.split_once(AT).filter(|(_, at)| *at == node).map_or(room, |(name, _)| name)
}

fn lock(sessions: &Mutex<Sessions>) -> MutexGuard<'_, Sessions> {
    // Each entry is whole at every step.
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trunk {
    /// Opens the link to `node` for the agent `own`.
    pub(super) fn open(
        node: Arc<str>,
        own: &str,
        channel: PeerChannel,
        metrics: ClusterMetrics,
        told: Arc<Told>,
    ) -> Arc<Self> {
        let (ups, queue) = mpsc::channel(QUEUE);
        let trunk = Arc::new(Self {
            node,
            ups,
            sessions: Arc::default(),
            end: CancellationToken::new(),
            leaving: AtomicBool::new(false),
            look: Notify::new(),
        });
        let hello = Hello { version: LINK_VERSION, node: own.to_owned() };
        let pump_ended = CancellationToken::new();
        let (reading, over) = oneshot::channel();
        let pump =
            Pump::new(queue, hello, Arc::clone(&trunk.sessions), metrics.clone(), pump_ended.clone(), over);
        let reader = Reader { trunk: Arc::clone(&trunk), metrics, reading, pump_ended, told };
        tokio::spawn(reader.run(channel, pump));
        trunk
    }

    /// Whether it can be used.
    pub(super) fn is_open(&self) -> bool {
        !lock(&self.sessions).ended
    }

    /// Ends the link: the host is known to be gone, or frozen for so long that it has lost its rooms.
    pub(super) fn close(&self) {
        self.end.cancel();
    }

    /// The host is being drained: the link ends once it has said its last word, so that the host knows that it was heard.
    pub(super) fn leave(&self) {
        if !self.leaving.swap(true, Ordering::Relaxed) {
            self.look.notify_one();
        }
    }

    /// The host takes rooms again.
    pub(super) fn stay(&self) {
        self.leaving.store(false, Ordering::Relaxed);
    }

    /// Nobody sits there, or asks for a seat.
    fn is_idle(&self) -> bool {
        lock(&self.sessions).here.values().all(|seat| !seat.seated && seat.asking.is_none())
    }

    /// Sessions that the host knows.
    pub(super) fn knows(&self, session: SessionId) -> bool {
        lock(&self.sessions).here.contains_key(&session.0)
    }

    /// Seats a player over there. Not cancel safe, as [`crate::link::Link::attach`] is not.
    pub(super) async fn attach(&self, player: Player, mut wish: Wish) -> Result<Uplink, AttachError> {
        let unreachable = || AttachError::Unreachable { node: self.node.to_string() };
        wish.room = wish.room.map(|room| local_name(&room, &self.node).to_owned());
        let (seat, answer) = oneshot::channel();
        {
            let mut sessions = lock(&self.sessions);
            if sessions.ended {
                return Err(unreachable());
            }
            let outbox = Arc::clone(&player.outbox);
            let asking = Some((wish, seat));
            sessions.here.insert(player.session.0, Seat { outbox, asking, seated: false, noted: None });
        }
        let join = Up::Join { player, backlog: Vec::new(), profile: None, again: false };
        self.ups.send(join).await.map_err(|_| unreachable())?;
        answer.await.map_err(|_| unreachable())?
    }

    /// The host is to keep track of a player who sits elsewhere.
    pub(super) async fn note(&self, player: Player, login: u64) {
        {
            let mut sessions = lock(&self.sessions);
            if sessions.ended {
                return;
            }
            let outbox = Arc::clone(&player.outbox);
            let seat = sessions.here.entry(player.session.0);
            seat.or_insert(Seat { outbox, asking: None, seated: false, noted: None }).noted = Some(login);
        }
        // A link that has ended is made again by the next look at the placement.
        let join = Up::Join { player, backlog: Vec::new(), profile: None, again: false };
        let _ = self.ups.send(join).await;
    }

    /// The session has ended; the host need not keep track of its user.
    pub(super) async fn left(&self, user: UserId, session: SessionId) {
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
    trunk: Arc<Trunk>,
    metrics: ClusterMetrics,
    /// Dropped once nothing is read any more: the pump ends the stream then.
    reading: oneshot::Sender<()>,
    pump_ended: CancellationToken,
    told: Arc<Told>,
}

impl Reader {
    async fn run(self, channel: PeerChannel, pump: Pump) {
        let node = Arc::clone(&self.trunk.node);
        let mut was_open = false;
        let why = match self.connect(channel, pump).await {
            Ok(downs) => {
                was_open = true;
                info!(host = %node, "link open");
                self.metrics.links.inc();
                let end = self.trunk.end.clone();
                let deaf = async {
                    self.pump_ended.cancelled().await;
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
                self.told.tell(&self.trunk.node, &status);
                status.message().to_owned()
            }
        };
        lock(&self.trunk.sessions).ended = true;
        drop(self.reading);
        // Where the transport takes nothing any more, what waits in there is lost.
        let _ = tokio::time::timeout(DRAIN, self.pump_ended.cancelled()).await;
        let (lost, mut unsent) = {
            let mut sessions = lock(&self.trunk.sessions);
            (std::mem::take(&mut sessions.here), std::mem::take(&mut sessions.unsent))
        };
        if self.trunk.leaving.load(Ordering::Relaxed) {
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

    async fn connect(&self, channel: PeerChannel, pump: Pump) -> Result<Streaming<Bytes>, Status> {
        let ups = futures_util::stream::unfold(pump, async |mut pump| Some((pump.next().await?, pump)));
        let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(DOWN_MAX);
        let open = async {
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let path = PATH.parse().map_err(|_| Status::internal("path"))?;
            let mut downs = client.streaming(Request::new(ups), path, Raw).await?.into_inner();
            let first = downs.message().await?.ok_or_else(|| Status::unavailable("closed"))?;
            let batch = DownBatch::decode(first).map_err(|error| Status::internal(error.to_string()))?;
            let welcome =
                batch.welcome.ok_or_else(|| Status::internal("the host's first word is no welcome"))?;
            if *welcome.node != *self.trunk.node {
                let text = format!("{} answers for {}", welcome.node, self.trunk.node);
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
            if self.trunk.leaving.load(Ordering::Relaxed) && self.trunk.is_idle() {
                return "the host is drained".to_owned();
            }
            let message = tokio::select! {
                message = downs.message() => message,
                () = self.trunk.look.notified() => continue,
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
        let mut sessions = lock(&self.trunk.sessions);
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
                    let _ = asking.send(Ok(self.trunk.uplink(seated.clone())));
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
                seat.outbox.signal(Signal::Moved(self.trunk.uplink(seated.clone())));
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
            None => debug!(host = %self.trunk.node, number, "link carried a word this agent does not know"),
        }
    }

    fn refused(&self, refused: &cluster::Refused) -> AttachError {
        let text = refused.text.clone();
        match refused.why() {
            Why::NoPlugin => AttachError::NoPlugin,
            Why::Closed | Why::Unspecified => {
                AttachError::Closed { room: format!("of {}", self.trunk.node), why: text }
            }
            Why::Busy => AttachError::Refused { why: text },
            Why::Shutdown => AttachError::Shutdown,
            Why::Elsewhere => AttachError::Elsewhere { room: text },
            Why::Replaced => AttachError::Replaced,
        }
    }
}
