//! The node from the outside: raw bytes, real components, the real binary.
//!
//! One binary, one file a topic. [`world`] runs a node in this process, [`process`] the binary itself, [`guests`]
//! has the plugins, built from source once a run. A test sees what a client, an operator or a scraper sees, and
//! waits for conditions, never for time to pass.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so where it stands")]

mod arena;
mod etcd;
mod guests;
mod process;
mod world;

// The way of a frame, and what it meets.
mod bad_bytes;
mod frame_flow;
mod login;

// Guests that misbehave, and the versions of a plugin.
mod births;
mod budgets;
mod compile;
mod hostile;
mod limits;
mod names;
mod refused;
mod room_moves;
mod services;
mod swap;
mod swap_back;
mod swap_long;
mod unsaved;

// Plugins that serve gRPC.
mod arena_services;
mod chats;
mod doors;
mod peers;
mod ranks;
mod served;
mod served_crowds;

// What outlives the process.
mod durable;
mod full_disk;
mod kills;
mod profiles;
mod replay;

// The cluster, and what else comes over its door.
mod cluster;
mod cluster_deaths;
mod cluster_edges;
mod cluster_faults;
mod cluster_large;
mod cluster_link;
mod cluster_moves;
mod cluster_names;
mod cluster_whole;
mod discovery;
mod discovery_edges;
mod game_stream;
mod operator;
mod players;
mod rollout;
mod snowflake;

// Random play against a model.
mod property;

// The binary.
mod cli;
mod config;
mod guide;
mod languages;
mod operations;
mod service_guide;
mod show;
mod shutdown;
mod standstill;

// What the sources and pages promise.
mod promises;
mod tidy;
