//! What ids and sequences cost.
//!
//! In process: how many ids a second one thread draws, and a hundred million in a row, each above the one before. Then
//! through gRPC: the service in a process of its own, the load generator on the same cores with a number of requests
//! under way over four connections; measured is the processor time of the *server alone* (user and system, from `/proc`)
//! per million requests. `Next` is measured on the table in the process and, if there is an `etcd`, on that.
//!
//! `cargo bench -p hotseat --bench snowflake -- [--seconds 3] [--million 100] [--callers 1,64,256]`

#[path = "support/etcd.rs"]
mod etcd;
#[path = "support/requests.rs"]
mod requests;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use etcd::Etcd;
use hotseat::discovery::{Discovery, Options};
use hotseat::proto::original::snowflake::{Key, NullRequest};
use hotseat::proto::original::snowflake_service_client::SnowflakeServiceClient;
use hotseat::proto::original::snowflake_service_server::SnowflakeServiceServer;
use hotseat::snowflake::{Clock, Generator, GeneratorError, Parts, SequenceOptions, Snowflake};
use prometheus::Registry;
use requests::Round;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};

const CONNECTIONS: usize = 4;
/// What the child is told to be the server.
const SERVE: &str = "--serve";

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == SERVE) {
        return serve(option(&args, SERVE, ""), option(&args, "--etcd", "")).await;
    }
    let time = Duration::from_secs_f64(option(&args, "--seconds", "3").parse()?);
    let million: u64 = option(&args, "--million", "100").parse()?;
    let callers: Vec<usize> =
        option(&args, "--callers", "1,64,256").split(',').map(str::parse).collect::<Result<_, _>>()?;
    let mut out = std::io::stdout();
    in_process(&mut out).await?;
    in_a_row(&mut out, million * 1_000_000)?;

    writeln!(out, "\n{:<34} {:>8} {:>8} {:>8} {:>8}", "", "CPU s/M", "k/s", "p50 ms", "p99 ms")?;
    let server = Service::start(None)?;
    for callers in &callers {
        let round = drive(&server, *callers, time, |channel| async move {
            SnowflakeServiceClient::new(channel).get_uuid(NullRequest {}).await.is_ok()
        });
        show(&mut out, &format!("GetUUID, {callers} callers"), round.await?)?;
    }
    let next = |channel| async move {
        SnowflakeServiceClient::new(channel).next(Key { name: "s".to_owned() }).await.is_ok()
    };
    for callers in &callers {
        let round = drive(&server, *callers, time, next).await?;
        show(&mut out, &format!("Next, {callers} callers, table on disk"), round)?;
    }
    drop(server);
    let Ok(etcd) = Etcd::start() else {
        writeln!(out, "no etcd in PATH or HOTSEAT_ETCD: Next on etcd is not measured")?;
        return Ok(());
    };
    let server = Service::start(Some(&format!("http://{}", etcd.addr())))?;
    for callers in &callers {
        let round = drive(&server, *callers, time, next).await?;
        show(&mut out, &format!("Next, {callers} callers, etcd"), round)?;
    }
    Ok(())
}

fn option<'a>(args: &'a [String], name: &str, default: &'a str) -> &'a str {
    let at = args.iter().position(|arg| arg == name);
    at.and_then(|at| args.get(at + 1)).map_or(default, String::as_str)
}

/// One thread draws what the second ahead of the clock allows at once, so the format's pace is not what is measured.
async fn in_process(out: &mut impl std::io::Write) -> Result<()> {
    const IDS: u32 = 3_000_000;
    let mut line = |what: &str, mut draw: Box<dyn FnMut() -> u64>| {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            // Callers are at most a second ahead; after two the clock has caught up.
            std::thread::sleep(Duration::from_secs(2));
            let since = Instant::now();
            let last = (0..IDS).fold(0, |last, _| draw().max(last));
            best = best.min(since.elapsed());
            assert!(last > 0);
        }
        writeln!(out, "{what:<34} {:>8.1} ns an id", best.as_secs_f64() * 1e9 / f64::from(IDS))
    };
    let generator = Generator::new(1);
    line("Generator::next", Box::new(move || generator.next().expect("it is less than a second's worth")))?;
    let (generator, mut block) = (Generator::new(1), None);
    line(
        "a guest's block of 16",
        Box::new(move || {
            block.as_mut().and_then(Iterator::next).unwrap_or_else(|| {
                let mut taken = generator.reserve_for_guests(16).expect("it has no limit");
                let first = taken.first();
                taken.next();
                block = Some(taken);
                first
            })
        }),
    )?;
    let dir = tempfile::tempdir()?;
    let snowflake = snowflake(Discovery::embedded(), dir.path())?;
    snowflake.held().await?;
    let ids = Arc::clone(snowflake.ids());
    line("Ids::reserve, with the lease asked", Box::new(move || ids.reserve(1).expect("held").first()))?;
    Ok(())
}

/// Ids at the format's pace: each above the one before, so none comes twice.
fn in_a_row(out: &mut impl std::io::Write, count: u64) -> Result<()> {
    let generator = Generator::new(1023);
    let (since, mut last, mut held) = (Instant::now(), 0, 0u64);
    for _ in 0..count {
        let id = loop {
            match generator.next() {
                Ok(id) => break id,
                Err(GeneratorError::Ahead) => held += 1,
                Err(error) => bail!(error),
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        if id <= last || id >> 12 & 1023 != 1023 {
            bail!("{id} after {last}");
        }
        last = id;
    }
    let took = since.elapsed();
    writeln!(
        out,
        "{:.0} M ids in a row, all rising: {:.2} s, {:.0} a ms (the format has 4,096; a second's worth is ahead of the \
         clock), held {held} times",
        count as f64 / 1e6,
        took.as_secs_f64(),
        count as f64 / (took.as_secs_f64() * 1000.0)
    )?;
    Ok(())
}

fn snowflake(discovery: Discovery, dir: &Path) -> Result<Snowflake> {
    Ok(Snowflake::begin(Parts {
        discovery,
        node_id: "bench".to_owned(),
        data_dir: dir.to_owned(),
        machine_id: None,
        patience: Duration::from_secs(10),
        sequences: SequenceOptions { create: true, waiting: 65_536, timeout: Duration::from_secs(2) },
        clock: Clock::System,
        registry: &Registry::new(),
    })?)
}

/// The server's process, until its standard input ends.
async fn serve(dir: &str, etcd: &str) -> Result<()> {
    let dir = Path::new(dir);
    let discovery = match etcd {
        "" => Discovery::embedded_at(&dir.join("table"))?,
        url => Discovery::etcd(Options {
            endpoints: vec![url.to_owned()],
            prefix: "/bench".into(),
            user: None,
            tls: None,
            ttl: Duration::from_secs(10),
        })?,
    };
    let snowflake = snowflake(discovery, dir)?;
    snowflake.held().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let server = Server::builder().add_service(SnowflakeServiceServer::new(snowflake.service()));
    // As a node does: an answer is two small writes, of which the second would wait for the caller's word otherwise.
    let at_once =
        |stream: std::io::Result<TcpStream>| stream.and_then(|it| it.set_nodelay(true).map(|()| it));
    Ok(server.serve_with_incoming(TcpListenerStream::new(listener).map(at_once)).await?)
}

fn show(out: &mut impl std::io::Write, what: &str, round: Round) -> Result<()> {
    let Round { cpu_per_million, per_second, p50_ms, p99_ms } = round;
    let per_second = per_second / 1000.0;
    writeln!(out, "{what:<34} {cpu_per_million:>8.1} {per_second:>8.2} {p50_ms:>8.2} {p99_ms:>8.2}")?;
    Ok(())
}

/// Keeps `concurrency` requests under way for a while.
async fn drive<F>(
    server: &Service,
    concurrency: usize,
    time: Duration,
    ask: impl Fn(Channel) -> F + Clone + Send + 'static,
) -> Result<Round>
where
    F: Future<Output = bool> + Send,
{
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Endpoint::from_shared(format!("http://{}", server.addr))?.connect().await?);
    }
    requests::drive(&channels, || server.cpu(), concurrency, time, move |channel, _| ask(channel)).await
}

/// The server in a process of its own; ended with this.
struct Service {
    child: Child,
    addr: String,
    _dir: tempfile::TempDir,
}

impl Service {
    fn start(etcd: Option<&str>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE).arg(dir.path());
        if let Some(url) = etcd {
            command.args(["--etcd", url]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut addr = String::new();
        BufReader::new(child.stdout.take().context("stdout is piped")?).read_line(&mut addr)?;
        Ok(Self { child, addr: addr.trim().to_owned(), _dir: dir })
    }

    /// Processor time so far, user and system.
    fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is a name in brackets that may hold blanks; the 14th and 15th are ticks of 10 ms.
        let fields = stat.rsplit_once(')').context("a process's stat line")?.1;
        let ticks: Vec<u64> =
            fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It holds nothing worth a graceful end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
