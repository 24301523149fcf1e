//! A room or a shard in memory, for `cargo test`: the same struct that becomes the component, without Wasm.
//!
//! [`TestRoom`] has players, time, randomness, settings, profiles and other services under the test's control, and
//! does with effects what the host does: it carries them out when the handler has returned, drops them when it
//! refused, and goes on with the events that follow from them (a kicked player leaves, a due timer fires).
//!
//! [`TestShard`] is the same for services: it has streams in place of players.
//!
//! Where the host would end a call as a trap (a limit of the contract, a panic), the test panics.

mod channels;
mod effect;
mod host;
mod room;
mod setup;
mod shard;

use std::cell::RefCell;
use std::rc::Rc;

pub use effect::{Effect, LogLine, ServiceCall};
pub(crate) use host::TestHost;
pub use room::{Stays, TestRoom};
pub use setup::Setup;
pub use shard::TestShard;

use crate::host::Level;

type SharedHost = Rc<RefCell<TestHost>>;

thread_local! {
    /// The host of the test room or shard whose handler is running on this thread.
    static CURRENT: RefCell<Option<SharedHost>> = const { RefCell::new(None) };
}

/// Runs one call of a handler against a host; panics of the handler pass through.
fn enter<R>(host: &SharedHost, call: impl FnOnce() -> R) -> R {
    struct Leave(Option<SharedHost>);
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _leave = Leave(CURRENT.replace(Some(Rc::clone(host))));
    call()
}

pub(crate) fn with_host<R>(call: impl FnOnce(&mut TestHost) -> R) -> R {
    let host = CURRENT.with_borrow(Clone::clone);
    let host = host.expect("outside of a component a room exists only in a TestRoom, a shard in a TestShard");
    call(&mut host.borrow_mut())
}
