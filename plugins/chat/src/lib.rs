//! The chat service: endpoints (a player's mailbox, a guild's channel) that keep their last messages and send new
//! ones to whoever is subscribed; with members, presence, mutes, a rate limit and a word filter.
//!
//! `proto/chat.proto` is the manual for callers, [`settings`] the one for operators. Read the code in this order:
//! [`log`] (the messages that are kept), [`endpoint`] (one endpoint: log, streams, members), [`chat`] (the shard:
//! endpoints and limits), `pump` (what does not fit into one call: long histories, many streams to end),
//! `service` (methods by name). [`words`] and [`rate`] stand alone. There is no line about storage: the host saves
//! the state, and restores it.
//!
//! Versions are one implementation of [`Version`] each, in [`version`]: [`V1`], [`V2`] (which counts masked
//! messages: another layout, so a migration) and [`Trapping`] (version 1 with a fault). A build exports `V1`, or the
//! one its cargo feature (`v2`, `trapping`) names.

pub mod chat;
pub mod endpoint;
pub mod log;
mod pump;
pub mod rate;
mod service;
pub mod settings;
pub mod version;
pub mod words;

pub use chat::Chat;
pub use version::{Trapping, V1, V2, Version};

#[cfg(not(any(feature = "v2", feature = "trapping")))]
hotseat_guest::export_service!(Chat<V1>);

#[cfg(all(feature = "v2", not(feature = "trapping")))]
hotseat_guest::export_service!(Chat<V2>);

#[cfg(feature = "trapping")]
hotseat_guest::export_service!(Chat<Trapping>);
