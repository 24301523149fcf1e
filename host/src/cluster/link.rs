//! Link: the way between the sessions of an agent and the rooms of a host on another node.
//!
//! [`router`] chooses the host for a session of this node's agent. The client is the agent's end of the link
//! to one host, [`server`] is the host's end, and [`grpc`] is the service through which agents reach it.

mod client;
pub mod grpc;
pub mod router;
pub mod server;
