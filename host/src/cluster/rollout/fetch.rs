//! Fetch: artefacts come from the nodes that have them, and are believed by their digest alone.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hotseat_build::Digest;
use tokio::sync::Semaphore;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use tracing::{debug, warn};

use super::Inner;
use super::follower::POLL_INTERVAL;
use super::record::Release;
use super::table::Table;
use crate::actor::deploy::Deployer;
use crate::cluster::node::NodeInfo;
use crate::peer::Dialer;
use crate::proto::cluster::rollout_client::RolloutClient;
use crate::proto::cluster::rollout_server::{Rollout, RolloutServer};
use crate::proto::cluster::{FetchChunk, FetchRequest};

/// The largest artefact, bytes (`proto/admin.proto`).
const ARTEFACT_MAX: u64 = 64 << 20;

/// Bytes of an artefact in one message.
const CHUNK: usize = 1 << 20;

/// Artefacts being sent at a time, each of which is in memory; more wait.
const SENDING: usize = 4;

/// How long one node may take to send one.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long all of them may take together.
const PATIENCE_ALL: Duration = Duration::from_secs(45);

/// Gives out the artefacts that this node keeps.
#[derive(Clone)]
pub struct Shelf {
    deployers: Arc<BTreeMap<String, Deployer>>,
    sending: Arc<Semaphore>,
}

impl Shelf {
    /// The service, for peers.
    pub fn served(deployers: BTreeMap<String, Deployer>) -> RolloutServer<Self> {
        RolloutServer::new(Self {
            deployers: Arc::new(deployers),
            sending: Arc::new(Semaphore::new(SENDING)),
        })
    }
}

#[tonic::async_trait]
impl Rollout for Shelf {
    type FetchStream = Pin<Box<dyn Stream<Item = Result<FetchChunk, Status>> + Send>>;

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let FetchRequest { plugin, digest } = request.into_inner();
        let digest: Digest = digest.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let deployer = self.deployers.get(&plugin);
        let deployer =
            deployer.ok_or_else(|| Status::not_found(format!("no plugin {plugin:?} on this node")))?;
        let turn = Arc::clone(&self.sending).acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("the node is shutting down"))?;
        let found = deployer.artefact(digest).await.map_err(|error| {
            warn!(plugin, %digest, %error, "artefact asked for by another node cannot be read");
            Status::data_loss(format!("artefact {} cannot be read here", digest.short()))
        })?;
        let bytes =
            found.ok_or_else(|| Status::not_found(format!("artefact {} is not here", digest.short())))?;
        let mut rest = Bytes::from_owner(bytes);
        let chunks = std::iter::from_fn(move || {
            let _ = &turn;
            let next = rest.split_to(rest.len().min(CHUNK));
            (!next.is_empty()).then(|| Ok(FetchChunk { data: next }))
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }
}

/// Asks these nodes in turn for an artefact. Bounded: 20 s a node, 45 s together. Cancel safe.
///
/// # Errors
/// What each of them said, if none has it whole.
pub(super) async fn fetch(
    dialer: &Dialer,
    nodes: &[NodeInfo],
    plugin: &str,
    release: &Release,
) -> Result<Arc<[u8]>, String> {
    let mut said = Vec::new();
    let all = async {
        for node in nodes {
            let one = tokio::time::timeout(PATIENCE, fetch_from(dialer, node, plugin, release)).await;
            match one.unwrap_or_else(|_| Err(format!("not all of it within {PATIENCE:?}"))) {
                Ok(bytes) => {
                    debug!(plugin, digest = %release.digest, node = node.id, "artefact fetched");
                    return Some(bytes);
                }
                Err(why) => said.push(format!("{}: {why}", node.id)),
            }
        }
        None
    };
    if let Ok(Some(bytes)) = tokio::time::timeout(PATIENCE_ALL, all).await {
        return Ok(bytes);
    }
    let what = format!("no node gives the artefact {}", release.digest.short());
    Err(if said.is_empty() { what } else { format!("{what} ({})", said.join("; ")) })
}

/// The other nodes that run the plugin, those that are the most likely to have an artefact first.
pub(super) async fn holders(inner: &Inner, mut table: Table, release: &Release) -> Vec<NodeInfo> {
    let mut placement = inner.placement.clone();
    // Who proposes may have come a moment ago: the record can be seen before the node is.
    let known = async {
        let from = &release.from;
        while !table.nodes().contains_key(from) || placement.node(from).is_none() {
            tokio::select! {
                biased;
                () = table.changed() => {}
                () = placement.changed() => {}
            }
        }
    };
    // A node that is gone for good is not waited for any longer; others may have what it had.
    let _ = tokio::time::timeout(POLL_INTERVAL, known).await;
    let mut nodes: Vec<_> = table.nodes().into_iter().collect();
    nodes.sort_by_key(|(node, status)| (*node != release.from, status.digest != release.digest));
    let others = nodes.into_iter().filter(|(node, _)| *node != *inner.node);
    others.filter_map(|(node, _)| inner.placement.node(&node)).collect()
}

async fn fetch_from(
    dialer: &Dialer,
    node: &NodeInfo,
    plugin: &str,
    release: &Release,
) -> Result<Arc<[u8]>, String> {
    let channel = dialer.open(&node.grpc).map_err(|error| error.to_string())?;
    let request = FetchRequest { plugin: plugin.to_owned(), digest: release.digest.to_string() };
    let words = |status: Status| status.message().to_owned();
    // A message of gRPC has a few bytes around the chunk.
    let mut client = RolloutClient::new(channel).max_decoding_message_size(CHUNK + 1024);
    let mut chunks = client.fetch(request).await.map_err(words)?.into_inner();
    let most = usize::try_from(release.size_bytes.min(ARTEFACT_MAX)).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(words)?;
        if bytes.len() + chunk.data.len() > most {
            return Err(format!("what it sends has more than the {most} bytes that the artefact has"));
        }
        bytes.extend_from_slice(&chunk.data);
    }
    let found = Digest::of(&bytes);
    if found != release.digest {
        return Err(format!("what it sends has the sha256 {found}, not {}", release.digest));
    }
    Ok(bytes.into())
}
