//! What the author of a Hotseat plugin imports: one trait, one macro, and a room for native tests.
//!
//! A plugin is a serde struct (the state of **one room**) with `&mut self` handlers. [`Game`] is the trait,
//! [`export!`] turns the struct into a component for the world `game-logic`, [`Room`] is everything a handler
//! can reach. Saving, loading and handing the state over to the next version come from this crate; a version
//! that changes the layout raises [`Game::SCHEMA`] and says in [`Game::migrate`] how to read the older ones.
//!
//! # A whole plugin
//!
//! ```
//! use hotseat_guest::{Game, Refusal, Room, UserId};
//! use serde::{Deserialize, Serialize};
//!
//! /// Everybody counts together: frame 1200 adds, frame 1201 tells everyone the sum.
//! #[derive(Serialize, Deserialize)]
//! struct Counter {
//!     sum: u32,
//! }
//!
//! impl Game for Counter {
//!     const SCHEMA: u32 = 1;
//!
//!     fn open(_room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
//!         Ok(Counter { sum: 0 })
//!     }
//!
//!     fn message(&mut self, room: &Room<Self>, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
//!         match (op, payload) {
//!             (1200, [step]) => {
//!                 self.sum += u32::from(*step);
//!                 room.info(format_args!("player {user} added {step}"));
//!                 room.broadcast(1201, &self.sum.to_be_bytes());
//!                 Ok(())
//!             }
//!             (1200, _) => Err(Refusal::new(1000, "add takes one byte")),
//!             _ => Err(Refusal::new(1001, format!("there is no opcode {op}"))),
//!         }
//!     }
//! }
//!
//! hotseat_guest::export!(Counter);
//!
//! // The same struct in a native test:
//! use hotseat_guest::testing::TestRoom;
//!
//! let mut room = TestRoom::<Counter>::open("home/1", b"").expect("opens");
//! room.join(7);
//! room.message(7, 1200, &[5]).expect("is accepted");
//! assert_eq!(room.sent_to(7), [(1201, vec![0, 0, 0, 5])]);
//! assert_eq!(room.message(7, 1200, b"").expect_err("is refused").code, 1000);
//! assert_eq!(room.state().sum, 5);
//! ```
//!
//! # The next version
//!
//! ```
//! use hotseat_guest::{Game, Room, decode};
//! use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)]
//! # struct Counter { sum: u32 }
//! # impl Game for Counter {
//! #     const SCHEMA: u32 = 1;
//! #     fn open(_: &Room<Self>, _: &str, _: &[u8]) -> Result<Self, String> { Ok(Counter { sum: 3 }) }
//! # }
//!
//! #[derive(Serialize, Deserialize)]
//! struct WideCounter {
//!     sum: u64,
//! }
//!
//! impl Game for WideCounter {
//!     const SCHEMA: u32 = 2;
//!
//!     fn open(_room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
//!         Ok(WideCounter { sum: 0 })
//!     }
//!
//!     fn migrate(_room: &Room<Self>, from: u32, bytes: &[u8]) -> Result<Self, String> {
//!         match from {
//!             1 => decode::<Counter>(bytes).map(|old| WideCounter { sum: old.sum.into() }),
//!             _ => Err(format!("no migration from schema {from}")),
//!         }
//!     }
//! }
//!
//! use hotseat_guest::testing::TestRoom;
//!
//! let before = TestRoom::<Counter>::open("home/1", b"").expect("opens");
//! let after = before.swap::<WideCounter>().expect("migrates");
//! assert_eq!(after.state().sum, 3);
//! ```
//!
//! # What a handler must keep in mind
//!
//! - **A call is a transaction.** What a handler asks of the room (frames, timers, transfers, calls of services)
//!   happens when it returns. If it panics, runs past its deadline or refuses, none of it happens.
//! - **A panic is not the end.** The host restores the room without the event that did it, and the panic's text
//!   with file and line stands in the operator's log.
//! - **Refuse before you change the state.** A refusal drops the effects but not what was written to `self`.
//! - **Inputs decide everything.** Time, randomness, ids and answers come through [`Room`], so that the host can
//!   replay a room. Prefer `BTreeMap` to `HashMap` where the order of iteration reaches a player.

#[cfg(target_arch = "wasm32")]
mod bindings_module;
#[cfg(target_arch = "wasm32")]
mod component;
mod game;
mod host;
mod room;
mod runtime;
mod state;
mod task;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use bindings_module::bindings;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use component::Component;
pub use game::{Answer, Game, LeaveReason, Refusal, Snapshot, UserId};
pub use host::Level;
pub use room::Room;
pub use state::decode;
pub use task::{Handle, MAX_CALLS_IN_FLIGHT, MAX_TASKS, Reply};

/// Exports a type that implements [`Game`] as the plugin of this crate. Use it once, at the crate's root.
///
/// The crate is a `cdylib` (and an `rlib`, if it has tests of its own). On any target but `wasm32` the macro only
/// checks that the type implements [`Game`], so that `cargo test` runs the same crate natively.
#[macro_export]
macro_rules! export {
    ($game:ty) => {
        const _: () = {
            #[cfg(target_arch = "wasm32")]
            type HotseatComponent = $crate::Component<$game>;
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::export!(HotseatComponent with_types_in $crate::bindings);

            #[cfg(not(target_arch = "wasm32"))]
            const fn is_a_game<G: $crate::Game>() {}
            #[cfg(not(target_arch = "wasm32"))]
            is_a_game::<$game>();
        };
    };
}
