//! Services: the unary gRPC calls that guests make, by configured name or by the cluster's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use prometheus::IntCounterVec;
use tokio::sync::mpsc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request as GrpcRequest, Status};

use crate::discovery::backends::Backends;
use crate::peer::{DialError, Dialer, PeerChannel};

/// Calls one room may have under way (`wit/host.wit`).
pub(crate) const IN_FLIGHT_MAX: usize = 64;

/// An answer's largest message: what a guest may ask for is bounded, so is what it may get.
const ANSWER_MAX: usize = 1 << 20;

/// The services this node knows. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    table: Arc<BTreeMap<String, Service>>,
    /// What the cluster offers beyond the table.
    cluster: Option<Backends>,
    timeout: Duration,
    calls: IntCounterVec,
}

struct Service {
    instances: Vec<(String, PeerChannel)>,
    next: AtomicUsize,
}

/// Where an instance of a service is, and what it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A node of this cluster, `HOST:PORT`: it is shown what peers show each other.
    Peer(String),
    /// Anybody else's server, `http://HOST:PORT`, as the configuration names it: it is shown nothing.
    Foreign(String),
}

/// A service address that cannot be dialled.
#[derive(Debug, thiserror::Error)]
#[error("service {name}: {source}")]
pub struct ServiceError {
    name: String,
    source: DialError,
}

/// A guest's call.
pub(crate) struct Request<'a> {
    pub(crate) token: u64,
    pub(crate) service: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) method: &'a str,
    pub(crate) body: &'a [u8],
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) token: u64,
    pub(crate) status: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) text: String,
}

impl Services {
    /// Takes a table of names and where they are; peers are reached by `dialer`. Connects when first called. An instance
    /// is named by its `host:port`.
    ///
    /// # Errors
    /// [`ServiceError`] names the first address that is none.
    pub fn new(
        table: &BTreeMap<String, Vec<Address>>,
        dialer: &Dialer,
        timeout: Duration,
        calls: IntCounterVec,
    ) -> Result<Self, ServiceError> {
        let open = |address: &Address| match address {
            Address::Peer(addr) => Ok((addr.clone(), dialer.open(addr)?)),
            Address::Foreign(url) => {
                let name = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
                Ok((name.to_owned(), PeerChannel::foreign(url)?))
            }
        };
        let mut services = BTreeMap::new();
        for (name, addresses) in table {
            let instances: Result<Vec<_>, _> = addresses.iter().map(open).collect();
            let instances = instances.map_err(|source| ServiceError { name: name.clone(), source })?;
            services.insert(name.clone(), Service { instances, next: AtomicUsize::new(0) });
        }
        Ok(Self { table: Arc::new(services), cluster: None, timeout, calls })
    }

    /// Services that the table does not have are looked for among these; an instance is named by its node's id there.
    #[must_use]
    pub fn and(self, cluster: Backends) -> Self {
        Self { cluster: Some(cluster), ..self }
    }

    /// Starts a call; its one reply goes to `replies`, which has a place kept for it.
    pub(crate) fn start(&self, request: &Request<'_>, replies: mpsc::Sender<Reply>) {
        let token = request.token;
        let channel = self.pick(request.service, request.instance);
        let path = format!("/{}", request.method);
        let body = Bytes::copy_from_slice(request.body);
        let (timeout, calls) = (self.timeout, self.calls.clone());
        tokio::spawn(async move {
            let answer = match channel {
                Ok(channel) => match tokio::time::timeout(timeout, unary(channel, path, body)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(Status::deadline_exceeded(format!("no answer within {timeout:?}"))),
                },
                Err(status) => Err(status),
            };
            let reply = match answer {
                Ok(body) => Reply { token, status: 0, body: body.to_vec(), text: String::new() },
                Err(status) => Reply {
                    token,
                    status: status.code() as u32,
                    body: Vec::new(),
                    text: status.message().to_owned(),
                },
            };
            calls.with_label_values(&[&reply.status.to_string()]).inc();
            // A room that has ended in the meantime wants no answer.
            let _ = replies.send(reply).await;
        });
    }

    fn pick(&self, service: &str, instance: &str) -> Result<PeerChannel, Status> {
        let missing = || Status::unavailable(format!("service {service} has no instance {instance:?}"));
        let Some(known) = self.table.get(service) else {
            let nowhere = || Status::unavailable(format!("service {service} is not configured"));
            let unknown =
                || Status::unavailable(format!("service {service} is neither configured nor found"));
            let cluster = self.cluster.as_ref().ok_or_else(nowhere)?;
            let found = if instance.is_empty() {
                cluster.pick(service).ok_or_else(unknown)
            } else {
                cluster.by_id(service, instance).ok_or_else(missing)
            };
            return found.map(|backend| backend.channel);
        };
        let channel = if instance.is_empty() {
            let at = known.next.fetch_add(1, Ordering::Relaxed);
            known.instances.get(at % known.instances.len().max(1))
        } else {
            known.instances.iter().find(|(name, _)| name == instance)
        };
        let channel = channel.map(|(_, channel)| channel.clone());
        channel.ok_or_else(missing)
    }
}

async fn unary(channel: PeerChannel, path: String, body: Bytes) -> Result<Bytes, Status> {
    let path = path.parse().map_err(|_| Status::invalid_argument("the method is no gRPC path"))?;
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(ANSWER_MAX);
    client.ready().await.map_err(|error| Status::new(Code::Unavailable, error.to_string()))?;
    let answer = client.unary(GrpcRequest::new(body), path, Raw).await?;
    Ok(answer.into_inner())
}

/// A codec that leaves messages as they are: the guest encodes and decodes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}
