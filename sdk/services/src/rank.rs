//! `proto.RankingService`: leaderboards. `proto/rank.proto` documents methods and messages.

#[expect(missing_docs, unreachable_pub, reason = "generated; the protocol file documents it")]
#[cfg_attr(feature = "client", expect(clippy::allow_attributes_without_reason, reason = "generated"))]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/rank/proto.rs"));
}

#[cfg(feature = "guest")]
mod client;
pub mod method;

#[cfg(feature = "guest")]
pub use client::{Client, Entry, Standing};
pub use generated::Ranking;
pub use generated::ranking::*;
/// The tonic client.
#[cfg(feature = "client")]
pub use generated::ranking_service_client::RankingServiceClient;
