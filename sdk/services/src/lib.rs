//! Messages and callers of the gRPC services that Hotseat's own service plugins serve: one module a service.
//!
//! Features: `client` adds tonic clients for programs outside of a plugin; `guest` adds callers for plugins, on
//! `hotseat_guest::Handle`.

#[cfg(feature = "guest")]
mod caller;
pub mod chat;
pub mod rank;

#[cfg(feature = "guest")]
pub use caller::CallError;
