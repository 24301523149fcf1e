//! Bots: players by the hundred that play the reference game and check all they get.
//!
//! [`Fleet::start`] sends them in; [`Fleet::sample`] shows how they do; [`Fleet::mark`] cuts their time into
//! stretches that are reported on their own; [`Fleet::stop`] lets them finish and gives the [`Report`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

mod bot;
mod checks;
mod messages;
mod report;
mod tally;
mod text;

pub use report::{Latency, LongestWait, RefusalCount, Report, Stretch};
pub use tally::Tally;
pub use text::{Fact, count, latencies as latency_table, span};

use bot::BotStart;
use tally::{Board, Crowd, Wait, latencies};

/// Most clients of a fleet.
pub const CLIENTS_MAX: u32 = 10_000;
/// Most pings and most moves a second and client.
pub const RATE_MAX: f64 = 1000.0;
/// Longest a fleet may take to gather.
pub const RAMP_MAX: Duration = Duration::from_secs(600);
/// Longest prefix of a device id, bytes.
pub const PREFIX_MAX: usize = 64;
/// Stretches of time that are kept apart; marks beyond that are only told.
pub const MARKS_MAX: usize = 64;
/// Clients that connect and log in at the same time.
const DOORS: usize = 64;

/// What the bots do beside being connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Play {
    /// Spread over so many arenas, named `bots-0` and so on; at least 1.
    Arenas(u32),
    /// In the arena of each one's home room.
    Home,
    /// No arena: pings to the game only.
    Ping,
    /// No game: heartbeats, which the agent answers itself.
    Heartbeat,
}

/// How many bots do what.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the agent listens.
    pub agent: SocketAddr,
    /// How many players, 1 to [`CLIENTS_MAX`].
    pub clients: u32,
    /// Pings a second and client, 0 to [`RATE_MAX`]; 0: the next one as soon as the answer is there.
    pub rate: f64,
    /// Moves a second and client, 0 to [`RATE_MAX`]. Only in arenas.
    pub moves: f64,
    /// What they play.
    pub play: Play,
    /// Over how long the clients come in, up to [`RAMP_MAX`].
    pub ramp: Duration,
    /// How long answers are waited for at the end; what has not come then is lost.
    pub patience: Duration,
    /// Client N logs in as the device `PREFIX-N`; up to [`PREFIX_MAX`] bytes.
    pub prefix: String,
}

/// An option out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{option} = {value}: allowed is {allowed}")]
pub struct OptionsError {
    option: &'static str,
    value: String,
    allowed: String,
}

impl Options {
    /// 200 players in 8 arenas, 10 pings and 5 moves a second, in within a second, 5 s for the last answers.
    pub fn new(agent: SocketAddr) -> Self {
        Self {
            agent,
            clients: 200,
            rate: 10.0,
            moves: 5.0,
            play: Play::Arenas(8),
            ramp: Duration::from_secs(1),
            patience: Duration::from_secs(5),
            prefix: "bot".to_owned(),
        }
    }

    fn check(&self) -> Result<(), OptionsError> {
        let wrong = |option, value: String, allowed: String| Err(OptionsError { option, value, allowed });
        if !(1..=CLIENTS_MAX).contains(&self.clients) {
            return wrong("clients", self.clients.to_string(), format!("1 to {CLIENTS_MAX}"));
        }
        for (option, rate) in [("rate", self.rate), ("moves", self.moves)] {
            if !(0.0..=RATE_MAX).contains(&rate) {
                return wrong(option, rate.to_string(), format!("0 to {RATE_MAX} a second and client"));
            }
        }
        if self.play == Play::Arenas(0) {
            return wrong("arenas", "0".to_owned(), "1 or more".to_owned());
        }
        if self.ramp > RAMP_MAX {
            return wrong("ramp", format!("{:?}", self.ramp), format!("up to {RAMP_MAX:?}"));
        }
        if self.prefix.len() > PREFIX_MAX {
            return wrong("prefix", self.prefix.clone(), format!("up to {PREFIX_MAX} bytes"));
        }
        Ok(())
    }
}

/// How the bots do, over the time since the last sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// From the fleet's start.
    pub at: Duration,
    /// Clients that are in and connected.
    pub connected: usize,
    /// Answers a second.
    pub answers_per_s: f64,
    /// Notifies a second.
    pub notifies_per_s: f64,
    /// From ping to answer.
    pub latency: Latency,
    /// Everything since the fleet's start.
    pub total: Tally,
}

/// Bots at play. Dropped, they all leave at once and nothing is reported.
pub struct Fleet {
    options: Arc<Options>,
    board: Arc<Board>,
    bots: JoinSet<()>,
    stops: Vec<oneshot::Sender<()>>,
    /// When the last sample was taken, and what the counters were then.
    sampled: (Instant, Tally),
    window: Histogram<u64>,
    all: Histogram<u64>,
    longest: Wait,
    stretches: Vec<Stretch>,
    open: Open,
}

/// The stretch under way.
struct Open {
    label: String,
    from: Duration,
    before: Tally,
    latency: Histogram<u64>,
    wait: Wait,
}

impl Fleet {
    /// Sends the bots in. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// An option out of its range.
    pub fn start(options: Options) -> Result<Self, OptionsError> {
        options.check()?;
        let (options, board) = (Arc::new(options), Arc::new(Board::new()));
        let doors = Arc::new(Semaphore::new(DOORS));
        let (mut bots, mut stops) = (JoinSet::new(), Vec::new());
        for number in 0..options.clients {
            let (sender, stop) = oneshot::channel();
            stops.push(sender);
            bots.spawn(bot::live(BotStart {
                number,
                options: Arc::clone(&options),
                board: Arc::clone(&board),
                doors: Arc::clone(&doors),
                stop,
            }));
        }
        Ok(Self {
            sampled: (board.started, Tally::default()),
            window: latencies(),
            all: latencies(),
            longest: Wait::default(),
            stretches: Vec::new(),
            open: Open {
                label: "coming in".to_owned(),
                from: Duration::ZERO,
                before: Tally::default(),
                latency: latencies(),
                wait: Wait::default(),
            },
            options,
            board,
            bots,
            stops,
        })
    }

    /// The fleet's clock: the time since its start.
    pub fn now(&self) -> Duration {
        self.board.started.elapsed()
    }

    /// Waits until every client is in or has failed; true if all are in. Cancel safe.
    pub fn gathered(&self) -> impl Future<Output = bool> + use<> {
        let (mut crowd, clients) = (self.board.crowd.subscribe(), self.options.clients as usize);
        async move {
            let done = crowd.wait_for(|crowd| crowd.playing + crowd.failed >= clients).await;
            done.is_ok_and(|crowd| crowd.failed == 0)
        }
    }

    /// Waits, at most so long, until the last notify of every client had these rules; how many had. Cancel safe.
    pub fn all_see(&self, rules: u8, within: Duration) -> impl Future<Output = usize> + use<> {
        let (mut crowd, clients) = (self.board.crowd.subscribe(), self.options.clients as usize);
        let see = move |crowd: &Crowd| crowd.rules[tally::slot(rules)];
        async move {
            // Late or not: what counts is how many do.
            let _ = timeout(within, crowd.wait_for(|crowd| see(crowd) >= clients)).await;
            let crowd = crowd.borrow();
            see(&crowd)
        }
    }

    /// How the bots do; takes a lock for microseconds.
    pub fn sample(&mut self) -> Sample {
        let total = self.take();
        let (now, (before, then)) = (Instant::now(), self.sampled);
        let delta = total.since(&then);
        let seconds = (now - before).as_secs_f64().max(1e-3);
        let latency = Latency::of(&self.window);
        self.window.reset();
        self.sampled = (now, total);
        let crowd = *self.board.crowd.borrow();
        Sample {
            at: now - self.board.started,
            connected: crowd.playing - crowd.disconnected,
            answers_per_s: delta.answered as f64 / seconds,
            notifies_per_s: delta.notifies as f64 / seconds,
            latency,
            total,
        }
    }

    /// Ends the stretch of time under way and begins one with this label. The time of the cut.
    pub fn mark(&mut self, label: &str) -> Duration {
        let total = self.take();
        let now = self.now();
        if self.stretches.len() < MARKS_MAX {
            self.close(now, &total);
            self.open.label = label.to_owned();
        }
        now
    }

    /// Stops sending, waits at most [`Options::patience`] for what is still to come, and ends the connections.
    pub async fn stop(mut self) -> Report {
        let stopped = self.now();
        let ending = self.take();
        for stop in self.stops.drain(..) {
            // A bot that has ended needs no word.
            let _ = stop.send(());
        }
        while let Some(ended) = self.bots.join_next().await {
            if let Err(error) = ended {
                self.board.failed(format!("a bot ended in a panic: {error}"));
                self.board.crowd.send_modify(|crowd| crowd.disconnected += 1);
            }
        }
        let total = self.take();
        self.close(stopped, &total);
        let crowd = *self.board.crowd.borrow();
        let (refusals, failures) = {
            let totals = self.board.totals();
            (totals.refusals.clone(), totals.failures.clone())
        };
        let clients = self.options.clients as usize;
        let seconds = stopped.as_secs_f64();
        Report {
            clients,
            came_in: crowd.playing,
            kept: crowd.playing.saturating_sub(crowd.disconnected),
            disconnected: crowd.disconnected,
            seconds,
            total,
            unanswered_at_stop: ending.pings - ending.answered,
            latency: Latency::of(&self.all),
            longest_wait: LongestWait::of(self.longest),
            stretches: self.stretches,
            refusals: refusals.into_iter().map(RefusalCount::from).collect(),
            failures,
        }
    }

    /// Takes what the bots have put on the board into the window, the stretch and the whole.
    fn take(&mut self) -> Tally {
        let mut totals = self.board.totals();
        for into in [&mut self.window, &mut self.open.latency, &mut self.all] {
            into.add(&totals.latency).expect("all histograms have the same bounds");
        }
        totals.latency.reset();
        let wait = std::mem::take(&mut totals.wait);
        self.open.wait = self.open.wait.max(wait);
        self.longest = self.longest.max(wait);
        totals.tally
    }

    fn close(&mut self, now: Duration, total: &Tally) {
        let open = &mut self.open;
        self.stretches.push(Stretch {
            label: std::mem::take(&mut open.label),
            from_s: open.from.as_secs_f64(),
            to_s: now.as_secs_f64(),
            tally: total.since(&open.before),
            latency: Latency::of(&open.latency),
            longest_wait: LongestWait::of(open.wait),
        });
        open.latency.reset();
        (open.from, open.before, open.wait) = (now, *total, Wait::default());
    }
}

#[cfg(test)]
mod tests;
