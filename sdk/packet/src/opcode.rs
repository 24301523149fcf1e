//! Opcode: what a frame's payload is. 0 to [`AGENT_MAX`] are the agent's, [`GAME_MIN`] to [`GAME_MAX`] the
//! game's. The original's opcodes are signed: the upper half of the u16 is negative there and never valid.

/// Client: still there? Payload [`crate::AutoId`].
pub const HEART_BEAT_REQ: u16 = 0;
/// Agent: the heartbeat's id back. Payload [`crate::AutoId`].
pub const HEART_BEAT_ACK: u16 = 1;
/// Client: log in. Payload [`crate::UserLoginInfo`].
pub const USER_LOGIN_REQ: u16 = 10;
/// Agent: logged in. Payload [`crate::UserSnapshot`].
pub const USER_LOGIN_SUCCEED_ACK: u16 = 11;
/// Agent: the login is refused (spelt as in the original). Payload [`crate::ErrorInfo`].
pub const USER_LOGIN_FAILD_ACK: u16 = 12;
/// Agent: a message is refused, or the connection is about to be closed. Payload [`crate::ErrorInfo`].
pub const CLIENT_ERROR_ACK: u16 = 13;
/// Client: start the key exchange. Payload [`crate::SeedInfo`].
pub const GET_SEED_REQ: u16 = 30;
/// Agent: the other half of the key exchange. Payload [`crate::SeedInfo`].
pub const GET_SEED_ACK: u16 = 31;

/// The last opcode the agent handles itself.
pub const AGENT_MAX: u16 = 1000;
/// The first opcode that goes to the game.
pub const GAME_MIN: u16 = 1001;
/// The last opcode that goes to the game.
pub const GAME_MAX: u16 = 32_767;

/// True if frames with this opcode go to the game.
#[inline]
pub const fn is_game(opcode: u16) -> bool {
    matches!(opcode, GAME_MIN..=GAME_MAX)
}

/// True if the payload is an [`crate::ErrorInfo`]: a refused message or login.
#[inline]
pub const fn is_error(opcode: u16) -> bool {
    matches!(opcode, USER_LOGIN_FAILD_ACK | CLIENT_ERROR_ACK)
}
