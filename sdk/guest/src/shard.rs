//! What a service's handler can reach.

use std::fmt::Display;

use crate::failure::Failure;
use crate::host;

/// The shard a handler runs in, and through it everything a service plugin can reach.
///
/// Methods marked *effect* do nothing at once: the host carries them out in order when the handler returns, and
/// drops them if it panics or fails, and always after [`Service::query`](crate::Service::query). At most 4,096
/// effects with 1 MiB of payload a call; one more is a trap.
#[derive(Debug)]
pub struct Shard(());

impl Shard {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// *Effect.* Sends one message, the encoded one, to many streams of this shard; the host holds it once whatever
    /// their number. Streams that are over are ignored. `message`: at most 1 MiB, more is a trap. A stream whose
    /// client leaves too much unread is cut with status 8, and [`Service::unsubscribe`](crate::Service::unsubscribe)
    /// follows.
    pub fn send(&self, channels: &[u64], message: &[u8]) {
        host::channel_send(channels, message);
    }

    /// *Effect.* Ends a stream after everything sent before: well, or with a failure.
    pub fn end(&self, channel: u64, outcome: Result<(), Failure>) {
        let (status, text) = match outcome {
            Ok(()) => (0, String::new()),
            // 0 would be a good end here.
            Err(Failure { status: 0, text }) => (2, text),
            Err(Failure { status, text }) => (status, text),
        };
        host::channel_end(channel, status, &text);
    }

    /// *Effect.* Calls [`Service::timer`](crate::Service::timer) with `id` once, `after_ms` milliseconds from now.
    /// Setting an id again moves it. Timers survive swaps. At most 1,024 ids a shard; one more is a trap.
    pub fn set_timer(&self, id: u64, after_ms: u32) {
        host::set_timer(id, after_ms);
    }

    /// *Effect.* Forgets a timer; does nothing if there is none of that id.
    pub fn cancel_timer(&self, id: u64) {
        host::cancel_timer(id);
    }

    /// *Effect.* Calls a unary gRPC method of another service; the answer arrives at
    /// [`Service::reply`](crate::Service::reply) with the token this returns. `service`: its name in the operator's
    /// configuration; `instance`: one of its instances or "" for any; `method`: `package.Service/Method`; `body`:
    /// the encoded request, at most 1 MiB.
    ///
    /// Every call that leaves is answered once: by the service, or with status 4 (no answer in time), 14 (unknown
    /// or away) or 8 (more than 64 in flight).
    pub fn call(&self, service: &str, instance: &str, method: &str, body: &[u8]) -> u64 {
        host::call(service, instance, method, body)
    }

    /// Milliseconds since 1970-01-01 UTC of the event being handled. Constant within a call, never lower than in
    /// the call before.
    pub fn now_ms(&self) -> u64 {
        host::now_ms()
    }

    /// 64 uniformly distributed bits, from a generator that is seeded once a shard and kept across swaps. Not for
    /// secrets.
    pub fn random(&self) -> u64 {
        host::random()
    }

    /// A number from 0 to `bound - 1`, all equally likely; 0 if `bound` is 0.
    pub fn random_below(&self, bound: u64) -> u64 {
        host::random_below(bound)
    }

    /// An id that no other shard, plugin or node hands out; rising within a shard.
    pub fn next_id(&self) -> u64 {
        host::next_id()
    }

    /// The operator's value for a key, none if it is not set. Constant within a call.
    pub fn config(&self, key: &str) -> Option<Vec<u8>> {
        host::config(key)
    }

    /// Logs at level error. Lines are cut at 1,024 bytes; beyond 100 a second and shard they are dropped.
    pub fn error(&self, line: impl Display) {
        host::log(host::Level::Error, &line.to_string());
    }

    /// Logs at level warn.
    pub fn warn(&self, line: impl Display) {
        host::log(host::Level::Warn, &line.to_string());
    }

    /// Logs at level info.
    pub fn info(&self, line: impl Display) {
        host::log(host::Level::Info, &line.to_string());
    }

    /// Logs at level debug.
    pub fn debug(&self, line: impl Display) {
        host::log(host::Level::Debug, &line.to_string());
    }
}
