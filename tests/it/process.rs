//! Process: the binary itself, as a supervisor or a shell runs it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hotseat_build::Artefact;
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::world::{PATIENCE, take_compiled};

/// The binary in a directory, without any setting of whoever runs the tests.
pub(crate) fn hotseat(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotseat"));
    command.current_dir(dir).stdin(Stdio::null());
    let ours = |name: &str| name.starts_with("HOTSEAT_") && name != "HOTSEAT_WASM_TOOLCHAIN";
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        command.env_remove(name);
    }
    command
}

/// What a command wrote and how it ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Told {
    /// Standard output of a command that went well.
    #[track_caller]
    pub(crate) fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self.out
    }

    /// Standard error of a command that ended with this status and names all of these.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "{:?} does not name {word:?}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self.err
    }
}

/// Runs `hotseat` to its end, in an empty directory.
pub(crate) fn run(args: &[&str]) -> Told {
    let dir = tempfile::tempdir().unwrap();
    hotseat(dir.path()).args(args).output().unwrap().into()
}

/// Runs `hotseat` against a node's admin address to its good end, and holds no other task up; what it wrote.
pub(crate) async fn operate(admin: &str, args: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = hotseat(dir.path());
    command.args(args).env("HOTSEAT_ADMIN", admin);
    tokio::task::spawn_blocking(move || Told::from(command.output().unwrap())).await.unwrap().fine()
}

/// Sends a signal, by name. After STOP no thread of the process runs any more.
pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(sent.unwrap().success());
    let end = Instant::now() + PATIENCE;
    while name == "STOP" && !stands_still(child.id()) {
        assert!(Instant::now() < end, "it does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the system has stopped every thread of a process: it may run on for a moment after the signal was sent.
fn stands_still(process: u32) -> bool {
    std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten().all(|thread| {
        let state = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name of a thread may hold brackets and spaces; its state follows the last bracket.
        state.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

/// A way to a node's gRPC address, taken once something is asked.
pub(crate) fn channel(grpc: &str) -> Channel {
    Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect_lazy()
}

/// A node in a process of its own.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    /// What it listens on: `clients`, `grpc`, `admin`.
    addrs: BTreeMap<String, String>,
    _dir: TempDir,
}

/// Lines of a node's log that are kept.
const LOG_MAX: usize = 100_000;

impl Process {
    /// `hotseat run` on `plugin`, up and listening.
    pub(crate) fn start(plugin: &Artefact, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("first.wasm");
        std::fs::write(&file, &plugin.bytes).unwrap();
        take_compiled(&dir.path().join("hotseat-data"));
        let mut command = hotseat(dir.path());
        command.arg("run").arg(format!("--plugin=game-logic={}", file.display()));
        Self::of(command.args(args), dir)
    }

    /// A command that runs a node, with free ports, once it listens. `dir` goes with the process.
    pub(crate) fn of(command: &mut Command, dir: TempDir) -> Self {
        Self::with_doors(command, dir, 3)
    }

    /// As [`Self::of`], for a node that has fewer addresses: clients connect to agents alone.
    pub(crate) fn with_doors(command: &mut Command, dir: TempDir, doors: usize) -> Self {
        let mut process = Self::launched(command, dir);
        process.listens(doors);
        process
    }

    /// As [`Self::of`], whether it comes to listen or not.
    pub(crate) fn launched(command: &mut Command, dir: TempDir) -> Self {
        let anywhere = "127.0.0.1:0";
        command.args(["--limits", "off", "--home-rooms", "1"]).args([
            "--listen",
            anywhere,
            "--grpc-listen",
            anywhere,
            "--admin-listen",
            anywhere,
        ]);
        Self::as_given(command, dir)
    }

    /// As [`Self::launched`], with the addresses and limits that the command has.
    pub(crate) fn as_given(command: &mut Command, dir: TempDir) -> Self {
        command.args(["--log-format", "json"]);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut lines = lines.lock().unwrap();
                if lines.len() < LOG_MAX {
                    lines.push(line);
                }
            }
        });
        Self { child, log, reader: Some(reader), addrs: BTreeMap::new(), _dir: dir }
    }

    /// Waits until it listens on so many addresses.
    pub(crate) fn listens(&mut self, doors: usize) {
        self.wait("all addresses", |process| {
            for event in process.events() {
                if let (Some(what), Some(addr)) = (event["what"].as_str(), event["address"].as_str()) {
                    process.addrs.insert(what.to_owned(), addr.to_owned());
                }
            }
            process.addrs.len() == doors
        });
    }

    /// Where clients connect.
    pub(crate) fn clients(&self) -> &str {
        &self.addrs["clients"]
    }

    /// Where other services connect.
    pub(crate) fn grpc(&self) -> &str {
        &self.addrs["grpc"]
    }

    /// Where operators connect.
    pub(crate) fn admin(&self) -> &str {
        &self.addrs["admin"]
    }

    /// What it wrote on standard error so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The log so far: those lines that are JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until `done`, at most as long as a build may take.
    pub(crate) fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + 3 * PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "no {what}: {:?}", self.lines());
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {:?}", self.lines());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// How it ended. Its log is complete then.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reader) = self.reader.take() {
                    reader.join().unwrap();
                }
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end with its standard output and error in one text, for tools that are not ours.
pub(crate) fn tool(command: &mut Command) -> String {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).unwrap();
        text
    });
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let text = out + &reader.join().unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}\n{text}");
    text
}
