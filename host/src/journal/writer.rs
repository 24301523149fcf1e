//! Writer: the thread that brings a journal to disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::segment::{Segments, at};
use super::{JournalError, Shared};

/// How long the writer lets records gather: one write then serves many of them. What gathers is what the death of the
/// process loses.
const GATHER: Duration = Duration::from_millis(1);

/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Tries of a journal that is closing; then what waits is given up, loudly.
const LAST_TRIES: u32 = 3;

pub(super) fn start(shared: Arc<Shared>, segments: Segments) -> Result<JoinHandle<()>, JournalError> {
    let path = segments.path(0);
    let writer = Writer::new(shared, segments);
    std::thread::Builder::new().name("journal".into()).spawn(move || writer.run()).map_err(at(&path))
}

/// What the writer has before it.
struct Turn {
    /// To be written, by segment.
    queue: VecDeque<(u64, Vec<u8>)>,
    /// Its size.
    bytes: usize,
    /// The oldest segment that is needed once it is written.
    needed: u64,
    /// The position behind it.
    appended: u64,
    /// The journal is closing.
    closed: bool,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    segments: Segments,
    file: Option<(u64, File)>,
    /// Since when something is written but not synced.
    unsynced: Option<Instant>,
    /// How much of the first buffer that waits is written.
    written: usize,
    /// How often that has failed, and how often while the journal was closing.
    tries: u32,
    last_tries: u32,
}

/// A journal's writer without a thread of its own, for simulations: it writes when it is told to.
pub struct Steps {
    writer: Writer,
    turn: Option<Turn>,
}

impl Steps {
    pub(super) fn new(shared: Arc<Shared>, segments: Segments) -> Self {
        Self { writer: Writer::new(shared, segments), turn: None }
    }

    /// Writes and syncs all that waits, as far as the disk takes it.
    pub fn step(&mut self) {
        let mut turn = self.turn.take().unwrap_or_else(|| self.writer.take());
        if self.writer.write_all(&mut turn.queue) {
            self.writer.end(&turn, true);
        } else {
            self.turn = Some(turn);
        }
    }
}

impl Writer {
    fn new(shared: Arc<Shared>, segments: Segments) -> Self {
        Self { shared, segments, file: None, unsynced: None, written: 0, tries: 0, last_tries: 0 }
    }

    fn run(mut self) {
        loop {
            self.wait();
            let mut turn = self.take();
            while !self.write_all(&mut turn.queue) {
                std::thread::sleep(RETRY);
            }
            let more = self.end(&turn, turn.closed);
            if turn.closed && !more {
                return;
            }
        }
    }

    /// Tells that all of a turn is written, and syncs if it is time or has to be now; whether more waits.
    fn end(&mut self, turn: &Turn, sync_now: bool) -> bool {
        let mut state = self.shared.lock();
        state.queued -= turn.bytes;
        let more = !state.queue.is_empty();
        drop(state);
        self.shared.space.notify_waiters();
        if self.sync_if_due(sync_now) && self.publish(turn.needed, turn.appended) {
            // Everything that `needed` was computed from is on disk now.
            if let Err(error) = self.segments.remove_below(turn.needed) {
                warn!(%error, "old segment not removed");
            }
        }
        more
    }

    /// Waits for something to write or to sync.
    fn wait(&self) {
        let mut state = self.shared.lock();
        while state.queue.is_empty() && !state.closed {
            let Some(since) = self.unsynced else {
                state = self.shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = self.shared.sync_every().saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            state = self.shared.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if !state.queue.is_empty() && !state.closed {
            drop(state);
            std::thread::sleep(GATHER);
        }
    }

    /// Takes what is to be written.
    fn take(&self) -> Turn {
        let mut state = self.shared.lock();
        let needed = state.bases.values().copied().min().unwrap_or(state.segment);
        let queue = std::mem::take(&mut state.queue);
        let bytes = queue.iter().map(|(_, buffer)| buffer.len()).sum();
        Turn { queue, bytes, needed, appended: state.appended, closed: state.closed }
    }

    /// Tells those who wait for the disk; false if what they wait for may be in a segment that was not synced. Then
    /// every room has to write a new base first.
    fn publish(&self, needed: u64, appended: u64) -> bool {
        let mut state = self.shared.lock();
        if state.failed.is_some_and(|failed| needed <= failed) {
            return false;
        }
        state.failed = None;
        drop(state);
        self.shared.synced.send_replace(appended);
        true
    }

    /// Writes what waits; false if the disk did not take all of it, and it is to be tried again.
    fn write_all(&mut self, queue: &mut VecDeque<(u64, Vec<u8>)>) -> bool {
        while let Some((segment, buffer)) = queue.front() {
            let mut written = self.written;
            let result = self.write(*segment, buffer, &mut written);
            self.written = written;
            if let Err(error) = result {
                self.tries += 1;
                self.last_tries += u32::from(self.shared.lock().closed);
                if self.last_tries < LAST_TRIES {
                    if self.tries == 1 {
                        error!(%error, waiting_bytes = buffer.len() - written, "journal not written, trying again");
                    }
                    return false;
                }
                error!(%error, lost_bytes = buffer.len() - written, "journal not written, rooms may be lost");
            } else if self.tries > 0 {
                info!(tries = self.tries, "journal written again");
            }
            (self.written, self.tries, self.last_tries) = (0, 0, 0);
            queue.pop_front();
        }
        true
    }

    /// Writes on from where the last try ended, so that no record is doubled or torn in the middle.
    fn write(&mut self, segment: u64, buffer: &[u8], written: &mut usize) -> io::Result<()> {
        let file = match &mut self.file {
            Some((number, file)) if *number == segment => file,
            old => {
                if let Some((_, file)) = old {
                    file.sync_data()?;
                }
                let file = self.segments.create(segment)?;
                &mut old.insert((segment, file)).1
            }
        };
        while *written < buffer.len() {
            match file.write(&buffer[*written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.unsynced.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Syncs if it is time; true if everything written is on disk.
    fn sync_if_due(&mut self, now: bool) -> bool {
        let Some(since) = self.unsynced else { return false };
        if !now && since.elapsed() < self.shared.sync_every() {
            return false;
        }
        let Some((number, file)) = &self.file else { return false };
        if let Err(error) = file.sync_data() {
            // What the system has dropped after a failed sync cannot be asked for again.
            error!(segment = *number, %error, "journal not synced, rooms write their state anew");
            let mut state = self.shared.lock();
            state.failed = Some(*number);
            if state.segment == *number {
                state.segment += 1;
                state.segment_bytes = 0;
            }
            self.unsynced = None;
            return false;
        }
        self.unsynced = None;
        true
    }
}
