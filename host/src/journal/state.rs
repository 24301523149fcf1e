//! State: what rooms have appended and the writer has not yet written, shared by both.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::record::{Kind, write_base, write_record};
use super::usage::Usage;
use super::{Bounds, JournalError};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) bounds: Bounds,
    /// What the checksums of this process's records begin with.
    pub(super) seed: u32,
    /// What the bounds began with, or what has been asked for since; microseconds.
    pub(super) sync_every_us: AtomicU64,
    pub(super) state: Mutex<State>,
    pub(super) work: Condvar,
    pub(super) space: Notify,
    /// The position up to which everything is on disk.
    pub(super) synced: watch::Sender<u64>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Bytes appended since the journal was opened: the position of what comes next.
    pub(super) appended: u64,
    /// A segment that could not be synced: what is in it counts as not written.
    pub(super) failed: Option<u64>,
    /// What waits to be written, by segment, oldest first.
    pub(super) queue: VecDeque<(u64, Vec<u8>)>,
    pub(super) queued: usize,
    pub(super) segment: u64,
    pub(super) segment_bytes: u64,
    /// Which segments are needed: that of each room's last base, and what follows.
    pub(super) usage: Usage,
    /// The generation of each room that has had more than one owner: its bases carry it.
    pub(super) generations: HashMap<Arc<str>, u64>,
    pub(super) closed: bool,
}

impl Shared {
    /// Nothing waits; what comes goes to segment `next`.
    pub(super) fn new(bounds: Bounds, usage: Usage, next: u64) -> Result<Self, JournalError> {
        let state = State {
            appended: 0,
            failed: None,
            queue: VecDeque::new(),
            queued: 0,
            segment: next,
            segment_bytes: 0,
            usage,
            generations: HashMap::new(),
            closed: false,
        };
        Ok(Self {
            bounds,
            seed: getrandom::u32().map_err(JournalError::Random)?,
            sync_every_us: AtomicU64::new(u64::try_from(bounds.sync_every.as_micros()).unwrap_or(u64::MAX)),
            state: Mutex::new(state),
            work: Condvar::new(),
            space: Notify::new(),
            synced: watch::Sender::new(0),
        })
    }

    pub(super) fn sync_every(&self) -> Duration {
        Duration::from_micros(self.sync_every_us.load(Ordering::Relaxed))
    }

    /// Wakes the writer if it may sleep. One that works looks again by itself.
    pub(super) fn wake(&self, was_idle: bool) {
        if was_idle {
            self.work.notify_one();
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Records are appended whole, so a panic elsewhere does not spoil the state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn next_segment(&mut self) {
        self.segment += 1;
        self.segment_bytes = 0;
    }

    pub(super) fn append_past(&mut self, shared: &Shared, room: &Arc<str>, base: &[u8], inputs: &[u8]) {
        let generation = self.generations.get(room).copied().unwrap_or(0);
        let segment = self.append_with(shared, |out| write_base(out, shared.seed, room, generation, base));
        if !inputs.is_empty() {
            self.append(shared, Kind::Inputs, room, inputs);
        }
        self.usage.based(room, segment, (base.len() + inputs.len()) as u64);
    }

    pub(super) fn append(&mut self, shared: &Shared, kind: Kind, room: &str, bytes: &[u8]) -> u64 {
        self.append_with(shared, |out| write_record(out, shared.seed, kind, room, bytes))
    }

    /// Appends what `write` appends; its length is what `write` says.
    fn append_with(&mut self, shared: &Shared, write: impl FnOnce(&mut Vec<u8>) -> usize) -> u64 {
        if self.segment_bytes >= shared.bounds.segment_bytes {
            self.next_segment();
        }
        if self.queue.back().is_none_or(|(segment, _)| *segment != self.segment) {
            self.queue.push_back((self.segment, Vec::new()));
        }
        if let Some((_, buffer)) = self.queue.back_mut() {
            let length = write(buffer);
            self.queued += length;
            self.appended += length as u64;
            self.segment_bytes += length as u64;
            self.usage.appended(self.segment, length as u64);
        }
        self.segment
    }
}
