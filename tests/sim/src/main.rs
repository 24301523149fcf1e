//! Sim: a cluster on simulated time, with a simulated etcd, network and deaths, decided by a seed. What runs in it is the
//! real code; CONTRIBUTING.md says how to use it.
//!
//! Without arguments the known cases and two thousand seeds are played; `cargo test --release -p hotseat-sim -- --seeds 0..300 [--threads 2] [--all]`,
//! and one seed with its history: `-- --seed 7`.

#![expect(
    clippy::disallowed_methods,
    reason = "a simulation has a bounded number of events, and so have its queues"
)]

mod cases;
mod checks;
mod client;
mod disk;
mod entry;
mod etcd;
mod faults;
mod host;
mod model;
mod network;
mod node;
mod operator;
mod plan;
mod players;
mod rng;
mod session;
mod stage;
mod world;

use std::io::Write as _;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use plan::Plan;
use stage::Stage;
use world::{Outcome, World};

/// A process of a node, told from others by this. Its second one has another.
pub(crate) type Process = u64;

/// Hosts of the cluster.
pub(crate) const HOSTS: usize = 3;
/// Home rooms.
pub(crate) const HOMES: u32 = 6;
/// Players.
pub(crate) const USERS: u64 = 9;
/// How long a lease lives.
pub(crate) const TTL: Duration = Duration::from_secs(4);

/// Seeds that are played without arguments, besides the known cases.
const SEEDS: Range<u64> = 0..2000;

/// Runs that may be spent on leaving faults out of a plan that fails.
const TRIES: usize = 60;

/// Lines of a history that are shown.
const LINES: usize = 60;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What stands behind a lock is whole at every step, whoever has panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(line: &str) {
    // Who does not read does not want to know.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn option<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1).map(String::as_str)
}

fn run(args: &[String]) -> Result<bool> {
    // Who runs tests of a certain name runs this one if that is its name.
    if args.first().is_some_and(|filter| !filter.starts_with('-') && !"sim".contains(filter.as_str())) {
        return Ok(true);
    }
    if let Ok(filter) = std::env::var("HOTSEAT_SIM_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).without_time().init();
    }
    let stage = Arc::new(Stage::set()?);
    if let Some(seed) = option(args, "--seed") {
        return one(&stage, seed.parse().context("--seed N")?);
    }
    let Some(seeds) = option(args, "--seeds") else { return known(&stage) };
    let (from, to) = seeds.split_once("..").context("--seeds A..B")?;
    let seeds = from.parse().context("--seeds A..B")?..to.parse().context("--seeds A..B")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = option(args, "--threads").map_or(Ok(cores), str::parse).context("--threads N")?;
    let keep_going = args.iter().any(|arg| arg == "--all");
    many(&stage, seeds, threads, keep_going)
}

/// What has cost rooms before must not do so again.
fn known(stage: &Arc<Stage>) -> Result<bool> {
    let mut fine = true;
    for (name, plan) in cases::all() {
        let failed = failures(stage, &plan)?;
        say(&format!("case {name:?}: {} of {} failed", failed.len(), cases::SEEDS));
        if let Some((seed, outcome)) = failed.first() {
            say(&format!("with seed {seed}:"));
            show(outcome, LINES);
            fine = false;
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(many(stage, SEEDS, cores, true)? && fine)
}

/// The seeds of a case that fail.
fn failures(stage: &Arc<Stage>, plan: &Plan) -> Result<Vec<(u64, Outcome)>> {
    let mut failed = Vec::new();
    for seed in 0..cases::SEEDS {
        let outcome = World::play(stage, seed, plan)?;
        failed.extend(outcome.violation.is_some().then_some((seed, outcome)));
    }
    Ok(failed)
}

/// One seed, twice, with its history.
fn one(stage: &Arc<Stage>, seed: u64) -> Result<bool> {
    let plan = Plan::of(seed);
    say(&format!("seed {seed}\n{plan}"));
    let first = World::play(stage, seed, &plan)?;
    let again = World::play(stage, seed, &plan)?;
    show(&first, usize::MAX);
    if first.digest != again.digest {
        say("NOTE: the second run of this seed went another way");
        let differ = first.history.iter().zip(&again.history).find(|(a, b)| a != b);
        say(&format!("{differ:?}"));
    }
    Ok(first.violation.is_none())
}

fn many(stage: &Arc<Stage>, seeds: Range<u64>, threads: usize, keep_going: bool) -> Result<bool> {
    let (next, answers, played) = (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicU64::new(0));
    let failed: Mutex<Vec<u64>> = Mutex::default();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let stop = !keep_going && !lock(&failed).is_empty();
                        if seed >= seeds.end || stop {
                            return Ok(());
                        }
                        let outcome = World::play(stage, seed, &Plan::of(seed))
                            .with_context(|| format!("seed {seed}"))?;
                        answers.fetch_add(outcome.answers, Ordering::Relaxed);
                        played.fetch_add(1, Ordering::Relaxed);
                        if let Some(violation) = &outcome.violation {
                            say(&format!("seed {seed}: {violation}"));
                            lock(&failed).push(seed);
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("a simulation panicked"),
        })
    })?;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (took, count) = (began.elapsed().as_secs_f64(), played.into_inner());
    say(&format!(
        "{count} seeds, {} failed, {} answers, {took:.1} s, {:.1} seeds/s",
        failed.len(),
        answers.into_inner(),
        count as f64 / took
    ));
    if let Some(seed) = failed.iter().min() {
        let plan = shorten(stage, *seed, Plan::of(*seed))?;
        let outcome = World::play(stage, *seed, &plan)?;
        say(&format!("seed {seed}, the faults that are needed:\n{plan}"));
        show(&outcome, LINES);
        say(&format!("to run it again: cargo test --release -p hotseat-sim -- --seed {seed}"));
    }
    Ok(failed.is_empty())
}

/// Leaves out faults as long as it fails without them.
fn shorten(stage: &Arc<Stage>, seed: u64, mut plan: Plan) -> Result<Plan> {
    let (mut at, mut tries) = (0, 0);
    while at < plan.faults.len() && tries < TRIES {
        let mut shorter = plan.clone();
        shorter.faults.remove(at);
        tries += 1;
        if World::play(stage, seed, &shorter)?.violation.is_some() {
            (plan, at) = (shorter, 0);
        } else {
            at += 1;
        }
    }
    Ok(plan)
}

fn show(outcome: &Outcome, lines: usize) {
    let from = outcome.history.len().saturating_sub(lines);
    for (at, what) in &outcome.history[from..] {
        say(&format!("  {:>7.3} s  {what}", *at as f64 / 1e3));
    }
    say(outcome.violation.as_deref().unwrap_or("nothing went wrong"));
}
