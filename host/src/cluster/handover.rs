//! Hand-over: a room goes from one host to another, whole.
//!
//! The host that has it packs it and sends it; the other one loads it and answers with its lease; then one write in etcd
//! changes the owner, and at no moment do two hosts take input for it. Whatever fails before that write leaves the room
//! where it was.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tracing::{debug, warn};

use super::metrics::ClusterMetrics;
use super::node::NodeInfo;
use super::placement::{HOMES, MOVED};
use crate::blocking;
use crate::discovery::{Discovery, DiscoveryError, Hold, Lease, Written};
use crate::game::Homes;
use crate::game::registry::{AT, Document, Packed, Registry};
use crate::journal::Past;
use crate::peer::Dialer;
use crate::proto::cluster::rooms_client::RoomsClient;
use crate::proto::cluster::rooms_server::Rooms;
use crate::proto::cluster::{DropReply, DropRequest, Profile, TakeReply, TakeRequest};

/// The largest message: a room's state, or documents.
pub const MESSAGE_MAX: usize = (64 << 20) + (64 << 10);

/// Documents go in messages of about so many bytes.
const DOCUMENTS: usize = 4 << 20;

/// How long the other host may take to load a room.
const TAKE: Duration = Duration::from_secs(10);

/// Between two looks at who owns a room, when the answer to the write was lost.
const LOOK: Duration = Duration::from_millis(250);

/// Why a room stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// It cannot be packed.
    #[error("{0}")]
    Packing(String),
    /// The other host cannot be reached, or does not take it.
    #[error("{host}: {why}")]
    Refused {
        /// Which host.
        host: String,
        /// Its words.
        why: String,
    },
    /// The claim has changed, or cannot be changed.
    #[error("its claim: {0}")]
    Claim(String),
}

/// Brings rooms to other hosts. Cheap to clone.
#[derive(Clone)]
pub struct Courier {
    /// This node.
    pub node: Arc<str>,
    /// Claims.
    pub discovery: Discovery,
    /// How hosts are reached.
    pub dialer: Dialer,
}

impl Courier {
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
        self.bring(load, &claim, to).await?;
        registry.homes().given_up(home);
        if let Some(packed) = packed {
            packed.gone(name, to.id.clone());
        }
        Ok(())
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
        let mut host = RoomsClient::new(channel).max_encoding_message_size(MESSAGE_MAX);
        let lease = match self.send(&mut host, load).await {
            Ok(lease) => lease,
            Err(status) => {
                let _ = host.drop(DropRequest { room: name.to_owned() }).await;
                return Err(refused(status.message().to_owned()));
            }
        };
        // From here on the claim says whose the room is.
        if !self.give(claim, &to.id, lease).await? {
            let _ = host.drop(DropRequest { room: name.to_owned() }).await;
            return Err(HandOverError::Claim("it was not ours to give".into()));
        }
        Ok(())
    }

    async fn send(
        &self,
        host: &mut RoomsClient<crate::peer::PeerChannel>,
        load: Load<'_>,
    ) -> Result<i64, Status> {
        let Load { room, packed, documents, generation } = load;
        let message = |past: Option<&Past>, profiles: Vec<Profile>| TakeRequest {
            room: room.to_owned(),
            from: self.node.to_string(),
            base: past.map(|past| past.base.clone().into()).unwrap_or_default(),
            inputs: past.map(|past| past.inputs.clone().into()).unwrap_or_default(),
            profiles,
            generation,
        };
        let mut batch = Vec::new();
        let mut bytes = 0;
        for Document { user, version, bytes: document } in documents {
            bytes += document.len();
            batch.push(Profile { user, version, document: document.to_vec().into() });
            if bytes > DOCUMENTS {
                take(host, message(None, std::mem::take(&mut batch))).await?;
                bytes = 0;
            }
        }
        take(host, message(packed.map(|packed| &packed.past), batch)).await
    }

    /// Changes the owner. When the answer is lost, looks until it is known.
    async fn give(&self, claim: &Claim, to: &str, lease: i64) -> Result<bool, HandOverError> {
        let Claim { key, revision } = claim;
        let (owner, hold) = (to.as_bytes().to_vec(), Hold::Of(lease));
        let written = match revision {
            Some(revision) => self.discovery.replace(key, *revision, owner, hold).await,
            None => self.discovery.create(key, owner, hold).await,
        };
        match written {
            Ok(Written::Done(_)) => return Ok(true),
            Ok(Written::Refused(_)) => return Ok(false),
            Err(DiscoveryError::Away { why }) => warn!(key, why, "owner of a room not known for the moment"),
            Err(error) => return Err(HandOverError::Claim(error.to_string())),
        }
        loop {
            match self.discovery.get(key).await {
                Ok(entry) => return Ok(entry.is_some_and(|entry| entry.value == to.as_bytes())),
                Err(_) => tokio::time::sleep(LOOK).await,
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

async fn take(host: &mut RoomsClient<crate::peer::PeerChannel>, request: TakeRequest) -> Result<i64, Status> {
    let late = |_| Status::deadline_exceeded(format!("no answer within {TAKE:?}"));
    let reply = tokio::time::timeout(TAKE, host.take(request)).await.map_err(late)??;
    Ok(reply.into_inner().lease)
}

/// The other end: rooms that come here.
#[derive(Clone)]
pub struct Receiver {
    /// The rooms of this host.
    pub registry: Arc<Registry>,
    /// This host's lease.
    pub discovery: Discovery,
    /// Counters.
    pub metrics: ClusterMetrics,
    /// Set once this node is to be empty: it takes no rooms then.
    pub draining: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl Rooms for Receiver {
    async fn take(&self, request: Request<TakeRequest>) -> Result<Response<TakeReply>, Status> {
        let TakeRequest { room, from, base, inputs, profiles, generation } = request.into_inner();
        let home = self.registry.homes().number(&room);
        if home.is_none() && !room.contains(AT) {
            return Err(Status::invalid_argument(format!(
                "{room:?} is no home room of this cluster, nor ROOM@NODE"
            )));
        }
        if *self.draining.borrow() {
            return Err(Status::unavailable("this host takes no rooms any more: it is being emptied"));
        }
        let Lease::Held { id, .. } = *self.discovery.lease().borrow() else {
            return Err(Status::unavailable("this host holds no lease at present"));
        };
        let documents = profiles.into_iter().map(|Profile { user, version, document }| Document {
            user,
            version,
            bytes: document.as_ref().into(),
        });
        let documents: Vec<_> = documents.collect();
        if !documents.is_empty() {
            let registry = Arc::clone(&self.registry);
            // What is on disk is looked at.
            let kept = blocking::run(move || registry.keep_documents(documents)).await;
            let ticket = kept.map_err(|_| Status::internal("documents could not be kept"))?;
            // The host that hands the room over is not asked for them any more.
            if !self.registry.kept(ticket).await {
                return Err(Status::unavailable("the disk of this host does not take documents in time"));
            }
        }
        if let Some(home) = home {
            self.registry.homes().raise(home, generation);
        }
        if !base.is_empty() {
            let past = Past { base: base.to_vec(), inputs: inputs.to_vec(), generation };
            self.registry.stage(&room, past).await.map_err(Status::failed_precondition)?;
            self.metrics.taken_over.inc();
            debug!(room, from, "room loaded, waits for its claim");
        }
        Ok(Response::new(TakeReply { lease: id }))
    }

    async fn drop(&self, request: Request<DropRequest>) -> Result<Response<DropReply>, Status> {
        self.registry.unstage(&request.into_inner().room);
        Ok(Response::new(DropReply {}))
    }
}
