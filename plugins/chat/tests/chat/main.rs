//! The chat service from outside: methods by name, bytes in, bytes out, and what streams get.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, helpers of tests too")]

mod history;
mod limits;
mod members;
mod messages;
mod model;
mod moderation;
mod support;
mod versions;
