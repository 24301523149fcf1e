//! Door: the listener that other services connect to.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::http::header::AUTHORIZATION;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tower::service_fn;
use tracing::{debug, warn};

use super::grpc;
use super::metrics::ServiceMetrics;
use super::natives::Natives;
use super::plane::Plane;
use super::reflection::Reflection;
use crate::peer::{Security, Stranger};

/// Connections at a time; further ones wait in the system's queue.
const CONNECTIONS: usize = 4096;

/// Requests and streams that one connection may have open.
const STREAMS_PER_CONNECTION: u32 = 16_384;

/// Bytes of one stream that may be under way before who serves it reads.
const STREAM_WINDOW: u32 = 128 << 10;

/// Bytes of a whole connection: as many as the protocol allows, so that streams which are not read for a while, since
/// their rooms do not keep up, do not keep the others waiting.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// A peer that says nothing for so long is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// One that does not answer within this is gone.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Open connections may take so long to end once the node does.
const GOODBYE: Duration = Duration::from_secs(2);

/// After a failed accept, which the system has no descriptors for.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection that has not shown to be a peer's within this is cut.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The one method that answers without credentials: whether the node serves, for whoever watches over processes. The
/// same service's `Watch` keeps a stream open and is for peers.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// What is served, and to whom.
pub struct Door {
    /// Services of plugins, if there are any.
    pub plane: Option<Arc<Plane>>,
    /// Services of the host.
    pub natives: Natives,
    /// What clients must show. All of this is for peers, so whatever a peer says of a user (`userid` in the metadata of
    /// a request, say) is only read once the request is known for a peer's.
    pub security: Security,
    /// What is counted.
    pub metrics: ServiceMetrics,
}

/// What all connections share.
struct Inside {
    router: Router,
    security: Security,
    metrics: ServiceMetrics,
}

/// What is behind the host's own services.
struct Behind {
    plane: Option<Arc<Plane>>,
    reflection: Reflection,
}

/// Serves peers until `stop` fires and open requests have ended. Requests of who is no peer get UNAUTHENTICATED;
/// connections without a good certificate do not come about, if certificates are asked for.
pub async fn serve(listener: TcpListener, door: Door, stop: CancellationToken) {
    let Door { plane, natives, security, metrics } = door;
    let (reporter, health) = tonic_health::server::health_reporter();
    let versions = plane.as_deref().map(Plane::versions).unwrap_or_default();
    let plugins = versions.iter().flat_map(|version| version.services()).map(String::as_str);
    for service in [""].into_iter().chain(natives.names.iter().copied()).chain(plugins) {
        reporter.set_service_status(service, tonic_health::ServingStatus::Serving).await;
    }
    let behind = Arc::new(Behind { plane, reflection: Reflection::new(&natives) });
    let router = natives
        .routes
        .add_service(health)
        .into_axum_router()
        .fallback(move |request| dispatch(Arc::clone(&behind), request));
    let acceptor = security.acceptor();
    let inside = Arc::new(Inside { router, security, metrics });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
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
                    warn!(%error, "gRPC connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (inside, acceptor, stop) = (Arc::clone(&inside), acceptor.clone(), stop.clone());
        connections.spawn(async move {
            tokio::select! {
                biased;
                stream = handshake(stream, acceptor, &inside.metrics) => match stream {
                    Some(Stream::Plain(stream)) => connection(stream, inside, stop).await,
                    Some(Stream::Tls(stream)) => connection(*stream, inside, stop).await,
                    None => {}
                },
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
    connections.close();
    if tokio::time::timeout(GOODBYE, connections.wait()).await.is_err() {
        debug!(connections = connections.len(), "gRPC connections cut");
    }
}

async fn dispatch(behind: Arc<Behind>, request: Request) -> Response<Body> {
    if request.uri().path().starts_with("/grpc.reflection.") {
        return behind.reflection.serve(behind.plane.as_deref(), request).await;
    }
    match &behind.plane {
        Some(plane) => grpc::serve(plane, request).await,
        None => Status::unavailable("this node serves no plugins").into_http(),
    }
}

/// A connection that may ask.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Sees whether a client can be let in; takes [`HANDSHAKE`] at most. Cancel safe: the connection is cut.
async fn handshake(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    metrics: &ServiceMetrics,
) -> Option<Stream> {
    // Small answers must not wait for each other's acknowledgements.
    let _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().map(|addr| addr.to_string()).unwrap_or_default();
    let shake = async {
        match acceptor {
            Some(acceptor) => Ok(Stream::Tls(Box::new(acceptor.accept(stream).await?))),
            // In HTTP/2 the client speaks first, at once. A peek, since a socket may be called readable and not be.
            None => stream.peek(&mut [0]).await.map(|_| Stream::Plain(stream)),
        }
    };
    let (why, error) = match tokio::time::timeout(HANDSHAKE, shake).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => ("failed", error.to_string()),
        Err(_) => ("timeout", format!("not done within {HANDSHAKE:?}")),
    };
    metrics.handshakes.with_label_values(&[why]).inc();
    debug!(peer, error, "gRPC connection refused");
    None
}

/// Lets a peer's request in; what it has shown is not for those inside.
async fn admit(inside: &Inside, mut request: axum::http::Request<Incoming>) -> Response<Body> {
    if request.uri().path() != CHECK
        && let Err(stranger) = inside.security.admit(request.headers())
    {
        let why = match stranger {
            Stranger::Missing => "missing",
            Stranger::Wrong => "wrong",
        };
        inside.metrics.strangers.with_label_values(&[why]).inc();
        debug!(path = request.uri().path(), why, "gRPC request refused");
        return Status::unauthenticated(stranger.to_string()).into_http();
    }
    request.headers_mut().remove(AUTHORIZATION);
    let Ok(response) = tower::ServiceExt::oneshot(inside.router.clone(), request.map(Body::new)).await;
    response
}

async fn connection<S>(stream: S, inside: Arc<Inside>, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let service = service_fn(move |request| {
        let inside = Arc::clone(&inside);
        async move { Ok::<_, Infallible>(admit(&inside, request).await) }
    });
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(GOODBYE, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        // Clients that go away without a word are no event.
        debug!(%error, "gRPC connection ended");
    }
}
