//! The shard a test calls.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::service::Service;
use crate::shard_runtime::ShardRuntime;
use crate::state::Snapshot;
use crate::testing::host::{FollowUp, MAX_FOLLOW_UPS, overloaded};
use crate::testing::{Effect, LogLine, ServiceCall, Setup, SharedHost, enter};

/// A shard of the service `S` in memory. Time stands still until [`advance`](TestShard::advance).
pub struct TestShard<S: Service> {
    host: SharedHost,
    runtime: ShardRuntime<S>,
}

impl<S: Service> fmt::Debug for TestShard<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TestShard").field("key", &self.host.borrow().key).finish_non_exhaustive()
    }
}

impl<S: Service> TestShard<S> {
    /// A new shard; [`Setup`] for one with settings or a seed of its own.
    ///
    /// # Errors
    /// Those of [`Service::open`].
    pub fn open(key: &str) -> Result<Self, String> {
        Setup::new().open_shard(key)
    }

    /// A shard out of a saved state; without streams, timers and calls (see [`swap`](TestShard::swap)).
    ///
    /// # Errors
    /// If the state does not decode, is of a newer schema, or the migration fails.
    pub fn load(snapshot: &Snapshot) -> Result<Self, String> {
        Setup::new().load_shard(snapshot)
    }

    pub(super) fn open_on(host: SharedHost, key: &str) -> Result<Self, String> {
        let runtime = enter(&host, || ShardRuntime::open(key))?;
        let mut shard = Self { host, runtime };
        shard.settle();
        Ok(shard)
    }

    pub(super) fn load_on(host: SharedHost, snapshot: &Snapshot) -> Result<Self, String> {
        let runtime = enter(&host, || ShardRuntime::load(snapshot));
        host.borrow_mut().drop_queued();
        Ok(Self { runtime: runtime?, host })
    }

    /// Hands the shard over to another version, as the host does at a call boundary: streams, timers, time,
    /// randomness, settings and calls in flight carry over.
    ///
    /// # Errors
    /// If the other version cannot take the state. The host would go on with the old one; here it is gone.
    pub fn swap<N: Service>(self) -> Result<TestShard<N>, String> {
        TestShard::load_on(Rc::clone(&self.host), &self.save())
    }

    /// Hands the shard back to an older version, as the host does when an operator goes back: in the older layout, if
    /// [`Service::downgrade`] writes it.
    ///
    /// # Errors
    /// If the state is not written for the other version, or that one does not take it.
    pub fn go_back<N: Service>(self) -> Result<TestShard<N>, String> {
        let bytes = enter(&self.host, || self.runtime.save_as(N::SCHEMA))?;
        self.host.borrow_mut().drop_queued();
        TestShard::load_on(Rc::clone(&self.host), &Snapshot { schema: N::SCHEMA, bytes })
    }

    /// The whole state, as the host would save it.
    pub fn save(&self) -> Snapshot {
        let snapshot = enter(&self.host, || self.runtime.save());
        self.host.borrow_mut().drop_queued();
        snapshot
    }

    /// A look at the state.
    pub fn state(&self) -> &S {
        self.runtime.state()
    }

    /// A unary method that may change the state.
    ///
    /// # Errors
    /// The handler's failure; its effects are dropped.
    ///
    /// # Panics
    /// Wherever the handler does, and where the host would trap.
    pub fn call(&mut self, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.fallible(|runtime| runtime.call(method, body))
    }

    /// A unary method that only reads; its effects are dropped.
    ///
    /// # Errors
    /// The handler's failure.
    pub fn query(&self, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.host.borrow_mut().drop_queued();
        let outcome = enter(&self.host, || self.runtime.query(method, body));
        self.host.borrow_mut().drop_queued();
        outcome
    }

    /// A method that returns a stream begins; `channel` is any number the test has not used yet.
    ///
    /// # Errors
    /// The handler's failure: its effects are dropped and the stream is over.
    ///
    /// # Panics
    /// If the shard has had a stream of that number, and wherever the handler does.
    pub fn subscribe(&mut self, channel: u64, method: &str, body: &[u8]) -> Result<(), Failure> {
        assert!(self.host.borrow_mut().channels.open(channel), "channel {channel} was used before");
        let outcome = self.fallible(|runtime| runtime.subscribe(channel, method, body));
        if let Err(failure) = &outcome {
            // As the host does: a failure is never a good end.
            let status = if failure.status == 0 { 2 } else { failure.status };
            self.host.borrow_mut().channels.end(channel, status, &failure.text);
        }
        outcome
    }

    /// A stream is over: its client is gone, or was cut.
    ///
    /// # Panics
    /// If the stream is not open.
    pub fn unsubscribe(&mut self, channel: u64) {
        assert!(self.host.borrow_mut().channels.close(channel), "channel {channel} is not open");
        self.event(|runtime| runtime.unsubscribe(channel));
    }

    /// Lets time pass. Timers fire when they are due, equal times by rising id; those they set too.
    pub fn advance(&mut self, ms: u64) {
        let until = self.host.borrow().now_ms + ms;
        while let Some(id) = self.due_timer(until) {
            self.event(|runtime| runtime.timer(id));
        }
        self.host.borrow_mut().now_ms = until;
    }

    /// The answer to a pending call of another service.
    ///
    /// # Panics
    /// If no call of that token is pending.
    pub fn answer(&mut self, token: u64, answer: Answer) {
        let call = self.host.borrow_mut().calls.remove(&token);
        assert!(call.is_some(), "no call {token} is pending");
        self.event(|runtime| runtime.reply(token, answer));
    }

    /// The answer to the oldest pending call, which is returned.
    ///
    /// # Panics
    /// If no call is pending.
    pub fn answer_next(&mut self, answer: Answer) -> ServiceCall {
        let call = self.calls().into_iter().next().expect("no call is pending");
        self.answer(call.token, answer);
        call
    }

    /// The calls of other services that wait for an answer, oldest first.
    pub fn calls(&self) -> Vec<ServiceCall> {
        self.host.borrow().calls.values().cloned().collect()
    }

    /// The effects of all calls that returned well, in order, since this was last asked.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.host.borrow_mut().released)
    }

    /// The messages a stream got, in order, since this was last asked.
    pub fn sent(&mut self, channel: u64) -> Vec<Vec<u8>> {
        self.host.borrow_mut().channels.take_sent(channel)
    }

    /// How the shard ended a stream; none if it is open, or its client ended it.
    pub fn ended(&self, channel: u64) -> Option<Result<(), Failure>> {
        self.host.borrow().channels.ended(channel)
    }

    /// The streams that are open, rising.
    pub fn channels(&self) -> Vec<u64> {
        self.host.borrow().channels.all().collect()
    }

    /// The lines logged since this was last asked, of calls that panicked too.
    pub fn logs(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.host.borrow_mut().logs)
    }

    /// The timers that are set: id and due time (milliseconds since 1970), by rising id.
    pub fn timers(&self) -> Vec<(u64, u64)> {
        self.host.borrow().timers.iter().map(|(id, due)| (*id, *due)).collect()
    }

    /// The shard's time, in milliseconds since 1970-01-01 UTC.
    pub fn now_ms(&self) -> u64 {
        self.host.borrow().now_ms
    }

    /// Begins the random numbers anew.
    pub fn seed(&mut self, seed: u64) {
        self.host.borrow_mut().seed(seed);
    }

    /// Changes one of the operator's settings.
    pub fn set_config(&mut self, key: &str, value: impl Into<Vec<u8>>) {
        self.host.borrow_mut().config.insert(key.into(), value.into());
    }

    fn due_timer(&self, until: u64) -> Option<u64> {
        self.host.borrow_mut().take_due(until)
    }

    fn fallible<R>(
        &mut self,
        handler: impl FnOnce(&mut ShardRuntime<S>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let outcome = self.enter(handler);
        match outcome {
            Ok(_) => self.settle(),
            Err(_) => self.host.borrow_mut().drop_queued(),
        }
        outcome
    }

    fn event(&mut self, handler: impl FnOnce(&mut ShardRuntime<S>)) {
        self.enter(handler);
        self.settle();
    }

    fn enter<R>(&mut self, handler: impl FnOnce(&mut ShardRuntime<S>) -> R) -> R {
        // What an earlier call left behind when it panicked.
        self.host.borrow_mut().drop_queued();
        let runtime = &mut self.runtime;
        enter(&self.host, || handler(runtime))
    }

    /// Releases the effects of the call that returned, and runs the events that follow from them.
    fn settle(&mut self) {
        let mut follow_ups: VecDeque<FollowUp> = self.host.borrow_mut().release();
        let mut count = 0;
        while let Some(follow_up) = follow_ups.pop_front() {
            count += 1;
            assert!(count <= MAX_FOLLOW_UPS, "more than {MAX_FOLLOW_UPS} events follow from one another");
            // The others are about players, and a shard has none.
            if let FollowUp::Overloaded(token) = follow_up {
                self.enter(|runtime| runtime.reply(token, overloaded()));
            }
            follow_ups.extend(self.host.borrow_mut().release());
        }
    }
}
