//! Telemetry: what a node says about itself.

pub mod log;
pub mod metrics;
