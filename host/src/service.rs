//! Service: plugins that serve gRPC.
//!
//! A service runs as a fixed number of shards, actors with a mailbox of requests each; a request goes to the shard that
//! the id in it belongs to. What a shard says leaves the node only when the disk has what it rests on (`shard.rs`).
//! The gRPC side knows no service by name: methods, ids and descriptors come from the artefacts.

mod builtin;
mod down;
mod frames;
mod grpc;
pub mod metrics;
mod reflection;
mod request;
mod router;
mod server;
mod shard;
mod stream;
mod wire;

pub use builtin::BuiltinServices;
pub use router::{Bounds, ServiceRouter, ServiceRouterParts, ShardsError};
pub use server::{GrpcServer, serve};
