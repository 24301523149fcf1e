//! Door: the listener that other services connect to.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tower::service_fn;
use tracing::{debug, warn};

use super::grpc;
use super::plane::Plane;
use super::reflection::Reflection;

/// Connections at a time; further ones wait in the system's queue.
const CONNECTIONS: usize = 4096;

/// Requests and streams that one connection may have open.
const STREAMS_PER_CONNECTION: u32 = 16_384;

/// A peer that says nothing for so long is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// One that does not answer within this is gone.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Open connections may take so long to end once the node does.
const GOODBYE: Duration = Duration::from_secs(2);

/// After a failed accept, which the system has no descriptors for.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is behind the listener.
struct Behind {
    plane: Arc<Plane>,
    reflection: Reflection,
}

/// Serves other services until `stop` fires and open requests have ended.
pub async fn serve(listener: TcpListener, plane: Arc<Plane>, stop: CancellationToken) {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    for service in plane.versions().iter().flat_map(|version| version.services()) {
        reporter.set_service_status(service, tonic_health::ServingStatus::Serving).await;
    }
    let behind = Arc::new(Behind { plane, reflection: Reflection::default() });
    let router: Router = Routes::new(health)
        .into_axum_router()
        .fallback(move |request| dispatch(Arc::clone(&behind), request));
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
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, router, stop).await;
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
        return behind.reflection.serve(&behind.plane, request).await;
    }
    grpc::serve(&behind.plane, request).await
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Small answers must not wait for each other's acknowledgements.
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let service = service_fn(move |request: axum::http::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let response = tower::ServiceExt::oneshot(router, request.map(Body::new)).await;
            Ok::<_, Infallible>(response.unwrap_or_else(|never| match never {}))
        }
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
