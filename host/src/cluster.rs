//! Cluster: what makes several nodes one host.
//!
//! [`node`] says who is there, [`placement`] who has which home room, [`router`] brings an agent's sessions to the
//! host that has their room: through the queues of [`crate::link`] in this process, through a trunk to another
//! one, where a [`terminal`] does what sessions do here. [`stream`] does so for the agents of the original. [`players`] brings to
//! players what others than their rooms have for them.

pub mod continuity;
pub mod estate;
pub mod handover;
pub mod metrics;
pub mod node;
pub mod placement;
pub mod players;
pub mod progress;
pub mod rollout;
pub mod router;
pub mod server;
pub mod steward;
pub mod stream;
pub mod terminal;
mod trunk;
mod warden;

/// The version of the link's protocol (`proto/cluster.proto`). Peers of another one are refused.
pub const LINK_VERSION: u32 = 1;
