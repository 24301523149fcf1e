//! Usage: which segments rooms need, how much of what they hold is of use, and whose base is to be written anew.
//!
//! Segments go from the oldest on, so a room that says nothing holds all that came after its base. To write that base
//! anew gains what is of no use in the segments that go then, and costs the base. It is done when what is of no use has
//! become [`WORTH`] times all bases: so rewriting writes at most half of what rooms have written themselves, a node
//! that writes nothing rewrites nothing, and a journal is at most some three times what it must hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Useless bytes for each useful one before bases are written anew.
const WORTH: u64 = 2;

/// Segments' worth of useless bytes that are not worth anything.
const IDLE_SEGMENTS: u64 = 2;

/// Bytes of bases that are asked for at a time, if rooms have not written more since the last time; at least one base.
const STEP_BYTES: u64 = 8 << 20;

/// A room that has been asked and has not written its base is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Where a room's last base is.
#[derive(Debug, Clone, Copy)]
struct Place {
    segment: u64,
    /// It, and the inputs that were written with it.
    bytes: u64,
}

/// What stands where.
#[derive(Debug)]
pub(super) struct Usage {
    segment_bytes: u64,
    bases: HashMap<Arc<str>, Place>,
    /// Bytes of all bases.
    useful: u64,
    /// Bytes by segment, but for those of the newest that `newest` counts.
    segments: BTreeMap<u64, u64>,
    /// The segment that is appended to, and bytes appended to it: counted apart, since there are many appends.
    newest: (u64, u64),
    asked: HashMap<Arc<str>, Instant>,
    /// Bytes that rooms have written since bases were last asked for, but for those that were asked for.
    fresh: u64,
    /// Bytes of bases that were asked for.
    rewritten: u64,
}

impl Usage {
    pub(super) fn new(segment_bytes: u64, segments: BTreeMap<u64, u64>) -> Self {
        let (bases, asked) = (HashMap::new(), HashMap::new());
        Self { segment_bytes, bases, useful: 0, segments, newest: (0, 0), asked, fresh: 0, rewritten: 0 }
    }

    /// Bytes have been appended to a segment.
    #[inline]
    pub(super) fn appended(&mut self, segment: u64, bytes: u64) {
        if self.newest.0 != segment {
            self.count_newest();
            self.newest.0 = segment;
        }
        self.newest.1 += bytes;
    }

    fn count_newest(&mut self) {
        let (segment, bytes) = (self.newest.0, std::mem::take(&mut self.newest.1));
        if bytes > 0 {
            self.fresh += bytes;
            *self.segments.entry(segment).or_default() += bytes;
        }
    }

    /// A room's base stands in `segment` now.
    pub(super) fn based(&mut self, room: &Arc<str>, segment: u64, bytes: u64) {
        self.useful += bytes;
        if let Some(before) = self.bases.insert(Arc::clone(room), Place { segment, bytes }) {
            self.useful -= before.bytes;
        }
        if !self.asked.is_empty() && self.asked.remove(room).is_some() {
            self.rewritten += bytes;
            self.count_newest();
            self.fresh = self.fresh.saturating_sub(bytes);
        }
    }

    /// The room has ended; false if nothing is known of it.
    pub(super) fn ended(&mut self, room: &str) -> bool {
        self.asked.remove(room);
        let before = self.bases.remove(room);
        self.useful -= before.map_or(0, |place| place.bytes);
        before.is_some()
    }

    /// The segment of a room's base.
    pub(super) fn segment_of(&self, room: &str) -> Option<u64> {
        self.bases.get(room).map(|place| place.segment)
    }

    /// The oldest segment that is needed, if `current` is the newest.
    pub(super) fn needed(&self, current: u64) -> u64 {
        self.bases.values().map(|place| place.segment).min().unwrap_or(current)
    }

    /// Segments below `floor` have been removed.
    pub(super) fn removed_below(&mut self, floor: u64) {
        if self.segments.first_key_value().is_some_and(|(oldest, _)| *oldest < floor) {
            self.segments = self.segments.split_off(&floor);
        }
    }

    /// Bytes on disk, or on their way there; of these, bytes of bases; bytes of bases that were asked for.
    pub(super) fn bytes(&mut self) -> (u64, u64, u64) {
        self.count_newest();
        (self.segments.values().sum(), self.useful, self.rewritten)
    }

    /// The rooms that are to write their bases anew now, oldest first. `failed`: up to this segment nothing counts.
    pub(super) fn due(&mut self, failed: Option<u64>) -> Vec<Arc<str>> {
        self.count_newest();
        let budget = std::mem::take(&mut self.fresh).max(STEP_BYTES);
        let mut rooms: Vec<_> = self.bases.iter().map(|(room, place)| (*place, room)).collect();
        // What stands before the oldest base is about to go.
        let oldest = rooms.iter().map(|(place, _)| place.segment).min().unwrap_or_default();
        let total: u64 = self.segments.range(oldest..).map(|(_, bytes)| bytes).sum();
        let worth = (WORTH * self.useful).max(IDLE_SEGMENTS * self.segment_bytes);
        let mut surplus = total.saturating_sub(self.useful).saturating_sub(worth);
        if surplus == 0 && failed.is_none() {
            return Vec::new();
        }
        self.asked.retain(|_, since| since.elapsed() < ASK_AGAIN);
        rooms.sort_unstable_by_key(|(place, room)| (place.segment, *room));
        let (mut due, mut asked, mut at) = (Vec::new(), 0, 0);
        while at < rooms.len() {
            let (place, room) = rooms[at];
            let lost = failed.is_some_and(|failed| place.segment <= failed);
            if !lost && (surplus == 0 || asked >= budget) {
                break;
            }
            if !self.asked.contains_key(room) {
                due.push(Arc::clone(room));
            }
            asked += place.bytes;
            at += 1;
            // What goes with the segments up to the next room's, but for the base that is written anew.
            let next = rooms.get(at).map_or(u64::MAX, |(place, _)| place.segment);
            let gone: u64 = self.segments.range(place.segment..next).map(|(_, bytes)| bytes).sum();
            surplus = (surplus + place.bytes).saturating_sub(gone);
        }
        self.asked.extend(due.iter().map(|room| (Arc::clone(room), Instant::now())));
        due
    }
}
