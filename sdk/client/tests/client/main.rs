//! The client against a server that speaks bytes.

mod receiving;
mod sending;
mod support;
