//! What a good player notices of a hostile guest in other rooms of the same node.
//!
//! A node in a process of its own runs a guest whose rooms are greedy on request; the hostile players are in a second
//! process, the good one is in this one, in a room of its own. It sends 12 bytes every 2 ms, waits for the echo, and the
//! round trip is taken; next to it a new player logs in twice a second. Everything is on the same cores, the load
//! generators too. Measured from the moment when the rooms turn greedy, so the time before they are noticed is in it.
//!
//! `cargo bench -p hotseat --bench bystander -- [--seconds 8] [--runs 1] [--cases quiet,loop4,...]`

#[path = "bystander/hostile.rs"]
mod hostile;
#[path = "support/node.rs"]
mod node;
#[path = "bystander/outside.rs"]
mod outside;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use greedy::{ANSWER, ECHO, Greed};
use hdrhistogram::Histogram;
use hotseat_build::{BuildOptions, Toolchain};
use hotseat_client::{Client, Login};
use node::{Node, cpu_of, median, option};

/// A way to be hostile: its name, how many rooms, what they do.
const CASES: [(&str, usize, Greed, u32); 9] = [
    ("quiet", 0, Greed::None, 0),
    ("loop4", 4, Greed::Loop, 0),
    ("loop63", 63, Greed::Loop, 0),
    ("work4", 4, Greed::Work, 7_000_000),
    ("work63", 63, Greed::Work, 200_000),
    ("frames63", 63, Greed::Frames, 1000),
    ("bytes63", 63, Greed::Bytes, 60_000),
    ("shuttle", 8, Greed::Shuttle, 0),
    ("memory63", 63, Greed::Memory, 60),
];

/// A module that takes long to compile is deployed beside the good player.
const COMPILE: &str = "compile";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == hostile::ARGUMENT) {
        return hostile::run(&args[1..]);
    }
    let seconds = Duration::from_secs_f64(option(&args, "--seconds", "8").parse()?);
    let runs: usize = option(&args, "--runs", "1").parse()?;
    let wanted = option(&args, "--cases", "all");
    let dir = tempfile::tempdir()?;
    let guest = build(dir.path())?;
    let mut out = std::io::stdout();
    writeln!(out, "beside      pings   p50 ms   p99 ms   max ms   login max ms   cores   closed   stop s")?;
    let hostile =
        CASES.map(|(name, rooms, greed, number)| (name, Case { rooms, greed, number, compile: false }));
    let compile = Case { rooms: 0, greed: Greed::None, number: 0, compile: true };
    for (name, case) in hostile.into_iter().chain([(COMPILE, compile)]) {
        if wanted == "all" || wanted.split(',').any(|wanted| wanted == name) {
            let rows: Vec<Row> = (0..runs).map(|_| case.measure(&guest, seconds)).collect::<Result<_>>()?;
            writeln!(out, "{name:<10} {}", median(rows, |row| row.p99_ms)?.text)?;
        }
    }
    Ok(())
}

fn build(dir: &Path) -> Result<PathBuf> {
    let toolchain = Toolchain::find(&mut |_| {})?;
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/greedy");
    let bytes = hotseat_build::build(&toolchain, &BuildOptions::new(guest), &mut |_| {})?.bytes;
    let file = dir.join("greedy.wasm");
    std::fs::write(&file, bytes)?;
    Ok(file)
}

struct Row {
    p99_ms: f64,
    text: String,
}

struct Case {
    rooms: usize,
    greed: Greed,
    number: u32,
    compile: bool,
}

impl Case {
    fn measure(&self, guest: &Path, time: Duration) -> Result<Row> {
        let plugin = format!("game-logic={}", guest.display());
        // A home room each, as far as the hash allows.
        let arguments = ["--plugin", &plugin, "--home-rooms", "4096", "--max-sessions", "10000"];
        let node = Node::start(&[], &arguments)?;
        let address = node.address("clients")?.to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let seen = runtime.block_on(self.play(&address, &node, time))?;
        let stopped = outside::stop(node.pid(), Duration::from_secs(60))?;
        let stop = stopped.map_or_else(|| "never".to_owned(), |time| format!("{:.1}", time.as_secs_f64()));
        let ms = |us: u64| us as f64 / 1000.0;
        let pings = &seen.pings;
        let p99_ms = ms(pings.value_at_quantile(0.99));
        let text = format!(
            "{:>6} {:>8.2} {:>8.2} {:>8.1} {:>14.1} {:>7.2} {:>8} {:>8}",
            pings.len(),
            ms(pings.value_at_quantile(0.5)),
            p99_ms,
            ms(pings.max()),
            seen.login.as_secs_f64() * 1e3,
            seen.cores,
            seen.closed,
            stop,
        );
        Ok(Row { p99_ms, text })
    }

    async fn play(&self, address: &str, node: &Node, time: Duration) -> Result<Seen> {
        let mut good = Client::connect(address).await?.with_timeout(Duration::from_secs(60));
        good.login(&Login::device("a good player")).await?;
        echo(&mut good).await?;
        let mut hostile = Hostile::start(address, self)?;
        let compile = self.compile.then(|| deploy(node)).transpose()?;
        let logins = tokio::spawn(logins(address.to_owned(), time));
        let spent = cpu_of(node.pid())?;
        let (started, mut pings) = (Instant::now(), Histogram::new_with_bounds(1, 120_000_000, 3)?);
        while started.elapsed() < time {
            let sent = Instant::now();
            echo(&mut good).await?;
            pings.saturating_record(u64::try_from(sent.elapsed().as_micros())?.max(1));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let cores = (cpu_of(node.pid())? - spent).as_secs_f64() / started.elapsed().as_secs_f64();
        let login = logins.await??;
        hostile.child.as_mut().map(Child::kill).transpose()?;
        if let Some(mut compile) = compile {
            // It need not be at its end.
            let _ = compile.kill();
            let _ = compile.wait();
        }
        let closed = outside::metric(node.address("admin")?, "hotseat_overload_closed_total")?;
        Ok(Seen { pings, login, cores, closed })
    }
}

struct Seen {
    pings: Histogram<u64>,
    login: Duration,
    cores: f64,
    closed: u64,
}

async fn echo(client: &mut Client) -> Result<()> {
    client.send(ECHO, b"twelve bytes").await?;
    client.wait_for(ECHO + ANSWER).await?;
    Ok(())
}

/// The longest that a new player waited until its first echo.
async fn logins(address: String, time: Duration) -> Result<Duration> {
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    for at in 0.. {
        if started.elapsed() >= time {
            break;
        }
        let begun = Instant::now();
        let mut client = Client::connect(&address).await?.with_timeout(Duration::from_secs(60));
        client.login(&Login::device(format!("newcomer {at}"))).await?;
        echo(&mut client).await?;
        longest = longest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(longest)
}

/// The process with the hostile players; ended with this.
struct Hostile {
    child: Option<Child>,
}

impl Hostile {
    /// Returns when their rooms are about to turn greedy.
    fn start(address: &str, case: &Case) -> Result<Self> {
        if case.rooms == 0 {
            return Ok(Self { child: None });
        }
        let arguments = [address.to_owned(), case.rooms.to_string(), (case.greed as u8).to_string()];
        let mut child = Command::new(std::env::current_exe()?)
            .arg(hostile::ARGUMENT)
            .args(arguments)
            .arg(case.number.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("stdout is piped")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        if line.trim() != hostile::READY {
            bail!("the hostile players are not there: {line:?}");
        }
        Ok(Self { child: Some(child) })
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Deploys a component with a function that the compiler takes long for: loops in loops around many locals.
fn deploy(node: &Node) -> Result<Child> {
    let (depth, locals) = (120, 600);
    let body = (0..locals).map(|at| format!("(local.set {at} (i32.add (local.get {at}) (i32.const 3)))"));
    let loops = "(loop ".repeat(depth) + &body.collect::<String>() + &")".repeat(depth);
    let module =
        format!("(component (core module (func (export \"f\") (local {}) {loops})))", "i32 ".repeat(locals));
    let bytes = wat::parse_str(module)?;
    let manifest = hotseat_build::Manifest::parse(
        "name = \"game-logic\"\nversion = \"9.0.0\"\nworld = \"game-logic\"\n",
    )?;
    let file = tempfile::NamedTempFile::new()?.into_temp_path().keep()?;
    std::fs::write(&file, hotseat_build::with_manifest(bytes, &manifest))?;
    let command = Command::new(env!("CARGO_BIN_EXE_hotseat"))
        .args(["plugin", "deploy", "game-logic"])
        .arg(&file)
        .args(["--admin", node.address("admin")?])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(command)
}
