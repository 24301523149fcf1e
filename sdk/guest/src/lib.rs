//! What the author of a Hotseat plugin imports: one trait, one macro, and a room or shard for native tests.
//!
//! A plugin is a serde struct with `&mut self` handlers, of one of two kinds:
//!
//! | | a game | a gRPC service |
//! |---|---|---|
//! | the struct is the state of | one room | one shard: the ids that fall to it |
//! | the trait | [`Game`] | [`Service`] |
//! | what a handler can reach | [`Room`] | [`Shard`] |
//! | the macro, and the world it makes a component for | [`export!`], `game-logic` | [`export_service!`], `service` |
//! | in native tests | [`TestRoom`](testing::TestRoom) | [`TestShard`](testing::TestShard) |
//!
//! Saving, loading and handing the state over to the next version come from this crate; a version that changes the
//! layout raises `SCHEMA` and says in `migrate` how to read the older ones, and in `downgrade`, if it can, how to write them.
//!
//! # A whole game
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
//! use hotseat_guest::{Game, Room, decode, encode};
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
//!
//!     // Optional: an operator can go back to the version before at any time.
//!     fn downgrade(&self, schema: u32) -> Result<Vec<u8>, String> {
//!         match (schema, u32::try_from(self.sum)) {
//!             (1, Ok(sum)) => encode(&Counter { sum }),
//!             (1, Err(_)) => Err(format!("a sum of {} is too large for schema 1", self.sum)),
//!             _ => Err(format!("no downgrade to schema {schema}")),
//!         }
//!     }
//! }
//!
//! use hotseat_guest::testing::TestRoom;
//!
//! let before = TestRoom::<Counter>::open("home/1", b"").expect("opens");
//! let after = before.swap::<WideCounter>().expect("migrates");
//! assert_eq!(after.state().sum, 3);
//! let back = after.go_back::<Counter>().expect("writes the old layout");
//! assert_eq!(back.state().sum, 3);
//! ```
//!
//! # A whole service
//!
//! Its methods are declared in a `.proto` file, which `plugin.toml` names together with the field of every request
//! that decides the shard (`[service]`, keys `proto` and `shard_by`). The handlers get encoded messages; a real
//! plugin decodes them with prost, this one has messages so small that it does not need to:
//!
//! ```proto
//! service Tally {
//!   rpc Add(Step) returns (Sum);                                                       // a call
//!   rpc Get(Step) returns (Sum) { option idempotency_level = NO_SIDE_EFFECTS; }        // a query
//!   rpc Watch(Step) returns (stream Sum);                                              // a subscription
//! }
//! ```
//!
//! ```
//! use std::collections::BTreeSet;
//!
//! use hotseat_guest::{Failure, Service, Shard};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Tally {
//!     sum: u8,
//!     watchers: BTreeSet<u64>,
//! }
//!
//! impl Service for Tally {
//!     const SCHEMA: u32 = 1;
//!
//!     fn open(_shard: &Shard, _key: &str) -> Result<Self, String> {
//!         Ok(Tally::default())
//!     }
//!
//!     fn call(&mut self, shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
//!         match (method, body) {
//!             ("demo.Tally/Add", [step]) => {
//!                 let sum = self.sum.checked_add(*step).ok_or_else(|| Failure::exhausted("it is full"))?;
//!                 self.sum = sum;
//!                 let watchers: Vec<u64> = self.watchers.iter().copied().collect();
//!                 shard.send(&watchers, &[sum]);
//!                 Ok(vec![sum])
//!             }
//!             ("demo.Tally/Add", _) => Err(Failure::invalid("a step is one byte")),
//!             _ => Err(Failure::unimplemented(method)),
//!         }
//!     }
//!
//!     fn query(&self, _shard: &Shard, method: &str, _body: &[u8]) -> Result<Vec<u8>, Failure> {
//!         match method {
//!             "demo.Tally/Get" => Ok(vec![self.sum]),
//!             _ => Err(Failure::unimplemented(method)),
//!         }
//!     }
//!
//!     fn subscribe(&mut self, _: &Shard, channel: u64, method: &str, _body: &[u8]) -> Result<(), Failure> {
//!         match method {
//!             "demo.Tally/Watch" => {
//!                 self.watchers.insert(channel);
//!                 Ok(())
//!             }
//!             _ => Err(Failure::unimplemented(method)),
//!         }
//!     }
//!
//!     fn unsubscribe(&mut self, _shard: &Shard, channel: u64) {
//!         self.watchers.remove(&channel);
//!     }
//! }
//!
//! hotseat_guest::export_service!(Tally);
//!
//! // The same struct in a native test:
//! use hotseat_guest::testing::TestShard;
//!
//! let mut shard = TestShard::<Tally>::open("tally#0").expect("opens");
//! shard.subscribe(1, "demo.Tally/Watch", b"").expect("is accepted");
//! assert_eq!(shard.call("demo.Tally/Add", &[5]).expect("adds"), [5]);
//! assert_eq!(shard.sent(1), [[5]]);
//! assert_eq!(shard.call("demo.Tally/Add", &[251]).expect_err("is refused").status, 8);
//! assert_eq!(shard.query("demo.Tally/Get", b"").expect("reads"), [5]);
//! ```
//!
//! # What a handler must keep in mind
//!
//! - **A call is a transaction.** What a handler asks of the room or shard (frames, messages, timers, transfers,
//!   calls of services) happens when it returns. If it panics, runs past its deadline or refuses, none of it happens.
//! - **A panic is not the end.** The host restores the room or shard without the event that did it, and the panic's text
//!   with file and line stands in the operator's log.
//! - **Refuse before you change the state.** A refusal drops the effects but not what was written to `self`.
//! - **Inputs decide everything.** Time, randomness, ids and answers come through [`Room`] or [`Shard`], so that the host
//!   can replay them. Prefer `BTreeMap` to `HashMap` where the order of iteration reaches a player or caller.

mod answer;
#[cfg(target_arch = "wasm32")]
mod bindings_module;
#[cfg(target_arch = "wasm32")]
mod component;
mod failure;
mod game;
mod host;
#[cfg(target_arch = "wasm32")]
mod instance;
mod room;
mod runtime;
mod service;
#[cfg(target_arch = "wasm32")]
mod service_component;
mod shard;
mod shard_runtime;
mod state;
mod task;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use answer::Answer;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use bindings_module::{bindings, game_bindings, service_bindings};
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use component::Component;
pub use failure::Failure;
pub use game::{Game, LeaveReason, Refusal, UserId};
pub use host::Level;
pub use room::Room;
pub use service::Service;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use service_component::ServiceComponent;
pub use shard::Shard;
pub use state::{Snapshot, decode, encode};
pub use task::{Handle, MAX_CALLS_IN_FLIGHT, MAX_TASKS, Reply};

/// Exports a type that implements [`Game`] as the plugin of this crate. Use it once, at the crate's root.
///
/// The crate is a `cdylib` (and an `rlib`, if it has tests of its own). On any target but `wasm32` the macro only
/// checks that the type implements [`Game`], so that `cargo test` runs the same crate natively.
#[macro_export]
macro_rules! export {
    ($game:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type HotseatComponent = $crate::Component<$game>;
            $crate::bindings::export! { HotseatComponent with_types_in $crate::bindings }
            $crate::game_bindings::export! { HotseatComponent with_types_in $crate::game_bindings }
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_game<G: $crate::Game>() {}
            is_a_game::<$game>();
        };
    };
}

/// Exports a type that implements [`Service`] as the plugin of this crate. Use it once, at the crate's root, and not
/// beside [`export!`].
///
/// The crate is a `cdylib` (and an `rlib`, if it has tests of its own). On any target but `wasm32` the macro only
/// checks that the type implements [`Service`], so that `cargo test` runs the same crate natively.
#[macro_export]
macro_rules! export_service {
    ($service:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type HotseatComponent = $crate::ServiceComponent<$service>;
            $crate::bindings::export! { HotseatComponent with_types_in $crate::bindings }
            $crate::service_bindings::export! { HotseatComponent with_types_in $crate::service_bindings }
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_service<S: $crate::Service>() {}
            is_a_service::<$service>();
        };
    };
}
