//! Leaderboards as a service plugin: the gRPC service `proto.RankingService` of `proto/rank.proto`.
//!
//! Read it in this order: [`order`] (who is ahead of whom), [`tree`] and [`users`] (the two halves of an index),
//! [`board`] (one season's leaderboard made of them), [`set`] (seasons and options), [`ranks`] (all sets of a
//! shard: the state that is saved), [`service`] (the methods). There is no line of storage code: the state is a
//! serde struct, and the host keeps it.
//!
//! The operator's settings are described at [`limits::Limits`].
//!
//! A build exports [`V1`], or what its cargo feature names: [`V2`] (`v2`), [`Trapping`] (`trapping`).

pub mod board;
mod calendar;
mod convert;
pub mod error;
pub mod limits;
pub mod order;
pub mod ranks;
pub mod schedule;
pub mod service;
pub mod set;
mod trapping;
pub mod tree;
pub mod users;
mod v1;
mod v2;

pub use trapping::{TRAP_SCORE, Trapping};
pub use v1::V1;
pub use v2::V2;

#[cfg(not(any(feature = "v2", feature = "trapping")))]
hotseat_guest::export_service!(V1);

#[cfg(all(feature = "v2", not(feature = "trapping")))]
hotseat_guest::export_service!(V2);

#[cfg(feature = "trapping")]
hotseat_guest::export_service!(Trapping);
