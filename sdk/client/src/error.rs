//! Error: how a conversation with the agent can end, by what the caller does next.

use std::io;
use std::time::Duration;

use hotseat_packet::{ErrorInfo, FrameError, ReadError, WriteError, code};
use thiserror::Error;

/// Why a call to the client failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The server closed the connection, or it broke: connect again.
    #[error("server closed the connection{}{}", because(.last_error.as_ref()), cut_off(*.unfinished))]
    Closed {
        /// The error frame the server sent just before, if that was the last frame. Always `None` where
        /// sending failed: the frame may still be waiting to be received.
        last_error: Option<ErrorInfo>,
        /// Bytes of a frame that never became whole.
        unfinished: usize,
    },
    /// The login was refused, or an error frame came instead of what was expected. Whether the connection
    /// lives on is up to the server.
    #[error("refused with code {code}{}: {text}", named(*.code))]
    Refused {
        /// One of [`hotseat_packet::code`], or from 1000 up the plugin's own.
        code: i32,
        /// The server's words.
        text: String,
    },
    /// The server did not do its part in time. The connection is as it was; the call may be repeated.
    #[error("no {waiting_for} within {after:?}")]
    Timeout {
        /// What did not come.
        waiting_for: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Another frame came than the one expected, which is lost with this error.
    #[error("expected a frame with opcode {expected}, got opcode {got}")]
    Unexpected {
        /// The opcode expected.
        expected: u16,
        /// The opcode that came.
        got: u16,
    },
    /// What the server sent is no frame: the connection is of no more use.
    #[error("server sent no valid frame")]
    Frame(#[from] FrameError),
    /// A frame's payload is not what its opcode promises.
    #[error("payload of opcode {opcode} is malformed")]
    Payload {
        /// The frame's opcode.
        opcode: u16,
        /// What is wrong with it.
        source: ReadError,
    },
    /// The message is too long to send. Nothing was queued and no sequence number used.
    #[error("message cannot be sent")]
    Unsendable(#[from] WriteError),
    /// Too much is queued: flush first, or send less at once. Nothing was queued and no sequence number used.
    #[error("{len} bytes on top of the {queued} queued are above the {max} allowed")]
    QueueFull {
        /// Bytes that were to be added.
        len: usize,
        /// Bytes queued already.
        queued: usize,
        /// The most that can be queued, in bytes.
        max: usize,
    },
    /// The operating system refused; the source says what.
    #[error("i/o failed")]
    Io(#[source] io::Error),
}

impl ClientError {
    /// The refusal an error frame's payload carries.
    pub(crate) fn refused(opcode: u16, payload: &[u8]) -> Self {
        match decode(opcode, payload) {
            Ok(ErrorInfo { code, msg }) => Self::Refused { code, text: msg },
            Err(error) => error,
        }
    }

    /// True if the other end is gone, whichever way the operating system puts it.
    pub(crate) fn is_gone(error: &io::Error) -> bool {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof, WriteZero,
        };
        matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof | WriteZero
        )
    }
}

/// The message in `payload`, or an error that names the opcode.
pub(crate) fn decode<M: hotseat_packet::Message>(opcode: u16, payload: &[u8]) -> Result<M, ClientError> {
    M::from_bytes(payload).map_err(|source| ClientError::Payload { opcode, source })
}

fn because(last: Option<&ErrorInfo>) -> String {
    last.map_or_else(String::new, |last| {
        format!(" after error {}{}: {}", last.code, named(last.code), last.msg)
    })
}

fn cut_off(unfinished: usize) -> String {
    if unfinished == 0 { String::new() } else { format!(", {unfinished} bytes into an unfinished frame") }
}

fn named(code: i32) -> String {
    code::name(code).map_or_else(String::new, |name| format!(" ({name})"))
}
