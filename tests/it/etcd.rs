//! Etcd: a real one, in a process of its own, on ports and a directory of its own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use etcd_client::{Client, CompactionOptions};
use hotseat::discovery::{Discovery, Options};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::world::eventually;

/// Ports that the system gives to nobody by itself, so that an etcd that starts again finds its own free.
const PORTS: std::ops::Range<u16> = 18_000..32_000;

/// A port that nothing listens on, and that no other test of this run is given.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let begin = u16::try_from(std::process::id() % u32::from(span)).unwrap();
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + (begin.wrapping_add(step)) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The `etcd` program: named by `HOTSEAT_ETCD`, or found in `PATH`.
fn program() -> PathBuf {
    std::env::var_os("HOTSEAT_ETCD").map_or_else(|| PathBuf::from("etcd"), PathBuf::from)
}

/// A running etcd of one member; it ends with this.
pub(crate) struct Etcd {
    child: Option<Child>,
    dir: TempDir,
    port: u16,
    peer_port: u16,
    /// Certificate, key and who may sign those of clients: files.
    tls: Option<[PathBuf; 3]>,
}

impl Etcd {
    /// One that answers.
    pub(crate) async fn start() -> Self {
        let mut etcd = Self::stopped();
        etcd.restart().await;
        etcd
    }

    /// One that has ports and does not run yet.
    pub(crate) fn stopped() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { child: None, dir, port: free_port(), peer_port: free_port(), tls: None }
    }

    /// One that speaks TLS alone, with these files: certificate, key, and who may sign those of clients. It may not
    /// answer yet.
    pub(crate) fn start_tls(files: [PathBuf; 3]) -> Self {
        let mut etcd = Self::stopped();
        etcd.tls = Some(files);
        etcd.spawn();
        etcd
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://127.0.0.1:PORT`, or `https`.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr())
    }

    /// A client of the tests' own, of an etcd that answers.
    pub(crate) async fn client(&self) -> Client {
        eventually("etcd", async || {
            let mut client = Client::connect([self.url()], None).await.ok()?;
            client.get("health", None).await.ok()?;
            Some(client)
        })
        .await
    }

    /// A node's discovery on it: prefix `/test`, a lease of so many seconds.
    pub(crate) fn discovery(&self, ttl_s: u64) -> Discovery {
        Discovery::etcd(options(&self.url(), ttl_s)).unwrap()
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it on the same ports and data; waits until it answers.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        // Somebody's connection may hold the port for a moment; etcd ends itself then.
        eventually("an etcd that stays", async || {
            if self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some()) {
                self.spawn();
            }
            let mut client = Client::connect([self.url()], None).await.ok()?;
            client.get("health", None).await.ok()
        })
        .await;
    }

    /// Starts it on the same ports without its data; waits until it answers.
    pub(crate) async fn restart_empty(&mut self) {
        self.kill();
        self.dir = tempfile::tempdir().unwrap();
        self.restart().await;
    }

    /// Stops it where it stands: connections stay, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// Forgets all revisions but the present one.
    pub(crate) async fn compact(&self) {
        let mut client = self.client().await;
        let now = client.get("health", None).await.unwrap().header().unwrap().revision();
        client.compact(now, Some(CompactionOptions::new().with_physical())).await.unwrap();
    }

    fn signal(&self, name: &str) {
        crate::process::signal(self.child.as_ref().expect("it runs"), name);
    }

    fn spawn(&mut self) {
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new(program());
        command
            .args(["--name", "one", "--logger", "zap", "--log-level", "error", "--log-outputs", "stderr"])
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(["--listen-client-urls", &self.url(), "--advertise-client-urls", &self.url()])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some([certificate, key, ca]) = &self.tls {
            command.arg("--client-cert-auth").arg("--cert-file").arg(certificate);
            command.arg("--key-file").arg(key).arg("--trusted-ca-file").arg(ca);
        }
        let named = || format!("{} does not run: `cargo xtask setup`, or HOTSEAT_ETCD", program().display());
        self.child = Some(command.spawn().unwrap_or_else(|_| panic!("{}", named())));
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already. A stopped process can be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a node is told of an etcd there.
pub(crate) fn options(url: &str, ttl_s: u64) -> Options {
    Options {
        endpoints: vec![url.to_owned()],
        prefix: "/test".into(),
        user: None,
        tls: None,
        ttl: std::time::Duration::from_secs(ttl_s),
    }
}

/// A way to an etcd that can be cut, while etcd itself lives.
pub(crate) struct Way {
    port: u16,
    cut: Arc<Mutex<Option<CancellationToken>>>,
    _tasks: JoinSet<()>,
}

impl Way {
    pub(crate) async fn to(etcd: &Etcd) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(Mutex::new(Some(CancellationToken::new())));
        let (addr, state, mut tasks) = (etcd.addr(), Arc::clone(&cut), JoinSet::new());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let Some(end) = state.lock().unwrap().clone() else { continue };
                let addr = addr.clone();
                open.spawn(end.run_until_cancelled_owned(async move {
                    if let Ok(mut far) = tokio::net::TcpStream::connect(addr).await {
                        // Either side may end it.
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                }));
            }
        });
        Self { port, cut, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends all connections and takes no new ones.
    pub(crate) fn cut(&self) {
        if let Some(open) = self.cut.lock().unwrap().take() {
            open.cancel();
        }
    }

    pub(crate) fn mend(&self) {
        *self.cut.lock().unwrap() = Some(CancellationToken::new());
    }
}
