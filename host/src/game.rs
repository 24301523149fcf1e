//! Game: rooms, who sits where, and which version they run.
//!
//! A room is a task that owns one sandboxed guest; the [`registry`] knows all rooms and seats players in them;
//! [`deploy`] replaces the version under live rooms. Knows the agent only through [`crate::link`].

pub mod artefacts;
mod clock;
pub mod deploy;
pub mod metrics;
mod profile;
pub mod registry;
mod room;
mod sandbox;
mod services;

pub use clock::Clock;
pub use profile::{ProfileError, Profiles};
pub use sandbox::World;
pub use services::{ServiceError, Services};
