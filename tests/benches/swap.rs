//! How long a swap keeps players waiting.
//!
//! A node in this process runs 32 rooms with states of one size, each with a player over TCP that pings as fast as
//! answers come. Two builds of the same guest take turns, 20 times. Reported: the time rooms stood still, as the
//! node measures it, over all rooms and swaps; and the longest gap between two answers that any player saw during
//! the swaps, next to the longest in an equal time without any.
//!
//! `cargo bench -p hotseat --bench swap -- [--kib 1,64] [--rooms 32] [--swaps 20]`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hotseat::app::App;
use hotseat::config::Config;
use hotseat_build::{BuildOptions, Toolchain};
use hotseat_client::{Client, Login};

const ECHO: u16 = 3011;
const FILL: u16 = 3019;
const ANSWER: u16 = 100;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: &str| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).cloned().unwrap_or_else(|| default.to_owned())
    };
    let sizes: Vec<u32> = option("--kib", "1,64").split(',').map(str::parse).collect::<Result<_, _>>()?;
    let rooms: usize = option("--rooms", "32").parse()?;
    let swaps: usize = option("--swaps", "20").parse()?;

    let versions = [build("1.0.0")?, build("1.0.1")?];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut out = std::io::stdout();
    writeln!(out, "state KiB  rooms  swaps   pause p50 ms  p99 ms  max ms   longest gap ms: swapping  idle")?;
    for kib in sizes {
        let figures = runtime.block_on(measure(kib, rooms, swaps, &versions))?;
        writeln!(out, "{kib:>9}  {rooms:>5}  {swaps:>5}   {figures}")?;
    }
    Ok(())
}

fn build(version: &str) -> Result<Vec<u8>> {
    let toolchain = Toolchain::find(&mut |_| {})?;
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/misbehave");
    let mut options = BuildOptions::new(guest);
    options.version = Some(version.parse()?);
    Ok(hotseat_build::build(&toolchain, &options, &mut |_| {})?.bytes)
}

async fn measure(kib: u32, rooms: usize, swaps: usize, versions: &[Vec<u8>; 2]) -> Result<String> {
    let data = tempfile::tempdir()?;
    let app = App::start(config(data.path(), &versions[0])?).await?;
    let gap = Arc::new(Gap::default());
    let mut players = Vec::new();
    for at in 0..rooms {
        let mut client = Client::connect(app.addrs().listen.context("no agent")?)
            .await?
            .with_timeout(Duration::from_secs(30));
        // A home room each, as far as the hash allows: there are far more rooms than players.
        client.login(&Login::device(format!("player-{at}"))).await?;
        client.send(FILL, &(kib << 10).to_be_bytes()).await?;
        client.expect(FILL + ANSWER).await?;
        players.push(tokio::spawn(play(client, Arc::clone(&gap))));
    }
    let mut pauses = Vec::new();
    gap.reset();
    let started = Instant::now();
    for at in 0..swaps {
        let report = app.deploy("game-logic", versions[(at + 1) % 2].clone()).await?;
        pauses.extend(report.pauses);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let swapping = gap.reset();
    tokio::time::sleep(started.elapsed()).await;
    let idle = gap.reset();
    gap.stop.store(true, Ordering::Relaxed);
    for player in players {
        player.await?.context("a player lost its connection or an answer")?;
    }
    app.stop().await;
    pauses.sort();
    let at =
        |percent: usize| pauses[(pauses.len() * percent).div_ceil(100).saturating_sub(1)].as_secs_f64() * 1e3;
    Ok(format!("{:>12.3} {:>7.3} {:>7.3}   {swapping:>24.1} {idle:>5.1}", at(50), at(99), at(100)))
}

fn config(data: &Path, artefact: &[u8]) -> Result<Config> {
    let file: PathBuf = data.join("first.wasm");
    std::fs::write(&file, artefact)?;
    let any = "127.0.0.1:0".parse()?;
    Ok(Config {
        listen: any,
        grpc_listen: any,
        admin_listen: any,
        data_dir: data.join("data"),
        plugin: [("game-logic".to_owned(), file)].into(),
        limits: false,
        home_rooms: 2048,
        probation_ms: 0,
        compile_program: Some(env!("CARGO_BIN_EXE_hotseat").into()),
        ..Config::default()
    })
}

/// The longest time between two answers of one player since the last reset.
#[derive(Default)]
struct Gap {
    longest_us: AtomicU64,
    stop: AtomicBool,
}

impl Gap {
    fn reset(&self) -> f64 {
        self.longest_us.swap(0, Ordering::Relaxed) as f64 / 1000.0
    }
}

async fn play(mut client: Client, gap: Arc<Gap>) -> Result<()> {
    let mut last = Instant::now();
    let mut count = 0u32;
    while !gap.stop.load(Ordering::Relaxed) {
        count += 1;
        client.send(ECHO, &count.to_be_bytes()).await?;
        let answer = client.expect(ECHO + ANSWER).await?;
        anyhow::ensure!(answer == count.to_be_bytes(), "answer {answer:?} to {count}");
        let now = Instant::now();
        let waited = u64::try_from((now - last).as_micros())?;
        gap.longest_us.fetch_max(waited, Ordering::Relaxed);
        last = now;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
