//! Generator: the ids of one machine number, rising, without a lock.
//!
//! Layout of gonet/2, from the top: 1 bit 0, 41 bits of milliseconds since 1970, 10 bits of machine, 12 bits of
//! serial. Without the machine, milliseconds and serial are one number that counts ids: a *step*.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::clock::{Clock, Reading, Steady};

const MACHINE_BITS: u32 = 10;
const SERIAL_BITS: u32 = 12;
/// Machine numbers there are: 0 to 1023.
pub const MACHINES: u16 = 1 << MACHINE_BITS;
/// The first millisecond since 1970 that the format cannot hold, in September 2039.
pub const TIME_END_MS: u64 = 1 << 41;
/// How far ids that callers ask for may run ahead of the clock, milliseconds: 4,096 ids each.
pub const AHEAD_MS: u64 = 1000;

const STEPS_END: u64 = TIME_END_MS << SERIAL_BITS;
const MACHINE_MASK: u64 = MACHINES as u64 - 1;
const SERIAL_MASK: u64 = (1 << SERIAL_BITS) - 1;
/// In a generator's state: nothing but what is secured already may be issued.
const CLOSED: u64 = 1 << 63;

/// Hands out ids of one machine number at a time, each once and rising, however the clock is set.
///
/// A generator that belongs to a cluster is opened for a claimed number up to a limit that is written down, raised as
/// the limit moves, and closed when the claim is lost.
#[derive(Debug)]
pub struct Generator {
    clock: Steady,
    /// The last step taken, the machine and whether it is closed, as one word: `closed | step << 10 | machine`. Steps
    /// rise over all machine numbers, so no value of it ever returns after another one, except that a closed
    /// generator opens again; and then it begins at a later millisecond.
    state: AtomicU64,
    /// The first step that may not be taken while open. Rises while a number is held, and is written while closed only.
    limit: AtomicU64,
    /// The same while closed: the limit that was secured when it closed.
    rest: AtomicU64,
    /// Where this number began minus the monotonic clock, milliseconds: after a start above the clock the ids may go
    /// on from there at the format's pace.
    pace_ms: AtomicI64,
}

/// Why there is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeneratorError {
    /// Another number has to be claimed first.
    #[error("no machine number is held")]
    Closed,
    /// Later: in a millisecond there are 4,096 more.
    #[error("ids are ahead of the clock, or of what is written down, by all they may")]
    Ahead,
}

/// Ids that follow each other, taken at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    machine: u64,
    next: u64,
    end: u64,
}

/// Who asks: a caller that can be told to come again, or a guest that cannot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Callers,
    Guests,
}

impl Generator {
    /// A generator for `machine`, of which the low 10 bits count, that nobody else knows of: without a limit, and
    /// nothing of it is written down.
    pub fn new(machine: u16) -> Self {
        Self::alone(machine, Clock::System)
    }

    /// A generator of which the clock stands, so that its ids are the same every time; for replays.
    pub fn standing_at(machine: u16, ms: u64) -> Self {
        Self::alone(machine, Clock::Standing(ms.min(TIME_END_MS - 1)))
    }

    fn alone(machine: u16, clock: Clock) -> Self {
        let generator = Self::closed(clock);
        generator.open(machine, 0, TIME_END_MS);
        generator
    }

    /// A generator that issues nothing until [`Self::open`].
    pub fn closed(clock: Clock) -> Self {
        Self {
            clock: Steady::new(clock),
            state: AtomicU64::new(CLOSED),
            limit: AtomicU64::new(0),
            rest: AtomicU64::new(0),
            pace_ms: AtomicI64::new(0),
        }
    }

    /// Begins to issue ids of `machine` (its low 10 bits), of the milliseconds from `begin_ms` and below `limit_ms`.
    /// Nothing if it is open: one keeper opens and closes it. Ids rise across numbers too, so it begins later if it has
    /// been beyond `begin_ms` already.
    pub fn open(&self, machine: u16, begin_ms: u64, limit_ms: u64) {
        if self.state.load(Ordering::Acquire) & CLOSED == 0 {
            return;
        }
        self.limit.store(limit_ms.min(TIME_END_MS) << SERIAL_BITS, Ordering::Release);
        let begin = |state: u64| (begin_ms.min(TIME_END_MS) << SERIAL_BITS).max(after_ms(step_of(state)));
        let opened = |state: u64| {
            // The step before the first one; at the very beginning of time there is none, and one id is lost.
            begin(state).saturating_sub(1) << MACHINE_BITS | u64::from(machine) & MACHINE_MASK
        };
        // Guests may draw from what is left in the meantime, so it is a loop.
        let swap = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| Some(opened(state)));
        let began_ms = begin(swap.unwrap_or_else(|state| state)) >> SERIAL_BITS;
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let pace = signed(began_ms) - signed(self.clock.read().mono_ms);
        self.pace_ms.store(pace, Ordering::Release);
    }

    /// More is written down: ids of milliseconds below `limit_ms` may be issued from now on.
    pub fn raise(&self, limit_ms: u64) {
        self.limit.fetch_max(limit_ms.min(TIME_END_MS) << SERIAL_BITS, Ordering::AcqRel);
    }

    /// Issues nothing more to callers from now on. What is written down already stays guests' to use: nobody else
    /// will ever have it.
    pub fn close(&self) {
        if self.state.load(Ordering::Acquire) & CLOSED == 0 {
            self.rest.store(self.limit.load(Ordering::Acquire), Ordering::Release);
            self.state.fetch_or(CLOSED, Ordering::AcqRel);
        }
    }

    /// As [`Self::close`], but guests get nothing either: no id at or above the millisecond that it gives has been
    /// issued or will be.
    pub fn seal(&self) -> u64 {
        self.close();
        self.rest.store(0, Ordering::Release);
        // Who has read the rest before it was emptied fails at the state, since it has changed.
        let skip = |state: u64| Some(state + (1 << MACHINE_BITS));
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, skip);
        self.last_ms() + 1
    }

    /// The next id, for a caller.
    ///
    /// # Errors
    /// See [`GeneratorError`]: more than [`AHEAD_MS`] ahead of the clock it refuses.
    #[inline]
    pub fn next(&self) -> Result<u64, GeneratorError> {
        Ok(self.reserve(1)?.first())
    }

    /// The next `n` ids (at least one), for callers.
    ///
    /// # Errors
    /// See [`GeneratorError`]. None is taken then.
    #[inline]
    pub fn reserve(&self, n: u32) -> Result<Block, GeneratorError> {
        self.take(u64::from(n.max(1)), For::Callers)
    }

    /// The next `n` ids (at least one), for who cannot wait: they go on up to what is written down, if no number is
    /// held any more or the clock is beyond it, with an older time then.
    ///
    /// # Errors
    /// [`GeneratorError`] if that is used up. None is taken then.
    #[inline]
    pub fn reserve_for_guests(&self, n: u32) -> Result<Block, GeneratorError> {
        self.take(u64::from(n.max(1)), For::Guests)
    }

    /// How many ids a guest should take at once. One if the clock stands: a replay draws one after the other.
    pub fn guest_block(&self) -> u32 {
        if self.clock.stands() { 1 } else { 16 }
    }

    /// A seed that no other one shares: an id, or what looks random if there is none.
    pub fn seed(&self) -> u64 {
        let block = self.reserve_for_guests(1);
        block.map_or_else(|_| getrandom::u64().unwrap_or_else(|_| self.now_ms()), |block| block.first())
    }

    /// The time ids are made of, milliseconds since 1970: the clock's, but it never goes back.
    pub fn now_ms(&self) -> u64 {
        self.clock.read().ms
    }

    /// The millisecond since 1970 of the last id.
    pub fn last_ms(&self) -> u64 {
        step_of(self.state.load(Ordering::Acquire)) >> SERIAL_BITS
    }

    #[inline]
    fn take(&self, n: u64, whom: For) -> Result<Block, GeneratorError> {
        let now = self.clock.read();
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            // The limit is read after the state: if the number has changed hands since, the exchange below fails.
            let first = self.first(state, n, now, whom)?;
            let taken = state & (CLOSED | MACHINE_MASK) | (first + n - 1) << MACHINE_BITS;
            match self.state.compare_exchange_weak(state, taken, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(Block { machine: state & MACHINE_MASK, next: first, end: first + n }),
                Err(other) => state = other,
            }
        }
    }

    /// The first of `n` steps that may be taken.
    #[inline]
    fn first(&self, state: u64, n: u64, now: Reading, whom: For) -> Result<u64, GeneratorError> {
        let following = step_of(state) + 1;
        if state & CLOSED != 0 {
            let fits = whom == For::Guests && following + n <= self.rest.load(Ordering::Acquire);
            return if fits { Ok(following) } else { Err(GeneratorError::Closed) };
        }
        let limit = self.limit.load(Ordering::Acquire);
        let first = following.max(now.ms << SERIAL_BITS);
        let most = match whom {
            For::Callers if !self.clock.stands() => {
                let pace = self.pace_ms.load(Ordering::Acquire).saturating_add_unsigned(now.mono_ms);
                let pace = now.ms.max(pace.max(0).cast_unsigned()).saturating_add(AHEAD_MS);
                limit.min(pace.min(TIME_END_MS) << SERIAL_BITS)
            }
            For::Callers | For::Guests => limit,
        };
        match whom {
            _ if first + n <= most => Ok(first),
            For::Guests if following + n <= limit => Ok(following),
            _ => Err(GeneratorError::Ahead),
        }
    }
}

impl Block {
    /// The next id. All but an exhausted block have one.
    pub fn first(&self) -> u64 {
        id(self.next, self.machine)
    }

    /// The millisecond since 1970 of the next id.
    pub fn ms(&self) -> u64 {
        self.next >> SERIAL_BITS
    }
}

impl Iterator for Block {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let step = self.next;
        (step < self.end).then(|| {
            self.next += 1;
            id(step, self.machine)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Block {}

#[inline]
fn id(step: u64, machine: u64) -> u64 {
    debug_assert!(step < STEPS_END);
    (step >> SERIAL_BITS) << (MACHINE_BITS + SERIAL_BITS) | machine << SERIAL_BITS | step & SERIAL_MASK
}

#[inline]
fn step_of(state: u64) -> u64 {
    (state & !CLOSED) >> MACHINE_BITS
}

/// The first step of a millisecond after that of `step`; the first of all if none has been taken.
fn after_ms(step: u64) -> u64 {
    if step == 0 { 0 } else { ((step >> SERIAL_BITS) + 1) << SERIAL_BITS }
}

#[cfg(test)]
mod tests;
