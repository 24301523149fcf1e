//! `hotseat demo`: the whole idea, in one command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::bots::Screen;
use super::failure::Failure;
use super::signals::Signals;
use super::terminal;
use crate::demo::{self, DemoError, NodeError, Options, Show};

/// Watch the game being replaced under 200 players
///
/// Starts a node and 200 bots that play and check every answer; deploys a new version under them, one whose
/// migration fails, and one that traps; then reports. The exit status is 0 only if every connection held, no
/// message was lost, duplicated or out of order, and the story went as told. Takes half a minute.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// How many bots, 1 to 1,000
    #[arg(long, value_name = "N", default_value_t = 200)]
    clients: u32,
    /// Seconds to look between two events, 1 to 60
    #[arg(long, value_name = "N", default_value_t = 4)]
    seconds_per_step: u64,
    /// Where the reference plugins are [default: ../plugins beside this program]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// A new directory for the node's data and log, to be kept [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Write the report to this file as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// If something is missing or the node does not start.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let stop = stop_on_signal()?;
    let options = Options {
        clients: args.clients,
        step: Duration::from_secs(args.seconds_per_step),
        plugins: args.plugins,
        data_dir: args.data_dir,
    };
    let mut screen = Screen::new();
    screen.keep(&format!(
        "A game's logic is replaced under {} players. Half a minute, then a report.\n",
        args.clients
    ));
    let mut show = |show: Show<'_>| match show {
        Show::Event(text) => screen.keep(text),
        Show::Beat(sample) => screen.update(&sample.text()),
    };
    let report = demo::run(options, stop, &mut show).await;
    screen.done();
    let report = report.map_err(|error| {
        let next = next_step(&error);
        Failure::new("there is no demo").cause(error).next(next)
    })?;
    if let Some(path) = args.json {
        let text = serde_json::to_string_pretty(&report).context("the report cannot be written as JSON")?;
        std::fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    terminal::line(&format!("\n{}", report.text()));
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fires at SIGTERM or SIGINT, so that the demo can take its node along.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let fire = stop.clone();
    tokio::spawn(async move {
        signals.recv().await;
        fire.cancel();
    });
    Ok(stop)
}

fn next_step(error: &DemoError) -> &'static str {
    match error {
        DemoError::Option { .. } | DemoError::Bots(_) => "`hotseat demo --help` shows the options",
        DemoError::Plugin { .. } => "run `cargo xtask build`, or name the directory with --plugins",
        DemoError::File { .. } => "name another directory with --data-dir",
        DemoError::Node(NodeError::Late(_)) => "is this machine very busy? try again",
        DemoError::Node(_) | DemoError::Operator(_) => "`hotseat run` shows whether a node starts here",
        DemoError::Stopped => "run it again; it takes half a minute",
    }
}
