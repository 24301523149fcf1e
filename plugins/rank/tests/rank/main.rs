//! The rank plugin in a native shard.

mod acceptance;
mod caller;
mod limits;
mod model;
mod options;
mod seasons;
mod support;
mod versions;
