//! What a request of a service costs the node: client, gRPC, shard in Wasm, disk, back.
//!
//! A node in a process of its own; the load generator, on the same cores, keeps a number of requests under way over
//! four connections. Measured is the processor time of the *node alone* (user and system, from `/proc`) per million
//! requests, journal and all. The floor is the health service behind the same listener, which no plugin takes part in.
//! Then one message to many subscribers: how long until the last one has it, and the node's processor time for it.
//!
//! `cargo bench -p hotseat --bench services -- [--seconds 3] [--concurrency 256] [--members 1000,100000] [--subscribers 10000]`

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use hdrhistogram::Histogram;
use hotseat_services::chat::{ChatServiceClient, Consumer, Id, Message, NEW_ONLY};
use hotseat_services::rank::{Change, Changes, Range, RankingServiceClient, Users};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const CONNECTIONS: usize = 4;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let time = Duration::from_secs_f64(option(&args, "--seconds", "3").parse()?);
    let concurrency: usize = option(&args, "--concurrency", "256").parse()?;
    let members = option(&args, "--members", "1000,100000").split(',').map(str::parse);
    let members: Vec<i64> = members.collect::<Result<_, _>>()?;
    let subscribers: usize = option(&args, "--subscribers", "10000").parse()?;

    let node = Node::start()?;
    let mut out = std::io::stdout();
    writeln!(out, "{concurrency} requests under way\n")?;
    writeln!(out, "{:<34} {:>8} {:>8} {:>8} {:>8}", "", "CPU s/M", "k/s", "p50 ms", "p99 ms")?;
    let mut show = |what: &str, round: Round| {
        let Round { cpu_per_million, per_second, p50_ms, p99_ms } = round;
        let per_second = per_second / 1000.0;
        writeln!(out, "{what:<34} {cpu_per_million:>8.1} {per_second:>8.1} {p50_ms:>8.2} {p99_ms:>8.2}")
    };
    let floor = drive(&node, concurrency, time, |channel, _| async move {
        let request = HealthCheckRequest { service: String::new() };
        HealthClient::new(channel).check(request).await.is_ok()
    });
    show("health check (floor)", floor.await?)?;
    for members in members {
        let set_id = u64::try_from(members)?;
        fill(&node, set_id, members).await?;
        let change = drive(&node, concurrency, time, move |channel, seed| async move {
            let change = Change { user_id: mixed(seed, members), score: mixed(!seed, 1 << 40), set_id };
            RankingServiceClient::new(channel).rank_change(change).await.is_ok()
        });
        show(&format!("RankChange, {members} members"), change.await?)?;
        let top = drive(&node, concurrency, time, move |channel, _| async move {
            let range = Range { a: 1, b: 100, set_id, season: 0 };
            RankingServiceClient::new(channel).query_rank_range(range).await.is_ok()
        });
        show(&format!("top 100, {members} members"), top.await?)?;
        let rank = drive(&node, concurrency, time, move |channel, seed| async move {
            let users = Users { user_ids: vec![mixed(seed, members)], set_id, season: 0 };
            RankingServiceClient::new(channel).query_users(users).await.is_ok()
        });
        show(&format!("rank of a user, {members} members"), rank.await?)?;
    }
    let mut chat = ChatServiceClient::new(node.channel().await?);
    for id in 0..64 {
        chat.reg(Id { id }).await?;
    }
    let send = drive(&node, concurrency, time, |channel, seed| async move {
        let message = Message { id: seed % 64, body: vec![b'x'; 64], ..Message::default() };
        ChatServiceClient::new(channel).send(message).await.is_ok()
    });
    show("chat Send, 64 bytes", send.await?)?;
    fan_out(&node, subscribers).await
}

fn option<'a>(args: &'a [String], name: &str, default: &'a str) -> &'a str {
    let at = args.iter().position(|arg| arg == name);
    at.and_then(|at| args.get(at + 1)).map_or(default, String::as_str)
}

/// SplitMix64's output function: a number below `bound` that looks random.
fn mixed(seed: u64, bound: i64) -> i64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    i64::try_from((z ^ (z >> 31)) >> 1).unwrap_or(0) % bound
}

async fn fill(node: &Node, set_id: u64, members: i64) -> Result<()> {
    let mut rank = RankingServiceClient::new(node.channel().await?);
    let all: Vec<i64> = (0..members).collect();
    for user_ids in all.chunks(5000) {
        let scores = user_ids.iter().map(|user| mixed(user.cast_unsigned(), 1 << 40)).collect();
        rank.update(Changes { set_id, user_ids: user_ids.to_vec(), scores }).await?;
    }
    Ok(())
}

struct Round {
    cpu_per_million: f64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Keeps `concurrency` requests under way for a while, after a quarter of the time to warm up.
async fn drive<F>(
    node: &Node,
    concurrency: usize,
    time: Duration,
    ask: impl Fn(Channel, u64) -> F + Clone + Send + 'static,
) -> Result<Round>
where
    F: Future<Output = bool> + Send,
{
    let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(node.channel().await?);
    }
    let mut askers = JoinSet::new();
    for asker in 0..concurrency {
        let channel = channels[asker % CONNECTIONS].clone();
        let (done, failed, stop, ask) =
            (Arc::clone(&done), Arc::clone(&failed), Arc::clone(&stop), ask.clone());
        askers.spawn(async move {
            let mut seed = asker as u64 * 1_000_003;
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                seed += 1;
                let asked = Instant::now();
                let fine = ask(channel.clone(), seed).await;
                times.push(asked.elapsed());
                if fine { &done } else { &failed }.fetch_add(1, Ordering::Relaxed);
            }
            times
        });
    }
    tokio::time::sleep(time / 4).await;
    let (count, cpu, since) = (done.load(Ordering::Relaxed), node.cpu()?, Instant::now());
    tokio::time::sleep(time).await;
    let (count, cpu, took) = (done.load(Ordering::Relaxed) - count, node.cpu()? - cpu, since.elapsed());
    stop.store(true, Ordering::Relaxed);
    let mut latency = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    for time in askers.join_all().await.into_iter().flatten() {
        latency.saturating_record(u64::try_from(time.as_micros())?.max(1));
    }
    let failed = failed.load(Ordering::Relaxed);
    if failed > 0 {
        bail!("{failed} requests failed");
    }
    Ok(Round {
        cpu_per_million: cpu.as_secs_f64() / (count as f64 / 1e6),
        per_second: count as f64 / took.as_secs_f64(),
        p50_ms: latency.value_at_quantile(0.5) as f64 / 1000.0,
        p99_ms: latency.value_at_quantile(0.99) as f64 / 1000.0,
    })
}

/// One message to many subscribers, over and over.
async fn fan_out(node: &Node, subscribers: usize) -> Result<()> {
    const MESSAGES: u32 = 20;
    const PER_CONNECTION: usize = 500;
    let mut chat = ChatServiceClient::new(node.channel().await?);
    let id = 1_000_000;
    chat.reg(Id { id }).await?;
    let (got, mut all_got) = mpsc::channel(subscribers);
    let mut channel = node.channel().await?;
    for subscriber in 0..subscribers {
        if subscriber % PER_CONNECTION == 0 {
            channel = node.channel().await?;
        }
        let consumer = Consumer { id, from: NEW_ONLY, user: 0 };
        let mut stream = ChatServiceClient::new(channel.clone()).subscribe(consumer).await?.into_inner();
        let got = got.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                // The end of the benchmark is no failure.
                let _ = got.send(message.offset).await;
            }
        });
    }
    let mut times = Vec::new();
    let cpu = node.cpu()?;
    for _ in 0..MESSAGES {
        let started = Instant::now();
        chat.send(Message { id, body: vec![b'x'; 64], ..Message::default() }).await?;
        for _ in 0..subscribers {
            let got = tokio::time::timeout(Duration::from_secs(30), all_got.recv()).await;
            got.context("a subscriber has not got its message")?.context("a stream ended")?;
        }
        times.push(started.elapsed());
    }
    let cpu = (node.cpu()? - cpu) / MESSAGES;
    times.sort();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "\none message to {subscribers} subscribers: the last one has it after {:.0} ms (median of {MESSAGES}), \
         {:.0} ms of processor time",
        times[times.len() / 2].as_secs_f64() * 1000.0,
        cpu.as_secs_f64() * 1000.0
    )?;
    Ok(())
}

/// A node in a process of its own; ended with this.
struct Node {
    child: Child,
    grpc: String,
    _data: tempfile::TempDir,
}

impl Node {
    fn start() -> Result<Self> {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_hotseat"));
        let data = tempfile::tempdir()?;
        let any = "127.0.0.1:0";
        let mut command = Command::new(&binary);
        command
            .args(["run", "--listen", any, "--grpc-listen", any, "--admin-listen", any])
            .args(["--limits", "off", "--log-format", "json", "--plugin-config=chat.messages_per_minute=0"])
            .arg("--data-dir")
            .arg(data.path());
        for name in ["game-logic", "rank", "chat"] {
            let plugin = binary.with_file_name(format!("../plugins/{name}.wasm"));
            if !plugin.is_file() {
                bail!("{} is not there: run `cargo xtask build`", plugin.display());
            }
            command.arg("--plugin").arg(format!("{name}={}", plugin.display()));
        }
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let stderr = BufReader::new(child.stderr.take().context("stderr is piped")?);
        let mut lines = stderr.lines();
        let grpc = loop {
            let line = lines.next().context("the node ended before it listened")??;
            let event: serde_json::Value = serde_json::from_str(&line)?;
            if event["what"] == "grpc" {
                break event["address"].as_str().context("an address")?.to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, grpc, _data: data })
    }

    async fn channel(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc))?;
        Ok(endpoint.connect().await?)
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

impl Drop for Node {
    fn drop(&mut self) {
        // It holds nothing worth a graceful end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
