//! Ending: why a session ends, and its last words.

use std::time::Duration;

use hotseat_packet::{FrameError, code, opcode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::codec::Output;
use crate::link::{AttachError, Close, LeaveReason};

/// How long the last words may take to reach the client.
const LINGER: Duration = Duration::from_secs(1);
/// How much a client may still send meanwhile, bytes.
const LINGER_BYTES: usize = 256 * 1024;

/// Why a session ends.
#[derive(Debug)]
pub(super) struct End {
    /// What its room is told.
    pub(super) leave: LeaveReason,
    /// What the metric counts it under.
    pub(super) reason: &'static str,
    /// What the client is told.
    pub(super) error: Option<LastError>,
    /// Whether it is worth waiting for the client to read that.
    pub(super) linger: bool,
}

/// The last error frame of a session.
#[derive(Debug)]
pub(super) struct LastError {
    /// `USER_LOGIN_FAILD_ACK` or `CLIENT_ERROR_ACK`.
    pub(super) opcode: u16,
    /// See [`code`].
    pub(super) code: i32,
    /// In words.
    pub(super) text: String,
}

impl End {
    fn with(leave: LeaveReason, code: i32, text: String) -> Self {
        let error = Some(LastError { opcode: opcode::CLIENT_ERROR_ACK, code, text });
        Self { leave, reason: code::name(code).unwrap_or("other"), error, linger: true }
    }

    /// The client closed its side.
    pub(super) fn closed() -> Self {
        Self { leave: LeaveReason::Closed, reason: "closed", error: None, linger: true }
    }

    /// The connection broke.
    pub(super) fn lost() -> Self {
        Self { leave: LeaveReason::Lost, reason: "lost", error: None, linger: false }
    }

    /// The client broke the protocol or a limit.
    pub(super) fn violation(code: i32, text: String) -> Self {
        Self::with(LeaveReason::Violation, code, text)
    }

    /// The bytes cannot be followed any further.
    pub(super) fn bad_frame(error: FrameError) -> Self {
        let code = match error {
            FrameError::TooLong { .. } => code::TOO_LARGE,
            FrameError::TooShort { .. } | FrameError::PayloadTooLong { .. } => code::BAD_FRAME,
        };
        Self::violation(code, error.to_string())
    }

    /// Nothing whole was heard for `limit`.
    pub(super) fn idle(limit: Duration) -> Self {
        Self::with(LeaveReason::Lost, code::IDLE, format!("no whole frame for {limit:?}"))
    }

    /// The client took longer than `limit` to log in.
    pub(super) fn login_timeout(limit: Duration) -> Self {
        Self::violation(code::LOGIN_TIMEOUT, format!("no login within {limit:?}"))
    }

    /// The client does not read.
    pub(super) fn slow(text: String) -> Self {
        Self { linger: false, ..Self::with(LeaveReason::Violation, code::SLOW_CLIENT, text) }
    }

    /// The room does not take the client's frames.
    pub(super) fn busy(limit: Duration) -> Self {
        Self::with(LeaveReason::Lost, code::BUSY, format!("the room took no message for {limit:?}"))
    }

    /// There is no room any more.
    pub(super) fn no_room(text: String) -> Self {
        Self::with(LeaveReason::Lost, code::NO_ROOM, text)
    }

    /// The login is refused.
    pub(super) fn login_failed(code: i32, text: String) -> Self {
        let mut end = Self::violation(code, text);
        if let Some(error) = &mut end.error {
            error.opcode = opcode::USER_LOGIN_FAILD_ACK;
        }
        end
    }

    /// The login is good, but there is no seat.
    pub(super) fn no_seat(error: &AttachError) -> Self {
        let code = match error {
            AttachError::NoPlugin | AttachError::Closed { .. } => code::NO_ROOM,
            AttachError::Busy { .. }
            | AttachError::Refused { .. }
            | AttachError::Elsewhere { .. }
            | AttachError::Unreachable { .. } => code::BUSY,
            AttachError::Shutdown => code::SHUTTING_DOWN,
            AttachError::Replaced => code::DUPLICATE_LOGIN,
        };
        Self::login_failed(code, error.to_string())
    }

    /// The session had a seat, and there is no other one.
    pub(super) fn unseated(error: &AttachError) -> Self {
        match error {
            AttachError::Replaced => Self {
                reason: "duplicate_login",
                ..Self::with(LeaveReason::Replaced, code::DUPLICATE_LOGIN, error.to_string())
            },
            _ => Self::no_room(error.to_string()),
        }
    }

    /// The game side or the node ends it.
    pub(super) fn told(close: Close) -> Self {
        Self { reason: close.reason, ..Self::with(close.leave, close.code, close.text) }
    }
}

/// Writes what is left, then waits for the client to close, both within one bounded time: closing a socket that
/// has unread input resets the connection, and a reset takes the last words with it.
pub(super) async fn farewell(mut stream: TcpStream, out: Output) {
    let all = async {
        stream.write_all(out.pending()).await?;
        stream.shutdown().await?;
        let mut waste = [0; 1024];
        let mut total = 0;
        while total < LINGER_BYTES {
            match stream.read(&mut waste).await? {
                0 => break,
                count => total += count,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // Neither a late nor a broken client changes what happens next: the socket is dropped.
    let _ = timeout(LINGER, all).await;
}
