//! World: one node in this process, with ports of its own and a data directory that goes with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hotseat::app::{App, DeployError, DeployReport, GAME_LOGIC, StartError};
use hotseat::config::{Config, LogFormat, Role};
use hotseat::proto::ADMIN_MESSAGE_MAX_BYTES;
use hotseat::proto::admin::admin_client::AdminClient;
use hotseat::proto::admin::{Event, HistoryRequest, ListPluginsRequest, Plugin};
use hotseat_build::{Artefact, Manifest};
use hotseat_client::{Client, ClientError, Login};
use hotseat_packet::{ErrorInfo, Message as _, decode_down, opcode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::guests::guests;

/// Far more than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running node.
pub(crate) struct World {
    app: App,
    config: Config,
    dir: TempDir,
}

impl World {
    /// A node that runs `plugin`, with one home room for everybody and no limits on clients.
    pub(crate) async fn start(plugin: &Artefact) -> Self {
        Self::with(plugin, |_| {}).await
    }

    /// As [`Self::start`], with other settings.
    pub(crate) async fn with(plugin: &Artefact, change: impl FnOnce(&mut Config)) -> Self {
        Self::try_with(plugin, change).await.unwrap()
    }

    /// As [`Self::with`], for nodes that may not come up.
    pub(crate) async fn try_with(
        plugin: &Artefact,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self, StartError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("first.wasm");
        fs::write(&file, &plugin.bytes).unwrap();
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let mut config = Config {
            listen: anywhere,
            grpc_listen: anywhere,
            admin_listen: anywhere,
            data_dir: dir.path().join("data"),
            plugin: [(GAME_LOGIC.to_owned(), file)].into(),
            roles: [Role::Agent, Role::Game].into(),
            home_rooms: 1,
            max_rooms: 64,
            limits: false,
            player_moves_per_s: 1_000_000,
            // This process is no `hotseat`.
            compile_program: Some(env!("CARGO_BIN_EXE_hotseat").into()),
            ..Config::default()
        };
        change(&mut config);
        Self::run(config, dir).await
    }

    /// A node with service plugins beside the reference game.
    pub(crate) async fn serving(plugins: &[&Artefact]) -> Self {
        Self::serving_with(plugins, |_| {}).await
    }

    /// As [`Self::serving`], with other settings.
    pub(crate) async fn serving_with(plugins: &[&Artefact], change: impl FnOnce(&mut Config)) -> Self {
        let add = |config: &mut Config| {
            for plugin in plugins {
                let name = plugin.manifest.name.clone();
                let file = config.data_dir.with_file_name(format!("{name}.wasm"));
                fs::write(&file, &plugin.bytes).unwrap();
                config.plugin.insert(name, file);
            }
            config.shards = 2;
            change(config);
        };
        Self::with(&guests().v1, add).await
    }

    async fn run(config: Config, dir: TempDir) -> Result<Self, StartError> {
        // With RUST_LOG set, and --nocapture, a failing test can be watched.
        if let Ok(filter) = std::env::var("RUST_LOG") {
            // Only the first node of a run sets the logger up, for all.
            let _ = hotseat::telemetry::log::init(&filter, LogFormat::Text);
        }
        take_compiled(&config.data_dir);
        let app = App::start(config.clone()).await?;
        keep_compiled(&config.data_dir);
        Ok(Self { app, config, dir })
    }

    /// Ends the node in good order and starts it anew on the same data.
    pub(crate) async fn restart(self) -> Self {
        let Self { app, config, dir } = self;
        timeout(PATIENCE, app.stop()).await.expect("the node does not stop");
        Self::again(config, dir).await.unwrap()
    }

    /// Ends the node in good order; what is needed to start it [`Self::again`].
    pub(crate) async fn stop_and_keep(self) -> (Config, TempDir) {
        let Self { app, config, dir } = self;
        timeout(PATIENCE, app.stop()).await.expect("the node does not stop");
        (config, dir)
    }

    /// Starts a node on what another one has left. `dir` goes with it.
    pub(crate) async fn again(config: Config, dir: TempDir) -> Result<Self, StartError> {
        // A process that restarts holds nothing of the one before; here the last connection of an operator may hold
        // the data for a moment.
        let free = async || match Self::run(config.clone(), tempfile::tempdir().unwrap()).await {
            Err(StartError::Profiles(_) | StartError::Journal(_)) => None,
            started => Some(started),
        };
        let Self { app, .. } = eventually("free data", free).await?;
        Ok(Self { app, config, dir })
    }

    /// Ends the node in good order.
    pub(crate) async fn stop(self) {
        timeout(PATIENCE, self.app.stop()).await.expect("the node does not stop");
    }

    /// A client that has not logged in.
    pub(crate) async fn stranger(&self) -> Client {
        Client::connect(self.app.addrs().listen.unwrap()).await.unwrap().with_timeout(PATIENCE)
    }

    /// A client that has logged in as the device of that name.
    pub(crate) async fn client(&self, device: &str) -> Client {
        self.player(device).await.0
    }

    /// As [`Self::client`], with the user id.
    pub(crate) async fn player(&self, device: &str) -> (Client, u64) {
        let mut client = self.stranger().await;
        let user = client.login(&Login::device(device)).await.unwrap();
        (client, user)
    }

    /// A connection that speaks bytes.
    pub(crate) async fn raw(&self) -> Wire {
        Wire { stream: TcpStream::connect(self.app.addrs().listen.unwrap()).await.unwrap(), buf: Vec::new() }
    }

    /// Puts an artefact live, as an operator would.
    pub(crate) async fn deploy(&self, artefact: &Artefact) -> Result<DeployReport, DeployError> {
        take_compiled(&self.config.data_dir);
        // Services go by names of their own; whatever is for rooms is deployed as the game.
        let Manifest { name, world, .. } = &artefact.manifest;
        let name = if world == "service" { name } else { GAME_LOGIC };
        let report = self.app.deploy(name, artefact.bytes.clone()).await;
        keep_compiled(&self.config.data_dir);
        report
    }

    /// The operator's door.
    pub(crate) async fn admin(&self) -> AdminClient<Channel> {
        admin(&self.admin_addr()).await
    }

    /// Where the operator's door is.
    pub(crate) fn admin_addr(&self) -> String {
        self.app.addrs().admin.to_string()
    }

    /// Where its services are.
    pub(crate) fn grpc_addr(&self) -> String {
        self.app.addrs().grpc.to_string()
    }

    /// A connection to its services.
    pub(crate) async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.app.addrs().grpc);
        Endpoint::from_shared(url).unwrap().connect().await.unwrap()
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    /// Where clients connect.
    pub(crate) fn listen(&self) -> String {
        self.app.addrs().listen.unwrap().to_string()
    }

    /// The game's plugin as operators see it.
    pub(crate) async fn plugin(&self) -> Plugin {
        self.plugin_named(GAME_LOGIC).await
    }

    /// A plugin as operators see it.
    pub(crate) async fn plugin_named(&self, name: &str) -> Plugin {
        let reply = self.admin().await.list_plugins(ListPluginsRequest {}).await.unwrap();
        reply.into_inner().plugins.into_iter().find(|plugin| plugin.name == name).unwrap()
    }

    /// The label of the live version.
    pub(crate) async fn live(&self) -> String {
        self.plugin().await.live.unwrap().label
    }

    /// What happened to the plugin: kind and label of each event.
    pub(crate) async fn history(&self) -> Vec<String> {
        let short = |event: &Event| format!("{} {}", event.kind, event.version.as_ref().unwrap().label);
        self.events().await.iter().map(short).collect()
    }

    /// What happened to the plugin.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let request = HistoryRequest { name: GAME_LOGIC.to_owned() };
        self.admin().await.history(request).await.unwrap().into_inner().events
    }

    /// Waits until nothing is under way: no deployment, no probation.
    pub(crate) async fn idle(&self) {
        eventually("an idle plugin", async || (self.plugin().await.state == "idle").then_some(())).await;
    }

    /// All metrics, as a scraper gets them.
    pub(crate) async fn metrics(&self) -> String {
        let (head, body) = http_get(&self.admin_addr(), "/metrics").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        body
    }

    /// The value of one metric, its labels included in the name; 0 if it is not there yet.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let all = self.metrics().await;
        let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has that value. What a client sees comes before what is counted.
    pub(crate) async fn counted(&self, name: &str, value: u64) {
        let counted = async { while self.metric(name).await != value {} };
        if timeout(PATIENCE, counted).await.is_err() {
            let family = name.split('{').next().unwrap_or(name);
            let all = self.metrics().await;
            let there: Vec<_> = all.lines().filter(|line| line.starts_with(family)).collect();
            panic!("no {name} {value} within {PATIENCE:?}, but {there:?}");
        }
    }
}

/// A client of the operator's door at that address.
pub(crate) async fn admin(addr: &str) -> AdminClient<Channel> {
    let channel = Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap();
    AdminClient::new(channel)
        .max_encoding_message_size(ADMIN_MESSAGE_MAX_BYTES)
        .max_decoding_message_size(ADMIN_MESSAGE_MAX_BYTES)
}

/// Head and body of a plain HTTP answer.
pub(crate) async fn http_get(addr: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// What `probe` finds, asked again and again; bounded.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

/// The next frame, which is a `client_error_ack`: code and text.
pub(crate) async fn refusal(client: &mut Client) -> (i32, String) {
    let frame = client.recv().await.unwrap();
    assert_eq!(frame.opcode, opcode::CLIENT_ERROR_ACK, "{:?}", frame.payload);
    let ErrorInfo { code, msg } = ErrorInfo::from_bytes(&frame.payload).unwrap();
    (code, msg)
}

/// The next frame is a `client_error_ack` with that code, then the connection ends; gives the text.
pub(crate) async fn ended(client: &mut Client, code: i32) -> String {
    let (found, text) = refusal(client).await;
    assert_eq!(found, code, "{text}");
    let end = client.recv().await;
    assert!(matches!(end, Err(ClientError::Closed { unfinished: 0, .. })), "{end:?}");
    text
}

/// Sends one frame and gives the payload of the next, which has that opcode.
pub(crate) async fn ask(client: &mut Client, request: u16, payload: &[u8], answer: u16) -> Vec<u8> {
    client.send(request, payload).await.unwrap();
    client.expect(answer).await.unwrap()
}

/// A connection that speaks bytes.
pub(crate) struct Wire {
    stream: TcpStream,
    buf: Vec<u8>,
}

impl Wire {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame, whole, as it came; `None` once the node has closed in good order.
    pub(crate) async fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((_, used)) = decode_down(&self.buf).unwrap() {
                return Some(self.buf.drain(..used).collect());
            }
            let read = self.stream.read_buf(&mut self.buf);
            if timeout(PATIENCE, read).await.expect("the node is silent").unwrap() == 0 {
                assert!(self.buf.is_empty(), "half a frame: {:?}", self.buf);
                return None;
            }
        }
    }

    /// The next frame, which is an error: opcode, code and text.
    pub(crate) async fn error(&mut self) -> (u16, i32, String) {
        let bytes = self.frame().await.expect("an error frame");
        let (frame, _) = decode_down(&bytes).unwrap().unwrap();
        assert!(opcode::is_error(frame.opcode), "opcode {}", frame.opcode);
        let ErrorInfo { code, msg } = ErrorInfo::from_bytes(frame.payload).unwrap();
        (frame.opcode, code, msg)
    }
}

/// Compiled code of earlier nodes: compiling the same guest for each of a hundred nodes is most of the time else.
fn compiled() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

/// Gives a node that is about to start or deploy the compiled code there is.
pub(crate) fn take_compiled(data_dir: &Path) {
    link_all(&compiled(), &data_dir.join("cache"));
}

fn keep_compiled(data_dir: &Path) {
    link_all(&data_dir.join("cache"), &compiled());
}

/// Whole files only, and never over one another: who reads them maps them.
fn link_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "cwasm") {
            // There already, or trimmed in the meantime: both are fine, the node compiles what it does not find.
            let _ = fs::hard_link(&path, to.join(entry.file_name()));
        }
    }
}
