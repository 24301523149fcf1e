//! Journal: what rooms need to come back after the process has died.
//!
//! One run of records for the whole node, written behind by a thread of its own and synced in groups. A room appends
//! its base (how it began, or a snapshot) and then its inputs; what came before a room's last base is of no use any
//! more, and segments that hold nothing of use are removed. Knows rooms by name and their records as bytes.

pub mod check;
mod dead_letters;
pub mod disk;
mod dormant;
mod head;
mod inspect;
mod metrics;
mod record;
mod recover;
mod rollback;
mod segment;
mod state;
mod survey;
mod usage;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tracing::error;

pub use dead_letters::{About, Cause, Context, Counters, DeadLetterFile, DeadLetters};
use disk::{Disk, RealDisk};
pub use dormant::Dormant;
pub use inspect::{DeadLetter, Found, InspectError, inspect, look_at};
pub use metrics::JournalMetrics;
use record::Kind;
pub use rollback::{RollbackError, RollbackFile, RollbackStore};
use segment::Segments;
use state::Shared;
pub use survey::{Damage, SavedState, Torn};
use usage::Usage;
pub use writer::Steps;
use writer::Writer;

use crate::telemetry::health::Part;

/// Bounds of a journal.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// A segment that has grown so large is followed by another one, bytes.
    pub segment_bytes: u64,
    /// Bytes that may wait to be written; rooms that have more to say wait then.
    pub buffer_bytes: usize,
    /// The longest that a written record waits to be synced to disk.
    pub sync_every: Duration,
}

/// Segments are so large by default: what is of no use is removed in pieces of this size.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes that may wait to be written by default.
pub const BUFFER_BYTES: usize = 64 << 20;

/// The share of the buffer that may be in use before what is not urgent waits: a fourth.
const BUSY: usize = 4;

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file or the directory cannot be read or written.
    #[error("journal {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gives no random number.
    #[error("no random number for the journal: {0}")]
    Random(getrandom::Error),
    /// Another process has it.
    #[error("journal {0} is in use: is another node running on this data directory?")]
    Locked(PathBuf),
    /// Something is not as it was written: what was said after it cannot be trusted.
    #[error(
        "journal {path} is damaged at byte {offset}: {what}{}; the rooms of this node cannot be restored. \
         `hotseat journal check {dir}` shows what there is, `hotseat journal repair {dir}` goes on with what can be trusted",
        others(*.more)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong.
        what: String,
        /// Further damage.
        more: usize,
        /// The journal's directory.
        dir: PathBuf,
    },
}

fn others(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more)") }
}

/// What a journal is given by its node.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where its files are.
    pub disk: Arc<dyn Disk>,
    /// Where it says that it cannot write.
    pub part: Part,
    /// What it counts.
    pub metrics: JournalMetrics,
}

impl Default for Surroundings {
    /// The machine's disk, and nobody who asks.
    fn default() -> Self {
        Self { disk: Arc::new(RealDisk), part: Part::default(), metrics: JournalMetrics::default() }
    }
}

/// The journal of a node.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    /// How often each plugin needs its records synced, microseconds.
    periods: Mutex<BTreeMap<String, u64>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal in `dir` and reads back what rooms left there. A record that a crash cut short is dropped
    /// with a warning and kept in a file. What was read stays on disk until its rooms have written new bases or are
    /// forgotten.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(dir: &Path, bounds: Bounds) -> Result<(Self, BTreeMap<String, SavedState>), JournalError> {
        Self::open_in(dir, bounds, Surroundings::default())
    }

    /// As [`Self::open`], on another disk or for a node that wants to know.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open_in(
        dir: &Path,
        bounds: Bounds,
        surroundings: Surroundings,
    ) -> Result<(Self, BTreeMap<String, SavedState>), JournalError> {
        let (journal, saved_states, writer) = Self::read(dir, bounds, surroundings)?;
        let thread = writer::start(writer).map_err(segment::at(dir))?;
        *journal.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok((journal, saved_states))
    }

    /// As [`Self::open_in`], but written only when the third value is told to: for simulations.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn stepped_in(
        dir: &Path,
        bounds: Bounds,
        surroundings: Surroundings,
    ) -> Result<(Self, BTreeMap<String, SavedState>, Steps), JournalError> {
        let (journal, saved_states, writer) = Self::read(dir, bounds, surroundings)?;
        Ok((journal, saved_states, Steps::new(writer)))
    }

    /// The same on the machine's disk.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn stepped(
        dir: &Path,
        bounds: Bounds,
    ) -> Result<(Self, BTreeMap<String, SavedState>, Steps), JournalError> {
        Self::stepped_in(dir, bounds, Surroundings::default())
    }

    fn read(
        dir: &Path,
        bounds: Bounds,
        surroundings: Surroundings,
    ) -> Result<(Self, BTreeMap<String, SavedState>, Writer), JournalError> {
        let Surroundings { disk, part, metrics } = surroundings;
        let segments = Segments::open(Arc::clone(&disk), dir)?;
        let mut found = recover::read(&segments)?;
        let mut usage = Usage::new(bounds.segment_bytes, found.segments.clone());
        for (name, room) in &found.rooms {
            let bytes = room.past.base.len() + room.past.inputs.len();
            usage.based(&Arc::from(name.as_str()), room.segment, bytes as u64);
        }
        let shared = Arc::new(Shared::new(bounds, usage, found.next)?);
        let rooms = std::mem::take(&mut found.rooms);
        let owned = rooms.iter().filter(|(_, room)| room.past.generation > 0);
        let owned = owned.map(|(name, room)| (Arc::from(name.as_str()), room.past.generation));
        shared.lock().generations.extend(owned);
        let saved_states = rooms.into_iter().map(|(name, room)| (name, room.past)).collect();
        let writer = Writer::new(Arc::clone(&shared), segments, &found, (part, metrics));
        let (periods, thread) = (Mutex::default(), Mutex::default());
        Ok((Self { dir: dir.to_owned(), disk, shared, periods, writer: thread }, saved_states, writer))
    }

    /// `who` needs its records synced so often from now on; who needs it most often decides.
    pub fn sync_every(&self, who: &str, period: Duration) {
        let period = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        let mut periods = self.periods.lock().unwrap_or_else(PoisonError::into_inner);
        periods.insert(who.to_owned(), period);
        let least = periods.values().copied().min().unwrap_or(period);
        self.shared.sync_every_us.store(least, Ordering::Relaxed);
    }

    /// Appends a room's base: what was written of it before is of no more use. The position behind it.
    pub fn base(&self, room: &Arc<str>, base: &[u8]) -> u64 {
        self.base_and_inputs(room, base, &[])
    }

    /// The same, and the inputs that there have been since.
    pub fn base_and_inputs(&self, room: &Arc<str>, base: &[u8], inputs: &[u8]) -> u64 {
        let mut state = self.shared.lock();
        let idle = state.queue.is_empty();
        state.append_past(&self.shared, room, base, inputs);
        let position = state.appended;
        drop(state);
        self.shared.wake(idle);
        position
    }

    /// The position behind all that has been appended.
    pub fn position(&self) -> u64 {
        self.shared.lock().appended
    }

    /// The room is of this generation from its next base on, unless it is of a later one.
    pub fn raise(&self, room: &Arc<str>, generation: u64) {
        if generation > 0 {
            let mut state = self.shared.lock();
            let known = state.generations.entry(Arc::clone(room)).or_default();
            *known = generation.max(*known);
        }
    }

    /// The generation of a room, see [`SavedState::generation`].
    pub fn generation(&self, room: &str) -> u64 {
        self.shared.lock().generations.get(room).copied().unwrap_or(0)
    }

    /// Appends inputs of a room, in order. The position behind them.
    pub fn inputs(&self, room: &Arc<str>, records: &[u8]) -> u64 {
        let mut state = self.shared.lock();
        let idle = state.queue.is_empty();
        state.append(&self.shared, Kind::Inputs, room, records);
        let position = state.appended;
        drop(state);
        self.shared.wake(idle);
        position
    }

    /// The position up to which everything is on disk, as it moves on.
    pub fn synced(&self) -> watch::Receiver<u64> {
        self.shared.synced.subscribe()
    }

    /// The room has ended: it is not to come back.
    pub fn forget(&self, room: &Arc<str>) {
        let mut state = self.shared.lock();
        let idle = state.queue.is_empty();
        state.generations.remove(room);
        if state.usage.ended(room) {
            state.append(&self.shared, Kind::Ended, room, &[]);
        }
        drop(state);
        self.shared.wake(idle);
    }

    /// Whether more waits to be written than may.
    pub fn is_full(&self) -> bool {
        self.shared.lock().queued >= self.shared.bounds.buffer_bytes
    }

    /// Whether so much waits that what can be written later should be.
    pub fn is_busy(&self) -> bool {
        self.shared.lock().queued >= self.shared.bounds.buffer_bytes / BUSY
    }

    /// Bytes that wait to be written.
    pub fn waiting(&self) -> usize {
        self.shared.lock().queued
    }

    /// Whether a base of so many bytes leaves half of what may wait to inputs, with `besides` bytes that are to come before
    /// it. A larger one does if nothing waits.
    pub fn takes_base(&self, bytes: usize, besides: usize) -> bool {
        let waiting = self.waiting().saturating_add(besides);
        waiting == 0 || waiting.saturating_add(bytes) <= self.shared.bounds.buffer_bytes / 2
    }

    /// Waits until there is space for more: to be awaited before inputs are taken, and before each base. Cancel safe.
    pub async fn space(&self) {
        loop {
            let space = self.shared.space.notified();
            if !self.is_full() {
                return;
            }
            space.await;
        }
    }

    /// Keeps what a room has left in a file of its own, beside the journal: it could not be brought back, and what it
    /// was must not be lost. The file has the form of a segment.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn set_aside(&self, room: &str, past: &SavedState) -> Result<PathBuf, JournalError> {
        let name = format!("{}-{}.seg", room.replace('/', "_"), crate::snowflake::now_ms());
        let path = self.dir.join("aside").join(name);
        segment::write_aside(&*self.disk, &path, room, past)?;
        Ok(path)
    }

    /// Rooms that are to write their bases anew now, see `usage`: old segments that hold little of use can go then. They
    /// are not named again before they have, or half a minute has gone by.
    pub fn stale(&self) -> Vec<Arc<str>> {
        let mut state = self.shared.lock();
        let failed = state.failed;
        state.usage.due(failed)
    }

    /// Copies what the disk has of rooms that nobody runs into the newest segment, so that old ones can go. `runs`: whether
    /// somebody does so by now. Blocks, and reads the whole journal.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn copy(&self, rooms: &[Arc<str>], runs: impl Fn(&str) -> bool) -> Result<(), JournalError> {
        let found = survey::survey(&*self.disk, &self.dir).map_err(|(path, e)| segment::at(&path)(e))?;
        for name in rooms {
            let Some(room) = found.rooms.get(&**name) else { continue };
            let mut state = self.shared.lock();
            if state.usage.segment_of(name) == Some(room.segment) && !runs(name) {
                state.append_past(&self.shared, name, &room.past.base, &room.past.inputs);
            }
            drop(state);
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Writes and syncs what waits, and closes the journal. Blocks until then.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            error!("the journal's writer ended in a panic");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
