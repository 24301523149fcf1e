//! What a request of a service costs the node: client, gRPC, shard in Wasm, disk, back.
//!
//! A node in a process of its own; the load generator, on the same cores, keeps a number of requests under way over
//! four connections. Measured is the processor time of the *node alone* (user and system, from `/proc`) per million
//! requests, journal and all. The floor is the health service behind the same listener, which no plugin takes part in.
//! Then one message to many subscribers: how long until the last one has it, and the node's processor time for it.
//!
//! `cargo bench -p hotseat --bench services -- [--runs 3] [--seconds 3] [--concurrency 256] [--members 1000,100000] [--subscribers 10000]`

#[path = "support/node.rs"]
mod node;
#[path = "support/requests.rs"]
mod requests;

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use hotseat_services::chat::{ChatServiceClient, Consumer, Id, Message, NEW_ONLY};
use hotseat_services::rank::{Change, Changes, Range, RankingServiceClient, Users};
use node::{Node, cpu_of, median, option};
use requests::Round;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const CONNECTIONS: usize = 4;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let members = option(&args, "--members", "1000,100000").split(',').map(str::parse);
    let members: Vec<i64> = members.collect::<Result<_, _>>()?;
    let load = Load {
        runs: option(&args, "--runs", "3").parse()?,
        concurrency: option(&args, "--concurrency", "256").parse()?,
        time: Duration::from_secs_f64(option(&args, "--seconds", "3").parse()?),
    };
    let subscribers: usize = option(&args, "--subscribers", "10000").parse()?;

    let node = Node::start(&["game-logic", "rank", "chat"], &["--plugin-config=chat.messages_per_minute=0"])?;
    let mut out = std::io::stdout();
    writeln!(out, "{} requests under way; medians of {} runs\n", load.concurrency, load.runs)?;
    writeln!(out, "| request | CPU s/M | rate | p50 | p99 |\n|---|---|---|---|---|")?;
    let mut show = |what: &str, rounds: Vec<Round>| {
        let Round { cpu_per_million, per_second, p50_ms, p99_ms } =
            median(rounds, |round| round.cpu_per_million)?;
        let per_second = per_second / 1000.0;
        writeln!(
            out,
            "| {what} | {cpu_per_million:.1} | {per_second:.1} k/s | {p50_ms:.1} ms | {p99_ms:.1} ms |"
        )?;
        anyhow::Ok(())
    };
    let floor = drive(&node, load, |channel, _| async move {
        let request = HealthCheckRequest { service: String::new() };
        HealthClient::new(channel).check(request).await.is_ok()
    });
    show("health check (floor)", floor.await?)?;
    for members in members {
        let set_id = u64::try_from(members)?;
        fill(&node, set_id, members).await?;
        let change = drive(&node, load, move |channel, seed| async move {
            let change = Change { user_id: mixed(seed, members), score: mixed(!seed, 1 << 40), set_id };
            RankingServiceClient::new(channel).rank_change(change).await.is_ok()
        });
        show(&format!("RankChange, {members} members"), change.await?)?;
        let top = drive(&node, load, move |channel, _| async move {
            let range = Range { a: 1, b: 100, set_id, season: 0 };
            RankingServiceClient::new(channel).query_rank_range(range).await.is_ok()
        });
        show(&format!("top 100, {members} members"), top.await?)?;
        let rank = drive(&node, load, move |channel, seed| async move {
            let users = Users { user_ids: vec![mixed(seed, members)], set_id, season: 0 };
            RankingServiceClient::new(channel).query_users(users).await.is_ok()
        });
        show(&format!("rank of a user, {members} members"), rank.await?)?;
    }
    let mut chat = ChatServiceClient::new(connect(&node).await?);
    for id in 0..64 {
        chat.reg(Id { id }).await?;
    }
    let send = drive(&node, load, |channel, seed| async move {
        let message = Message { id: seed % 64, body: vec![b'x'; 64], ..Message::default() };
        ChatServiceClient::new(channel).send(message).await.is_ok()
    });
    show("chat Send, 64 bytes", send.await?)?;
    fan_out(&node, load.runs, subscribers).await
}

/// SplitMix64's output function: a number below `bound` that looks random.
fn mixed(seed: u64, bound: i64) -> i64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    i64::try_from((z ^ (z >> 31)) >> 1).unwrap_or(0) % bound
}

async fn fill(node: &Node, set_id: u64, members: i64) -> Result<()> {
    let mut rank = RankingServiceClient::new(connect(node).await?);
    let all: Vec<i64> = (0..members).collect();
    for user_ids in all.chunks(5000) {
        let scores = user_ids.iter().map(|user| mixed(user.cast_unsigned(), 1 << 40)).collect();
        rank.update(Changes { set_id, user_ids: user_ids.to_vec(), scores }).await?;
    }
    Ok(())
}

/// How much is asked.
#[derive(Clone, Copy)]
struct Load {
    runs: usize,
    concurrency: usize,
    /// Of a run.
    time: Duration,
}

/// Runs of one kind of request, one after another.
async fn drive<F>(
    node: &Node,
    Load { runs, concurrency, time }: Load,
    ask: impl Fn(Channel, u64) -> F + Clone + Send + 'static,
) -> Result<Vec<Round>>
where
    F: Future<Output = bool> + Send,
{
    let mut rounds = Vec::new();
    for _ in 0..runs {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(connect(node).await?);
        }
        rounds.push(requests::drive(&channels, || cpu_of(node.pid()), concurrency, time, ask.clone()).await?);
    }
    Ok(rounds)
}

/// One message to many subscribers, over and over. The figures of a run are the median of its messages and the mean of
/// the processor time.
async fn fan_out(node: &Node, runs: usize, subscribers: usize) -> Result<()> {
    const MESSAGES: u32 = 20;
    const PER_CONNECTION: usize = 500;
    let mut chat = ChatServiceClient::new(connect(node).await?);
    let id = 1_000_000;
    chat.reg(Id { id }).await?;
    let (got, mut all_got) = mpsc::channel(subscribers);
    let mut left = subscribers;
    while left > 0 {
        let count = left.min(PER_CONNECTION);
        left -= count;
        let channel = connect(node).await?;
        // At once, because each waits for the disk.
        let streams = (0..count).map(|_| {
            let mut chat = ChatServiceClient::new(channel.clone());
            async move { chat.subscribe(Consumer { id, from: NEW_ONLY, user: 0 }).await }
        });
        for stream in futures_util::future::try_join_all(streams).await? {
            let (mut stream, got) = (stream.into_inner(), got.clone());
            tokio::spawn(async move {
                while let Some(Ok(message)) = stream.next().await {
                    // The end of the benchmark is no failure.
                    let _ = got.send(message.offset).await;
                }
            });
        }
    }
    let mut rounds = Vec::new();
    for _ in 0..runs {
        let mut times = Vec::new();
        let cpu = cpu_of(node.pid())?;
        for _ in 0..MESSAGES {
            let started = Instant::now();
            chat.send(Message { id, body: vec![b'x'; 64], ..Message::default() }).await?;
            for _ in 0..subscribers {
                let got = tokio::time::timeout(Duration::from_secs(30), all_got.recv()).await;
                got.context("a subscriber has not got its message")?.context("a stream ended")?;
            }
            times.push(started.elapsed());
        }
        let cpu = (cpu_of(node.pid())? - cpu) / MESSAGES;
        rounds.push((cpu, median(times, Duration::as_secs_f64)?));
    }
    let (cpu, last) = median(rounds, |(cpu, _)| cpu.as_secs_f64())?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "\none message of 64 bytes to {subscribers} subscribers: the last one has it after {:.0} ms, for {:.1} ms of \
         processor time ({:.1} µs a subscriber); medians of {runs} runs of {MESSAGES}",
        last.as_secs_f64() * 1e3,
        cpu.as_secs_f64() * 1e3,
        cpu.as_secs_f64() * 1e6 / subscribers as f64,
    )?;
    Ok(())
}

async fn connect(node: &Node) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.address("grpc")?))?;
    Ok(endpoint.connect().await?)
}
