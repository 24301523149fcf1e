//! Hand-over: a room goes from one host to another, whole.
//!
//! The host that has it packs it and sends it; the other one loads it and answers with its lease; then one write in etcd
//! changes the owner, and at no moment do two hosts take input for it. Whatever fails before that write leaves the room
//! where it was.

mod receiver;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tracing::warn;

pub use self::receiver::{COMING, Receiver};
use crate::blocking;
use crate::cluster::node::NodeInfo;
use crate::cluster::placement::{HOMES, MOVED};
use crate::discovery::{Discovery, DiscoveryError, Hold, Written};
use crate::game::Homes;
use crate::game::registry::{AT, Document, Packed, Registry};
use crate::peer::Dialer;
use crate::proto::cluster::rooms_client::RoomsClient;
use crate::proto::cluster::take_piece::What;
use crate::proto::cluster::{DropRequest, Profile, Profiles, TakeHead, TakePiece, TakeReply};

/// A room goes in pieces of so many bytes, so that neither end holds more of it than it must.
const PIECE: usize = 1 << 20;

/// Pieces that wait to be sent.
const PIECES: usize = 2;

/// Documents go in pieces of about so many bytes.
const DOCUMENTS: usize = 1 << 20;

/// How long the other end may take for one piece.
const PIECE_TIME: Duration = Duration::from_secs(10);

/// How long the other host may take to load a room, once it has all of it: this, and a second for so many
/// bytes.
const LOAD: Duration = Duration::from_secs(10);
const LOADED_IN_A_SECOND: usize = 8 << 20;

/// Between two looks at who owns a room, when the answer to the write was lost.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Why a room stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// It cannot be packed.
    #[error("{0}")]
    Packing(String),
    /// The other host cannot be reached, or does not take it.
    #[error("{host}: {why}")]
    Refused {
        /// The host that was to have the room.
        host: String,
        /// The reason that it gave, or why it could not be asked.
        why: String,
    },
    /// The other host does not take this room; others it may.
    #[error("{host}: {why}")]
    Room {
        /// The host that was to have the room.
        host: String,
        /// The reason that it gave, or why it could not be asked.
        why: String,
    },
    /// The claim has changed, or cannot be changed.
    #[error("its claim: {0}")]
    Claim(String),
    /// It may have been the other host's for a while, and has no owner by now, or a third one: what stands here may not be
    /// its latest state. It is this host's no more.
    #[error("its claim: it may have been given away, and is nobody's or another host's by now")]
    Lost,
}

/// What became of a claim that was to be changed.
enum Given {
    Yes,
    /// Nothing was changed.
    No,
    /// It was changed, or somebody else has changed it since.
    Unknown,
}

/// Brings rooms to other hosts. Cheap to clone.
#[derive(Clone)]
pub struct HandoverSender {
    /// This node.
    pub node: Arc<str>,
    /// Claims.
    pub discovery: Discovery,
    /// How hosts are reached.
    pub dialer: Dialer,
}

impl HandoverSender {
    /// Hands a home room over, which this host has claimed at `revision`. Not cancel safe: a room whose owner is being
    /// changed would stand still.
    ///
    /// # Errors
    /// [`HandOverError`]; the room is this host's as before.
    pub async fn hand_over(
        &self,
        registry: &Arc<Registry>,
        home: u32,
        revision: u64,
        to: &NodeInfo,
    ) -> Result<(), HandOverError> {
        let name = Homes::name(home);
        let packed = registry.pack(&name).await.map_err(HandOverError::Packing)?;
        let reader = Arc::clone(registry);
        let documents = blocking::run(move || reader.documents(home)).await;
        let documents = documents.map_err(|error| HandOverError::Packing(format!("documents: {error}")))?;
        let claim = Claim { key: format!("{HOMES}{home}"), revision: Some(revision) };
        let generation = registry.homes().generation(home);
        let load = Load { room: &name, packed: packed.as_ref(), documents, generation };
        let brought = self.bring(load, &claim, to).await;
        if matches!(brought, Ok(()) | Err(HandOverError::Lost)) {
            registry.homes().given_up(home);
        }
        match (&brought, packed) {
            (Ok(()), Some(packed)) => packed.gone(name, to.id.clone()),
            (Err(HandOverError::Lost), Some(packed)) => packed.lost(name),
            // It goes on here when it is dropped.
            (_, packed) => drop(packed),
        }
        brought
    }

    /// Hands a room of a plugin over. From then on etcd says where it is.
    ///
    /// # Errors
    /// [`HandOverError`]; the room is this host's as before.
    pub async fn hand_over_room(
        &self,
        registry: &Arc<Registry>,
        name: &str,
        to: &NodeInfo,
    ) -> Result<(), HandOverError> {
        let Some(packed) = registry.pack(name).await.map_err(HandOverError::Packing)? else { return Ok(()) };
        let known = if name.contains(AT) { name.to_owned() } else { format!("{name}{AT}{}", self.node) };
        let key = format!("{MOVED}{known}");
        let claim = match self.discovery.get(&key).await {
            Ok(entry) => Claim { key, revision: entry.map(|entry| entry.revision) },
            Err(error) => return Err(HandOverError::Claim(error.to_string())),
        };
        let generation = packed.past.generation;
        let load = Load { room: &known, packed: Some(&packed), documents: Vec::new(), generation };
        self.bring(load, &claim, to).await?;
        packed.gone(known, to.id.clone());
        Ok(())
    }

    /// Sends a room and changes its owner.
    async fn bring(&self, load: Load<'_>, claim: &Claim, to: &NodeInfo) -> Result<(), HandOverError> {
        let name = load.room;
        let refused = |why: String| HandOverError::Refused { host: to.id.clone(), why };
        let channel = self.dialer.open(&to.grpc).map_err(|error| refused(error.to_string()))?;
        let mut host = RoomsClient::new(channel);
        let TakeReply { lease, owner } = match self.send(&mut host, load).await {
            Ok(reply) => reply,
            Err(status) => {
                let _ = host.drop(DropRequest { room: name.to_owned() }).await;
                let why = status.message().to_owned();
                return Err(match status.code() {
                    Code::OutOfRange | Code::FailedPrecondition | Code::InvalidArgument => {
                        HandOverError::Room { host: to.id.clone(), why }
                    }
                    _ => refused(why),
                });
            }
        };
        // From here on the claim says whose the room is.
        match self.give(claim, &owner, lease).await? {
            Given::Yes => Ok(()),
            Given::No => {
                let _ = host.drop(DropRequest { room: name.to_owned() }).await;
                Err(HandOverError::Claim("it was not ours to give".into()))
            }
            Given::Unknown => Err(HandOverError::Lost),
        }
    }

    /// Sends a room piece by piece.
    async fn send(
        &self,
        host: &mut RoomsClient<crate::peer::PeerChannel>,
        load: Load<'_>,
    ) -> Result<TakeReply, Status> {
        let bytes = load.packed.map_or(0, |packed| packed.past.base.len() + packed.past.inputs.len());
        let (pieces, waiting) = mpsc::channel(PIECES);
        let call = host.take(ReceiverStream::new(waiting));
        tokio::pin!(call);
        tokio::select! {
            biased;
            // It has had enough of it.
            reply = &mut call => return Ok(reply?.into_inner()),
            fed = self.feed(pieces, load) => fed?,
        }
        let patience = LOAD + Duration::from_secs((bytes / LOADED_IN_A_SECOND) as u64);
        let late = |_| Status::deadline_exceeded(format!("no answer within {patience:?}"));
        Ok(tokio::time::timeout(patience, call).await.map_err(late)??.into_inner())
    }

    async fn feed(&self, pieces: mpsc::Sender<TakePiece>, load: Load<'_>) -> Result<(), Status> {
        let Load { room, packed, documents, generation } = load;
        let (base, inputs) =
            packed.map_or((&[][..], &[][..]), |packed| (&packed.past.base, &packed.past.inputs));
        let head = TakeHead {
            room: room.to_owned(),
            from: self.node.to_string(),
            generation,
            base_bytes: base.len() as u64,
            inputs_bytes: inputs.len() as u64,
        };
        put(&pieces, What::Head(head)).await?;
        for piece in base.chunks(PIECE) {
            put(&pieces, What::Base(Bytes::copy_from_slice(piece))).await?;
        }
        for piece in inputs.chunks(PIECE) {
            put(&pieces, What::Inputs(Bytes::copy_from_slice(piece))).await?;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        for Document { user, version, bytes: document } in documents {
            bytes += document.len();
            batch.push(Profile { user, version, document: document.to_vec().into() });
            if bytes > DOCUMENTS {
                put(&pieces, What::Profiles(Profiles { profiles: std::mem::take(&mut batch) })).await?;
                bytes = 0;
            }
        }
        put(&pieces, What::Profiles(Profiles { profiles: batch })).await
    }

    /// Changes the owner. When the answer is lost, looks until it is known.
    async fn give(&self, claim: &Claim, to: &str, lease: i64) -> Result<Given, HandOverError> {
        let Claim { key, revision } = claim;
        let (owner, hold) = (to.as_bytes().to_vec(), Hold::Of(lease));
        let written = match revision {
            Some(revision) => self.discovery.replace(key, *revision, owner, hold).await,
            None => self.discovery.create(key, owner, hold).await,
        };
        match written {
            Ok(Written::Done(_)) => return Ok(Given::Yes),
            Ok(Written::Refused(_)) => return Ok(Given::No),
            Err(DiscoveryError::Away { why }) => warn!(key, why, "owner of a room not known for the moment"),
            Err(error) => return Err(HandOverError::Claim(error.to_string())),
        }
        loop {
            match self.discovery.get(key).await {
                Ok(Some(entry)) if entry.value == to.as_bytes() => return Ok(Given::Yes),
                Ok(entry) if entry.as_ref().map(|entry| entry.revision) == *revision => return Ok(Given::No),
                Ok(_) => return Ok(Given::Unknown),
                Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }
}

/// What goes to another host.
struct Load<'a> {
    room: &'a str,
    /// None if the room is not open.
    packed: Option<&'a Packed>,
    documents: Vec<Document>,
    /// Of the room's state, or of the last one that is known if it is not open.
    generation: u64,
}

/// Where it stands whose a room is.
struct Claim {
    key: String,
    /// Of the claim that is ours; none if there is none yet.
    revision: Option<u64>,
}

async fn put(pieces: &mpsc::Sender<TakePiece>, what: What) -> Result<(), Status> {
    match tokio::time::timeout(PIECE_TIME, pieces.send(TakePiece { what: Some(what) })).await {
        // Who takes no more answers why.
        Ok(Ok(()) | Err(_)) => Ok(()),
        Err(_) => {
            Err(Status::deadline_exceeded(format!("a piece of it was not taken within {PIECE_TIME:?}")))
        }
    }
}
