//! Hotseat: a game host whose logic is WebAssembly plugins, replaced under live players.
//!
//! The way of a frame, and the module that is each station (ARCHITECTURE.md tells it at length):
//!
//! ```text
//! client ─ agent::listener ─ agent::session ─ agent::route ─ link ─ game::room ─ plugin::instance ─ guest
//! client ─ agent::session ◄──────────────────────────────── link ◄── effects ◄────────┘
//! ```
//!
//! Arrows of dependency point one way: `cli → app → {agent, game, service, admin}`, `agent → link`,
//! `{game, service, replay} → actor → {plugin, journal}`. Engine types stay inside [`plugin`]; a test guards all of it.

pub mod actor;
pub mod admin;
pub mod agent;
pub mod app;
mod blocking;
pub mod bots;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod discovery;
pub mod files;
pub mod game;
pub mod gonet;
pub mod http;
pub mod journal;
pub mod link;
mod overdue;
pub mod peer;
pub mod plugin;
pub mod proto;
pub mod replay;
pub mod service;
pub mod snowflake;
pub mod telemetry;
