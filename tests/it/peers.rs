//! Who may call a node: what it takes to be a peer, and what becomes of everybody else.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use hotseat::app::StartError;
use hotseat::config::Config;
use hotseat::peer::{Dialer, PeerChannel, Security, TlsFiles};
use hotseat::service::metrics::ServiceMetrics;
use hotseat::service::{BuiltinServices, GrpcServer, serve};
use hotseat_services::rank::{Change, RankingServiceClient};
use misbehave::{ANSWER, CALL};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::service::InterceptorLayer;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

#[path = "../../host/src/peer/test_certs.rs"]
mod test_certs;

use self::test_certs::Ca;
use crate::guests::{guests, services};
use crate::process::{Process, hotseat, run};
use crate::world::{PATIENCE, World, ask};

const SECRET: &str = "0123456789abcdef0123456789abcdef-of-this-cluster";

/// Files of a cluster.
struct Files {
    dir: TempDir,
    ca: Ca,
    token: PathBuf,
    node: TlsFiles,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, format!("{SECRET}\n")).unwrap();
        let ca = Ca::new();
        let node = ca.issue(dir.path(), "node", &["127.0.0.1"]);
        Self { dir, ca, token, node }
    }

    fn use_token(&self, config: &mut Config) {
        config.peer_token_file = Some(self.token.clone());
    }

    fn use_tls(&self, config: &mut Config) {
        let TlsFiles { ca, cert, key } = self.node.clone();
        (config.peer_ca, config.peer_cert, config.peer_key) = (Some(ca), Some(cert), Some(key));
    }

    /// Another secret.
    fn other_token(&self) -> PathBuf {
        let path = self.dir.path().join("other-token");
        std::fs::write(&path, SECRET.replace('0', "1")).unwrap();
        path
    }

    fn dialer(token: Option<&Path>, tls: Option<&TlsFiles>) -> Dialer {
        Security::load(token, tls.cloned()).unwrap().dialer()
    }
}

/// A node with a service plugin beside a game that calls it.
async fn node(change: impl FnOnce(&mut Config)) -> World {
    World::with(&guests().misbehave, |config| {
        let rank = config.data_dir.with_file_name("rank.wasm");
        std::fs::write(&rank, &services().rank.bytes).unwrap();
        config.plugin.insert("rank".to_owned(), rank);
        config.shards = 2;
        change(config);
    })
    .await
}

async fn score(channel: PeerChannel) -> Result<(), Status> {
    let change = Change { user_id: 7, score: 120, set_id: 1 };
    RankingServiceClient::new(channel).rank_change(change).await.map(drop)
}

async fn check(channel: PeerChannel) -> Result<i32, Status> {
    let request = HealthCheckRequest { service: String::new() };
    Ok(HealthClient::new(channel).check(request).await?.into_inner().status)
}

async fn watch(channel: PeerChannel) -> Result<(), Status> {
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel).watch(request).await.map(drop)
}

async fn reflect(channel: PeerChannel) -> Result<(), Status> {
    ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::empty()).await.map(drop)
}

/// A guest asks rank on its own node: the status it gets.
async fn guest_asks(world: &World, service: &str, method: &str) -> u32 {
    let mut alice = world.client("alice").await;
    let answer = ask(&mut alice, CALL, format!("{service}/{method}").as_bytes(), CALL + ANSWER).await;
    u32::from_be_bytes(*answer.first_chunk().unwrap())
}

const RANK: &str = "proto.RankingService/RankChange";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_lets_in() {
    let files = Files::new();
    let world = node(|config| files.use_token(config)).await;
    let addr = world.grpc_addr();
    let nothing = Dialer::default().open(&addr).unwrap();
    let refused = score(nothing.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("Bearer"), "{refused}");
    let wrong = Files::dialer(Some(&files.other_token()), None).open(&addr).unwrap();
    let refused = score(wrong.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("not this cluster's"), "{refused}");
    let right = Files::dialer(Some(&files.token), None).open(&addr).unwrap();
    score(right.clone()).await.unwrap();

    // Whether it serves is for everybody, what it serves is not.
    assert_eq!(check(nothing.clone()).await.unwrap(), 1);
    assert_eq!(check(wrong.clone()).await.unwrap(), 1);
    for stranger in [nothing, wrong] {
        assert_eq!(watch(stranger.clone()).await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(reflect(stranger).await.unwrap_err().code(), Code::Unauthenticated);
    }
    watch(right.clone()).await.unwrap();
    reflect(right).await.unwrap();
    world.counted("hotseat_grpc_unauthenticated_total{why=\"missing\"}", 3).await;
    world.counted("hotseat_grpc_unauthenticated_total{why=\"wrong\"}", 3).await;
    assert_eq!(guest_asks(&world, "rank", RANK).await, 0);
}

/// A client of the test's own making; the node's files would not be taken by the node's code.
async fn tls_client(addr: &str, ca: &Path, shown: Option<&TlsFiles>) -> Result<i32, String> {
    let read = |path: &Path| std::fs::read(path).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)));
    if let Some(shown) = shown {
        tls = tls.identity(Identity::from_pem(read(&shown.cert), read(&shown.key)));
    }
    let endpoint = Endpoint::from_shared(format!("https://{addr}")).unwrap().tls_config(tls).unwrap();
    // A client learns whether its certificate is taken when it first reads.
    let channel: Channel = endpoint.connect().await.map_err(|error| format!("{error:?}"))?;
    let request = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(channel).check(request).await.map_err(|status| format!("{status:?}"))?;
    Ok(answer.into_inner().status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_lets_in() {
    let files = Files::new();
    let world = node(|config| files.use_tls(config)).await;
    let addr = world.grpc_addr();
    let (ca, dir) = (&files.node.ca, files.dir.path());
    assert_eq!(tls_client(&addr, ca, Some(&files.node)).await, Ok(1));
    assert!(tls_client(&addr, ca, None).await.is_err());
    let stranger = Ca::new().issue(dir, "stranger", &["127.0.0.1"]);
    assert!(tls_client(&addr, ca, Some(&stranger)).await.is_err());
    let expired = files.ca.issue_expired(dir, "expired");
    assert!(tls_client(&addr, ca, Some(&expired)).await.is_err());
    // The node shows one as well.
    assert!(tls_client(&addr, &stranger.ca, Some(&files.node)).await.is_err());
    let plain = Dialer::default().open(&addr).unwrap();
    assert_ne!(check(plain).await.unwrap_err().code(), Code::Unauthenticated);
    // Another node, whose certificate need not be for the address that it calls from.
    let other = files.ca.issue(dir, "other", &["game-2.example"]);
    score(Files::dialer(None, Some(&other)).open(&addr).unwrap()).await.unwrap();
    assert_eq!(guest_asks(&world, "rank", RANK).await, 0);
    world.counted("hotseat_grpc_unauthenticated_total{why=\"missing\"}", 0).await;
    assert!(world.metric("hotseat_grpc_handshakes_refused_total{why=\"failed\"}").await >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_must_be_for_the_host_that_is_called() {
    let mut files = Files::new();
    files.node = files.ca.issue(files.dir.path(), "named", &["game-1.example"]);
    // Under that name it reaches itself.
    let world = node(|config| {
        files.use_tls(config);
        config.advertise = Some("game-1.example:10000".to_owned());
    })
    .await;
    let dialer = Files::dialer(None, Some(&files.node));
    let misled = score(dialer.open(&world.grpc_addr()).unwrap()).await.unwrap_err();
    assert_eq!(misled.code(), Code::Unavailable);
    score(dialer.named("game-1.example").open(&world.grpc_addr()).unwrap()).await.unwrap();
    assert_eq!(guest_asks(&world, "rank", RANK).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_both_both_are_needed() {
    let files = Files::new();
    let world = node(|config| {
        files.use_token(config);
        files.use_tls(config);
    })
    .await;
    let addr = world.grpc_addr();
    let open = |token, tls| Files::dialer(token, tls).open(&addr).unwrap();
    score(open(Some(&files.token), Some(&files.node))).await.unwrap();
    let certificate = open(None, Some(&files.node));
    assert_eq!(score(certificate.clone()).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(check(certificate).await.unwrap(), 1);
    assert!(score(open(Some(&files.token), None)).await.is_err());
    assert_eq!(guest_asks(&world, "rank", RANK).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_show_what_it_asks_for_does_not_start() {
    let files = Files::new();
    let expired = files.ca.issue_expired(files.dir.path(), "expired");
    let started = World::try_with(&guests().v1, |config| {
        files.use_tls(config);
        (config.peer_cert, config.peer_key) = (Some(expired.cert), Some(expired.key));
    });
    let Err(StartError::Security(error)) = started.await else { panic!("it starts") };
    assert!(error.to_string().contains("expired.pem"), "{error}");
    let started = World::try_with(&guests().v1, |config| config.peer_ca = Some(files.node.ca)).await;
    assert!(matches!(started, Err(StartError::Security(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_finishes_is_cut() {
    let files = Files::new();
    let secured = node(|config| files.use_tls(config)).await;
    let open = World::start(&guests().v1).await;
    let mut silent = TcpStream::connect(open.grpc_addr()).await.unwrap();
    let mut half = TcpStream::connect(secured.grpc_addr()).await.unwrap();
    // The head of a first message, whose body never comes.
    half.write_all(&[0x16, 3, 1, 1, 0]).await.unwrap();
    for stream in [&mut silent, &mut half] {
        let end = timeout(PATIENCE, stream.read_u8()).await.expect("it is cut");
        assert!(end.is_err(), "{end:?}");
    }
    for world in [open, secured] {
        world.counted("hotseat_grpc_handshakes_refused_total{why=\"timeout\"}", 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_others_are_not_shown_the_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let foreign = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let note = InterceptorLayer::new(move |request: tonic::Request<()>| {
        notes.lock().unwrap().push(request.metadata().get("authorization").is_some());
        Ok(request)
    });
    tokio::spawn(async move {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let server = tonic::transport::Server::builder().layer(note).add_service(health);
        server.serve_with_incoming(TcpListenerStream::new(listener)).await
    });
    let files = Files::new();
    let world = node(|config| {
        files.use_token(config);
        files.use_tls(config);
        config.service = [("foreign".to_owned(), vec![format!("http://{foreign}")])].into();
    })
    .await;
    assert_eq!(guest_asks(&world, "foreign", "grpc.health.v1.Health/Check").await, 0);
    assert_eq!(*seen.lock().unwrap(), [false]);
}

/// A service of the host that tells what it was told of its caller.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl tower::Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Status::ok("").into_http();
        for name in ["userid", "authorization"] {
            if let Some(value) = request.headers().get(name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        ready(Ok(response))
    }
}

/// Asks a gRPC server that has no plugins: `grpc-status`, `userid` and `authorization` of the answer.
async fn echo(channel: &mut PeerChannel, path: &str) -> [Option<String>; 3] {
    let request = Request::builder().method("POST").uri(path).header("content-type", "application/grpc");
    let request = request.header("userid", "7").body(Body::empty()).unwrap();
    std::future::poll_fn(|cx| tower::Service::poll_ready(channel, cx)).await.unwrap();
    let response = tower::Service::call(channel, request).await.unwrap();
    let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    ["grpc-status", "userid", "authorization"].map(header)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stranger_says_of_a_user_is_not_heard() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    let server = GrpcServer {
        router: None,
        builtin: BuiltinServices::described_by(hotseat::proto::DESCRIPTORS).add(Echo),
        security: Security::load(Some(&files.token), None).unwrap(),
        metrics: ServiceMetrics::register(&prometheus::Registry::new()).unwrap(),
    };
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve(listener, server, stop.clone()));
    let mut peer = Files::dialer(Some(&files.token), None).open(&addr.to_string()).unwrap();
    let mut stranger = Dialer::default().open(&addr.to_string()).unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(echo(&mut peer, "/test.Echo/Who").await, [text("0"), text("7"), None]);
    assert_eq!(echo(&mut stranger, "/test.Echo/Who").await, [text("16"), None, None]);
    assert_eq!(echo(&mut peer, "/test.Nobody/Who").await, [text("12"), None, None]);
    assert_eq!(check(stranger).await.unwrap(), 1);
    let request = HealthCheckRequest { service: "test.Echo".to_owned() };
    HealthClient::new(peer.clone()).check(request).await.unwrap();
    reflect(peer).await.unwrap();
    stop.cancel();
    timeout(PATIENCE, served).await.expect("the server closes").unwrap();
}

#[test]
fn an_operator_calls_a_node_that_is_for_peers() {
    let files = Files::new();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (token, other) = (path(&files.token), path(&files.other_token()));
    let TlsFiles { ca, cert, key } = &files.node;
    let tls =
        ["--peer-ca", &path(ca), "--peer-cert", &path(cert), "--peer-key", &path(key)].map(str::to_owned);
    let tls: Vec<_> = tls.iter().map(String::as_str).collect();
    let log = "info,hotseat=trace,h2=trace,hyper=trace,tonic=trace,rustls=trace";
    let mut args = vec!["--log", log, "--peer-token-file", &token];
    args.extend(&tls);
    let process = Process::start(&guests().v1, &args);
    let list = |shown: &[&str]| {
        let mut all = vec!["service", "--grpc", process.grpc(), "list"];
        all.extend(shown);
        run(&all)
    };
    let mut shown = tls.clone();
    list(&shown).failed(1, &["Bearer", "--peer-token-file"]);
    shown.extend(["--peer-token-file", &token]);
    assert!(list(&shown).fine().contains("grpc.health.v1.Health/Check"));
    *shown.last_mut().unwrap() = &other;
    list(&shown).failed(1, &["not this cluster's", "--peer-token-file"]);
    list(&["--peer-token-file", &token]).failed(1, &["--peer-ca"]);
    list(&tls[..4]).failed(1, &["peer_ca", "peer_key"]);
    let variables = [("TOKEN_FILE", &token), ("CA", &path(ca)), ("CERT", &path(cert)), ("KEY", &path(key))];
    let told = hotseat(files.dir.path())
        .args(["service", "--grpc", process.grpc(), "list"])
        .envs(variables.map(|(name, value)| (format!("HOTSEAT_PEER_{name}"), value)))
        .output()
        .unwrap();
    assert!(told.status.success(), "{told:?}");
    let lines = process.lines();
    assert!(lines.iter().any(|line| line.contains("gRPC request refused")), "{lines:?}");
    let private = std::fs::read_to_string(key).unwrap();
    let private = private.lines().nth(1).unwrap();
    for secret in [SECRET, &SECRET.replace('0', "1"), private] {
        assert!(lines.iter().all(|line| !line.contains(secret)), "{secret} is in the log");
    }
}
