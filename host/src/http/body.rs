//! Body: a request that is received within bounds, and the answer to it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body as AxumBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use prometheus::{IntCounter, IntGauge};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::PollSemaphore;
use tonic::Status;

use super::Port;
use super::liveness::Open;
use crate::overdue::LATE;

/// The most bytes of a request that is not counted as large.
const SMALL: u64 = 64 << 10;

/// What a request that is half received must bring within the time it may stand still, unless it ends.
const PROGRESS: u64 = 16 << 10;

/// What a client sends.
pub(super) struct Upload {
    inner: Incoming,
    open: Arc<Open>,
    /// The client may let time pass between two messages.
    streams: bool,
    received: u64,
    message: Message,
    turns: PollSemaphore,
    uploads: usize,
    large: IntGauge,
    stall: Duration,
    turn: Duration,
    stalled: IntCounter,
    waited: IntCounter,
    /// Runs while something is awaited that must come.
    timer: Option<Pin<Box<Sleep>>>,
    /// What had been received when the timer was set.
    at: u64,
    /// It is about the turn.
    waits: bool,
    failed: bool,
}

impl Upload {
    pub(super) fn new(
        inner: Incoming,
        streams: bool,
        open: Arc<Open>,
        port: &Port,
        turns: &Arc<Semaphore>,
    ) -> Self {
        let refused = |why| port.metrics.refused.with_label_values(&[port.name, why]);
        Self {
            inner,
            open,
            streams,
            received: 0,
            message: Message::default(),
            turns: PollSemaphore::new(Arc::clone(turns)),
            uploads: port.bounds.uploads,
            large: port.metrics.uploads.with_label_values(&[port.name]),
            stall: port.bounds.stall,
            turn: port.bounds.turn,
            stalled: refused("stalled"),
            waited: refused("waited"),
            timer: None,
            at: 0,
            waits: false,
            failed: false,
        }
    }

    /// Ready once `limit` has passed since the timer was set, at times when the node ran.
    fn poll_late(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        loop {
            let (at, received) = (&mut self.at, self.received);
            let timer = self.timer.get_or_insert_with(|| {
                *at = received;
                Box::pin(sleep(limit))
            });
            let due = timer.deadline();
            ready!(timer.as_mut().poll(cx));
            if received - *at < PROGRESS && due.elapsed() < LATE {
                return Poll::Ready(());
            }
            *at = received;
            timer.as_mut().reset(Instant::now() + limit);
        }
    }

    /// Waits for the turn of a large request. Nothing of it is read meanwhile, so that the client stops sending.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        if self.streams || self.received <= SMALL || self.open.has_turn() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(permit) = self.turns.poll_acquire(cx) {
            // The semaphore is never closed.
            if let Some(permit) = permit {
                self.open.take_turn(permit, self.large.clone());
            }
            self.timer = None;
            return Poll::Ready(Ok(()));
        }
        if !std::mem::replace(&mut self.waits, true) {
            self.timer = None;
        }
        ready!(self.poll_late(cx, self.turn));
        self.waited.inc();
        let (most, limit) = (self.uploads, self.turn);
        Poll::Ready(Err(Status::resource_exhausted(format!(
            "{most} requests of more than {SMALL} bytes are received already, and none ended within {limit:?}: \
             try again"
        ))))
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Err(status) = ready!(self.poll_turn(cx)) {
            return Poll::Ready(Some(Err(status)));
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.received += data.len() as u64;
                    self.message.take(data);
                }
                if self.may_rest() {
                    self.timer = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Status::from_error(error.into())))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if self.may_rest() => Poll::Pending,
            Poll::Pending => {
                let stall = self.stall;
                ready!(self.poll_late(cx, stall));
                self.stalled.inc();
                let text =
                    format!("the request did not go on for {stall:?}, {} bytes into it", self.received);
                Poll::Ready(Some(Err(Status::deadline_exceeded(text))))
            }
        }
    }

    /// Whether nothing has to come for now.
    fn may_rest(&self) -> bool {
        self.streams && self.message.is_whole()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(None);
        }
        let frame = ready!(this.poll_inner(cx));
        this.failed = matches!(frame, Some(Err(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Where a stream of gRPC messages is: each has five bytes before it, the last four its length
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
#[derive(Debug, Default)]
struct Message {
    head: usize,
    length: u64,
    left: u64,
}

impl Message {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                bytes = &bytes[count..];
                self.left -= count as u64;
                continue;
            }
            let (first, rest) = (u64::from(bytes[0]), &bytes[1..]);
            if self.head > 0 {
                self.length = self.length << 8 | first;
            }
            self.head += 1;
            bytes = rest;
            if self.head == 5 {
                *self = Self { left: self.length, ..Self::default() };
            }
        }
    }

    /// Between two messages.
    fn is_whole(&self) -> bool {
        self.head == 0 && self.left == 0
    }
}

/// What the client gets; its request is under way until it has all of it.
pub(super) struct Answer {
    inner: AxumBody,
    _open: Arc<Open>,
}

impl Answer {
    pub(super) fn new(inner: AxumBody, open: Arc<Open>) -> Self {
        Self { inner, _open: open }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_once_its_length_has_come() {
        let mut message = Message::default();
        let bytes = [&[0, 0, 0, 1, 2][..], &[7; 258], &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 1, 9]].concat();
        let ends = [0, 263, 268, 274];
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(message.is_whole(), ends.contains(&at), "{at}");
            message.take(&[*byte]);
        }
        assert!(message.is_whole());
        message.take(&bytes);
        assert!(message.is_whole());
    }
}
