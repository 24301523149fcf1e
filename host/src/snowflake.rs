//! Snowflake: ids that no two callers share, and sequences that count 1, 2, 3.
//!
//! [`Generator`] makes the ids of one machine number, `machine` claims that number in the cluster and keeps the mark
//! that makes a restart safe (`docs/adr/0015-snowflake.md`), [`Ids`] is what callers draw from, [`Sequences`] count, and
//! [`SnowflakeService`] answers for both. It knows discovery and the protocol, nothing else of the node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::discovery::Discovery;

mod clock;
mod error;
mod generator;
mod ids;
mod machine;
mod memory;
mod metrics;
mod sequences;
mod service;

pub use clock::{Clock, FakeClock, now_ms};
pub use error::{IdsError, SnowflakeError};
pub use generator::{AHEAD_MS, Block, Generator, GeneratorError, MACHINES, TIME_END_MS};
pub use ids::Ids;
pub use memory::FILE;
pub use metrics::SnowflakeMetrics;
pub use sequences::{COUNT_MAX, NAME_MAX_BYTES, SequenceError, SequenceOptions, Sequences};
pub use service::{IDS_MAX, SnowflakeService};

use machine::{Keeper, Standing, Stuck};
use memory::Notebook;

/// What a node's ids are made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Where the machine number is claimed and sequences are kept.
    pub discovery: Discovery,
    /// What this node is called.
    pub node_id: String,
    /// Where the number used last is remembered, in [`FILE`].
    pub data_dir: PathBuf,
    /// The number to have, 0 to 1023; any that is free without it.
    pub machine_id: Option<u32>,
    /// How long [`Snowflake::held`] waits for a number that somebody else has: longer than a lease, since a process
    /// that was killed holds its number until its lease ends.
    pub patience: Duration,
    /// How sequences behave.
    pub sequences: SequenceOptions,
    /// The time; [`Clock::System`] but for tests.
    pub clock: Clock,
    /// Where metrics go.
    pub registry: &'a Registry,
}

/// The ids and sequences of a node. Dropping it gives nothing back: the number is free when the lease ends, and guests
/// have what is secured until then.
#[derive(Debug)]
pub struct Snowflake {
    ids: Arc<Ids>,
    sequences: Sequences,
    standing: watch::Receiver<Standing>,
    patience: Duration,
    stop: CancellationToken,
    keeper: Option<JoinHandle<()>>,
}

/// Starts and waits for a machine number: [`Snowflake::begin`] and [`Snowflake::held`].
///
/// # Errors
/// See [`SnowflakeError`].
pub async fn start(parts: Parts<'_>) -> Result<Snowflake, SnowflakeError> {
    let snowflake = Snowflake::begin(parts)?;
    snowflake.held().await?;
    Ok(snowflake)
}

impl Snowflake {
    /// Starts, and goes on claiming a machine number in the background; until there is one, there are no ids. Needs a
    /// runtime.
    ///
    /// # Errors
    /// [`SnowflakeError::Number`], [`SnowflakeError::Metrics`].
    pub fn begin(parts: Parts<'_>) -> Result<Self, SnowflakeError> {
        let Parts { discovery, node_id, data_dir, machine_id, patience, sequences, clock, registry } = parts;
        let number = |id: u32| {
            let number = u16::try_from(id).ok().filter(|number| *number < MACHINES);
            number.ok_or(SnowflakeError::Number(id))
        };
        let fixed = machine_id.map(number).transpose()?;
        let metrics = SnowflakeMetrics::register(registry)?;
        let generator = Arc::new(Generator::closed(clock));
        let process = generator.seed();
        let ids = Arc::new(Ids::new(discovery.clone(), generator, metrics.clone()));
        let sequences = Sequences::new(discovery.clone(), sequences, metrics);
        let (told, standing) = watch::channel(Standing::Waiting);
        let stop = CancellationToken::new();
        let keeper = Keeper {
            ids: Arc::clone(&ids),
            discovery,
            node_id,
            fixed,
            notebook: Notebook::of(&data_dir),
            process,
            standing: told,
            stop: stop.clone(),
        };
        let keeper = Some(tokio::spawn(keeper.run()));
        Ok(Self { ids, sequences, standing, patience, stop, keeper })
    }

    /// Completes once a machine number is held, for the first time or again. Waits as long as discovery is away. Cancel
    /// safe.
    ///
    /// # Errors
    /// [`SnowflakeError::Taken`] or [`SnowflakeError::Malformed`] if that stands in the way for longer than
    /// [`Parts::patience`]. It goes on trying all the same, until this is dropped.
    pub async fn held(&self) -> Result<(), SnowflakeError> {
        let mut standing = self.standing.clone();
        let mut since = None;
        loop {
            let stuck: Option<Stuck> = match &*standing.borrow_and_update() {
                Standing::Held(_) => return Ok(()),
                Standing::Stuck(stuck) => Some(stuck.clone()),
                Standing::Waiting => None,
            };
            let Some(stuck) = stuck else {
                since = None;
                // It fails when the keeper has been stopped: then there will never be one, and nobody waits for it.
                if standing.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            let end = *since.get_or_insert_with(Instant::now) + self.patience;
            tokio::select! {
                _ = standing.changed() => {}
                () = sleep_until(end) => return Err(stuck.into()),
            }
        }
    }

    /// The machine number, if one is held.
    pub fn machine(&self) -> Option<u16> {
        match *self.standing.borrow() {
            Standing::Held(number) => Some(number),
            _ => None,
        }
    }

    /// What callers draw from, and, by [`Ids::generator`], guests.
    pub fn ids(&self) -> &Arc<Ids> {
        &self.ids
    }

    /// The sequences.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// What answers `proto.SnowflakeService`, for its generated server.
    pub fn service(&self) -> SnowflakeService {
        SnowflakeService::new(Arc::clone(&self.ids), self.sequences.clone())
    }

    /// Ends it: nobody gets an id any more, and the number is given back, to go on where this ended. Call it before
    /// [`Discovery::close`], and after the last guest call. If it is cancelled, the number is free when the lease ends.
    pub async fn close(mut self) {
        self.stop.cancel();
        if let Some(keeper) = self.keeper.take() {
            // It ends by itself; a panic in it has been logged.
            let _ = keeper.await;
        }
    }
}

impl Drop for Snowflake {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
            self.ids.lose("the node stops");
        }
    }
}
