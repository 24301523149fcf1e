//! Rooms: which rooms this host has, and how they come and go.
//!
//! [`rebalancer`] claims home rooms and gives them away. The lease gate stops all rooms while the node's
//! lease cannot be proved. [`handover`] moves one room to another host, and [`host_state`] reads what a dead
//! host has left in the shared directory.

pub mod drain_progress;
pub mod handover;
pub mod host_state;
mod lease_gate;
pub mod rebalancer;
