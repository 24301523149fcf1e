//! Writer: the thread that brings a journal to disk.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::error;

use super::disk::{DiskFile, write_some};
use super::head::Head;
use super::metrics::JournalMetrics;
use super::segment::{End, HEADER, Header, Segments};
use super::state::Shared;
use super::survey::Survey;
use crate::telemetry::health::Part;

/// How long the writer lets records gather: one write then serves many of them. What gathers is what the death of the
/// process loses.
const GATHER: Duration = Duration::from_millis(1);

/// How long to wait before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Tries of a journal that is closing; then what waits is given up, loudly.
const LAST_TRIES: u32 = 3;

/// What is said as long as the disk does not take what is written.
const NOT_WRITTEN: &str = "journal not written, trying again";

/// Writes in a thread of its own.
pub(super) fn start(mut writer: Writer) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("journal".into()).spawn(move || writer.run())
}

/// What the writer has before it.
struct Turn {
    /// To be written, by segment.
    queue: VecDeque<(u64, Vec<u8>)>,
    /// The oldest segment that is needed once it is written.
    needed: u64,
    /// The position behind it.
    appended: u64,
    /// The journal is closing.
    closed: bool,
}

/// A segment that is written to.
struct Open {
    number: u64,
    file: Box<dyn DiskFile>,
    length: u64,
    crc: crc32fast::Hasher,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    segments: Segments,
    file: Option<Open>,
    /// How the segment before ended; none if that is not known.
    previous: Option<End>,
    /// Since when something is written but not synced.
    unsynced: Option<Instant>,
    /// What the journal says of its segments, and whether it is on disk.
    head: Head,
    head_there: bool,
    rewritten: u64,
    /// How much of the first buffer that waits is written.
    written: usize,
    /// How often that has failed while the journal was closing.
    last_tries: u32,
    part: Part,
    metrics: JournalMetrics,
}

/// A journal's writer without a thread of its own, for simulations: it writes when it is told to.
pub struct Steps {
    writer: Writer,
    turn: Option<Turn>,
    written: u64,
}

impl Steps {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, turn: None, written: 0 }
    }

    /// Writes and syncs all that waits, as far as the disk takes it.
    pub fn step(&mut self) {
        if let Some(turn) = self.write_turn() {
            self.writer.end(&turn, true);
        }
    }

    /// Writes all that waits, as a writer does whose sync has not come back yet. Nothing more is written
    /// before the next [`Self::step`].
    pub fn write(&mut self) {
        self.turn = self.write_turn().or_else(|| self.turn.take());
    }

    /// The position up to which everything is written, whether or not it is synced.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes one turn; none if the disk did not take all of it, and it is still to be done.
    fn write_turn(&mut self) -> Option<Turn> {
        let mut turn = self.turn.take().unwrap_or_else(|| self.writer.take());
        if self.writer.write_all(&mut turn.queue) {
            self.written = turn.appended;
            return Some(turn);
        }
        self.turn = Some(turn);
        None
    }
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        segments: Segments,
        found: &Survey,
        (part, metrics): (Part, JournalMetrics),
    ) -> Self {
        let first = found.segments.first_key_value().map_or(found.next, |(number, _)| *number);
        let head = found.head.unwrap_or(Head { floor: first, last: 0, bytes: 0 });
        // Rooms should not wait for it, and a node whose disk takes nothing should say so from its start on. If it cannot
        // be written now, it is before the first segment is.
        let written = head.write(&*segments.disk, &segments.dir);
        let head_there = found.head.is_some() || written.is_ok();
        if let Err(error) = written {
            part.failed(NOT_WRITTEN, &format_args!("{}: {error}", segments.dir.display()));
        }
        Self {
            shared,
            segments,
            file: None,
            previous: found.end,
            unsynced: None,
            head,
            head_there,
            rewritten: 0,
            written: 0,
            last_tries: 0,
            part,
            metrics,
        }
    }

    fn run(&mut self) {
        loop {
            self.wait();
            let mut turn = self.take();
            while !self.write_all(&mut turn.queue) {
                std::thread::sleep(RETRY);
            }
            let more = self.end(&turn, turn.closed);
            if turn.closed && !more {
                self.note_end();
                return;
            }
        }
    }

    /// All of a turn is written: syncs if it is time or has to be now; whether more waits.
    fn end(&mut self, turn: &Turn, sync_now: bool) -> bool {
        if self.sync_if_due(sync_now) && self.publish(turn.needed, turn.appended) {
            // Everything that `needed` was computed from is on disk now.
            self.remove_below(turn.needed);
        }
        self.heal();
        let mut state = self.shared.lock();
        let more = !state.queue.is_empty();
        state.usage.removed_below(self.head.floor);
        let (queued, usage) = (state.queued, state.usage.bytes());
        drop(state);
        self.count(queued, usage);
        more
    }

    fn count(&mut self, queued: usize, (size, bases, rewritten): (u64, u64, u64)) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.waiting.set(gauge(queued as u64));
        self.metrics.size.set(gauge(size));
        self.metrics.bases.set(gauge(bases));
        self.metrics.rewritten.inc_by(rewritten - self.rewritten);
        self.rewritten = rewritten;
    }

    /// Waits for something to write or to sync.
    fn wait(&self) {
        let mut state = self.shared.lock();
        while state.queue.is_empty() && !state.closed {
            let Some(since) = self.unsynced else {
                if self.part.fails() {
                    state =
                        self.shared.work.wait_timeout(state, RETRY).unwrap_or_else(PoisonError::into_inner).0;
                    break;
                }
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
        let needed = state.usage.needed(state.segment);
        let queue = std::mem::take(&mut state.queue);
        Turn { queue, needed, appended: state.appended, closed: state.closed }
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

    fn failed(&self, what: &str, error: &io::Error) {
        self.part.failed(what, &format_args!("{}: {error}", self.segments.dir.display()));
    }

    /// Writes what waits; false if the disk did not take all of it, and it is to be tried again.
    fn write_all(&mut self, queue: &mut VecDeque<(u64, Vec<u8>)>) -> bool {
        while let Some((segment, buffer)) = queue.front() {
            let mut written = self.written;
            let done = self.write(*segment, buffer, &mut written);
            self.written = written;
            if let Err(error) = done {
                self.last_tries += u32::from(self.shared.lock().closed);
                if self.last_tries < LAST_TRIES {
                    self.failed(NOT_WRITTEN, &error);
                    return false;
                }
                let (dir, lost_bytes) = (self.segments.dir.display(), buffer.len() - written);
                error!(%dir, %error, lost_bytes, "journal not written, rooms lose what they did since");
            }
            self.metrics.written.inc_by(written as u64);
            self.shared.lock().queued -= buffer.len();
            self.shared.space.notify_waiters();
            (self.written, self.last_tries) = (0, 0);
            queue.pop_front();
        }
        true
    }

    /// Writes on from where the last try ended, so that no record is doubled or torn in the middle.
    fn write(&mut self, segment: u64, buffer: &[u8], written: &mut usize) -> io::Result<()> {
        if self.file.as_ref().is_none_or(|open| open.number != segment) {
            self.begin(segment)?;
        }
        let Some(open) = &mut self.file else { return Ok(()) };
        while *written < buffer.len() {
            let count = write_some(&mut *open.file, &buffer[*written..])?;
            open.crc.update(&buffer[*written..*written + count]);
            open.length += count as u64;
            *written += count;
            self.unsynced.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Ends the segment that is written to, and begins another one.
    fn begin(&mut self, number: u64) -> io::Result<()> {
        if self.file.is_some() {
            // What cannot be synced counts as not written, and this goes on.
            self.sync();
            let failed = self.shared.lock().failed;
            let ended = self.file.take().filter(|open| Some(open.number) != failed);
            self.previous = ended.map(|open| End { length: open.length, cut: 0, crc: open.crc.finalize() });
        }
        if !self.head_there {
            self.write_head(self.head)?;
        }
        let header = Header { number, previous: self.previous, seed: self.shared.seed };
        let file = self.segments.begin(header)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header.to_bytes());
        self.file = Some(Open { number, file, length: HEADER as u64, crc });
        Ok(())
    }

    /// Syncs if it is time; true if everything written is on disk.
    fn sync_if_due(&mut self, now: bool) -> bool {
        let Some(since) = self.unsynced else { return false };
        (now || since.elapsed() >= self.shared.sync_every()) && self.sync()
    }

    fn sync(&mut self) -> bool {
        let Some(open) = &mut self.file else { return false };
        if self.unsynced.take().is_none() {
            return true;
        }
        let number = open.number;
        if let Err(error) = open.file.sync() {
            // What the system has dropped after a failed sync cannot be asked for again.
            self.failed("journal not synced, rooms write their state anew", &error);
            let mut state = self.shared.lock();
            state.failed = Some(number);
            if state.segment == number {
                state.next_segment();
            }
            return false;
        }
        self.part.works();
        if self.head.last < number {
            self.note_end();
        }
        true
    }

    /// Writes down which segment was the last with records on disk. That it cannot be costs the notice of its loss.
    fn note_end(&mut self) {
        let Some(open) = &self.file else { return };
        if self.unsynced.is_none() && (self.head.last, self.head.bytes) != (open.number, open.length) {
            let head = Head { last: open.number, bytes: open.length, ..self.head };
            if let Err(error) = self.write_head(head) {
                self.failed("journal's head not written", &error);
            }
        }
    }

    /// Tries again what is not tried again by itself, when nothing else is to be done.
    fn heal(&mut self) {
        if self.part.fails() && self.unsynced.is_none() && self.shared.lock().failed.is_none() {
            if let Err(error) = self.write_head(self.head) {
                self.failed(NOT_WRITTEN, &error);
            } else if let Err(error) = self.segments.remove_below(self.head.floor) {
                self.failed("old segments of the journal not removed", &error);
            } else {
                self.part.works();
            }
        }
    }

    fn write_head(&mut self, head: Head) -> io::Result<()> {
        head.write(&*self.segments.disk, &self.segments.dir)?;
        (self.head, self.head_there) = (head, true);
        Ok(())
    }

    fn remove_below(&mut self, needed: u64) {
        if needed <= self.head.floor {
            return;
        }
        let noted = self.write_head(Head { floor: needed, ..self.head });
        if let Err(error) = noted.and_then(|()| self.segments.remove_below(needed)) {
            self.failed("old segments of the journal not removed", &error);
        }
    }
}
