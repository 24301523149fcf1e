//! The trait a service implements.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::shard::Shard;

/// The state and the rules of one shard of a gRPC service.
///
/// The value *is* the state: the host saves it, moves it to the next version and restores it after a fault, all
/// by serde. Handlers run one at a time; each must return within the manifest's `deadline_ms`. `method` is always
/// `package.Service/Method`, `body` the encoded request: decode it, and answer with the encoded response.
///
/// Which handler a method reaches is what its `.proto` says: [`call`](Service::call) for a unary one,
/// [`query`](Service::query) for a unary one with `option idempotency_level = NO_SIDE_EFFECTS`,
/// [`subscribe`](Service::subscribe) for one that returns a stream.
pub trait Service: Serialize + DeserializeOwned + Sized + 'static {
    /// The layout of the serialised state. Raise it whenever a field is added, removed, reordered or changes its
    /// type, and teach [`migrate`](Service::migrate) the older layouts.
    const SCHEMA: u32;

    /// A new shard. `key` is its name: `rank#3` is shard 3 of the plugin `rank`.
    ///
    /// # Errors
    /// Any text keeps the shard closed and is logged.
    fn open(shard: &Shard, key: &str) -> Result<Self, String>;

    /// Reads a state that an older version saved with schema `from`, which is lower than
    /// [`SCHEMA`](Service::SCHEMA). [`decode`](crate::decode) reads the old struct. Effects are ignored here.
    ///
    /// # Errors
    /// "I cannot": the shard stays on the version it has. The default knows no older schema.
    fn migrate(shard: &Shard, from: u32, bytes: &[u8]) -> Result<Self, String> {
        let _ = (shard, bytes);
        Err(format!("no migration from schema {from} to {}", Self::SCHEMA))
    }

    /// Writes the state in the layout of an older `schema`, as the version of that schema would: what an operator needs to
    /// go back to that version with the present state. [`encode`](crate::encode) writes the old struct.
    ///
    /// A host tries it on live state before it puts a version live, and tells the operator whether there is a way back.
    ///
    /// # Errors
    /// "I cannot", as the default says: then the way back is short. The host keeps what it handed over and all inputs since
    /// for a while (`rollback_window_ms`) and gives both to the older version.
    fn downgrade(&self, schema: u32) -> Result<Vec<u8>, String> {
        Err(format!("no downgrade from schema {} to {schema}", Self::SCHEMA))
    }

    /// The state was just read back, migrated or not; no event has been handled yet. The place to rebuild what
    /// is not serialised. Effects are ignored here.
    ///
    /// # Errors
    /// As for [`migrate`](Service::migrate).
    fn loaded(&mut self, shard: &Shard) -> Result<(), String> {
        let _ = shard;
        Ok(())
    }

    /// A unary method that may change the state. The caller gets the response when the disk has the call (in the
    /// durability `journal`).
    ///
    /// # Errors
    /// The caller gets the failure. The call's effects are dropped; changes of `self` are not, so refuse before
    /// you change it.
    fn call(&mut self, shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure>;

    /// A unary method that only reads. It is not journalled, and **its effects are ignored**: what it asks of the
    /// shard (messages, timers, calls of services) never happens.
    ///
    /// # Errors
    /// The caller gets the failure. The default knows no method.
    fn query(&self, shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let _ = (shard, body);
        Err(Failure::unimplemented(method))
    }

    /// A method that returns a stream begins. `channel` names the stream, in this shard for ever: send on it with
    /// [`Shard::send`], now or later, and end it with [`Shard::end`]. Streams outlive swaps, so keep their numbers
    /// in the state.
    ///
    /// # Errors
    /// The failure ends the stream at once; effects are dropped. The default knows no method.
    fn subscribe(&mut self, shard: &Shard, channel: u64, method: &str, body: &[u8]) -> Result<(), Failure> {
        let _ = (shard, channel, body);
        Err(Failure::unimplemented(method))
    }

    /// A stream is over: the client cancelled it or did not read it, or it was lost with the process. Not called
    /// for one that [`Shard::end`] has ended, nor for one that [`subscribe`](Service::subscribe) refused.
    fn unsubscribe(&mut self, shard: &Shard, channel: u64) {
        let _ = (shard, channel);
    }

    /// A timer set by [`Shard::set_timer`] is due.
    fn timer(&mut self, shard: &Shard, id: u64) {
        let _ = (shard, id);
    }

    /// The answer to a [`Shard::call`], perhaps of an earlier version.
    fn reply(&mut self, shard: &Shard, token: u64, answer: Answer) {
        let _ = (shard, token, answer);
    }
}
