//! Meter: what one actor's guest uses of the processor, turn by turn.
//!
//! A turn is what an actor does without letting anybody else have its thread: a batch of events, a tick, timers. Outside
//! of a turn every call counts for itself. A call or a turn that has used the processor for more than about two
//! milliseconds is long, and needs a permit of the [`Processor`] to go on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::deadline::thread_time;
use super::processor::{Permit, Processor, Standing};

/// Periods of the deadline clock after which a turn is looked at.
pub(super) const POLL_INTERVAL: u64 = 2;

/// Processor time from that look on that makes a call or a turn a long one.
pub(super) const LONG: Duration = Duration::from_millis(1);

/// What a turn that was not long may be taken to have used at most: the rest of its time it waited for a core.
const SHORT: Duration = Duration::from_millis(4);

/// The meter of one actor, or of one call of a guest without an actor.
#[derive(Debug)]
pub struct Meter {
    processor: Arc<Processor>,
    /// The tick at which the present turn or call began.
    began: AtomicU64,
    in_turn: AtomicBool,
    /// Whether `turn` holds anything of the present turn.
    marked: AtomicBool,
    turn: Mutex<Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    noted: Option<Noted>,
    handed_over: bool,
    permit: Option<Permit>,
    waited: Duration,
    standing: Standing,
}

#[derive(Debug, Clone, Copy)]
struct Noted {
    tick: u64,
    at: Instant,
    used: Option<Duration>,
}

/// What a turn has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Processor time.
    pub ran: Duration,
    /// Time by the clock in which it could run: all but what it has waited for a permit.
    pub held: Duration,
    /// Time it has waited for a permit.
    pub waited: Duration,
}

impl Meter {
    pub(super) fn new(processor: &Arc<Processor>) -> Arc<Self> {
        Arc::new(Self {
            processor: Arc::clone(processor),
            began: AtomicU64::new(processor.ticks()),
            in_turn: AtomicBool::new(false),
            marked: AtomicBool::new(false),
            turn: Mutex::default(),
        })
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        // Only the thread that has the actor locks it, and it is whole at every step.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processor that it counts for.
    pub fn processor(&self) -> &Arc<Processor> {
        &self.processor
    }

    /// A turn begins. It must end, by [`Self::end_turn`], before the actor's task waits for anything.
    #[inline]
    pub fn begin_turn(&self) {
        self.began.store(self.processor.ticks(), Ordering::Relaxed);
        self.in_turn.store(true, Ordering::Relaxed);
    }

    /// The turn that began at `began` is over at `now`.
    #[inline]
    pub fn end_turn(&self, began: Instant, now: Instant) -> Used {
        self.in_turn.store(false, Ordering::Relaxed);
        let wall = now.saturating_duration_since(began);
        if self.marked.load(Ordering::Relaxed) {
            return self.end_marked(began, now);
        }
        Used { ran: wall.min(SHORT), held: wall, waited: Duration::ZERO }
    }

    #[cold]
    fn end_marked(&self, began: Instant, now: Instant) -> Used {
        self.marked.store(false, Ordering::Relaxed);
        let mut turn = self.turn();
        turn.permit = None;
        let waited = std::mem::take(&mut turn.waited);
        let long = std::mem::take(&mut turn.handed_over);
        let noted = turn.noted.take();
        let wall = now.saturating_duration_since(began).saturating_sub(waited);
        // Between the look and the end the thread knows what it has used; before it, the time that has passed must do.
        let counted = noted.and_then(|Noted { at, used, .. }| {
            let since = thread_time()?.checked_sub(used?)?;
            Some(at.saturating_duration_since(began).min(SHORT) + since)
        });
        let ran = match counted {
            Some(counted) => counted.min(wall),
            None if long => wall,
            None => wall.min(SHORT),
        };
        Used { ran, held: wall, waited }
    }

    /// What the actor and its plugin have used of late: it decides who goes first.
    pub fn set_standing(&self, plugin: Duration, actor: Duration) {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.turn().standing = Standing { plugin_us: us(plugin), actor_us: us(actor) };
    }

    /// A call begins.
    #[inline]
    pub(super) fn begin_call(&self) {
        let ticks = self.processor.ticks();
        if !self.in_turn.load(Ordering::Relaxed) {
            self.began.store(ticks, Ordering::Relaxed);
        } else if ticks.wrapping_sub(self.began.load(Ordering::Relaxed)) >= POLL_INTERVAL {
            self.look(ticks);
        }
    }

    /// A call has ended.
    #[inline]
    pub(super) fn end_call(&self) {
        if !self.in_turn.load(Ordering::Relaxed) && self.marked.load(Ordering::Relaxed) {
            self.marked.store(false, Ordering::Relaxed);
            let standing = self.turn().standing;
            *self.turn() = Turn { standing, ..Turn::default() };
        }
    }

    /// The turn is old, by the clock: whether it is long, the thread's processor time says.
    #[cold]
    fn look(&self, tick: u64) {
        let mut turn = self.turn();
        self.marked.store(true, Ordering::Relaxed);
        match turn.noted {
            _ if turn.handed_over => {}
            None => turn.noted = Some(Noted { tick, at: Instant::now(), used: thread_time() }),
            Some(noted) if noted.tick == tick => {}
            Some(Noted { used, .. }) => {
                let since = thread_time().zip(used).and_then(|(now, then)| now.checked_sub(then));
                // Where the system does not count, the clock must do.
                if since.is_none_or(|since| since >= LONG) {
                    drop(turn);
                    self.go_long();
                } else if let Some(noted) = &mut turn.noted {
                    noted.tick = tick;
                }
            }
        }
    }

    /// The call that runs is long: it goes on when it has a permit, away from the runtime's threads.
    #[cold]
    pub(super) fn go_long(&self) {
        let standing = {
            let mut turn = self.turn();
            self.marked.store(true, Ordering::Relaxed);
            if turn.permit.is_some() {
                return;
            }
            if turn.noted.is_none() {
                turn.noted =
                    Some(Noted { tick: self.processor.ticks(), at: Instant::now(), used: thread_time() });
            }
            turn.handed_over = true;
            turn.standing
        };
        let (permit, waited) = self.processor.enter(standing);
        let mut turn = self.turn();
        turn.permit = permit;
        turn.waited += waited;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::processor::ProcessorGauges;

    fn meter() -> Arc<Meter> {
        Meter::new(&Processor::new(1, ProcessorGauges::default()))
    }

    fn work(time: Duration) {
        let before = thread_time().expect("this system counts thread time");
        let mut sum = 0u64;
        while thread_time().expect("it still does") < before + time {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[test]
    fn a_turn_of_many_short_calls_needs_a_permit_once_it_is_long() {
        let meter = meter();
        let began = Instant::now();
        meter.begin_turn();
        for ticks in 1..=4 {
            assert_eq!(meter.processor().crowd().0, 0, "{ticks}");
            meter.processor().tick();
            work(LONG);
            meter.begin_call();
            meter.end_call();
            if meter.processor().crowd().0 == 1 {
                break;
            }
        }
        assert_eq!(meter.processor().crowd().0, 1);
        let used = meter.end_turn(began, Instant::now());
        assert!(used.ran >= LONG * 2, "{used:?}");
        assert_eq!(meter.processor().crowd().0, 0);
    }

    #[test]
    fn a_turn_that_only_waited_for_a_core_is_not_long() {
        let meter = meter();
        let began = Instant::now();
        meter.begin_turn();
        for _ in 0..20 {
            meter.processor().tick();
            meter.begin_call();
            meter.end_call();
        }
        assert_eq!(meter.processor().crowd().0, 0);
        let used = meter.end_turn(began, began + Duration::from_secs(1));
        assert!(used.ran <= SHORT * 2, "{used:?}");
    }

    #[test]
    fn a_call_outside_of_a_turn_gives_its_permit_back_when_it_ends() {
        let meter = meter();
        meter.begin_call();
        meter.go_long();
        assert_eq!(meter.processor().crowd().0, 1);
        meter.end_call();
        assert_eq!(meter.processor().crowd().0, 0);
    }
}
