//! Cluster: what makes several nodes one host.
//!
//! [`node`] says which nodes there are, [`node_name`] which process has a node's name, and [`placement`] which
//! host has which home room. [`link`] connects the sessions of an agent with the host that has their room.
//! [`rooms`] decides which rooms this host has, hands rooms over to other hosts, and takes up the rooms of hosts
//! that have died. [`rollout`] puts one version live on all nodes. [`player_directory`] finds players on
//! whichever node they are. [`continuity`] notices that etcd has lost its data.

pub mod continuity;
pub mod link;
pub mod metrics;
pub mod node;
pub mod node_name;
pub mod placement;
pub mod player_directory;
pub mod rollout;
pub mod rooms;

/// The version of the link's protocol (`proto/cluster.proto`). A peer of another version is refused.
pub const LINK_VERSION: u32 = 1;
