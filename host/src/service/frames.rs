//! Frames: the messages of a stream as gRPC has them on the wire, each held once however many clients it is for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::HttpBody;
use axum::http::HeaderMap;
use bytes::{BufMut as _, Bytes};
use futures_util::Stream as _;
use hyper::body::Frame;
use prometheus::IntGauge;
use tonic::Status;

use super::grpc::status;
use super::stream::Messages;

/// In front of a message: a flag for compression and the length, big-endian.
const HEADER: usize = 5;

/// What is given to a connection at a time. It keeps one such piece for each stream that its client does not read.
const PIECE: usize = 16 << 10;

/// What all streams of the node keep for clients that have not read it.
#[derive(Debug)]
pub(super) struct Unread {
    max_bytes: usize,
    bytes: AtomicUsize,
    gauge: IntGauge,
}

impl Unread {
    pub(super) fn new(max_bytes: usize, gauge: IntGauge) -> Arc<Self> {
        Arc::new(Self { max_bytes, bytes: AtomicUsize::new(0), gauge })
    }

    /// Whether there is more than there may be.
    pub(super) fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.max_bytes
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// A message as a frame, counted until the last of those that are to read it have let go of it.
    pub(super) fn frame(self: &Arc<Self>, message: &[u8]) -> Bytes {
        let mut bytes = Vec::with_capacity(HEADER + message.len());
        bytes.put_u8(0);
        // A message is bounded by what a call may queue, far below 4 GiB.
        bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        bytes.put_slice(message);
        self.add(bytes.len());
        Bytes::from_owner(Counted { bytes, unread: Arc::clone(self) })
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.gauge.add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

struct Counted {
    bytes: Vec<u8>,
    unread: Arc<Unread>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.unread.bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        self.unread.gauge.sub(i64::try_from(self.bytes.len()).unwrap_or(i64::MAX));
    }
}

/// The body of a stream's response: its frames piece by piece, and how it ended.
pub(super) struct StreamBody {
    messages: Messages,
    /// What is left of the frame at hand.
    rest: Bytes,
    ended: bool,
}

impl StreamBody {
    pub(super) fn new(messages: Messages) -> Self {
        Self { messages, rest: Bytes::new(), ended: false }
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // What cannot be written as a header is left out; the code always can.
    let _ = status.add_header(&mut trailers);
    trailers
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.rest.is_empty() {
            let end = match ready!(Pin::new(&mut self.messages).poll_next(context)) {
                Some(Ok(frame)) => {
                    self.rest = frame;
                    None
                }
                Some(Err(failure)) => Some(status(failure)),
                None => Some(Status::ok("")),
            };
            if let Some(end) = end {
                self.ended = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers(&end)))));
            }
        }
        let piece = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(piece);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::service::request::{Code, Failure};
    use crate::service::stream::{Bounds, Queue, words};

    fn unread(max_bytes: usize) -> Arc<Unread> {
        Unread::new(max_bytes, IntGauge::new("unread", "unread").unwrap())
    }

    #[test]
    fn a_frame_is_counted_once_until_nobody_has_it() {
        let unread = unread(20);
        let frame = unread.frame(&[7; 20]);
        assert_eq!(&frame[..HEADER], [0, 0, 0, 0, 20]);
        let copies = vec![frame.clone(); 1000];
        assert_eq!(unread.gauge.get(), 25);
        assert!(unread.is_over());
        drop(frame);
        assert_eq!(unread.gauge.get(), 25);
        drop(copies);
        assert_eq!(unread.gauge.get(), 0);
        assert!(!unread.is_over());
    }

    #[tokio::test]
    async fn a_body_is_frames_in_pieces_and_a_status() {
        let unread = unread(1 << 20);
        let queue = Arc::new(Queue::new(Bounds { messages: 9, bytes: 1 << 20 }, Arc::clone(&unread)));
        let (gone, _words) = words();
        let mut body = StreamBody::new(Messages { queue: Arc::clone(&queue), channel: 1, gone });
        assert!(queue.push(&unread.frame(&[1; PIECE])));
        queue.end(Err(Failure::new(Code::Unavailable, "over")));
        let mut next = async || poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let sizes =
            [next().await, next().await].map(|frame| frame.unwrap().unwrap().into_data().unwrap().len());
        assert_eq!(sizes, [PIECE, HEADER]);
        let trailers = next().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"14".parse().unwrap(), &"over".parse().unwrap())
        );
        assert!(next().await.is_none());
    }
}
