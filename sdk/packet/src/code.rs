//! Code: why the agent refuses, in [`crate::ErrorInfo::code`]. From [`PLUGIN_MIN`] up the codes are the plugin's
//! own.

/// The constants and their names from one list, so that neither can lack an entry.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal;)*) => {
        $($(#[$doc])* pub const $name: i32 = $code;)*

        /// Every code of the agent, ascending.
        pub const ALL: &[i32] = &[$($name),*];

        /// The code's name in lower snake case, fit for a log field or a metric label; `None` if it is not the
        /// agent's.
        pub const fn name(code: i32) -> Option<&'static str> {
            match code {
                $($name => Some($label),)*
                _ => None,
            }
        }
    };
}

codes! {
    /// The bytes are no frame.
    BAD_FRAME = 1, "bad_frame";
    /// The sequence number is not one more than the last.
    BAD_SEQUENCE = 2, "bad_sequence";
    /// Nothing handles the opcode.
    UNKNOWN_OPCODE = 3, "unknown_opcode";
    /// The message needs a login first.
    NOT_LOGGED_IN = 4, "not_logged_in";
    /// The payload does not fit the opcode.
    BAD_PAYLOAD = 5, "bad_payload";
    /// The login is refused.
    LOGIN_FAILED = 6, "login_failed";
    /// The frame is larger than allowed.
    TOO_LARGE = 7, "too_large";
    /// More messages or bytes than allowed.
    RATE_LIMITED = 8, "rate_limited";
    /// Nothing was heard from the client for too long.
    IDLE = 9, "idle";
    /// The client did not log in in time.
    LOGIN_TIMEOUT = 10, "login_timeout";
    /// The user logged in elsewhere; this is the older session.
    DUPLICATE_LOGIN = 11, "duplicate_login";
    /// The server is going down.
    SHUTTING_DOWN = 12, "shutting_down";
    /// The client reads slower than the game sends.
    SLOW_CLIENT = 13, "slow_client";
    /// The server cannot take the message now; it may be sent again.
    BUSY = 14, "busy";
    /// There is no room to play in.
    NO_ROOM = 15, "no_room";
    /// The game failed over the message; nothing of it happened.
    MESSAGE_FAILED = 16, "message_failed";
    /// The session is logged in already.
    ALREADY_LOGGED_IN = 17, "already_logged_in";
    /// The server failed for a reason of its own.
    INTERNAL = 18, "internal";
}

/// The first code that belongs to the plugin.
pub const PLUGIN_MIN: i32 = 1000;
