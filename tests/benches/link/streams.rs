//! The load with one stream a player on one HTTP/2 connection, as gonet/2's agents have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use hotseat::proto::original::game::{Frame, FrameType};
use hotseat::proto::original::game_service_client::GameServiceClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use crate::load::{Length, Round, WARM_UP, spent};
use crate::node::cpu_of;

const PING: [u8; 6] = [0x03, 0xE9, 0, 0, 0, 7];
const PING_ACK: [u8; 2] = [0x03, 0xEA];
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(2);

/// What all players share.
#[derive(Default)]
struct Shared {
    answers: AtomicU64,
    measuring: AtomicBool,
    stop: AtomicBool,
}

/// Puts `players` streams on the game host at `addr`, each with one ping under way, and measures the processes `pids`.
pub(crate) async fn drive(addr: &str, pids: &[u32], players: usize, length: Length) -> Result<Round> {
    let channel = Endpoint::from_shared(format!("http://{addr}"))?.connect().await?;
    let shared = Arc::new(Shared::default());
    let mut tasks = JoinSet::new();
    for player in 0..players {
        tasks.spawn(play(channel.clone(), 1_000_000 + player, Arc::clone(&shared)));
    }
    let passed = async |part: f64| {
        let (since, before) = (Instant::now(), shared.answers.load(Ordering::Relaxed));
        loop {
            let trips = shared.answers.load(Ordering::Relaxed) - before;
            if length.is_over(part, since.elapsed(), trips) {
                return Ok((since.elapsed(), trips));
            }
            if since.elapsed() > PATIENCE {
                bail!("{trips} answers within {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    while shared.answers.load(Ordering::Relaxed) < players as u64 {
        passed(0.0).await?;
        if let Some(ended) = tasks.try_join_next() {
            ended??;
            bail!("a stream ended");
        }
        tokio::time::sleep(LOOK).await;
    }
    passed(WARM_UP).await?;
    shared.measuring.store(true, Ordering::Relaxed);
    let before: Vec<_> = pids.iter().map(|pid| cpu_of(*pid)).collect::<Result<_>>()?;
    let (time, trips) = passed(1.0).await?;
    let cpu = spent(pids, &before)?;
    shared.stop.store(true, Ordering::Relaxed);
    let mut latency = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    while let Some(times) = tasks.join_next().await {
        latency.add(times??)?;
    }
    let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Round { trips, time, cpu, p50_ms: ms(0.5), p99_ms: ms(0.99) })
}

/// One player, until it is told to stop: times from ping to answer, microseconds.
async fn play(channel: Channel, user: usize, shared: Arc<Shared>) -> Result<Histogram<u64>> {
    let (ups, mut downs) = open(channel, user).await?;
    let mut times = Histogram::new_with_bounds(1, 60_000_000, 2)?;
    while !shared.stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let ping = Frame { r#type: FrameType::Message.into(), message: PING.to_vec() };
        ups.send(ping).await.context("the stream has ended")?;
        let answer = downs.message().await?.context("the host ended the stream")?;
        if !answer.message.starts_with(&PING_ACK) {
            bail!("unexpected frame {:?}", answer.message);
        }
        if shared.measuring.load(Ordering::Relaxed) {
            times.saturating_record(u64::try_from(asked.elapsed().as_micros())?.max(1));
        }
        shared.answers.fetch_add(1, Ordering::Relaxed);
    }
    Ok(times)
}

async fn open(channel: Channel, user: usize) -> Result<(mpsc::Sender<Frame>, Streaming<Frame>)> {
    let (ups, frames) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(frames));
    request.metadata_mut().insert("userid", user.to_string().parse()?);
    let downs = GameServiceClient::new(channel).stream(request).await?.into_inner();
    Ok((ups, downs))
}
