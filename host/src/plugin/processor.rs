//! Processor: how many long guest calls run at once on this node, and which of those that wait goes first.
//!
//! A short call runs where its event arrives, on a thread of the runtime. A call that turns out to be long gives that
//! thread back to the runtime and needs a permit to go on. There are fewer permits than cores, so the sockets, the other
//! rooms and the stop always have a core. Whoever has used least of late gets the next permit.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::Thread;
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Calls that may wait for a permit, each with a thread; the runtime has 512 of them for all purposes. One call more
/// goes on where it is until its deadline.
const WAITING_MAX: usize = 256;

/// How long a call that gives its thread back waits at most until the runtime has another one: longer than that only when
/// all of its threads are taken.
const HAND_OVER: Duration = Duration::from_millis(5);

/// What an actor and its plugin have used of late, in microseconds: the plugin's comes first, so that a plugin with many
/// rooms does not go before one with few.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    pub(super) plugin_us: u64,
    pub(super) actor_us: u64,
}

/// The node's processor time, as guests share it.
#[derive(Debug)]
pub struct Processor {
    /// Periods of the deadline clock so far.
    ticks: AtomicU64,
    most: usize,
    gauges: ProcessorGauges,
    state: Mutex<State>,
}

/// What is seen of it from outside.
#[derive(Debug, Clone)]
pub struct ProcessorGauges {
    /// Long calls that run.
    pub running: IntGauge,
    /// Long calls that wait for their turn.
    pub waiting: IntGauge,
}

impl Default for ProcessorGauges {
    fn default() -> Self {
        let gauge = |name: &str| IntGauge::new(name, name).expect("the name is a metric's");
        Self { running: gauge("running"), waiting: gauge("waiting") }
    }
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    standing: Standing,
    go: Arc<Go>,
}

#[derive(Debug)]
struct Go {
    thread: Thread,
    granted: AtomicBool,
}

/// A long call may run for as long as this is kept.
#[derive(Debug)]
pub(super) struct Permit {
    processor: Arc<Processor>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.processor.release();
    }
}

impl Processor {
    /// At most `most` long calls at once, one at least.
    pub(super) fn new(most: usize, gauges: ProcessorGauges) -> Arc<Self> {
        let (ticks, state) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { ticks, most: most.max(1), gauges, state })
    }

    /// Long calls that may run at once on this machine: all cores but one, one at least.
    pub fn long_calls() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1)).max(1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every step, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// How many long calls run or wait, and how many may run.
    pub fn crowd(&self) -> (usize, usize) {
        let state = self.state();
        (state.running + state.waiting.len(), self.most)
    }

    /// Gives the thread back to the runtime, if it is one of the runtime's, and waits for a permit. None if too many wait
    /// already; the call goes on all the same. Also how long it has waited.
    pub(super) fn enter(self: &Arc<Self>, standing: Standing) -> (Option<Permit>, Duration) {
        let started = Instant::now();
        let permit = match Handle::try_current() {
            Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(|| {
                    replaced(&runtime);
                    self.acquire(standing)
                })
            }
            // A thread of its own, or a runtime of one thread, which cannot do without it.
            _ => self.acquire(standing),
        };
        (permit, started.elapsed())
    }

    fn acquire(self: &Arc<Self>, standing: Standing) -> Option<Permit> {
        match self.ask(standing) {
            Asked::Crowded => return None,
            Asked::Granted => {}
            Asked::Waiting(go) => self.wait(&go),
        }
        Some(self.permit())
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit { processor: Arc::clone(self) }
    }

    fn ask(&self, standing: Standing) -> Asked {
        let mut state = self.state();
        if state.running < self.most {
            state.running += 1;
            self.gauges.running.inc();
            return Asked::Granted;
        }
        if state.waiting.len() >= WAITING_MAX {
            return Asked::Crowded;
        }
        let go = Arc::new(Go { thread: std::thread::current(), granted: AtomicBool::new(false) });
        state.waiting.push(Waiting { standing, go: Arc::clone(&go) });
        self.gauges.waiting.inc();
        Asked::Waiting(go)
    }

    fn wait(&self, go: &Go) {
        while !go.granted.load(Ordering::Acquire) {
            std::thread::park();
        }
    }

    fn release(&self) {
        let mut state = self.state();
        // The oldest of those with the same standing: `min_by_key` gives the first.
        let next = state.waiting.iter().enumerate().min_by_key(|(_, waiting)| waiting.standing);
        match next.map(|(at, _)| at) {
            Some(at) => {
                let Waiting { go, .. } = state.waiting.remove(at);
                self.gauges.waiting.dec();
                go.granted.store(true, Ordering::Release);
                go.thread.unpark();
            }
            None => {
                state.running -= 1;
                self.gauges.running.dec();
            }
        }
    }
}

/// Waits until another thread goes on with the runtime's work in place of this one, or this one would take it back. What is
/// to block is begun in order, and the runtime's work stands before this.
fn replaced(runtime: &Handle) {
    let (begun, begins) = mpsc::sync_channel(1);
    runtime.spawn_blocking(move || {
        // Nobody waits for it any more: it took too long.
        let _ = begun.send(());
    });
    // Neither word nor time is needed: the call goes on.
    let _ = begins.recv_timeout(HAND_OVER);
}

enum Asked {
    Granted,
    Waiting(Arc<Go>),
    Crowded,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(plugin_us: u64, actor_us: u64) -> Standing {
        Standing { plugin_us, actor_us }
    }

    #[test]
    fn who_has_used_least_goes_first_and_its_plugin_counts_before_it() {
        let processor = Processor::new(1, ProcessorGauges::default());
        let (first, _) = processor.enter(Standing::default());
        let (order, entered) = mpsc::sync_channel(3);
        let mut threads = Vec::new();
        for (name, standing) in
            [("greedy", standing(900, 800)), ("modest", standing(900, 5)), ("other", standing(100, 100))]
        {
            let (processor, order) = (Arc::clone(&processor), order.clone());
            threads.push(std::thread::spawn(move || {
                let (permit, _) = processor.enter(standing);
                order.send(name).unwrap();
                drop(permit);
            }));
        }
        while processor.crowd().0 < 4 {
            std::thread::yield_now();
        }
        assert_eq!((processor.gauges.running.get(), processor.gauges.waiting.get()), (1, 3));
        drop(first);
        let order: Vec<_> = entered.iter().take(3).collect();
        assert_eq!(order, ["other", "modest", "greedy"]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(processor.crowd(), (0, 1));
        assert_eq!((processor.gauges.running.get(), processor.gauges.waiting.get()), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_long_call_leaves_its_thread_to_the_runtime() {
        let processor = Processor::new(1, ProcessorGauges::default());
        let (sender, receiver) = mpsc::sync_channel::<()>(1);
        // The one worker waits, in the middle of a task, for what only another task can send.
        let long = tokio::spawn(async move {
            let (permit, _) = processor.enter(Standing::default());
            receiver.recv_timeout(Duration::from_secs(20)).unwrap();
            drop(permit);
        });
        tokio::spawn(async move { sender.send(()).unwrap() });
        long.await.unwrap();
    }
}
