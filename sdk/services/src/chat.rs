//! `proto.ChatService`: endpoints that keep their last messages. `proto/chat.proto` documents methods and messages.

#[expect(missing_docs, unreachable_pub, reason = "generated; the protocol file documents it")]
#[cfg_attr(feature = "client", expect(clippy::allow_attributes_without_reason, reason = "generated"))]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/chat/proto.rs"));
}

#[cfg(feature = "guest")]
mod client;
pub mod method;

#[cfg(feature = "guest")]
pub use client::Client;
pub use generated::Chat;
pub use generated::chat::*;
/// The tonic client.
#[cfg(feature = "client")]
pub use generated::chat_service_client::ChatServiceClient;

/// What [`Consumer::from`] says to get new messages only.
pub const NEW_ONLY: i64 = -1;
