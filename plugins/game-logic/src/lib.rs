//! The reference game: an arena where players move, collect coins and score.
//!
//! Read it in this order: [`messages`] (what goes over the wire), [`field`] (the rules of moving, without a room),
//! [`arena`] (the room: state and handlers), [`scores`] and [`talk`] (what it has to do with the rank and chat
//! services: two examples of calling others from a room), then the versions, each of which is one implementation of
//! [`Rules`](arena::Rules):
//!
//! - [`V1`]: a coin is a point.
//! - [`V2`]: a coin within three seconds of the one before is worth two. What it has to remember for that is a new
//!   field of the state, hence a new schema and a migration.
//! - [`Trapping`] and [`BadMigration`]: version 2 with a fault, to see what the host does about it.
//!
//! A build exports one of them: `V1`, or the one its cargo feature (`v2`, `trapping`, `bad-migration`) names.

pub mod arena;
mod broken;
pub mod field;
pub mod messages;
pub mod scores;
pub mod talk;
mod v1;
mod v2;

pub use arena::Arena;
pub use broken::{BadMigration, Trapping};
pub use v1::V1;
pub use v2::{Streak, V2};

#[cfg(not(any(feature = "v2", feature = "trapping", feature = "bad-migration")))]
hotseat_guest::export!(Arena<V1>);

#[cfg(all(feature = "v2", not(any(feature = "trapping", feature = "bad-migration"))))]
hotseat_guest::export!(Arena<V2>);

#[cfg(all(feature = "trapping", not(feature = "bad-migration")))]
hotseat_guest::export!(Arena<Trapping>);

#[cfg(feature = "bad-migration")]
hotseat_guest::export!(Arena<BadMigration>);
