//! What a round trip costs the node: client, agent, room in Wasm, back.
//!
//! Closed loop over TCP on loopback: every client has one frame under way, 12 bytes there, 8 bytes back; the load
//! generator runs on the same cores. Measured is the processor time of the *server process* (user and system, from
//! `/proc`) per million round trips, which survives a noisy machine better than any rate; in the same run the same
//! load is put on the floor, a bare single-threaded epoll echo.
//!
//! `cargo bench -p hotseat --bench frame_path -- [--clients 64,256,1000] [--seconds 4] [--runs 3]`

mod load;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use load::{Kind, Round};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--floor-server") {
        return load::floor::serve();
    }
    let clients: Vec<usize> =
        option(&args, "--clients", "64,256,1000").split(',').map(str::parse).collect::<Result<_, _>>()?;
    let seconds = Duration::from_secs_f64(option(&args, "--seconds", "4").parse()?);
    let runs: usize = option(&args, "--runs", "3").parse()?;

    let mut out = std::io::stdout();
    writeln!(out, "clients  path        CPU s/M   x floor   k/s    p50 ms   p99 ms   (medians of {runs})")?;
    for clients in clients {
        let mut floor = 0.0;
        for path in [Path::Floor, Path::Heartbeat, Path::Ping] {
            let mut rounds = Vec::new();
            for _ in 0..runs {
                rounds.push(measure(path, clients, seconds)?);
            }
            let round = median(rounds);
            if let Path::Floor = path {
                floor = round.cpu_per_million();
            }
            writeln!(
                out,
                "{clients:>7}  {:<10} {:>8.2} {:>9.2} {:>7.1} {:>8.2} {:>8.2}",
                path.name(),
                round.cpu_per_million(),
                round.cpu_per_million() / floor,
                round.per_second() / 1000.0,
                round.p50_ms,
                round.p99_ms,
            )?;
        }
    }
    Ok(())
}

fn option<'a>(args: &'a [String], name: &str, default: &'a str) -> &'a str {
    let at = args.iter().position(|arg| arg == name);
    at.and_then(|at| args.get(at + 1)).map_or(default, String::as_str)
}

fn median(mut rounds: Vec<Round>) -> Round {
    rounds.sort_by(|a, b| a.cpu_per_million().total_cmp(&b.cpu_per_million()));
    rounds.swap_remove(rounds.len() / 2)
}

#[derive(Clone, Copy)]
enum Path {
    Floor,
    Heartbeat,
    Ping,
}

impl Path {
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Heartbeat => "heartbeat",
            Self::Ping => "ping",
        }
    }
}

fn measure(path: Path, clients: usize, time: Duration) -> Result<Round> {
    let server = match path {
        Path::Floor => Server::floor()?,
        Path::Heartbeat | Path::Ping => Server::node()?,
    };
    let kind = match path {
        Path::Floor => Kind::Bare,
        Path::Heartbeat => Kind::Heartbeat,
        Path::Ping => Kind::Ping,
    };
    load::drive(server.addr.parse()?, server.child.id(), kind, clients, time)
}

/// A server process; ended with this.
struct Server {
    child: Child,
    addr: String,
    _data: Option<tempfile::TempDir>,
}

impl Server {
    fn floor() -> Result<Self> {
        let mut child =
            Command::new(std::env::current_exe()?).arg("--floor-server").stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut addr = String::new();
        BufReader::new(stdout).read_line(&mut addr)?;
        Ok(Self { child, addr: addr.trim().to_owned(), _data: None })
    }

    fn node() -> Result<Self> {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_hotseat"));
        let plugin =
            binary.parent().context("the binary is in a directory")?.join("../plugins/game-logic.wasm");
        if !plugin.is_file() {
            bail!("{} is not there: run `cargo xtask build`", plugin.display());
        }
        let data = tempfile::tempdir()?;
        let any = "127.0.0.1:0";
        let mut child = Command::new(&binary)
            .args(["run", "--listen", any, "--grpc-listen", any, "--admin-listen", any])
            .args(["--limits", "off", "--log-format", "json"])
            .arg("--data-dir")
            .arg(data.path())
            .arg("--plugin")
            .arg(format!("game-logic={}", plugin.display()))
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = BufReader::new(child.stderr.take().context("stderr is piped")?);
        let mut lines = stderr.lines();
        let addr = loop {
            let line = lines.next().context("the node ended before it listened")??;
            let event: serde_json::Value = serde_json::from_str(&line)?;
            if event["what"] == "clients" {
                break event["address"].as_str().context("an address")?.to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, addr, _data: Some(data) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing worth a graceful end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
