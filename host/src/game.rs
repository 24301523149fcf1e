//! Game: rooms, and who sits where.
//!
//! A room is an actor with players; the [`registry`] knows all rooms and seats players in them. Knows the agent only
//! through [`crate::link`].

mod homes;
pub mod metrics;
mod profile;
pub mod registry;
mod room;

pub use homes::{Gate, Homes};
pub use profile::{Conflict, ProfileError, Profiles};
