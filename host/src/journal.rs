//! Journal: what rooms need to come back after the process has died.
//!
//! One run of records for the whole node, written behind by a thread of its own and synced in groups. A room appends
//! its base (how it began, or a snapshot) and then its inputs; what came before a room's last base is of no use any
//! more, and segments that hold nothing of use are removed. Knows rooms by name and their records as bytes.

mod letters;
mod look;
mod recover;
mod segment;
mod writer;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tracing::error;

pub use letters::{About, Cause, Context, Counters, Letter, Letters};
pub use look::{DeadLetter, Found, LookError, look};
pub use recover::Past;
use segment::{Kind, Segments};
pub use writer::Steps;

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

/// Segments are so large by default: a room's base is written anew about as often as so much has been journalled.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Bytes that may wait to be written by default.
pub const BUFFER_BYTES: usize = 64 << 20;

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
    /// Another process has it.
    #[error("journal {0} is in use: is another node running on this data directory?")]
    Locked(PathBuf),
    /// A record in the middle is damaged: what follows it cannot be trusted.
    #[error(
        "journal {path} is damaged at byte {offset}: {what}; the rooms of this node cannot be restored. \
         Restore the file, or move the journal directory away to begin without them"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The journal of a node.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    shared: Arc<Shared>,
    /// How often each plugin needs its records synced, microseconds.
    periods: Mutex<BTreeMap<String, u64>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// A journal that has been read, and is not written yet.
type Read = (Arc<Shared>, Segments, BTreeMap<String, Past>);

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    /// What the bounds began with, or what has been asked for since; microseconds.
    sync_every_us: AtomicU64,
    state: Mutex<State>,
    work: Condvar,
    space: Notify,
    /// The position up to which everything is on disk.
    synced: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// Bytes appended since the journal was opened: the position of what comes next.
    appended: u64,
    /// A segment that could not be synced: what is in it counts as not written.
    failed: Option<u64>,
    /// What waits to be written, by segment, oldest first.
    queue: VecDeque<(u64, Vec<u8>)>,
    queued: usize,
    segment: u64,
    segment_bytes: u64,
    /// The segment of each room's last base: it and what follows is needed.
    bases: HashMap<Arc<str>, u64>,
    closed: bool,
}

impl Journal {
    /// Opens the journal in `dir` and reads back what rooms left there. A record that a crash cut short is dropped
    /// with a warning. What was read stays on disk until its rooms have written new bases or are forgotten.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(dir: &Path, bounds: Bounds) -> Result<(Self, BTreeMap<String, Past>), JournalError> {
        let (shared, segments, pasts) = Self::read(dir, bounds)?;
        let writer = writer::start(Arc::clone(&shared), segments)?;
        let writer = Mutex::new(Some(writer));
        Ok((Self { dir: dir.to_owned(), shared, periods: Mutex::default(), writer }, pasts))
    }

    /// As [`Self::open`], but written only when the third value is told to: for simulations.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn stepped(
        dir: &Path,
        bounds: Bounds,
    ) -> Result<(Self, BTreeMap<String, Past>, Steps), JournalError> {
        let (shared, segments, pasts) = Self::read(dir, bounds)?;
        let steps = Steps::new(Arc::clone(&shared), segments);
        let journal =
            Self { dir: dir.to_owned(), shared, periods: Mutex::default(), writer: Mutex::default() };
        Ok((journal, pasts, steps))
    }

    fn read(dir: &Path, bounds: Bounds) -> Result<Read, JournalError> {
        let segments = Segments::open(dir)?;
        let pasts = recover::read(&segments)?;
        let first = segments.last().map_or(1, |last| last + 1);
        // The pasts are needed until their rooms have written bases of their own.
        let bases = pasts.keys().map(|room| (Arc::from(room.as_str()), 0)).collect();
        let state = State {
            appended: 0,
            failed: None,
            queue: VecDeque::new(),
            queued: 0,
            segment: first,
            segment_bytes: 0,
            bases,
            closed: false,
        };
        let shared = Arc::new(Shared {
            bounds,
            sync_every_us: AtomicU64::new(u64::try_from(bounds.sync_every.as_micros()).unwrap_or(u64::MAX)),
            state: Mutex::new(state),
            work: Condvar::new(),
            space: Notify::new(),
            synced: watch::Sender::new(0),
        });
        Ok((shared, segments, pasts))
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
        let mut state = self.shared.lock();
        let idle = state.queue.is_empty();
        let segment = state.append(&self.shared.bounds, Kind::Base, room, base);
        state.bases.insert(Arc::clone(room), segment);
        let position = state.appended;
        drop(state);
        self.shared.wake(idle);
        position
    }

    /// Appends inputs of a room, in order. The position behind them.
    pub fn inputs(&self, room: &Arc<str>, records: &[u8]) -> u64 {
        let mut state = self.shared.lock();
        let idle = state.queue.is_empty();
        state.append(&self.shared.bounds, Kind::Inputs, room, records);
        let position = state.appended;
        drop(state);
        self.shared.wake(idle);
        position
    }

    /// The position behind all that has been appended.
    pub fn position(&self) -> u64 {
        self.shared.lock().appended
    }

    /// The position up to which everything is on disk, as it moves on.
    pub fn synced(&self) -> watch::Receiver<u64> {
        self.shared.synced.subscribe()
    }

    /// The room has ended: it is not to come back.
    pub fn forget(&self, room: &Arc<str>) {
        let mut state = self.shared.lock();
        let idle = state.queue.is_empty();
        if state.bases.remove(room).is_some() {
            state.append(&self.shared.bounds, Kind::Ended, room, &[]);
        }
        drop(state);
        self.shared.wake(idle);
    }

    /// Whether more waits to be written than may.
    pub fn is_full(&self) -> bool {
        self.shared.lock().queued >= self.shared.bounds.buffer_bytes
    }

    /// Waits until there is space for more. Cancel safe.
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
    pub fn set_aside(&self, room: &str, past: &Past) -> Result<PathBuf, JournalError> {
        let name = format!("{}-{}.seg", room.replace('/', "_"), crate::snowflake::now_ms());
        let path = self.dir.join("aside").join(name);
        segment::write_aside(&path, room, past)?;
        Ok(path)
    }

    /// Rooms whose last base lies so far back that it keeps old segments from being removed. A new base of theirs
    /// frees them.
    pub fn stale(&self) -> Vec<Arc<str>> {
        let state = self.shared.lock();
        let failed = state.failed.map_or(0, |failed| failed + 1);
        let stale = state.bases.iter().filter(|(_, base)| **base + 1 < state.segment || **base < failed);
        let mut stale: Vec<_> = stale.map(|(room, _)| Arc::clone(room)).collect();
        stale.sort_unstable();
        stale
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

impl Shared {
    fn sync_every(&self) -> Duration {
        Duration::from_micros(self.sync_every_us.load(Ordering::Relaxed))
    }

    /// Wakes the writer if it may sleep. One that works looks again by itself.
    fn wake(&self, was_idle: bool) {
        if was_idle {
            self.work.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Records are appended whole, so a panic elsewhere does not spoil the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, bounds: &Bounds, kind: Kind, room: &str, bytes: &[u8]) -> u64 {
        if self.segment_bytes >= bounds.segment_bytes {
            self.segment += 1;
            self.segment_bytes = 0;
        }
        if self.queue.back().is_none_or(|(segment, _)| *segment != self.segment) {
            self.queue.push_back((self.segment, Vec::new()));
        }
        if let Some((_, buffer)) = self.queue.back_mut() {
            let length = segment::write_record(buffer, kind, room, bytes);
            self.queued += length;
            self.appended += length as u64;
            self.segment_bytes += length as u64;
        }
        self.segment
    }
}

#[cfg(test)]
mod tests;
