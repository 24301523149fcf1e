//! Receiver: rooms that come here from other hosts.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use super::PIECE_TIME;
use crate::blocking;
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::placement::Owner;
use crate::discovery::{Discovery, Lease};
use crate::game::registry::{AT, Document, Registry};
use crate::journal::SavedState;
use crate::proto::cluster::rooms_server::Rooms;
use crate::proto::cluster::take_piece::What;
use crate::proto::cluster::{DropReply, DropRequest, Profile, Profiles, TakeHead, TakePiece, TakeReply};

/// Rooms that come here at a time; those beyond wait as long as for a piece.
pub const COMING: usize = 8;

/// The end of hand-overs at which rooms arrive.
#[derive(Clone)]
pub struct Receiver {
    /// This process, as claims name it.
    pub owner: Owner,
    /// The rooms of this host.
    pub registry: Arc<Registry>,
    /// This host's lease.
    pub discovery: Discovery,
    /// Counts the rooms that arrive.
    pub metrics: ClusterMetrics,
    /// Set once this node is to be empty: it takes no rooms then.
    pub draining: watch::Receiver<bool>,
    /// The largest state that it takes, bytes.
    pub max_bytes: u64,
    /// One permit a room that comes: [`COMING`] in all.
    pub coming: Arc<Semaphore>,
}

#[tonic::async_trait]
impl Rooms for Receiver {
    async fn take(&self, request: Request<Streaming<TakePiece>>) -> Result<Response<TakeReply>, Status> {
        let mut pieces = request.into_inner();
        let Some(What::Head(head)) = next(&mut pieces).await? else {
            return Err(Status::invalid_argument("the first piece of a room is no TakeHead"));
        };
        let home = self.registry.homes().number(&head.room);
        self.check(&head, home)?;
        let coming = tokio::time::timeout(PIECE_TIME, self.coming.acquire()).await;
        let _coming =
            coming.map_err(|_| Status::unavailable(format!("{COMING} other rooms are on their way here")))?;
        let past = self.collect(&head, &mut pieces).await?;
        let Lease::Held { id, .. } = *self.discovery.lease().borrow() else {
            return Err(Status::unavailable("this host holds no lease at present"));
        };
        let TakeHead { room, from, generation, .. } = head;
        // What stands here is of another state, and must not be taken for this one.
        if self.registry.is_open(&room) {
            return Err(Status::failed_precondition(format!("room {room} is here already")));
        }
        if let Some(home) = home {
            self.registry.homes().raise(home, generation);
        }
        if let Some(past) = past {
            self.registry.stage(&room, past).await.map_err(Status::failed_precondition)?;
            self.metrics.taken_over.inc();
            debug!(room, from, "room loaded, waits for its claim");
        }
        Ok(Response::new(TakeReply { lease: id, owner: self.owner.to_string() }))
    }

    async fn drop(&self, request: Request<DropRequest>) -> Result<Response<DropReply>, Status> {
        self.registry.unstage(&request.into_inner().room);
        Ok(Response::new(DropReply {}))
    }
}

impl Receiver {
    /// Whether this host takes such a room at present.
    fn check(&self, head: &TakeHead, home: Option<u32>) -> Result<(), Status> {
        if *self.draining.borrow() {
            return Err(Status::unavailable("this host takes no rooms any more: it is being emptied"));
        }
        let room = &head.room;
        if home.is_none() && !room.contains(AT) {
            return Err(Status::invalid_argument(format!(
                "{room:?} is no home room of this cluster, nor ROOM@NODE"
            )));
        }
        let (bytes, max) = (head.base_bytes.saturating_add(head.inputs_bytes), self.max_bytes);
        if bytes > max {
            return Err(Status::out_of_range(format!(
                "the state of room {room} has {bytes} bytes, this host takes {max} at most (handover_max_bytes)"
            )));
        }
        Ok(())
    }

    /// Takes in all pieces of a room: its state, if it is open. Documents go to the store as they come.
    async fn collect(
        &self,
        head: &TakeHead,
        pieces: &mut Streaming<TakePiece>,
    ) -> Result<Option<SavedState>, Status> {
        let (mut base, mut inputs) = (Vec::new(), Vec::new());
        let mut ticket = 0;
        while let Some(piece) = next(pieces).await? {
            match piece {
                What::Head(_) => return Err(Status::invalid_argument("a second TakeHead")),
                What::Base(bytes) => append(&mut base, &bytes, head.base_bytes)?,
                What::Inputs(bytes) => append(&mut inputs, &bytes, head.inputs_bytes)?,
                What::Profiles(Profiles { profiles }) => ticket = self.keep(profiles).await?.max(ticket),
            }
        }
        if (base.len() as u64, inputs.len() as u64) != (head.base_bytes, head.inputs_bytes) {
            return Err(Status::unavailable("pieces of the room are missing"));
        }
        // The host that hands the room over is not asked for them any more.
        if !self.registry.kept(ticket, 0).await {
            return Err(Status::unavailable("the disk of this host does not take documents in time"));
        }
        Ok((!base.is_empty()).then_some(SavedState { base, inputs, generation: head.generation }))
    }

    async fn keep(&self, profiles: Vec<Profile>) -> Result<u64, Status> {
        let document = |profile: Profile| {
            let Profile { user, version, document } = profile;
            Document { user, version, bytes: document.as_ref().into() }
        };
        let documents: Vec<_> = profiles.into_iter().map(document).collect();
        if documents.is_empty() {
            return Ok(0);
        }
        let registry = Arc::clone(&self.registry);
        // What is on disk is looked at.
        let kept = blocking::run(move || registry.keep_documents(documents)).await;
        kept.map_err(|_| Status::internal("documents could not be kept"))
    }
}

/// The next piece, if there is one.
async fn next(pieces: &mut Streaming<TakePiece>) -> Result<Option<What>, Status> {
    let late = |_| Status::deadline_exceeded(format!("no piece of the room within {PIECE_TIME:?}"));
    match tokio::time::timeout(PIECE_TIME, pieces.message()).await.map_err(late)?? {
        None => Ok(None),
        Some(TakePiece { what: Some(what) }) => Ok(Some(what)),
        Some(TakePiece { what: None }) => Err(Status::invalid_argument("a piece of nothing")),
    }
}

fn append(to: &mut Vec<u8>, piece: &Bytes, all: u64) -> Result<(), Status> {
    if (to.len() + piece.len()) as u64 > all {
        return Err(Status::invalid_argument(format!("more than the {all} bytes that were announced")));
    }
    to.extend_from_slice(piece);
    Ok(())
}
