//! A node in a process of its own, and what it costs: for benchmarks that measure a node from outside.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// The value behind the argument `name`.
pub(crate) fn option<'a>(args: &'a [String], name: &str, default: &'a str) -> &'a str {
    let at = args.iter().position(|arg| arg == name);
    at.and_then(|at| args.get(at + 1)).map_or(default, String::as_str)
}

/// The one in the middle by what `by` says of them.
pub(crate) fn median<T>(mut rounds: Vec<T>, by: impl Fn(&T) -> f64) -> Result<T> {
    rounds.sort_by(|a, b| by(a).total_cmp(&by(b)));
    if rounds.is_empty() {
        bail!("a median takes one run or more");
    }
    Ok(rounds.swap_remove(rounds.len() / 2))
}

/// Processor time of a process so far, user and system, in steps of 10 ms.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in brackets that may hold blanks; the 14th and 15th are ticks of 10 ms.
    let fields = stat.rsplit_once(')').context("a process's stat line")?.1;
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

/// A node on ports and data of its own; ended with this.
pub(crate) struct Node {
    child: Child,
    addresses: BTreeMap<String, String>,
    _data: tempfile::TempDir,
}

impl Node {
    /// Starts one that runs `plugins` as `cargo xtask build` has made them, with no limits on clients, and waits until it
    /// listens.
    pub(crate) fn start(plugins: &[&str], arguments: &[&str]) -> Result<Self> {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_hotseat"));
        let data = tempfile::tempdir()?;
        let any = "127.0.0.1:0";
        let mut command = Command::new(&binary);
        command
            .args(["run", "--listen", any, "--grpc-listen", any, "--admin-listen", any])
            .args(["--limits", "off", "--log-format", "json"])
            .args(arguments)
            .arg("--data-dir")
            .arg(data.path());
        for name in plugins {
            let plugin = binary.with_file_name(format!("../plugins/{name}.wasm"));
            if !plugin.is_file() {
                bail!("{} is not there: run `cargo xtask build`", plugin.display());
            }
            command.arg("--plugin").arg(format!("{name}={}", plugin.display()));
        }
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        // From here on it ends with this value, whatever goes wrong.
        let mut node = Self { child, addresses: BTreeMap::new(), _data: data };
        let mut lines = BufReader::new(stderr).lines();
        // The last one that it tells of.
        while !node.addresses.contains_key("admin") {
            let line = lines.next().context("the node ended before it listened")??;
            let event: serde_json::Value = serde_json::from_str(&line)?;
            if let (Some(what), Some(address)) = (event["what"].as_str(), event["address"].as_str()) {
                node.addresses.insert(what.to_owned(), address.to_owned());
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Ok(node)
    }

    /// Where it listens: `clients`, `grpc` or `admin`.
    pub(crate) fn address(&self, what: &str) -> Result<&str> {
        self.addresses
            .get(what)
            .map(String::as_str)
            .with_context(|| format!("the node has no {what} address"))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It holds nothing worth a graceful end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
