//! Frame: what one message looks like on the socket, in both directions.

use thiserror::Error;

/// The largest value of a frame's size field, in bytes.
pub const MAX_SIZE: usize = 65_535;
/// The longest payload an agent can send in one frame, in bytes: [`MAX_SIZE`] less the opcode.
pub const MAX_DOWN_PAYLOAD: usize = MAX_SIZE - DOWN_BODY;
/// The longest payload a client can send in one frame, in bytes: [`MAX_SIZE`] less sequence number and opcode.
pub const MAX_UP_PAYLOAD: usize = MAX_SIZE - UP_BODY;

/// Bytes of the size field itself.
const SIZE: usize = 2;
/// Bytes the size field counts before the payload, client to agent.
const UP_BODY: usize = 6;
/// Bytes the size field counts before the payload, agent to client.
const DOWN_BODY: usize = 2;

/// One frame from client to agent, borrowed from the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpFrame<'a> {
    /// The sequence number: 1 in the first frame of a connection, one more in each that follows.
    pub seq: u32,
    /// What the payload is; see [`crate::opcode`].
    pub opcode: u16,
    /// The message's fields.
    pub payload: &'a [u8],
}

/// One frame from agent to client, borrowed from the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownFrame<'a> {
    /// What the payload is; see [`crate::opcode`].
    pub opcode: u16,
    /// The message's fields.
    pub payload: &'a [u8],
}

/// Why bytes are no frame, or a payload fits in none.
///
/// After [`TooShort`](Self::TooShort) or [`TooLong`](Self::TooLong) a stream cannot be followed any further:
/// the connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The size field is smaller than the header it has to count. Answered with [`crate::code::BAD_FRAME`].
    #[error("frame size {size} is below the {min} bytes of its own header")]
    TooShort {
        /// The announced size in bytes.
        size: usize,
        /// The smallest legal size in bytes.
        min: usize,
    },
    /// The size field is larger than the receiver accepts. Answered with [`crate::code::TOO_LARGE`].
    #[error("frame size {size} is above the limit of {max} bytes")]
    TooLong {
        /// The announced size in bytes.
        size: usize,
        /// The largest accepted size in bytes.
        max: usize,
    },
    /// The payload does not fit in one frame; nothing was written.
    #[error("payload of {len} bytes is above the {max} bytes a frame can carry")]
    PayloadTooLong {
        /// The payload's length in bytes.
        len: usize,
        /// The longest possible payload in bytes.
        max: usize,
    },
}

/// The first client frame in `buf` and the bytes it took, or `None` while it is incomplete.
///
/// `max_size` bounds the announced size (all bytes after the size field) and is checked, like the lower bound
/// of 6, as soon as the two size bytes are there, before anything is buffered for the frame.
///
/// # Errors
/// [`FrameError::TooShort`] and [`FrameError::TooLong`]; `buf` then holds no frame and never will.
#[inline]
pub fn decode_up(buf: &[u8], max_size: usize) -> Result<Option<(UpFrame<'_>, usize)>, FrameError> {
    let Some((body, used)) = body(buf, UP_BODY, max_size)? else { return Ok(None) };
    let [s0, s1, s2, s3, o0, o1, payload @ ..] = body else {
        return Err(FrameError::TooShort { size: body.len(), min: UP_BODY });
    };
    let seq = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
    Ok(Some((UpFrame { seq, opcode: u16::from_be_bytes([*o0, *o1]), payload }, used)))
}

/// The first agent frame in `buf` and the bytes it took, or `None` while it is incomplete.
///
/// # Errors
/// [`FrameError::TooShort`] if the announced size is below 2; `buf` then holds no frame and never will.
#[inline]
pub fn decode_down(buf: &[u8]) -> Result<Option<(DownFrame<'_>, usize)>, FrameError> {
    let Some((body, used)) = body(buf, DOWN_BODY, MAX_SIZE)? else { return Ok(None) };
    let [o0, o1, payload @ ..] = body else {
        return Err(FrameError::TooShort { size: body.len(), min: DOWN_BODY });
    };
    Ok(Some((DownFrame { opcode: u16::from_be_bytes([*o0, *o1]), payload }, used)))
}

/// Appends one client frame to `out`.
///
/// # Errors
/// [`FrameError::PayloadTooLong`] above [`MAX_UP_PAYLOAD`]; `out` is then unchanged.
#[inline]
pub fn encode_up(out: &mut Vec<u8>, seq: u32, opcode: u16, payload: &[u8]) -> Result<(), FrameError> {
    let header = up_header(seq, opcode, payload.len())?;
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends one agent frame to `out`.
///
/// # Errors
/// [`FrameError::PayloadTooLong`] above [`MAX_DOWN_PAYLOAD`]; `out` is then unchanged.
#[inline]
pub fn encode_down(out: &mut Vec<u8>, opcode: u16, payload: &[u8]) -> Result<(), FrameError> {
    let header = down_header(opcode, payload.len())?;
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    Ok(())
}

/// The 8 bytes before the payload of a client frame, for who writes header and payload apart.
///
/// # Errors
/// [`FrameError::PayloadTooLong`] above [`MAX_UP_PAYLOAD`].
#[inline]
pub fn up_header(seq: u32, opcode: u16, payload_len: usize) -> Result<[u8; 8], FrameError> {
    let [z0, z1] = size(UP_BODY, payload_len)?;
    let [s0, s1, s2, s3] = seq.to_be_bytes();
    let [o0, o1] = opcode.to_be_bytes();
    Ok([z0, z1, s0, s1, s2, s3, o0, o1])
}

/// The 4 bytes before the payload of an agent frame, for who writes header and payload apart (one payload
/// broadcast to many clients).
///
/// # Errors
/// [`FrameError::PayloadTooLong`] above [`MAX_DOWN_PAYLOAD`].
#[inline]
pub fn down_header(opcode: u16, payload_len: usize) -> Result<[u8; 4], FrameError> {
    let [z0, z1] = size(DOWN_BODY, payload_len)?;
    let [o0, o1] = opcode.to_be_bytes();
    Ok([z0, z1, o0, o1])
}

/// The bytes the first size field in `buf` counts, and the bytes used with the field itself.
#[inline]
fn body(buf: &[u8], min: usize, max: usize) -> Result<Option<(&[u8], usize)>, FrameError> {
    let Some((size, rest)) = buf.split_first_chunk::<SIZE>() else { return Ok(None) };
    let size = usize::from(u16::from_be_bytes(*size));
    if size < min {
        return Err(FrameError::TooShort { size, min });
    }
    if size > max {
        return Err(FrameError::TooLong { size, max });
    }
    Ok(rest.get(..size).map(|body| (body, SIZE + size)))
}

/// The size field of a frame with `payload_len` bytes after `fixed` ones.
#[inline]
fn size(fixed: usize, payload_len: usize) -> Result<[u8; SIZE], FrameError> {
    let max = MAX_SIZE - fixed;
    match u16::try_from(payload_len.saturating_add(fixed)) {
        Ok(size) => Ok(size.to_be_bytes()),
        Err(_) => Err(FrameError::PayloadTooLong { len: payload_len, max }),
    }
}
