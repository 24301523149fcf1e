//! Frames: the client frames of one socket read, packed in one buffer.

/// A run of frames, each `u16 length | u16 opcode | payload`, native endian, `length` counting the payload.
///
/// One allocation for however many frames a read brought; the payloads are copied once from the socket's
/// buffer and read in place by the guest call.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    count: u32,
}

/// Collects frames; see [`Frames`].
#[derive(Debug, Default)]
pub struct FramesBuilder {
    frames: Frames,
}

const HEAD: usize = 4;

impl FramesBuilder {
    /// Adds one frame. `payload` is at most 65,529 bytes: what a client frame can carry.
    pub fn push(&mut self, opcode: u16, payload: &[u8]) {
        debug_assert!(payload.len() <= usize::from(u16::MAX));
        #[expect(clippy::cast_possible_truncation, reason = "a client frame's payload fits its u16 size")]
        let length = payload.len() as u16;
        let bytes = &mut self.frames.bytes;
        bytes.reserve(HEAD + payload.len());
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&opcode.to_ne_bytes());
        bytes.extend_from_slice(payload);
        self.frames.count += 1;
    }

    /// Whether nothing has been added since the last [`Self::take`].
    pub fn is_empty(&self) -> bool {
        self.frames.count == 0
    }

    /// The frames so far; the builder is empty again.
    pub fn take(&mut self) -> Frames {
        std::mem::take(&mut self.frames)
    }
}

impl Frames {
    /// How many frames.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Their size in this form, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The frames in order: opcode and payload.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_first_chunk::<HEAD>()?;
            let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
            let opcode = u16::from_ne_bytes([head[2], head[3]]);
            let (payload, tail) = tail.split_at(length);
            rest = tail;
            Some((opcode, payload))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_in_order() {
        let mut builder = FramesBuilder::default();
        builder.push(1001, b"one");
        builder.push(1002, b"");
        builder.push(u16::MAX, &[7; 65_529]);
        let frames = builder.take();
        assert_eq!(frames.count(), 3);
        let seen: Vec<_> = frames.iter().map(|(op, payload)| (op, payload.len())).collect();
        assert_eq!(seen, [(1001, 3), (1002, 0), (u16::MAX, 65_529)]);
        assert!(builder.is_empty());
    }
}
