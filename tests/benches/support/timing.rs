//! Times of calls on one thread, beside others that want the processor.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// The kernel counts a running thread's time by its tick, 4 ms or less: what is shorter than this goes by the wall clock.
const COARSE: Duration = Duration::from_millis(20);

/// Runs something and returns the processor time that this thread spent on it. Others on the same cores do not count,
/// but what they do to the caches does.
pub(crate) fn spent<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let (started, before) = (Instant::now(), cpu()?);
    let done = work()?;
    let (wall, cpu) = (started.elapsed(), cpu()?.saturating_sub(before));
    Ok((done, if wall < COARSE { wall } else { cpu }))
}

fn cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let on_cpu = stat.split_whitespace().next().context("a thread's schedstat line")?;
    Ok(Duration::from_nanos(on_cpu.parse()?))
}

/// The one in the middle of three rounds.
pub(crate) fn median_of_three(mut round: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut times = [round()?, round()?, round()?];
    times.sort();
    Ok(times[1])
}

/// A row of a table: something in the guest, natively, and how they compare.
pub(crate) fn row(what: &str, guest: Duration, native: Duration) -> String {
    let ratio = guest.as_secs_f64() / native.as_secs_f64();
    format!("| {what} | {} | {} | {ratio:.1} |", told(guest), told(native))
}

/// A time in three digits or so.
pub(crate) fn told(time: Duration) -> String {
    match time.as_nanos() {
        0..1_000 => format!("{} ns", time.as_nanos()),
        1_000..1_000_000 => format!("{:.1} µs", time.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}
