//! Futures inside the guest: they wait for services, the host's `reply` wakes them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::answer::Answer;
use crate::game::Game;
use crate::host;
use crate::room::Room;

/// Service calls of futures that may be in flight at once; the next one is answered with status 8 at once.
pub const MAX_CALLS_IN_FLIGHT: usize = 64;

/// Unfinished futures a room may have; spawning one more panics, and so traps.
pub const MAX_TASKS: usize = 1024;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What a spawned future holds on to: services to call, and the way back to the state.
pub struct Handle<G: Game> {
    room: Room<G>,
}

impl<G: Game> Clone for Handle<G> {
    fn clone(&self) -> Self {
        Self { room: self.room.share() }
    }
}

impl<G: Game> Handle<G> {
    pub(crate) fn of(room: &Room<G>) -> Self {
        Self { room: room.share() }
    }

    /// Calls a unary gRPC method of another service (see [`Room::call`]) and returns its answer to come. The call
    /// is made at once, so several can be under way before the first is awaited. Beyond
    /// [`MAX_CALLS_IN_FLIGHT`] the answer is status 8 and the service sees nothing.
    ///
    /// Cancel safety: dropping the reply cancels nothing; the answer then arrives at [`Game::reply`].
    pub fn call(&self, service: &str, instance: &str, method: &str, body: &[u8]) -> Reply {
        let executor = Rc::clone(&self.room.executor);
        if executor.in_flight() >= MAX_CALLS_IN_FLIGHT {
            let text = format!("{MAX_CALLS_IN_FLIGHT} calls are in flight");
            return Reply { executor, state: ReplyState::Known(Answer::error(8, text)) };
        }
        let token = host::call(service, instance, method, body);
        executor.expect(token);
        Reply { executor, state: ReplyState::Waiting(token) }
    }

    /// Runs `change` with the state and the room, as a handler would.
    ///
    /// # Panics
    /// If called from within another `update` or while a handler runs: the state is theirs then.
    pub fn update<R>(&self, change: impl FnOnce(&mut G, &Room<G>) -> R) -> R {
        let mut game =
            self.room.game.try_borrow_mut().expect("update was called inside a handler or another update");
        let game = game.as_mut().expect("futures run only in a room that is open");
        change(game, &self.room)
    }
}

/// The answer to a [`Handle::call`]: a future.
#[must_use = "the answer arrives by awaiting this"]
pub struct Reply {
    executor: Rc<Executor>,
    state: ReplyState,
}

enum ReplyState {
    Waiting(u64),
    Known(Answer),
    Taken,
}

impl Future for Reply {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let reply = &mut *self;
        match std::mem::replace(&mut reply.state, ReplyState::Taken) {
            ReplyState::Known(answer) => Poll::Ready(answer),
            ReplyState::Waiting(token) => match reply.executor.take_answer(token, context.waker()) {
                Some(answer) => Poll::Ready(answer),
                None => {
                    reply.state = ReplyState::Waiting(token);
                    Poll::Pending
                }
            },
            ReplyState::Taken => panic!("a reply was polled after it was ready"),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let ReplyState::Waiting(token) = self.state {
            self.executor.forget(token);
        }
    }
}

/// The futures of one room. Everything is ordered by number, so equal inputs run equally.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: RefCell<BTreeMap<u64, (Task, Arc<WakeUp>)>>,
    /// Spawned, and not polled before the handler that did it has returned.
    fresh: RefCell<Vec<u64>>,
    calls: RefCell<BTreeMap<u64, Call>>,
    next_task: Cell<u64>,
    ready: Ready,
}

/// Task numbers in the order they were woken. Wakers must be `Send`, hence the lock; it is never contended.
type Ready = Arc<Mutex<VecDeque<u64>>>;

struct WakeUp {
    task: u64,
    ready: Ready,
}

enum Call {
    Waiting(Option<Waker>),
    Answered(Answer),
}

impl Wake for WakeUp {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.task);
    }
}

impl Executor {
    pub(crate) fn spawn(&self, task: Task) {
        assert!(
            self.tasks.borrow().len() < MAX_TASKS,
            "more than {MAX_TASKS} spawned futures are unfinished"
        );
        let number = self.next_task.get();
        self.next_task.set(number + 1);
        let wake_up = Arc::new(WakeUp { task: number, ready: Arc::clone(&self.ready) });
        self.tasks.borrow_mut().insert(number, (task, wake_up));
        self.fresh.borrow_mut().push(number);
    }

    /// Drops what was spawned since the last run: the handler refused, so its calls will never leave.
    pub(crate) fn discard_fresh(&self) {
        for number in self.fresh.take() {
            let task = self.tasks.borrow_mut().remove(&number);
            drop(task);
        }
    }

    /// Polls what is fresh or woken until nothing is.
    pub(crate) fn run(&self) {
        while let Some(number) = self.next_ready() {
            // Out of the map while it runs: it may spawn.
            let Some((mut task, wake_up)) = self.tasks.borrow_mut().remove(&number) else { continue };
            let waker = Waker::from(Arc::clone(&wake_up));
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                continue;
            }
            drop(waker);
            if Arc::strong_count(&wake_up) == 1 && !self.is_ready(number) {
                host::log(
                    host::Level::Warn,
                    "a spawned future waits for something that cannot happen: dropped",
                );
                continue;
            }
            self.tasks.borrow_mut().insert(number, (task, wake_up));
        }
    }

    /// Hands an answer to the future that waits for it; gives it back if there is none.
    pub(crate) fn answer(&self, token: u64, answer: Answer) -> Result<(), Answer> {
        let waker = match self.calls.borrow_mut().get_mut(&token) {
            Some(call @ Call::Waiting(_)) => match std::mem::replace(call, Call::Answered(answer)) {
                Call::Waiting(waker) => waker,
                Call::Answered(_) => None,
            },
            Some(Call::Answered(_)) | None => return Err(answer),
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Drops all futures. They hold the executor that holds them: without this neither would ever go.
    pub(crate) fn clear(&self) {
        self.fresh.take();
        let tasks = self.tasks.take();
        drop(tasks);
        self.calls.take();
    }

    fn next_ready(&self) -> Option<u64> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.extend(self.fresh.take());
        ready.pop_front()
    }

    fn is_ready(&self, number: u64) -> bool {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).contains(&number)
    }

    fn in_flight(&self) -> usize {
        self.calls.borrow().values().filter(|call| matches!(call, Call::Waiting(_))).count()
    }

    fn expect(&self, token: u64) {
        self.calls.borrow_mut().insert(token, Call::Waiting(None));
    }

    fn take_answer(&self, token: u64, waker: &Waker) -> Option<Answer> {
        let mut calls = self.calls.borrow_mut();
        match calls.remove(&token) {
            Some(Call::Answered(answer)) => Some(answer),
            Some(Call::Waiting(_)) => {
                calls.insert(token, Call::Waiting(Some(waker.clone())));
                None
            }
            None => Some(Answer::error(1, "the room was closed")),
        }
    }

    fn forget(&self, token: u64) {
        self.calls.borrow_mut().remove(&token);
    }
}
