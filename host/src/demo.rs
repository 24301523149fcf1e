//! Demo: a node, players, and their game replaced under them; told as it happens.
//!
//! The node is a process of its own, started from this very binary; the players are [`crate::bots`]. The story is
//! in `story`, what is left of it in [`Report`].

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bots::{self, Sample};

mod node;
mod operator;
mod report;
mod scratch;
mod story;
mod text;
mod timeline;

pub use node::NodeError;
pub use report::{Chapter, Live, Report, Takeover};

use node::Node;
use operator::Operator;
use scratch::Scratch;
use story::{Cast, Story};

/// Most players: what one process may connect from one address without a word.
pub const CLIENTS_MAX: u32 = 1000;
/// Longest step.
pub const STEP_MAX: Duration = Duration::from_secs(60);

/// How long a new version is watched. Longer than the 5 s in which a bot's ping ids pass a multiple of 50.
const PROBATION: Duration = Duration::from_secs(7);
/// Pings a second and player.
const RATE: f64 = 10.0;
/// Over how long the players come in: it spreads the ping ids, on which a version of the story traps.
const RAMP: Duration = Duration::from_secs(2);
/// Arenas they spread over.
const ARENAS: u32 = 8;

/// How the demo is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Players, 1 to [`CLIENTS_MAX`].
    pub clients: u32,
    /// How long there is to look between two events, up to [`STEP_MAX`].
    pub step: Duration,
    /// Where `game-logic.wasm` and its three variants are; `None`: beside this binary.
    pub plugins: Option<PathBuf>,
    /// An empty or new directory for the node; `None`: a temporary one, removed at the end if all went well.
    pub data_dir: Option<PathBuf>,
}

/// What there is to show while it runs.
#[derive(Debug)]
pub enum Show<'a> {
    /// Something happened: a line that stays.
    Event(&'a str),
    /// How the players do: a line for one second.
    Beat(&'a Sample),
}

/// Why there was no demo. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// An option out of its range.
    #[error("{option} = {value}: allowed is {allowed}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// Its range.
        allowed: String,
    },
    /// A plugin of the story is missing.
    #[error("no {file} in {places}: `cargo xtask build` makes it")]
    Plugin {
        /// The file's name.
        file: &'static str,
        /// Where it was looked for.
        places: String,
    },
    /// A file or directory of the demo's own.
    #[error("cannot use {path}")]
    File {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The node does not start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The node's door for operators does not open.
    #[error("cannot talk to the node: {0}")]
    Operator(String),
    /// The bots cannot start.
    #[error(transparent)]
    Bots(#[from] bots::OptionsError),
    /// It was told to stop.
    #[error("the demo was stopped before its end")]
    Stopped,
}

/// Runs the demo and shows it. A story that takes a wrong turn is no error: the report says so.
///
/// # Errors
/// See [`DemoError`].
pub async fn run(
    options: Options,
    stop: CancellationToken,
    show: &mut dyn FnMut(Show<'_>),
) -> Result<Report, DemoError> {
    check(&options)?;
    let cast = Cast::find(options.plugins.as_deref())?;
    let mut scratch = Scratch::new(options.data_dir.as_deref())?;
    let mut node = tokio::select! {
        node = Node::start(scratch.dir(), &cast.first.path, PROBATION) => node?,
        () = stop.cancelled() => return Err(DemoError::Stopped),
    };
    let operator = Operator::connect(node.admin).await?;
    let fleet = bots::Fleet::start(bots::Options {
        clients: options.clients,
        rate: RATE,
        play: bots::Play::Arenas(ARENAS),
        ramp: RAMP,
        prefix: "player".to_owned(),
        ..bots::Options::new(node.clients)
    })?;
    let about = format!("a node of its own (pid {}), up in {}", node.pid(), bots::span(node.took));
    let mut story = Story::new(cast, fleet, operator, options.step, show);
    let told = tokio::select! {
        told = story.tell(options.clients, &about) => Some(told),
        () = node.gone() => None,
        () = stop.cancelled() => return Err(DemoError::Stopped),
    };
    if told.is_none() {
        story.fail(&format!("the node has died; its last words:\n{}", node.last_words()));
    }
    let mut report = story.end(&mut node).await;
    if !report.passed() {
        report.node_log = scratch.keep();
    }
    Ok(report)
}

fn check(options: &Options) -> Result<(), DemoError> {
    let wrong = |option, value, allowed| Err(DemoError::Option { option, value, allowed });
    if !(1..=CLIENTS_MAX).contains(&options.clients) {
        return wrong("clients", options.clients.to_string(), format!("1 to {CLIENTS_MAX}"));
    }
    if options.step.is_zero() || options.step > STEP_MAX {
        let allowed = format!("1 to {} seconds", STEP_MAX.as_secs());
        return wrong("seconds-per-step", options.step.as_secs().to_string(), allowed);
    }
    Ok(())
}
