//! Lane: those who wait for one sequence, and the task that serves them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::{PREFIX, SequenceError, Shared, Waiter, Waiters, back_off};
use crate::discovery::{Discovery, DiscoveryError, Entry, Hold, Written};

/// Characters of a value that are shown.
const SHOWN: usize = 64;
/// After an answer that did not come.
const RETRY: Duration = Duration::from_millis(50);

/// One sequence. There is at most one worker.
#[derive(Debug)]
pub(super) struct Lane {
    key: String,
    /// The same as it stands in etcd, for people.
    full_key: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Waiters,
    working: bool,
    /// What stood there last, as far as is known.
    known: Option<Value>,
    /// What went wrong last.
    trouble: Option<String>,
}

/// A number and the revision at which it stands.
#[derive(Debug, Clone, Copy)]
struct Value {
    number: i64,
    revision: u64,
}

/// What came of a write.
struct Swapped {
    /// What stands there now, if that is known.
    standing: Option<Value>,
    /// Another node was quicker.
    lost: bool,
}

impl Lane {
    pub(super) fn new(discovery: &Discovery, name: &str) -> Self {
        let key = format!("{PREFIX}{name}");
        Self { full_key: discovery.full_key(&key), key, state: Mutex::default() }
    }

    /// Whether a worker has to be started: the caller does, and at once.
    pub(super) fn push(&self, waiter: Waiter) -> bool {
        let mut state = self.state();
        state.waiting.push_back(waiter);
        !std::mem::replace(&mut state.working, true)
    }

    /// Whether anybody waits or is served.
    pub(super) fn busy(&self) -> bool {
        self.state().working
    }

    /// What may have kept a caller waiting.
    pub(super) fn trouble(&self) -> String {
        self.state().trouble.clone().unwrap_or_else(|| "etcd has not answered".to_owned())
    }

    /// Serves until nobody waits.
    pub(super) async fn work(&self, shared: &Shared) {
        let mut known = self.state().known.take();
        let mut lost = 0;
        while self.wanted(known) {
            let value = match known {
                Some(value) => Ok(Some(value)),
                None => self.read(shared).await,
            };
            match value {
                Ok(Some(value)) => {
                    let swapped = self.swap(shared, value).await;
                    known = swapped.standing;
                    lost = if swapped.lost { lost + 1 } else { 0 };
                    if lost > 1 {
                        back_off(lost).await;
                    }
                }
                Ok(None) => known = self.make(shared).await.standing,
                Err(Some(error)) => self.refuse(&error),
                Err(None) => sleep(RETRY).await,
            }
        }
    }

    /// Whether somebody still waits. If not, the work is over, and what is known is kept for the next one.
    fn wanted(&self, known: Option<Value>) -> bool {
        let mut state = self.state();
        state.waiting.retain(|waiter| !waiter.answer.is_closed());
        state.working = !state.waiting.is_empty();
        if !state.working {
            state.known = known;
        }
        state.working
    }

    /// What stands there. An error for all who wait, or none if it has to be tried again.
    async fn read(&self, shared: &Shared) -> Result<Option<Value>, Option<SequenceError>> {
        match shared.discovery.get(&self.key).await {
            Ok(None) => Ok(None),
            Ok(Some(entry)) => self.parse(&entry).map(Some).map_err(Some),
            Err(error) => Err(self.heard(error)),
        }
    }

    fn parse(&self, entry: &Entry) -> Result<Value, SequenceError> {
        let text = std::str::from_utf8(&entry.value).ok();
        match text.and_then(|text| text.parse().ok()) {
            Some(number) => Ok(Value { number, revision: entry.revision }),
            None => {
                let text = String::from_utf8_lossy(&entry.value).chars().take(SHOWN).collect();
                Err(SequenceError::Malformed { key: self.full_key.clone(), value: text })
            }
        }
    }

    /// None if it may go away by itself.
    fn heard(&self, error: DiscoveryError) -> Option<SequenceError> {
        match error {
            DiscoveryError::Away { .. } => {
                self.state().trouble = Some(error.to_string());
                None
            }
            other => Some(SequenceError::Refused(other.to_string())),
        }
    }

    /// Takes numbers for all who wait.
    async fn swap(&self, shared: &Shared, value: Value) -> Swapped {
        let Some((served, taken)) = self.take(value.number) else {
            return Swapped { standing: Some(value), lost: false };
        };
        let bytes = taken.to_string().into_bytes();
        let written = shared.discovery.replace(&self.key, value.revision, bytes, Hold::Forever).await;
        self.settle(shared, served, value.number, taken, written)
    }

    /// Makes the sequence, if it is to be made, with numbers for all who wait.
    async fn make(&self, shared: &Shared) -> Swapped {
        let unknown = Swapped { standing: None, lost: false };
        if !shared.options.create {
            self.refuse(&SequenceError::Missing);
            return unknown;
        }
        let Some((served, taken)) = self.take(0) else { return unknown };
        let written = shared.discovery.create(&self.key, taken.to_string().into_bytes(), Hold::Forever).await;
        self.settle(shared, served, 0, taken, written)
    }

    /// What became of a write that was to take the numbers after `before` up to `taken` for those in `served`.
    fn settle(
        &self,
        shared: &Shared,
        served: Waiters,
        before: i64,
        taken: i64,
        written: Result<Written, DiscoveryError>,
    ) -> Swapped {
        match written {
            Ok(Written::Done(revision)) => {
                shared.metrics.swaps.inc();
                let mut first = before + 1;
                for waiter in served {
                    // Who has gone in the meantime loses its numbers: they are taken, and to give them to somebody
                    // later would be out of order.
                    let _ = waiter.answer.send(Ok(first));
                    first += i64::from(waiter.count);
                }
                self.state().trouble = None;
                Swapped { standing: Some(Value { number: taken, revision }), lost: false }
            }
            Ok(Written::Refused(standing)) => {
                shared.metrics.conflicts.inc();
                self.wait_again(served);
                // What is wrong with it, reading it will show.
                let standing = standing.and_then(|entry| self.parse(&entry).ok());
                Swapped { standing, lost: true }
            }
            Err(error) => {
                match self.heard(error) {
                    None => self.wait_again(served),
                    Some(error) => answer(served, &error),
                }
                // Done or not: it has to be read.
                Swapped { standing: None, lost: false }
            }
        }
    }

    /// Those who wait now, as far as their numbers fit, and the last number they take. None if there are none.
    fn take(&self, before: i64) -> Option<(Waiters, i64)> {
        let mut state = self.state();
        let (mut served, mut taken) = (Waiters::new(), before);
        while let Some(waiter) = state.waiting.pop_front() {
            if waiter.answer.is_closed() {
                continue;
            }
            match taken.checked_add(i64::from(waiter.count)) {
                Some(last) => {
                    taken = last;
                    served.push_back(waiter);
                }
                None => {
                    let (key, count) = (self.full_key.clone(), waiter.count);
                    let _ = waiter.answer.send(Err(SequenceError::Full { key, value: taken, count }));
                }
            }
        }
        (!served.is_empty()).then_some((served, taken))
    }

    /// In front of those who came later.
    fn wait_again(&self, served: Waiters) {
        let mut state = self.state();
        for waiter in served.into_iter().rev() {
            state.waiting.push_front(waiter);
        }
    }

    fn refuse(&self, error: &SequenceError) {
        let waiting = std::mem::take(&mut self.state().waiting);
        answer(waiting, error);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(waiters: Waiters, error: &SequenceError) {
    for waiter in waiters {
        // Who has gone does not need it.
        let _ = waiter.answer.send(Err(error.clone()));
    }
}
