//! Telemetry: what a node says about itself.

pub mod health;
pub mod log;
pub(crate) mod log_limit;
pub mod metrics;
