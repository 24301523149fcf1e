//! Stream: the messages of one server-streaming call, between the shard and its client.
//!
//! The queue is bounded in messages and bytes. A client that lets it fill up is cut: what waits is dropped, and the
//! stream ends with a status that says so. The shard never waits for a client.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

use super::frames::Unread;
use super::request::{Code, Failure};

/// What a client may leave unread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// One stream's queue.
#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    unread: Arc<Unread>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Bytes>,
    bytes: usize,
    ended: Option<Result<(), Failure>>,
    reader: Option<Waker>,
}

impl Queue {
    pub(super) fn new(bounds: Bounds, unread: Arc<Unread>) -> Self {
        Self { bounds, unread, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every step, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a message; false if there was no space for it and the stream has been cut. One that has ended takes
    /// nothing more.
    pub(super) fn push(&self, message: &Bytes) -> bool {
        let mut state = self.lock();
        if state.ended.is_some() {
            return true;
        }
        let Bounds { messages, bytes } = self.bounds;
        // While all streams together are over their bound, one that is not read is cut, and one that is read goes on.
        let over = self.unread.is_over() && !state.messages.is_empty();
        let fits = state.messages.len() < messages && state.bytes + message.len() <= bytes && !over;
        if fits {
            state.bytes += message.len();
            state.messages.push_back(message.clone());
        } else {
            let text = if over {
                let all = self.unread.max_bytes();
                format!("cut: all streams of the node together left more than {all} bytes unread")
            } else {
                format!("cut: more than {messages} messages or {bytes} bytes were left unread")
            };
            state.messages = VecDeque::new();
            state.ended = Some(Err(Failure::new(Code::ResourceExhausted, text)));
        }
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        fits
    }

    /// Ends the stream after what has been pushed.
    pub(super) fn end(&self, result: Result<(), Failure>) {
        let mut state = self.lock();
        if state.ended.is_none() {
            state.ended = Some(result);
        }
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let mut state = self.lock();
        if let Some(message) = state.messages.pop_front() {
            state.bytes -= message.len();
            return Poll::Ready(Some(Ok(message)));
        }
        match &mut state.ended {
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
            Some(ended) => Poll::Ready(std::mem::replace(ended, Ok(())).err().map(Err)),
        }
    }
}

/// The way of the words that a stream's client has gone.
#[expect(clippy::disallowed_methods, reason = "one word a stream, and max_streams bounds those")]
pub(super) fn words() -> (mpsc::UnboundedSender<u64>, mpsc::UnboundedReceiver<u64>) {
    mpsc::unbounded_channel()
}

/// The reading end; the shard hears of it when it is dropped.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) queue: Arc<Queue>,
    pub(super) channel: u64,
    pub(super) gone: mpsc::UnboundedSender<u64>,
}

impl Stream for Messages {
    type Item = Result<Bytes, Failure>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll(context)
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        // A shard that has ended has no streams. The queue of these words is bounded by the number of streams.
        let _ = self.gone.send(self.channel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn unread(max_bytes: usize) -> Arc<Unread> {
        Unread::new(max_bytes, prometheus::IntGauge::new("unread", "unread").unwrap())
    }

    #[tokio::test]
    async fn when_all_streams_are_over_their_bound_one_that_is_not_read_is_cut() {
        let unread = unread(10);
        let stream = || Arc::new(Queue::new(Bounds { messages: 9, bytes: 1000 }, Arc::clone(&unread)));
        let (slow, quick) = (stream(), stream());
        let (gone, _words) = words();
        let mut slow_reader = Messages { queue: Arc::clone(&slow), channel: 1, gone: gone.clone() };
        let mut quick_reader = Messages { queue: Arc::clone(&quick), channel: 2, gone };
        let message = unread.frame(&[0; 20]);
        assert!(slow.push(&message) && quick.push(&message));
        quick_reader.next().await.unwrap().unwrap();
        assert!(quick.push(&message));
        assert!(!slow.push(&message));
        let cut = slow_reader.next().await.unwrap().unwrap_err();
        assert!(cut.text.contains("10 bytes"), "{}", cut.text);
    }

    fn pair(messages: usize, bytes: usize) -> (Arc<Queue>, Messages, mpsc::UnboundedReceiver<u64>) {
        let queue = Arc::new(Queue::new(Bounds { messages, bytes }, unread(1 << 20)));
        let (gone, words) = words();
        let reader = Messages { queue: Arc::clone(&queue), channel: 9, gone };
        (queue, reader, words)
    }

    #[tokio::test]
    async fn messages_come_in_order_and_the_end_behind_them() {
        let (queue, mut reader, mut words) = pair(4, 100);
        for text in ["a", "b"] {
            assert!(queue.push(&Bytes::from_static(text.as_bytes())));
        }
        queue.end(Err(Failure::new(Code::Unavailable, "over")));
        assert!(queue.push(&Bytes::from_static(b"too late")));
        assert_eq!(reader.next().await.unwrap().unwrap(), "a");
        assert_eq!(reader.next().await.unwrap().unwrap(), "b");
        assert_eq!(reader.next().await.unwrap().unwrap_err().text, "over");
        assert!(reader.next().await.is_none());
        drop(reader);
        assert_eq!(words.recv().await, Some(9));
    }

    #[tokio::test]
    async fn a_reader_that_falls_behind_is_cut() {
        for (messages, bytes) in [(2, 100), (100, 2)] {
            let (queue, mut reader, _words) = pair(messages, bytes);
            assert!(queue.push(&Bytes::from_static(b"1")));
            assert!(queue.push(&Bytes::from_static(b"2")));
            assert!(!queue.push(&Bytes::from_static(b"3")));
            let cut = reader.next().await.unwrap().unwrap_err();
            assert_eq!(cut.code, Code::ResourceExhausted);
            assert!(reader.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let (queue, mut reader, _words) = pair(2, 100);
        let waiting = tokio::spawn(async move { reader.next().await });
        tokio::task::yield_now().await;
        queue.push(&Bytes::from_static(b"x"));
        assert_eq!(waiting.await.unwrap().unwrap().unwrap(), "x");
    }
}
