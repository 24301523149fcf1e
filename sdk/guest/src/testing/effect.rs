//! What a handler asked for, as values a test can compare.

use crate::game::UserId;
use crate::testing::Level;

/// One thing a handler asked the host to do; see the method of [`Room`](crate::Room) or [`Shard`](crate::Shard) of
/// the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the parameters of the methods of Room and Shard")]
pub enum Effect {
    /// A frame for one player.
    Send { user: UserId, op: u16, payload: Vec<u8> },
    /// A frame for the listed players, or for everyone if the list is empty.
    Broadcast { users: Vec<UserId>, op: u16, payload: Vec<u8> },
    /// The end of a player's session.
    Kick { user: UserId, reason: u32 },
    /// A player's move to another room.
    Transfer { user: UserId, room: String },
    /// A new room.
    CreateRoom { room: String, args: Vec<u8> },
    /// The end of this room.
    CloseRoom { reason: u32 },
    /// A timer, new or moved.
    SetTimer { id: u64, after_ms: u32 },
    /// A timer, forgotten.
    CancelTimer { id: u64 },
    /// A player's document, replaced.
    PutProfile { user: UserId, bytes: Vec<u8> },
    /// A call of another service.
    Call(ServiceCall),
    /// A message for streams: [`Shard::send`](crate::Shard::send).
    ChannelSend { channels: Vec<u64>, message: Vec<u8> },
    /// The end of a stream, with a gRPC status: [`Shard::end`](crate::Shard::end).
    ChannelEnd { channel: u64, status: u32, text: String },
}

impl Effect {
    /// What counts towards the limit of payload a call.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Send { payload, .. } | Self::Broadcast { payload, .. } => payload.len(),
            Self::CreateRoom { args, .. } => args.len(),
            Self::PutProfile { bytes, .. } => bytes.len(),
            Self::Call(call) => call.body.len(),
            Self::ChannelSend { message, .. } => message.len(),
            Self::ChannelEnd { text, .. } => text.len(),
            Self::Kick { .. }
            | Self::Transfer { .. }
            | Self::CloseRoom { .. }
            | Self::SetTimer { .. }
            | Self::CancelTimer { .. } => 0,
        }
    }
}

/// A call of another service that waits for [`TestRoom::answer`](crate::testing::TestRoom::answer) or
/// [`TestShard::answer`](crate::testing::TestShard::answer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCall {
    /// Names the call.
    pub token: u64,
    /// The configured name of the service.
    pub service: String,
    /// One of its instances, or "" for any.
    pub instance: String,
    /// `package.Service/Method`.
    pub method: String,
    /// The encoded request.
    pub body: Vec<u8>,
}

/// One line the plugin logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How loud.
    pub level: Level,
    /// The text, uncut.
    pub text: String,
}
