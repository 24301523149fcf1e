//! Grpc server: the listener that other services connect to.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::http::header::AUTHORIZATION;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tower::ServiceExt as _;
use tracing::debug;

use super::builtin::BuiltinServices;
use super::grpc;
use super::metrics::ServiceMetrics;
use super::reflection::{self, Reflection};
use super::router::ServiceRouter;
use crate::http::{self, Bounds, Port};
use crate::peer::{Security, Unauthenticated};

/// How much peers may keep of the node. Large requests are few: services exchange small messages.
const BOUNDS: Bounds = Bounds {
    connections: 4096,
    handshake: Duration::from_secs(5),
    idle: Duration::from_secs(300),
    stall: Duration::from_secs(10),
    uploads: 64,
    turn: Duration::from_secs(30),
};

/// The one method that answers without credentials: whether the node serves, for whoever watches over processes. The
/// same service's `Watch` keeps a stream open and is for peers.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// What is served, and to whom.
pub struct GrpcServer {
    /// Services of plugins, if there are any.
    pub router: Option<Arc<ServiceRouter>>,
    /// Services of the host.
    pub builtin: BuiltinServices,
    /// What clients must show. All of this is for peers, so whatever a peer says of a user (`userid` in the metadata of
    /// a request, say) is only read once the request is known for a peer's.
    pub security: Security,
    /// What is counted.
    pub metrics: ServiceMetrics,
}

/// What is behind the host's own services.
struct Behind {
    router: Option<Arc<ServiceRouter>>,
    reflection: Reflection,
}

/// Serves peers until `stop` fires and open requests have ended. Requests of who is no peer get UNAUTHENTICATED;
/// connections without a good certificate do not come about, if certificates are asked for.
pub async fn serve(listener: TcpListener, server: GrpcServer, stop: CancellationToken) {
    let GrpcServer { router, builtin, security, metrics } = server;
    let (reporter, health) = tonic_health::server::health_reporter();
    let versions = router.as_deref().map(ServiceRouter::versions).unwrap_or_default();
    let plugins = versions.iter().flat_map(|version| version.services()).map(String::as_str);
    for service in [""].into_iter().chain(builtin.names.iter().copied()).chain(plugins) {
        reporter.set_service_status(service, tonic_health::ServingStatus::Serving).await;
    }
    let behind = Arc::new(Behind { router, reflection: Reflection::new(&builtin) });
    let mut streams = builtin.descriptors.map(http::client_streams).unwrap_or_default();
    streams.extend(reflection::PATHS.map(str::to_owned));
    let port = Port {
        name: "grpc",
        bounds: BOUNDS,
        http1: false,
        acceptor: security.acceptor(),
        streams,
        handshakes: Some(metrics.handshakes.clone()),
        metrics: metrics.http.clone(),
    };
    let router = builtin
        .routes
        .add_service(health)
        .into_axum_router()
        .fallback(move |request| dispatch(Arc::clone(&behind), request));
    let handle = move |request| {
        let admitted = admit(&security, &metrics, request).map(|request| router.clone().oneshot(request));
        async move {
            match admitted {
                Ok(answered) => {
                    let Ok(response) = answered.await;
                    response
                }
                Err(status) => status.into_http(),
            }
        }
    };
    http::serve(listener, port, handle, stop).await;
}

async fn dispatch(behind: Arc<Behind>, request: Request) -> Response<Body> {
    if request.uri().path().starts_with("/grpc.reflection.") {
        return behind.reflection.serve(behind.router.as_deref(), request).await;
    }
    match &behind.router {
        Some(router) => grpc::serve(router, request).await,
        None => grpc::unknown(request.uri().path()).into_http(),
    }
}

/// Lets a peer's request in; what it has shown is not for those inside.
fn admit(security: &Security, metrics: &ServiceMetrics, mut request: Request) -> Result<Request, Status> {
    if request.uri().path() != CHECK
        && let Err(stranger) = security.admit(request.headers())
    {
        let why = match stranger {
            Unauthenticated::Missing => "missing",
            Unauthenticated::Wrong => "wrong",
        };
        metrics.strangers.with_label_values(&[why]).inc();
        debug!(path = request.uri().path(), why, "gRPC request refused");
        return Err(Status::unauthenticated(stranger.to_string()));
    }
    request.headers_mut().remove(AUTHORIZATION);
    Ok(request)
}
