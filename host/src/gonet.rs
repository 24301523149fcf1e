//! Stream: `proto.GameService`, gonet/2's way from an agent to a game: one stream a player, so that its agents, as they
//! are, may use this host's rooms.
//!
//! Each stream is a session like those of our own agents: it has an outbox, a seat, and follows its player from room to
//! room and from host to host. What the original says stays as it was: the frames, the metadata, the texts and the status
//! (UNKNOWN) of its errors. Beyond it:
//!
//! - The original ends a stream with "service not bind" when no handler is bound to an opcode. Opcodes of games are
//!   plugins' business here: one that a guest refuses is answered with a `client_error_ack` and the stream goes on. The
//!   text is left for opcodes that no plugin can be bound to: below 1001, negative ones included.
//! - Before a `Kick` the player's client is told why, with a `client_error_ack`.
//! - A player who sits in a room on another host is served from there.
//! - An agent that does not read is cut with RESOURCE_EXHAUSTED, one that asks for more than there is room for is refused
//!   with it; who asks faster than the room takes is not read meanwhile, and no other stream is kept waiting for that.

mod downs;
mod stream_session;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use self::downs::{Downs, Reading};
use self::stream_session::Session;
use crate::cluster::metrics::ClusterMetrics;
use crate::link::{Link, UserId};
use crate::proto::original::game;
use crate::proto::original::game_service_server::{GameService, GameServiceServer};

/// The largest message of an agent: a client's frame is smaller.
const UP_MAX: usize = 128 << 10;

/// The original's answer to metadata without a user and to frames it does not know.
const INCORRECT: &str = "incorrect frame type";

/// What the streams of one node are made of.
pub struct StreamParts {
    /// To the rooms of all hosts; on a node by itself to its own.
    pub link: Link,
    /// Bytes of frames that may wait for an agent, a player.
    pub outbox_max_bytes: usize,
    /// Streams at a time.
    pub max_streams: usize,
    /// How long a player may take to be seated or moved, and a room to take a message.
    pub patience: Duration,
    /// Fires when the node ends: players are kicked.
    pub stop: CancellationToken,
    /// Counters.
    pub metrics: ClusterMetrics,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct GameStreams {
    shared: Arc<Shared>,
}

/// What all streams share.
struct Shared {
    parts: StreamParts,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl fmt::Debug for GameStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GameStreams").field("open", &self.shared.tasks.len()).finish_non_exhaustive()
    }
}

impl GameStreams {
    /// No streams yet.
    pub fn new(parts: StreamParts) -> Self {
        let places = Arc::new(Semaphore::new(parts.max_streams.min(Semaphore::MAX_PERMITS)));
        Self { shared: Arc::new(Shared { parts, places, tasks: TaskTracker::new() }) }
    }

    /// As it is served.
    pub fn server(&self) -> GameServiceServer<Self> {
        GameServiceServer::new(self.clone()).max_decoding_message_size(UP_MAX)
    }

    /// Completes when all streams have ended and their rooms know. To be called once `stop` has fired. Cancel safe.
    pub async fn ended(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

#[tonic::async_trait]
impl GameService for GameStreams {
    type StreamStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<game::Frame, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<game::Frame>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let user = user(request.metadata())?;
        let place = self.place()?;
        let StreamParts { outbox_max_bytes, .. } = self.shared.parts;
        let downs = Arc::new(Downs::new(outbox_max_bytes));
        let reading = Reading::new(Arc::clone(&downs));
        let session = Session::new(Arc::clone(&self.shared), user, downs);
        let ups = request.into_inner();
        self.shared.tasks.spawn(async move {
            session.run(ups).await;
            drop(place);
        });
        let frames = futures_util::stream::unfold(reading, async |reading| {
            let frame = reading.next().await?;
            Some((frame, reading))
        });
        Ok(Response::new(Box::pin(frames)))
    }
}

impl GameStreams {
    fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let StreamParts { max_streams, stop, .. } = &self.shared.parts;
        if stop.is_cancelled() {
            return Err(Status::unavailable("this host is shutting down"));
        }
        let place = Arc::clone(&self.shared.places).try_acquire_owned();
        place.map_err(|_| {
            debug!(max_streams, "game stream refused");
            Status::resource_exhausted(format!("max_sessions limit of {max_streams} reached"))
        })
    }
}

/// Whose stream it is. The original keeps the lower 32 bits of the number; here it is taken whole.
fn user(metadata: &MetadataMap) -> Result<UserId, Status> {
    let text = metadata.get("userid").and_then(|value| value.to_str().ok());
    let number: i64 = text.and_then(|text| text.parse().ok()).ok_or_else(|| Status::unknown(INCORRECT))?;
    match u64::try_from(number) {
        Ok(user) if user > 0 => Ok(UserId(user)),
        _ => Err(Status::invalid_argument(format!("userid {number}: must be 1 to {}", i64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_stream_is() {
        let user = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("userid", text.parse().unwrap());
            user(&metadata).map(|user| user.0).map_err(|status| (status.code(), status.message().to_owned()))
        };
        assert_eq!(user("1"), Ok(1));
        assert_eq!(user("9223372036854775807"), Ok(i64::MAX as u64));
        for nobody in ["", "x", "1.0", "1 ", "0x1", "9223372036854775808"] {
            assert_eq!(user(nobody), Err((tonic::Code::Unknown, INCORRECT.to_owned())), "{nobody}");
        }
        for low in ["0", "-1", "-9223372036854775808"] {
            let (code, text) = user(low).unwrap_err();
            assert_eq!(code, tonic::Code::InvalidArgument);
            assert!(text.contains(&format!("userid {low}: must be 1 to ")), "{text}");
        }
    }
}
