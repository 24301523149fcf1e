//! Http: a listener that serves HTTP, and gRPC by it, within bounds.
//!
//! What clients may keep of the node is bounded, whoever they are: connections, how long one may say nothing, how long a
//! request or an answer may stand still half done, and how many large requests are received at a time. What is served is
//! not known here.

mod body;
mod liveness;
pub mod metrics;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prometheus::IntCounterVec;
use prost_reflect::DescriptorPool;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::service_fn;
use tracing::{debug, warn};

use self::body::{Answer, Upload};
use self::liveness::{Open, Signs, Watched};
use self::metrics::HttpMetrics;
use crate::overdue::within;

/// Requests and streams that one connection may have open.
const STREAMS_PER_CONNECTION: u32 = 16_384;

/// Bytes of one stream that may be under way before who serves it reads.
const STREAM_WINDOW: u32 = 128 << 10;

/// Bytes of a whole connection: as many as the protocol allows, so that streams which are not read for a while, since
/// their rooms do not keep up, do not keep the others waiting.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// A client that says nothing for so long is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// One that does not answer within this is gone.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Open connections may take so long to end once the node does.
const GOODBYE: Duration = Duration::from_secs(2);

/// After a failed accept, which the system has no descriptors for.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much clients of one port may keep of the node.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at a time; further ones wait in the system's queue.
    pub connections: usize,
    /// From the accepted connection to the end of the TLS handshake, and from there to a whole preface or request head.
    pub handshake: Duration,
    /// How long a connection may have no request under way.
    pub idle: Duration,
    /// How long a request or an answer may stand still half done.
    pub stall: Duration,
    /// Requests of more than 64 KiB that are received or served at a time; further ones wait.
    pub uploads: usize,
    /// How long such a request may wait for its turn.
    pub turn: Duration,
}

/// One port.
pub struct Port {
    /// What metrics and logs call it.
    pub name: &'static str,
    /// Limits.
    pub bounds: Bounds,
    /// Whether HTTP/1 is served beside HTTP/2.
    pub http1: bool,
    /// How a client shows who it is, if it has to before it may ask.
    pub acceptor: Option<TlsAcceptor>,
    /// The paths whose clients may let time pass between two messages of one request.
    pub streams: BTreeSet<String>,
    /// Counts connections that were cut before a client could ask.
    pub handshakes: Option<IntCounterVec>,
    /// What is counted.
    pub metrics: HttpMetrics,
}

/// The paths of the methods whose clients send streams, in an encoded `FileDescriptorSet` that was made with this build.
pub fn client_streams(descriptors: &[u8]) -> BTreeSet<String> {
    let pool = DescriptorPool::decode(descriptors).unwrap_or_default();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let streaming = methods.filter(prost_reflect::MethodDescriptor::is_client_streaming);
    streaming.map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name())).collect()
}

/// What all connections of a port share.
struct Shared<H> {
    port: Port,
    uploads: Arc<Semaphore>,
    handle: H,
}

/// Serves until `stop` fires; open requests have 2 s to end then.
pub async fn serve<H, F>(listener: TcpListener, port: Port, handle: H, stop: CancellationToken)
where
    H: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(port.bounds.connections));
    let uploads = Arc::new(Semaphore::new(port.bounds.uploads));
    let shared = Arc::new(Shared { port, uploads, handle });
    let name = shared.port.name;
    let open = shared.port.metrics.connections.with_label_values(&[name]);
    let connections = TaskTracker::new();
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, port = name, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        // Small answers must not wait for each other's acknowledgements. It fails on a broken socket only.
        let _ = stream.set_nodelay(true);
        let (shared, stop, open) = (Arc::clone(&shared), stop.clone(), open.clone());
        open.inc();
        connections.spawn(async move {
            tokio::select! {
                biased;
                stream = handshake(stream, &shared.port) => match stream {
                    Some(Stream::Plain(stream)) => connection(stream, shared, stop).await,
                    Some(Stream::Tls(stream)) => connection(*stream, shared, stop).await,
                    None => {}
                },
                () = stop.cancelled() => {}
            }
            open.dec();
            drop(place);
        });
    }
    connections.close();
    if tokio::time::timeout(GOODBYE, connections.wait()).await.is_err() {
        debug!(port = name, connections = connections.len(), "connections cut");
    }
}

/// A connection that may ask.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Sees whether a client can be let in, within the bound. Cancel safe: the connection is cut.
async fn handshake(stream: TcpStream, port: &Port) -> Option<Stream> {
    let peer = stream.peer_addr().map(|addr| addr.to_string()).unwrap_or_default();
    let shake = async {
        match &port.acceptor {
            Some(acceptor) => Ok(Stream::Tls(Box::new(acceptor.accept(stream).await?))),
            // The client speaks first, at once. A peek, since a socket may be called readable and not be.
            None => stream.peek(&mut [0]).await.map(|_| Stream::Plain(stream)),
        }
    };
    let limit = port.bounds.handshake;
    let (why, error) = match within(limit, &mut pin!(shake)).await {
        Some(Ok(stream)) => return Some(stream),
        Some(Err(error)) => ("failed", error.to_string()),
        None => ("timeout", format!("not done within {limit:?}")),
    };
    if let Some(handshakes) = &port.handshakes {
        handshakes.with_label_values(&[why]).inc();
    }
    debug!(port = port.name, peer, error, "connection refused");
    None
}

async fn connection<S, H, F>(stream: S, shared: Arc<Shared<H>>, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let signs = Arc::new(Signs::default());
    let bounds = shared.port.bounds;
    let mut builder = Builder::new(TokioExecutor::new());
    if !shared.port.http1 {
        builder = builder.http2_only();
    }
    builder.http1().timer(TokioTimer::new()).header_read_timeout(bounds.idle);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let (seen, asked) = (Arc::clone(&signs), Arc::clone(&shared));
    let service = service_fn(move |request| {
        let (open, shared) = (Open::new(Arc::clone(&seen)), Arc::clone(&asked));
        async move { Ok::<_, Infallible>(answer(&shared, request, open).await) }
    });
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&signs)));
    let served = builder.serve_connection(io, TowerToHyperService::new(service));
    tokio::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        cut = signs.watch(bounds) => {
            shared.port.metrics.cut.with_label_values(&[shared.port.name, cut.name()]).inc();
            debug!(port = shared.port.name, why = cut.name(), "connection cut");
            if !cut.is_polite() {
                return;
            }
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(GOODBYE, served).await.unwrap_or(Ok(()))
        }
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(GOODBYE, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        // Clients that go away without a word are no event.
        debug!(port = shared.port.name, %error, "connection ended");
    }
}

async fn answer<H, F>(shared: &Shared<H>, request: Request<Incoming>, open: Open) -> Response<Answer>
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Response<Body>>,
{
    let streams = shared.port.streams.contains(request.uri().path());
    let open = Arc::new(open);
    let upload = |body| Upload::new(body, streams, Arc::clone(&open), &shared.port, &shared.uploads);
    let request = request.map(|body| Body::new(upload(body)));
    (shared.handle)(request).await.map(|body| Answer::new(body, open))
}

#[cfg(test)]
mod tests;
