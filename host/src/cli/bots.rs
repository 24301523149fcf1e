//! `hotseat bots`: clients that play the reference game and check what they get.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::failure::Failure;
use super::signals::Signals;
use super::terminal;
use crate::bots::{Fleet, Options, Play, count};

/// Longest a fleet may play.
const DURATION_MAX: Duration = Duration::from_secs(3600);
/// How long the clients may take to get in beyond their ramp.
const GATHER: Duration = Duration::from_secs(30);

/// Send in bots that play and check every answer
///
/// Every bot logs in, enters an arena, moves, pings, and checks what comes back: each ping answered once and in
/// order, no tick missing, score and position continuous. The exit status is 0 only if all of it held for all.
#[derive(Debug, clap::Args)]
pub struct BotsArgs {
    /// Where the agent listens
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8888")]
    agent: String,
    /// How many bots, 1 to 10,000
    #[arg(long, value_name = "N", default_value_t = 200)]
    clients: u32,
    /// Pings a second and bot; 0 sends the next one as soon as the answer is there
    #[arg(long, value_name = "PER_S", default_value_t = 10.0)]
    rate: f64,
    /// Moves a second and bot
    #[arg(long, value_name = "PER_S", default_value_t = 5.0)]
    moves: f64,
    /// Arenas that the bots spread over
    #[arg(long, value_name = "N", default_value_t = 8)]
    arenas: u32,
    /// Play in the home rooms instead
    #[arg(long, conflicts_with = "arenas")]
    home: bool,
    /// Play in no arena: pings only
    #[arg(long, conflicts_with_all = ["arenas", "home", "moves"])]
    ping_only: bool,
    /// Send heartbeats instead of pings: the agent answers them, no game is asked
    #[arg(long, conflicts_with_all = ["arenas", "home", "moves", "ping_only"])]
    heartbeat: bool,
    /// How long to play once all bots are in: 500ms, 10s, 5m, 1h
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,
    /// Over how long the bots come in
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    ramp: Duration,
    /// Bot N logs in as the device PREFIX-N
    #[arg(long, default_value = "bot")]
    prefix: String,
    /// Write the report as JSON
    #[arg(long)]
    json: bool,
    /// Allow an agent that is not on this machine. Only for nodes of your own
    #[arg(long)]
    allow_remote: bool,
}

/// Plays, shows how it goes once a second, and reports.
///
/// # Errors
/// If an option is out of its range, or nobody listens.
pub async fn run(args: BotsArgs) -> anyhow::Result<ExitCode> {
    let agent = resolve(&args.agent, args.allow_remote).await?;
    let options = Options {
        clients: args.clients,
        rate: args.rate,
        moves: args.moves,
        play: match args.arenas {
            _ if args.heartbeat => Play::Heartbeat,
            _ if args.ping_only => Play::Ping,
            _ if args.home => Play::Home,
            arenas => Play::Arenas(arenas),
        },
        ramp: args.ramp,
        prefix: args.prefix,
        ..Options::new(agent)
    };
    let mut signals = Signals::new()?;
    let wrong = |error| Failure::new("the bots cannot start").cause(error).next("`hotseat bots --help`");
    let mut fleet = Fleet::start(options).map_err(wrong)?;
    let mut screen = Screen::new();

    let gathered = tokio::time::timeout(args.ramp + GATHER, fleet.gathered());
    let all_in = tokio::select! {
        all_in = watch(&mut fleet, &mut screen, gathered) => all_in.unwrap_or(false),
        _ = signals.recv() => false,
    };
    if all_in {
        fleet.mark("playing");
        let over = tokio::time::sleep(args.duration);
        tokio::select! {
            () = watch(&mut fleet, &mut screen, over) => {}
            _ = signals.recv() => screen.keep("stopped early"),
        }
    }
    let report = fleet.stop().await;
    screen.done();
    if args.json {
        let text = serde_json::to_string_pretty(&report).context("the report cannot be written as JSON")?;
        terminal::line(&text);
    } else {
        terminal::line(&report.text());
        let traffic = format!(
            "  {} answers/s, {} notifies/s; {} in, {} out",
            count(report.last().answers_per_s() as u64),
            count(report.last().notifies_per_s() as u64),
            terminal::bytes(report.total.bytes_in),
            terminal::bytes(report.total.bytes_out),
        );
        terminal::line(&traffic);
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The agent's address; one that load may be put on.
async fn resolve(agent: &str, remote: bool) -> Result<SocketAddr, Failure> {
    let addresses = tokio::net::lookup_host(agent).await.map_err(|error| {
        Failure::new(format!("agent = {agent}: allowed is an address such as 127.0.0.1:8888"))
            .cause(error)
            .next("the node logs the address of its clients when it starts")
    })?;
    let mut addresses = addresses.filter(|it| remote || it.ip().is_loopback());
    addresses.next().ok_or_else(|| {
        Failure::new(format!("agent = {agent} is not on this machine"))
            .next("if that node is yours, say --allow-remote")
    })
}

/// Shows how the bots do once a second while something else goes on.
async fn watch<T>(fleet: &mut Fleet, screen: &mut Screen, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    beat.reset();
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = beat.tick() => screen.update(&fleet.sample().text()),
        }
    }
}

/// Standard error: on a terminal one line that changes, else a line each.
pub(super) struct Screen {
    terminal: bool,
    dirty: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), dirty: false }
    }

    /// A line that the next one may replace.
    pub(super) fn update(&mut self, text: &str) {
        if self.terminal {
            // Back to the begin, and clear to the end of the line. A terminal that has gone away is no error.
            let mut terminal = std::io::stderr().lock();
            let _ = write!(terminal, "\r{text}\x1b[K").and_then(|()| terminal.flush());
            self.dirty = true;
        } else {
            terminal::progress(text);
        }
    }

    /// A line that stays.
    pub(super) fn keep(&mut self, text: &str) {
        self.done();
        terminal::progress(text);
    }

    /// Takes away a line that may be replaced.
    pub(super) fn done(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let mut terminal = std::io::stderr().lock();
            let _ = write!(terminal, "\r\x1b[K").and_then(|()| terminal.flush());
        }
    }
}

/// `500ms`, `10s`, `5m`, `1h`: what a fleet may play or take to come in.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "allowed is a number and a unit, such as 500ms, 10s, 5m or 1h, up to 1h".to_owned();
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let time = number.checked_mul(ms).map(Duration::from_millis);
    time.filter(|time| *time <= DURATION_MAX).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_bound() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "s", "1.5s", "61m", "-1s", "10d", "99999999999999999999s"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn other_machines_are_left_alone_unless_asked_for() {
        assert!(resolve("127.0.0.1:1", false).await.is_ok());
        assert!(resolve("[::1]:1", false).await.is_ok());
        assert!(resolve("192.0.2.1:1", false).await.is_err());
        assert!(resolve("192.0.2.1:1", true).await.is_ok());
        assert!(resolve("nonsense", true).await.is_err());
    }
}
