//! Line: everything a game host has for one agent, in order, in the form in which it travels.
//!
//! Rooms append to it from their own tasks; one task sends what has gathered as one message. So a tick that sends a
//! thousand players of one agent ten frames each costs one message, and a broadcast stands in it once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tokio::sync::Notify;

use crate::proto::cluster::{Down, DownBatch, Welcome};

/// Field of [`DownBatch`] that holds the [`Down`]s.
const DOWNS: u32 = 2;
/// Fields of [`Down`].
const SESSIONS: u32 = 1;
const FRAMES: u32 = 2;

/// The queue to one agent. Encoded as it grows: protobuf's repeated fields may be appended one by one.
#[derive(Debug)]
pub struct Line {
    /// Bytes that may wait; beyond that the agent is taken for dead.
    limit: usize,
    inner: Mutex<Inner>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    cut: bool,
}

/// The line has been cut: the agent is gone, or it does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

impl Line {
    /// A line on which at most `limit` bytes may wait.
    pub fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default(), ready: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panic leaves half appended would spoil the message; nothing between the appends can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Cut> {
        let mut inner = self.lock();
        if inner.cut || inner.bytes.len() + bytes > self.limit {
            let was = std::mem::replace(&mut inner.cut, true);
            drop(inner);
            if !was {
                self.ready.notify_one();
            }
            return Err(Cut);
        }
        let was_idle = inner.bytes.is_empty();
        inner.bytes.reserve(bytes);
        write(&mut inner.bytes);
        drop(inner);
        if was_idle {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Appends one frame for these sessions. `payload` is at most [`hotseat_packet::MAX_DOWN_PAYLOAD`] bytes.
    pub(super) fn frame(&self, sessions: &[u64], opcode: u16, payload: &[u8]) -> Result<(), Cut> {
        let ids: usize = sessions.iter().map(|id| encoded_len_varint(*id)).sum();
        let frame = 4 + payload.len();
        let field = |number, length: usize| key_len(number) + encoded_len_varint(length as u64) + length;
        let down = field(SESSIONS, ids) + field(FRAMES, frame);
        self.append(field(DOWNS, down), |out| {
            let mut head = |number, length: usize| {
                encode_key(number, WireType::LengthDelimited, out);
                encode_varint(length as u64, out);
            };
            head(DOWNS, down);
            head(SESSIONS, ids);
            sessions.iter().for_each(|id| encode_varint(*id, out));
            let mut head = |number, length: usize| {
                encode_key(number, WireType::LengthDelimited, out);
                encode_varint(length as u64, out);
            };
            head(FRAMES, frame);
            #[expect(clippy::cast_possible_truncation, reason = "bounded by the frame's limit")]
            let size = (payload.len() + 2) as u16;
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&opcode.to_be_bytes());
            out.extend_from_slice(payload);
        })
    }

    /// Appends anything else.
    pub fn tell(&self, down: Down) -> Result<(), Cut> {
        self.append_batch(&DownBatch { welcome: None, downs: vec![down] })
    }

    /// Appends the host's first word.
    pub fn welcome(&self, welcome: Welcome) -> Result<(), Cut> {
        self.append_batch(&DownBatch { welcome: Some(welcome), downs: Vec::new() })
    }

    fn append_batch(&self, batch: &DownBatch) -> Result<(), Cut> {
        self.append(batch.encoded_len(), |out| batch.encode_raw(out))
    }

    /// Ends the line: nothing more is taken, what waits is dropped.
    pub fn cut(&self) {
        let mut inner = self.lock();
        inner.cut = true;
        inner.bytes = Vec::new();
        drop(inner);
        self.ready.notify_one();
    }

    /// Whether the line has been cut.
    pub fn is_cut(&self) -> bool {
        self.lock().cut
    }

    /// What has gathered, as one encoded [`DownBatch`]; waits until there is something. `None` once the line is cut. Cancel
    /// safe.
    pub async fn take(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut inner = self.lock();
                if inner.cut {
                    return None;
                }
                if !inner.bytes.is_empty() {
                    return Some(std::mem::take(&mut inner.bytes));
                }
            }
            self.ready.notified().await;
        }
    }
}

#[cfg(test)]
impl Line {
    /// What the agent reads next; none once the line is cut.
    pub(super) async fn batch(&self) -> Option<DownBatch> {
        Some(prost::Message::decode(&*self.take().await?).unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::cluster::down::What;
    use crate::proto::cluster::{Moving, Seated};

    #[tokio::test]
    async fn what_is_appended_comes_out_in_order() {
        let line = Line::new(1 << 20);
        line.welcome(Welcome { version: 1, node: "game".into() }).unwrap();
        line.frame(&[1, 300, 70_000], 1001, b"hello").unwrap();
        line.tell(Down { sessions: vec![1], what: Some(What::Moving(Moving {})) }).unwrap();
        line.frame(&[2], 7, &vec![9; 60_000]).unwrap();
        line.tell(Down {
            sessions: vec![1],
            what: Some(What::Seated(Seated { room: "a".into(), login: 3 })),
        })
        .unwrap();
        let batch = line.batch().await.unwrap();
        assert_eq!(batch.welcome.unwrap().node, "game");
        let [hello, moving, long, seated] = &batch.downs[..] else { panic!("{:?}", batch.downs.len()) };
        assert_eq!(hello.sessions, [1, 300, 70_000]);
        assert_eq!(hello.what, Some(What::Frames(b"\0\x07\x03\xE9hello".as_slice().into())));
        assert_eq!(moving.what, Some(What::Moving(Moving {})));
        assert!(matches!(&long.what, Some(What::Frames(bytes)) if bytes.len() == 60_004));
        assert!(matches!(&seated.what, Some(What::Seated(Seated { login: 3, .. }))));
    }

    #[tokio::test]
    async fn an_agent_that_does_not_read_is_cut_off() {
        let line = Line::new(100);
        assert_eq!(line.frame(&[1], 1001, &[0; 50]), Ok(()));
        assert_eq!(line.frame(&[1], 1001, &[0; 50]), Err(Cut));
        assert_eq!(line.frame(&[1], 1001, b""), Err(Cut));
        assert_eq!(line.take().await, None);
    }
}
