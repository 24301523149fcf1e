//! What differs between the plugin's versions.

use std::fmt::Debug;

use hotseat_guest::decode;
use hotseat_services::chat::Description;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::chat::Chat;
use crate::endpoint::Endpoint;

/// A version of the plugin.
pub trait Version: 'static {
    /// The layout of the state.
    const SCHEMA: u32;
    /// What it remembers of an endpoint beside what every version does.
    type Memory: Debug + Clone + Default + Serialize + DeserializeOwned;

    /// A message is about to be looked at.
    fn on_body(_body: &[u8]) {}

    /// The word filter changed a message.
    fn on_masked(_memory: &mut Self::Memory) {}

    /// Adds what only this version knows.
    fn describe(_memory: &Self::Memory, _description: &mut Description) {}

    /// Reads a state of an older layout.
    ///
    /// # Errors
    /// If there is no way from there.
    fn migrate(from: u32, _bytes: &[u8]) -> Result<Chat<Self>, String>
    where
        Self: Sized,
    {
        Err(format!("no migration from schema {from} to {}", Self::SCHEMA))
    }
}

/// Version 1.
#[derive(Debug)]
pub struct V1;

impl Version for V1 {
    const SCHEMA: u32 = 1;
    type Memory = ();
}

/// Version 2: counts the messages that the word filter changed.
#[derive(Debug)]
pub struct V2;

/// What version 2 remembers of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Messages the word filter changed.
    pub masked: u64,
}

impl Version for V2 {
    const SCHEMA: u32 = 2;
    type Memory = Counters;

    fn on_masked(counters: &mut Counters) {
        counters.masked += 1;
    }

    fn describe(counters: &Counters, description: &mut Description) {
        description.masked = counters.masked;
    }

    fn migrate(from: u32, bytes: &[u8]) -> Result<Chat<Self>, String> {
        match from {
            1 => decode::<Chat<V1>>(bytes).map(|old| old.remember(with_counters)),
            _ => Err(format!("no migration from schema {from} to {}", Self::SCHEMA)),
        }
    }
}

/// An endpoint of version 1 that has counted nothing yet.
fn with_counters(old: Endpoint<()>) -> Endpoint<Counters> {
    Endpoint {
        log: old.log,
        retention: old.retention,
        members_post: old.members_post,
        members_subscribe: old.members_subscribe,
        members: old.members,
        muted: old.muted,
        streams: old.streams,
        lagging: old.lagging,
        live: old.live,
        memory: Counters::default(),
    }
}

/// Version 1, except that it panics at every message whose body begins with [`TRAP`].
#[derive(Debug)]
pub struct Trapping;

/// What [`Trapping`] cannot stand.
pub const TRAP: &[u8] = b"!trap!";

impl Version for Trapping {
    const SCHEMA: u32 = 1;
    type Memory = ();

    fn on_body(body: &[u8]) {
        assert!(!body.starts_with(TRAP), "a body begins with !trap!: broken on purpose");
    }
}
