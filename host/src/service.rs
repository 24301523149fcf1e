//! Service: plugins that serve gRPC.
//!
//! A service runs as a fixed number of shards, actors with a mailbox of requests each; a request goes to the shard that
//! the id in it belongs to. What a shard says leaves the node only when the disk has what it rests on (`shard.rs`).
//! The gRPC side knows no service by name: methods, ids and descriptors come from the artefacts.

mod door;
mod down;
mod frames;
mod grpc;
pub mod metrics;
mod natives;
mod plane;
mod reflection;
mod request;
mod shard;
mod stream;
mod wire;

pub use door::{Door, serve};
pub use natives::Natives;
pub use plane::{Bounds, Plane, PlaneParts, ShardsError};
