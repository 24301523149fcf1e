//! Admin: the operator's door. gRPC and, on the same port, `/metrics`, `/healthz` and `/readyz` over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::routing::get;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::error;

use crate::game::artefacts::Event as GameEvent;
use crate::game::deploy::{DeployError, DeployReport, Deployer, Step};
use crate::game::registry::Registry;
use crate::plugin;
use crate::proto::admin::admin_server::{Admin, AdminServer};
use crate::proto::{ADMIN_MESSAGE_MAX_BYTES, DESCRIPTORS, admin as proto};
use crate::telemetry::metrics::Metrics;

/// What operators can see and move.
#[derive(Clone)]
pub struct Node {
    /// When the process began to start.
    pub started: Instant,
    /// The roles' names.
    pub roles: Vec<String>,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Open connections.
    pub sessions: Arc<AtomicU64>,
    /// The rooms.
    pub registry: Arc<Registry>,
    /// The plugin's deployer.
    pub deployer: Deployer,
    /// All metrics.
    pub metrics: Arc<Metrics>,
}

/// Serves operators until `stop` fires.
pub async fn serve(listener: TcpListener, node: Node, stop: CancellationToken) {
    let metrics = Arc::clone(&node.metrics);
    let service = AdminServer::new(node).max_decoding_message_size(ADMIN_MESSAGE_MAX_BYTES);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()
        .expect("the descriptors were made with this build");
    let (_reporter, health) = tonic_health::server::health_reporter();
    let router = tonic::service::Routes::new(service)
        .add_service(reflection)
        .add_service(health)
        .into_axum_router()
        .route("/metrics", get(move || async move { metrics.render() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ready\n" }));
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        error!(%error, "the admin door has failed");
    }
}

/// Serves the standard health service to other services until `stop` fires.
pub async fn serve_health(listener: TcpListener, stop: CancellationToken) {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let server = tonic::transport::Server::builder().add_service(health);
    let incoming = TcpListenerStream::new(listener);
    if let Err(error) = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await {
        error!(%error, "the gRPC server has failed");
    }
}

impl Node {
    fn named(&self, name: &str) -> Result<&Deployer, Status> {
        if name == self.deployer.name() {
            return Ok(&self.deployer);
        }
        let error = DeployError::Unknown(name.to_owned());
        Err(Status::not_found(format!("{error}; it has {}", self.deployer.name())))
    }
}

#[tonic::async_trait]
impl Admin for Node {
    async fn status(&self, _: Request<proto::StatusRequest>) -> Result<Response<proto::StatusReply>, Status> {
        let (rooms, _) = self.registry.population();
        Ok(Response::new(proto::StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            sessions: self.sessions.load(Ordering::Relaxed),
            rooms: rooms as u64,
            roles: self.roles.clone(),
            listen: self.listen.to_string(),
        }))
    }

    async fn list_plugins(
        &self,
        _: Request<proto::ListPluginsRequest>,
    ) -> Result<Response<proto::ListPluginsReply>, Status> {
        let live = self.registry.live().ok_or_else(|| Status::unavailable("no plugin is live"))?;
        let (rooms, players) = self.registry.population();
        // A probation that has ended by itself needs no word from the deployer.
        let step = match self.deployer.step() {
            Step::Probation if live.fallback.is_none() => Step::Idle,
            step => step,
        };
        let plugin = proto::Plugin {
            name: self.deployer.name().to_owned(),
            world: live.version.manifest().world.clone(),
            live: Some(version(&live.version)),
            previous: self.deployer.previous().map(|event| event_version(&event)),
            rooms: rooms as u64,
            players: players as u64,
            state: step.name().to_owned(),
            traps: self.registry.faults(),
        };
        Ok(Response::new(proto::ListPluginsReply { plugins: vec![plugin] }))
    }

    async fn deploy(
        &self,
        request: Request<proto::DeployRequest>,
    ) -> Result<Response<proto::DeployReply>, Status> {
        let proto::DeployRequest { name, artefact } = request.into_inner();
        let report = self.named(&name)?.deploy(artefact).await;
        report.map(|report| Response::new(reply(&report))).map_err(|error| status(&error))
    }

    async fn rollback(
        &self,
        request: Request<proto::RollbackRequest>,
    ) -> Result<Response<proto::DeployReply>, Status> {
        let report = self.named(&request.into_inner().name)?.rollback().await;
        report.map(|report| Response::new(reply(&report))).map_err(|error| status(&error))
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
}

fn version(version: &plugin::Version) -> proto::Version {
    proto::Version {
        digest: version.digest().to_string(),
        label: version.label(),
        size_bytes: version.bytes().len() as u64,
    }
}

fn event_version(event: &GameEvent) -> proto::Version {
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
    }
}

fn status(error: &DeployError) -> Status {
    let text = error.to_string();
    match error {
        DeployError::Version(_) | DeployError::Name { .. } => Status::invalid_argument(text),
        DeployError::Unknown(_) => Status::not_found(text),
        DeployError::Rehearsal(_) | DeployError::Swap { .. } | DeployError::NoPrevious => {
            Status::failed_precondition(text)
        }
        DeployError::Store(_) => Status::internal(text),
        DeployError::Shutdown => Status::unavailable(text),
    }
}
