//! Node: a node as a process of its own, heard through its log.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The log's file in the demo's directory.
pub(super) const LOG: &str = "node.log";
/// How long a node may take to be ready; compiling the plugin is the most of it.
const START: Duration = Duration::from_secs(60);
/// How long it may take to stop; its own grace is 10 s.
const STOP: Duration = Duration::from_secs(20);
/// Lines kept to be told when it dies.
const LAST_WORDS: usize = 6;
/// Longest line kept, bytes.
const LINE_MAX: usize = 2000;

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The process cannot be started.
    #[error("cannot start {path}")]
    Spawn {
        /// This binary.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended before it was ready.
    #[error("the node ended before it was ready:\n{0}")]
    Died(String),
    /// It is not ready in time.
    #[error("the node was not ready within {START:?}:\n{0}")]
    Late(String),
}

/// A running node. Dropped, it is killed.
pub(super) struct Node {
    child: Child,
    /// Where its players connect.
    pub(super) clients: SocketAddr,
    /// Where its operators do.
    pub(super) admin: SocketAddr,
    /// From the process's start until it was ready.
    pub(super) took: Duration,
    words: Words,
    gone: CancellationToken,
}

/// What its log has said of its addresses.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    clients: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

/// The last lines of its log.
#[derive(Debug, Clone, Default)]
struct Words(Arc<Mutex<VecDeque<String>>>);

impl Node {
    /// Starts a node on free ports with everything in `dir`.
    pub(super) async fn start(dir: &Path, plugin: &Path, probation: Duration) -> Result<Self, NodeError> {
        let begun = Instant::now();
        let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("hotseat"));
        let spawned = spawn(&path, dir, plugin, probation);
        let (mut child, stderr, log) = spawned.map_err(|source| NodeError::Spawn { path, source })?;
        let (words, gone) = (Words::default(), CancellationToken::new());
        let (sender, mut heard) = watch::channel(Heard::default());
        let reading = (words.clone(), gone.clone());
        // Reading a pipe blocks, and tokio's processes are not worth a feature.
        std::thread::spawn(move || read(stderr, log, &reading.0, &sender, reading.1));
        let ready = heard.wait_for(|heard| heard.clients.is_some() && heard.admin.is_some());
        let ready = tokio::time::timeout(START, ready).await.map(|heard| heard.map(|heard| *heard));
        match ready {
            Ok(Ok(Heard { clients: Some(clients), admin: Some(admin) })) => {
                Ok(Self { child, clients, admin, took: begun.elapsed(), words, gone })
            }
            Ok(_) => {
                reap(&mut child);
                Err(NodeError::Died(words.last()))
            }
            Err(_) => {
                reap(&mut child);
                Err(NodeError::Late(words.last()))
            }
        }
    }

    /// Its process number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Completes when it has closed its log, which it does with its end.
    pub(super) fn gone(&self) -> impl Future<Output = ()> + use<> {
        self.gone.clone().cancelled_owned()
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        self.words.last()
    }

    /// Asks it to stop, as a supervisor would, and waits for its end. None if it had to be killed.
    pub(super) async fn stop(&mut self) -> std::io::Result<Option<ExitStatus>> {
        let pid = self.pid().to_string();
        // Sending a signal takes unsafe code or the shell; every system that can run the demo has one.
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).stderr(Stdio::null()).status();
        if !sent?.success() && self.child.try_wait()?.is_none() {
            return Err(std::io::Error::other("the node takes no signal"));
        }
        let stopped = async {
            self.gone.cancelled().await;
            // The log is closed a moment before the process is over.
            loop {
                if let Some(status) = self.child.try_wait()? {
                    return Ok(status);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(STOP, stopped).await {
            Ok(status) => status.map(Some),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        reap(&mut self.child);
    }
}

fn reap(child: &mut Child) {
    // One that has ended already cannot be killed, and that is fine.
    let _ = child.kill();
    let _ = child.wait();
}

fn spawn(
    path: &Path,
    dir: &Path,
    plugin: &Path,
    probation: Duration,
) -> std::io::Result<(Child, ChildStderr, File)> {
    let log = File::create(dir.join(LOG))?;
    let mut command = Command::new(path);
    // Nothing of the caller's configuration: neither its variables nor a file in its working directory.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(crate::config::ENV_PREFIX.as_bytes()) {
            command.env_remove(name);
        }
    }
    let plugin = std::path::absolute(plugin)?;
    let mut plugin_flag = std::ffi::OsString::from("game-logic=");
    plugin_flag.push(plugin);
    command
        .current_dir(dir)
        .arg("run")
        .args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--data-dir", "data", "--log-format", "json", "--log", "info"])
        .args(["--probation-ms", &probation.as_millis().to_string()])
        .arg("--plugin")
        .arg(plugin_flag)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    match child.stderr.take() {
        Some(stderr) => Ok((child, stderr, log)),
        None => {
            reap(&mut child);
            Err(std::io::Error::other("the node has no standard error"))
        }
    }
}

/// Reads the log to its end.
fn read(
    stderr: ChildStderr,
    mut log: File,
    words: &Words,
    heard: &watch::Sender<Heard>,
    gone: CancellationToken,
) {
    let _gone = gone.drop_guard();
    for line in BufReader::new(stderr).lines() {
        // Text that is not UTF-8 is none of the node's.
        let Ok(line) = line else { continue };
        // A full disk costs the log, not the demo.
        let _ = writeln!(log, "{line}");
        if let Some((what, address)) = listening(&line) {
            heard.send_modify(|heard| match what.as_str() {
                "clients" => heard.clients = Some(address),
                "admin" => heard.admin = Some(address),
                _ => {}
            });
        }
        words.hear(line);
    }
}

/// What listens where, if that is what the line says.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    if line.get("message")? != "listening" {
        return None;
    }
    let what = line.get("what")?.as_str()?.to_owned();
    Some((what, line.get("address")?.as_str()?.parse().ok()?))
}

impl Words {
    fn hear(&self, mut line: String) {
        let end = line.floor_char_boundary(LINE_MAX);
        line.truncate(end);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LAST_WORDS {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn last(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = lines.iter().map(|line| format!("    {line}")).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_off_the_log() {
        let line = r#"{"level":"INFO","message":"listening","what":"admin","address":"127.0.0.1:9600"}"#;
        let expected = ("admin".to_owned(), SocketAddr::from(([127, 0, 0, 1], 9600)));
        assert_eq!(listening(line), Some(expected));
        for other in ["", "thread panicked", "{}", r#"{"message":"listening"}"#, r#"{"message":"stopped"}"#] {
            assert_eq!(listening(other), None, "{other}");
        }
    }

    #[test]
    fn the_last_words_are_bounded() {
        let words = Words::default();
        for number in 0..100 {
            words.hear(format!("{number} {}", "ä".repeat(LINE_MAX)));
        }
        let last = words.last();
        assert_eq!(last.lines().count(), LAST_WORDS);
        assert!(last.starts_with("    94 ") && last.len() < LAST_WORDS * (LINE_MAX + 8));
    }
}
