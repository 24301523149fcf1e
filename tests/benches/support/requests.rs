//! Requests: many callers of one server at a time, and what they cost it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// What a while of requests came to.
pub(crate) struct Round {
    pub(crate) cpu_per_million: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Keeps `concurrency` requests under way on these connections for a while, after a quarter of the time to warm up. `cpu`
/// tells the server's processor time so far; `ask` is given a number that no other request of its caller has.
pub(crate) async fn drive<F>(
    channels: &[Channel],
    cpu: impl Fn() -> Result<Duration>,
    concurrency: usize,
    time: Duration,
    ask: impl Fn(Channel, u64) -> F + Clone + Send + 'static,
) -> Result<Round>
where
    F: Future<Output = bool> + Send,
{
    let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut askers = JoinSet::new();
    for asker in 0..concurrency {
        let channel = channels[asker % channels.len()].clone();
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
    let (count, spent, since) = (done.load(Ordering::Relaxed), cpu()?, Instant::now());
    tokio::time::sleep(time).await;
    let (count, spent, took) = (done.load(Ordering::Relaxed) - count, cpu()? - spent, since.elapsed());
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
        cpu_per_million: spent.as_secs_f64() / (count as f64 / 1e6),
        per_second: count as f64 / took.as_secs_f64(),
        p50_ms: latency.value_at_quantile(0.5) as f64 / 1000.0,
        p99_ms: latency.value_at_quantile(0.99) as f64 / 1000.0,
    })
}
