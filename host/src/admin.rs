//! Admin: the operator's door. gRPC and, on the same port, `/metrics`, `/healthz` and `/readyz` over HTTP.

mod cluster;
mod rollouts;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Request as HttpRequest, StatusCode};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tower::ServiceExt as _;

pub use self::cluster::ClusterHandle;
use crate::actor::artefacts::Event as PluginEvent;
use crate::actor::deploy::{Consent, DeployError, DeployReport, Deployer, Step, WayBack};
use crate::cluster::rollout::Rollout;
use crate::game::registry::Registry;
use crate::http::metrics::HttpMetrics;
use crate::http::{Bounds, Port, client_streams};
use crate::plugin;
use crate::proto::admin::admin_server::{Admin, AdminServer};
use crate::proto::{ADMIN_MESSAGE_MAX_BYTES, DESCRIPTORS, admin as proto};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;

/// What operators can see and move.
#[derive(Clone)]
pub struct AdminService {
    /// When the process began to start.
    pub started: Instant,
    /// The roles' names.
    pub roles: Vec<String>,
    /// Where clients connect, if the node is an agent.
    pub listen: Option<SocketAddr>,
    /// Open connections, if the node is an agent.
    pub sessions: Option<Arc<AtomicU64>>,
    /// The rooms, if the node is a game host.
    pub registry: Option<Arc<Registry>>,
    /// The plugins' deployers, by name.
    pub deployers: BTreeMap<String, Deployer>,
    /// Plugins that should run here and could not be started, and why.
    pub not_started: BTreeMap<String, String>,
    /// The cluster's versions of the plugins, by name; empty on a node by itself.
    pub rollouts: BTreeMap<String, Rollout>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// This node among the others.
    pub place: ClusterHandle,
}

/// How much operators may keep of the node. The largest message of each large request is held in memory.
const BOUNDS: Bounds = Bounds {
    connections: 256,
    handshake: Duration::from_secs(5),
    idle: Duration::from_secs(60),
    stall: Duration::from_secs(10),
    uploads: 4,
    turn: Duration::from_secs(30),
};

/// What a request gets that is none of gRPC and for none of the paths.
const PATHS: &str = "not found: there are /metrics, /healthz, /readyz, and gRPC (proto/admin.proto)\n";

/// Serves operators until `stop` fires; receives `uploads` large requests at a time.
pub async fn serve(
    listener: TcpListener,
    node: AdminService,
    uploads: usize,
    http: HttpMetrics,
    stop: CancellationToken,
) {
    let (metrics, node_health) = (Arc::clone(&node.metrics), node.metrics.health.clone());
    let service = AdminServer::new(node).max_decoding_message_size(ADMIN_MESSAGE_MAX_BYTES);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()
        .expect("the descriptors were made with this build");
    let (_reporter, health) = tonic_health::server::health_reporter();
    let services =
        tonic::service::Routes::new(service).add_service(reflection).add_service(health).into_axum_router();
    let paths = Router::new()
        .route("/metrics", get(move || async move { metrics.render() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { readiness(&node_health) }))
        .fallback(|| async { (StatusCode::NOT_FOUND, PATHS) });
    let mut streams = client_streams(DESCRIPTORS);
    streams.insert("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned());
    let port = Port {
        name: "admin",
        bounds: Bounds { uploads, ..BOUNDS },
        http1: true,
        acceptor: None,
        streams,
        handshakes: None,
        metrics: http,
    };
    let handle = move |request: HttpRequest<Body>| {
        let router = if is_grpc(request.headers()) { &services } else { &paths };
        let answered = router.clone().oneshot(request);
        async move {
            let Ok(response) = answered.await;
            response
        }
    };
    crate::http::serve(listener, port, handle, stop).await;
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Whether the node should get new players: 503 with the reasons as long as it cannot write what it must keep.
fn readiness(health: &Health) -> (StatusCode, String) {
    match health.failing() {
        failing if failing.is_empty() => (StatusCode::OK, "ready\n".to_owned()),
        failing => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", failing.join("\n"))),
    }
}

impl AdminService {
    fn named(&self, name: &str) -> Result<&Deployer, Status> {
        self.deployers.get(name).ok_or_else(|| {
            let error = DeployError::Unknown(name.to_owned());
            let known: Vec<_> = self.deployers.keys().map(String::as_str).collect();
            Status::not_found(format!("{error}; it has {}", known.join(", ")))
        })
    }
}

impl AdminService {
    fn plugin(&self, deployer: &Deployer) -> Option<proto::Plugin> {
        let group = deployer.group();
        let live = group.live()?;
        let game = self.registry.as_ref().filter(|registry| Arc::ptr_eq(group, registry.group()));
        // A probation that has ended by itself needs no word from the deployer.
        let step = match deployer.step() {
            Step::Probation if live.fallback.is_none() => Step::Idle,
            step => step,
        };
        Some(proto::Plugin {
            name: group.plugin().to_owned(),
            world: live.version.manifest().world.clone(),
            live: Some(version(&live.version)),
            previous: deployer.previous().map(|event| event_version(&event)),
            rooms: group.len() as u64,
            players: game.map_or(0, |registry| registry.population().1 as u64),
            state: step.name().to_owned(),
            traps: group.faults(),
            problem: deployer
                .fell_back()
                .map(|why| format!("came up on an older version: {why}"))
                .unwrap_or_default(),
            way_back: deployer.way_back().unwrap_or_default(),
        })
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(&self, _: Request<proto::StatusRequest>) -> Result<Response<proto::StatusReply>, Status> {
        let rooms = self.registry.as_ref().map_or(0, |registry| registry.population().0);
        Ok(Response::new(proto::StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            sessions: self.sessions.as_ref().map_or(0, |sessions| sessions.load(Ordering::Relaxed)),
            rooms: rooms as u64,
            roles: self.roles.clone(),
            listen: self.listen.map(|listen| listen.to_string()).unwrap_or_default(),
        }))
    }

    async fn list_plugins(
        &self,
        _: Request<proto::ListPluginsRequest>,
    ) -> Result<Response<proto::ListPluginsReply>, Status> {
        let running = self.deployers.values().filter_map(|deployer| self.plugin(deployer));
        let missing = self.not_started.iter().map(|(name, why)| proto::Plugin {
            name: name.clone(),
            state: "not started".to_owned(),
            problem: why.clone(),
            ..proto::Plugin::default()
        });
        let plugins = running.chain(missing).collect();
        Ok(Response::new(proto::ListPluginsReply { plugins }))
    }

    async fn deploy(
        &self,
        request: Request<proto::DeployRequest>,
    ) -> Result<Response<proto::DeployReply>, Status> {
        let proto::DeployRequest { name, artefact, cluster, plan, set_aside, accept_pause } =
            request.into_inner();
        let consent = Consent { set_aside, any_pause: accept_pause };
        let deployer = self.named(&name)?;
        if plan {
            match cluster {
                true => drop(self.rollout(&name)?),
                false => self.check_alone(&name)?,
            }
            let report = deployer.plan(artefact, consent).await;
            return report.map(|report| Response::new(reply(&report))).map_err(|error| status(&error));
        }
        if cluster {
            let rollout = self.rollout(&name)?;
            if !consent.set_aside.is_empty() {
                let set_aside = deployer.set_aside(artefact.clone(), consent).await;
                set_aside.map_err(|error| status(&error))?;
            }
            return rollouts::reply(rollout.deploy(artefact, accept_pause).await);
        }
        self.check_alone(&name)?;
        let report = deployer.deploy_with(artefact, consent).await;
        report.map(|report| Response::new(reply(&report))).map_err(|error| status(&error))
    }

    async fn rollback(
        &self,
        request: Request<proto::RollbackRequest>,
    ) -> Result<Response<proto::DeployReply>, Status> {
        let proto::RollbackRequest { name, cluster } = request.into_inner();
        let deployer = self.named(&name)?;
        if cluster {
            return rollouts::reply(self.rollout(&name)?.rollback().await);
        }
        self.check_alone(&name)?;
        let report = deployer.rollback().await;
        report.map(|report| Response::new(reply(&report))).map_err(|error| status(&error))
    }

    async fn progress(
        &self,
        request: Request<proto::ProgressRequest>,
    ) -> Result<Response<proto::ProgressReply>, Status> {
        let name = request.into_inner().name;
        self.named(&name)?;
        let progress = self.rollouts.get(&name).map(Rollout::progress);
        Ok(Response::new(progress.map(rollouts::told).unwrap_or_default()))
    }

    async fn history(
        &self,
        request: Request<proto::HistoryRequest>,
    ) -> Result<Response<proto::HistoryReply>, Status> {
        let events = self.named(&request.into_inner().name)?.history();
        let events = events.into_iter().map(|event| proto::Event {
            at_ms: event.at_ms,
            kind: event.kind.name().to_owned(),
            version: Some(event_version(&event)),
            reason: event.reason,
        });
        Ok(Response::new(proto::HistoryReply { events: events.collect() }))
    }

    async fn cluster(
        &self,
        _: Request<proto::ClusterRequest>,
    ) -> Result<Response<proto::ClusterReply>, Status> {
        Ok(Response::new(AdminService::cluster(self)))
    }

    async fn drain(
        &self,
        request: Request<proto::DrainRequest>,
    ) -> Result<Response<proto::DrainReply>, Status> {
        AdminService::drain(self, request.into_inner().undo).map(Response::new)
    }

    async fn move_session(
        &self,
        request: Request<proto::MoveSessionRequest>,
    ) -> Result<Response<proto::MoveSessionReply>, Status> {
        let proto::MoveSessionRequest { user, to } = request.into_inner();
        AdminService::move_session(self, user, &to).await.map(Response::new)
    }
}

fn version(version: &plugin::Version) -> proto::Version {
    proto::Version {
        digest: version.digest().to_string(),
        label: version.label(),
        size_bytes: version.bytes().len() as u64,
    }
}

fn event_version(event: &PluginEvent) -> proto::Version {
    proto::Version { digest: event.digest.clone(), label: event.label.clone(), size_bytes: event.size_bytes }
}

fn reply(report: &DeployReport) -> proto::DeployReply {
    let pause_us = |percent| u64::try_from(report.pause(percent).as_micros()).unwrap_or(u64::MAX);
    proto::DeployReply {
        from: Some(version(&report.from)),
        to: Some(version(&report.to)),
        rooms: report.pauses.len() as u64,
        rehearsed: report.rehearsed as u64,
        pause_p50_us: pause_us(50),
        pause_p99_us: pause_us(99),
        pause_max_us: pause_us(100),
        compile_ms: u64::try_from(report.compile.as_millis()).unwrap_or(u64::MAX),
        unchanged: report.unchanged,
        nodes: 0,
        way_back: report.way_back.as_ref().map(way_back),
        set_aside: report.set_aside.clone(),
        players_waited_us: u64::try_from(report.load.players_waited.as_micros()).unwrap_or(u64::MAX),
        state_bytes: report.load.state_bytes,
        peak_bytes: report.load.peak_bytes,
        expected_pause_us: u64::try_from(report.expected_pause.as_micros()).unwrap_or(u64::MAX),
    }
}

fn way_back(way: &WayBack) -> proto::WayBack {
    let (window_ms, most_bytes) = match way {
        WayBack::Inputs { window, most_bytes, .. } => (u64::try_from(window.as_millis()), *most_bytes),
        _ => (Ok(0), 0),
    };
    proto::WayBack {
        kind: way.kind().to_owned(),
        text: way.to_string(),
        window_ms: window_ms.unwrap_or(u64::MAX),
        most_bytes,
    }
}

fn status(error: &DeployError) -> Status {
    let text = error.to_string();
    match error {
        DeployError::Version(_)
        | DeployError::Name { .. }
        | DeployError::World { .. }
        | DeployError::Caps(_) => Status::invalid_argument(text),
        DeployError::Unknown(_) => Status::not_found(text),
        DeployError::Rehearsal(_)
        | DeployError::Pause { .. }
        | DeployError::Swap { .. }
        | DeployError::Taken(_)
        | DeployError::NoneStarts(_)
        | DeployError::Overtaken(_)
        | DeployError::NoPrevious
        | DeployError::NoWayBack { .. } => Status::failed_precondition(text),
        DeployError::Store(_) | DeployError::Panicked(_) => Status::internal(text),
        DeployError::Shutdown => Status::unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_not_told_as_a_shutdown() {
        let panicked = tokio::spawn(async { panic!("bug in a compiler") }).await.unwrap_err();
        let told = status(&DeployError::from(panicked));
        assert_eq!(told.code(), Code::Internal);
        assert!(told.message().contains("bug in a compiler"), "{told}");
        let cancelled = tokio::spawn(std::future::pending::<()>());
        cancelled.abort();
        let told = status(&DeployError::from(cancelled.await.unwrap_err()));
        assert_eq!((told.code(), told.message()), (Code::Unavailable, "the node is shutting down"));
    }
}
