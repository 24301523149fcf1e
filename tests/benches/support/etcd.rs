//! An etcd of one member: for benchmarks of what stands on one.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

/// The program named by `HOTSEAT_ETCD`, or `etcd` in `PATH`, on ports and a directory of its own; ended with this.
pub(crate) struct Etcd {
    child: Child,
    addr: String,
    _dir: tempfile::TempDir,
}

impl Etcd {
    /// Starts it; it may not answer yet.
    pub(crate) fn start() -> Result<Self> {
        let program = std::env::var_os("HOTSEAT_ETCD").map_or_else(|| PathBuf::from("etcd"), PathBuf::from);
        let dir = tempfile::tempdir()?;
        // Both at once, so that they differ.
        let ports = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [addr, peer] = [ports[0].local_addr()?.to_string(), ports[1].local_addr()?.to_string()];
        drop(ports);
        let (url, peer) = (format!("http://{addr}"), format!("http://{peer}"));
        let child = Command::new(&program)
            .args(["--name", "one", "--initial-cluster", &format!("one={peer}"), "--data-dir"])
            .arg(dir.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not run", program.display()))?;
        Ok(Self { child, addr, _dir: dir })
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It holds nothing worth a graceful end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
