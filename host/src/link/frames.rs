//! Frames: the client frames of one socket read, packed in one buffer.

use bytes::Bytes;

/// A run of frames, each `u16 length | u16 opcode | payload`, big-endian, `length` counting the payload: the form in
/// which they travel between nodes, too.
///
/// One allocation for however many frames a read brought; the payloads are copied once from the socket's
/// buffer and read in place by the guest call.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    bytes: Store,
    count: u32,
}

/// Frames that were collected here, or that came in one message with others.
#[derive(Debug, Clone)]
enum Store {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Default for Store {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

/// Bytes that are no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frames of {bytes} bytes end within a frame")]
pub struct TornFrames {
    /// How long they are.
    pub bytes: usize,
}

/// Collects frames; see [`Frames`].
#[derive(Debug, Default)]
pub struct FramesBuilder {
    bytes: Vec<u8>,
    count: u32,
}

const HEAD: usize = 4;

impl FramesBuilder {
    /// Adds one frame. `payload` is at most 65,529 bytes: what a client frame can carry.
    pub fn push(&mut self, opcode: u16, payload: &[u8]) {
        debug_assert!(payload.len() <= usize::from(u16::MAX));
        #[expect(clippy::cast_possible_truncation, reason = "a client frame's payload fits its u16 size")]
        let length = payload.len() as u16;
        let bytes = &mut self.bytes;
        bytes.reserve(HEAD + payload.len());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&opcode.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.count += 1;
    }

    /// Whether nothing has been added since the last [`Self::take`].
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The frames so far; the builder is empty again.
    pub fn take(&mut self) -> Frames {
        let Self { bytes, count } = std::mem::take(self);
        Frames { bytes: Store::Own(bytes), count }
    }
}

impl Frames {
    /// Frames that came from another node.
    ///
    /// # Errors
    /// If the bytes end within a frame.
    pub fn read(bytes: Bytes) -> Result<Self, TornFrames> {
        let mut count = 0;
        let mut rest = &*bytes;
        while !rest.is_empty() {
            let head =
                rest.first_chunk::<HEAD>().map(|head| usize::from(u16::from_be_bytes([head[0], head[1]])));
            let tail = head.and_then(|length| rest.get(HEAD + length..));
            rest = tail.ok_or(TornFrames { bytes: bytes.len() })?;
            count += 1;
        }
        Ok(Self { bytes: Store::Shared(bytes), count })
    }

    /// As they travel between nodes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            Store::Own(bytes) => bytes,
            Store::Shared(bytes) => bytes,
        }
    }

    /// The same, to be sent on; what came from another node is not copied.
    pub fn to_bytes(&self) -> Bytes {
        match &self.bytes {
            Store::Own(bytes) => Bytes::copy_from_slice(bytes),
            Store::Shared(bytes) => bytes.clone(),
        }
    }

    /// How many frames.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Their size in this form, bytes.
    pub fn bytes(&self) -> usize {
        self.as_bytes().len()
    }

    /// The frames in order: opcode and payload.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let mut rest = self.as_bytes();
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_first_chunk::<HEAD>()?;
            let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
            let opcode = u16::from_be_bytes([head[2], head[3]]);
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
        let again = Frames::read(Bytes::copy_from_slice(frames.as_bytes())).unwrap();
        assert_eq!(again.count(), 3);
        assert!(again.iter().eq(frames.iter()));
    }

    #[test]
    fn torn_frames_are_refused() {
        let mut builder = FramesBuilder::default();
        builder.push(1001, b"one");
        let whole = Bytes::copy_from_slice(builder.take().as_bytes());
        for cut in 1..whole.len() {
            assert_eq!(Frames::read(whole.slice(..cut)).unwrap_err(), TornFrames { bytes: cut });
        }
        assert_eq!(Frames::read(Bytes::new()).unwrap().count(), 0);
    }
}
