//! How long players wait when one of two game hosts goes away.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hotseat::bots::{Fleet, Options, Play, Report};

use crate::cluster::Cluster;
use crate::node::median;

/// As a cluster has by default.
const HOME_ROOMS: usize = 256;
/// Play before a host goes, and after all rooms have another one.
const CALM: Duration = Duration::from_secs(3);
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
enum Way {
    /// SIGTERM: it hands its rooms over and ends.
    Drain,
    /// SIGKILL, with leases of so many seconds.
    Kill(u64),
}

struct Round {
    /// The longest that a player saw nothing of its arena, before and after the host was told to go, milliseconds.
    before_ms: f64,
    wait_ms: f64,
    /// Until the process was no more, and until all of its rooms were another host's.
    ended: Duration,
    moved: Duration,
    report: Report,
}

pub(crate) async fn measure(bots: u32, runs: usize, only: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{bots} bots; medians of {runs} runs by the wait\n\n| a host of two | longest wait (all runs) | in calm | process gone \
         after | all rooms elsewhere after | pings lost | disconnected | found again |\n|---|---|---|---|---|---|---|---|"
    )?;
    let ways = [
        ("drains (SIGTERM)", Way::Drain),
        ("is killed, lease of 10 s", Way::Kill(10)),
        ("is killed, lease of 3 s", Way::Kill(3)),
    ];
    for (what, way) in ways.into_iter().filter(|(what, _)| what.contains(only)) {
        let mut rounds = Vec::new();
        for _ in 0..runs {
            rounds.push(round(way, bots).await.with_context(|| format!("a host that {what}"))?);
        }
        let mut all: Vec<_> = rounds.iter().map(|round| round.wait_ms).collect();
        all.sort_by(f64::total_cmp);
        let all: Vec<_> = all.iter().map(|wait| format!("{wait:.0}")).collect();
        let Round { before_ms, wait_ms, ended, moved, report } = median(rounds, |round| round.wait_ms)?;
        writeln!(
            out,
            "| {what} | **{wait_ms:.0} ms** ({}) | {before_ms:.0} ms | {:.2} s | {:.2} s | {} of {} | {} | {} |",
            all.join(", "),
            ended.as_secs_f64(),
            moved.as_secs_f64(),
            report.total.lost,
            report.total.pings,
            report.disconnected,
            report.total.reseated,
        )?;
    }
    Ok(())
}

async fn round(way: Way, bots: u32) -> Result<Round> {
    let ttl_s = if let Way::Kill(ttl_s) = way { ttl_s } else { 10 };
    let mut cluster = Cluster::start(ttl_s, HOME_ROOMS)?;
    cluster.add("game-1", "game")?;
    cluster.add("game-2", "game")?;
    cluster.add("agent-1", "agent")?;
    cluster.settled(&["game-1", "game-2"]).await?;
    let agent = cluster.node("agent-1")?.address("clients")?.parse()?;
    let mut fleet = Fleet::start(Options { clients: bots, play: Play::Home, ..Options::new(agent) })?;
    if !tokio::time::timeout(PATIENCE, fleet.gathered()).await.context("bots do not get in")? {
        bail!("not all bots got in: {}", fleet.stop().await.text());
    }
    // Coming in is not what is measured.
    fleet.mark("calm");
    tokio::time::sleep(CALM).await;

    let pid = cluster.node("game-1")?.pid();
    fleet.mark("gone");
    let told = Instant::now();
    signal(pid, if let Way::Drain = way { "TERM" } else { "KILL" })?;
    let end = async {
        while !has_ended(pid)? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(told.elapsed())
    };
    let moved = async { Ok(cluster.settled(&["game-2"]).await?.saturating_duration_since(told)) };
    let (ended, moved) = tokio::time::timeout(PATIENCE, async { tokio::try_join!(end, moved) })
        .await
        .context("the host does not end")??;
    tokio::time::sleep(CALM).await;
    let report = fleet.stop().await;
    let wait = |label: &str| {
        let stretch = report.stretches.iter().find(|stretch| stretch.label == label);
        stretch.and_then(|stretch| stretch.longest_wait).map_or(f64::NAN, |wait| wait.ms)
    };
    Ok(Round { before_ms: wait("calm"), wait_ms: wait("gone"), ended, moved, report })
}

fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status()?;
    if !status.success() {
        bail!("the host's process is not there");
    }
    Ok(())
}

/// Whether a child process waits for its parent to take note of its end.
fn has_ended(pid: u32) -> Result<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("a process's stat line")?.1;
    Ok(fields.trim_start().starts_with('Z'))
}
