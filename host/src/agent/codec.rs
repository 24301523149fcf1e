//! Codec: the agent's own frames, and what a session has yet to write.

use hotseat_packet::{ErrorInfo, Message as _, UserSnapshot, encode_down, opcode};

use crate::link::UserId;

/// Longest text of an error frame, bytes; a plugin's or an engine's reason may be of any length.
const TEXT_MAX: usize = 1024;
/// Capacity an idle session keeps, bytes: enough for a few replies, little beside the 8 KiB a connection may
/// cost.
const KEPT: usize = 2048;

/// Bytes on their way to the socket.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// Frames added since [`Self::tally`].
    frames: u64,
}

impl Output {
    /// Bytes not yet written.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Whether all is written.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Frames added since the last call.
    pub(super) fn tally(&mut self) -> u64 {
        std::mem::take(&mut self.frames)
    }

    /// Notes that the first `count` pending bytes are written. An emptied buffer gives back what an idle
    /// session should not hold; one that is never empty moves up when half of it is written.
    pub(super) fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written == self.bytes.len() {
            self.written = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
        } else if self.written > KEPT && self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..std::mem::take(&mut self.written));
        }
    }

    /// Adds what `fill` puts into an empty buffer, which are whole frames. No copy if all else is written.
    pub(super) fn append<T>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        if self.bytes.is_empty() {
            let result = fill(&mut self.bytes);
            self.frames += count(&self.bytes);
            return result;
        }
        let mut more = Vec::new();
        let result = fill(&mut more);
        self.frames += count(&more);
        self.bytes.drain(..std::mem::take(&mut self.written));
        self.bytes.extend_from_slice(&more);
        result
    }

    /// Answers a heartbeat with its own payload's id; false if there is none.
    pub(super) fn heartbeat(&mut self, payload: &[u8]) -> bool {
        let Some(id) = payload.first_chunk::<4>() else { return false };
        self.frame(opcode::HEART_BEAT_ACK, id);
        true
    }

    /// Says that the login is done.
    pub(super) fn logged_in(&mut self, user: UserId) {
        let mut payload = [0; 12];
        let snapshot = UserSnapshot::new(user.0);
        payload[..4].copy_from_slice(&snapshot.uid.to_be_bytes());
        payload[4..].copy_from_slice(&snapshot.user.to_be_bytes());
        self.frame(opcode::USER_LOGIN_SUCCEED_ACK, &payload);
    }

    /// Says what is wrong; `opcode` is `USER_LOGIN_FAILD_ACK` or `CLIENT_ERROR_ACK`.
    pub(super) fn error(&mut self, opcode: u16, code: i32, text: &str) {
        let msg = text[..text.floor_char_boundary(TEXT_MAX)].to_owned();
        // A text this short always fits a string field.
        if let Ok(payload) = (ErrorInfo { code, msg }).to_bytes() {
            self.frame(opcode, &payload);
        }
    }

    fn frame(&mut self, opcode: u16, payload: &[u8]) {
        if encode_down(&mut self.bytes, opcode, payload).is_ok() {
            self.frames += 1;
        }
    }
}

/// How many frames `bytes` holds, which begin and end at a frame's bounds.
fn count(mut bytes: &[u8]) -> u64 {
    let mut frames = 0;
    while let Some((size, rest)) = bytes.split_first_chunk::<2>() {
        frames += 1;
        bytes = rest.get(usize::from(u16::from_be_bytes(*size))..).unwrap_or_default();
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_frames_are_the_originals() {
        let mut out = Output::default();
        assert!(out.heartbeat(&[0, 0, 3, 9, 0xFF]));
        assert_eq!(out.pending(), [0, 6, 0, 1, 0, 0, 3, 9]);
        assert!(!out.heartbeat(&[0, 0, 3]));
        out.advance(8);
        out.logged_in(UserId(0x0102_0304_8506_0708));
        assert_eq!(out.pending(), [0, 14, 0, 11, 5, 6, 7, 8, 1, 2, 3, 4, 0x85, 6, 7, 8]);
        out.advance(16);
        out.error(13, 2, "no");
        assert_eq!(out.pending(), [0, 10, 0, 13, 0, 0, 0, 2, 0, 2, b'n', b'o']);
        assert_eq!(out.tally(), 3);
        assert_eq!(out.tally(), 0);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let mut out = Output::default();
        out.error(13, 1, &"\u{20AC}".repeat(1000));
        let text = &out.pending()[10..];
        assert_eq!(text.len(), 1023);
        assert!(std::str::from_utf8(text).is_ok());
    }

    #[test]
    fn partly_written_bytes_stay_in_order_and_big_buffers_are_given_back() {
        let mut out = Output::default();
        out.append(|bytes| bytes.extend_from_slice(&[0, 2, 3, 233, 0, 3, 3, 233, 7]));
        out.advance(5);
        out.append(|bytes| {
            assert!(bytes.is_empty());
            bytes.extend_from_slice(&[0, 2, 3, 234]);
        });
        assert_eq!(out.pending(), [3, 3, 233, 7, 0, 2, 3, 234]);
        assert_eq!(out.tally(), 3);
        out.advance(8);
        assert!(out.is_empty());
        out.append(|bytes| bytes.resize(KEPT * 2, 0));
        out.advance(KEPT * 2);
        assert_eq!(out.bytes.capacity(), 0);
    }
}
