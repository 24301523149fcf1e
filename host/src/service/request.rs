//! Request: what a shard can be asked, and how it says no.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::stream::Queue;

/// One thing asked of a shard. An asker that has gone away is not served.
#[derive(Debug)]
pub(super) enum Request {
    /// A unary method.
    Unary {
        method: Arc<str>,
        body: Bytes,
        /// It changes nothing.
        query: bool,
        answer: oneshot::Sender<Result<Bytes, Failure>>,
    },
    /// A server-streaming method; what the shard sends goes to the queue.
    Subscribe {
        method: Arc<str>,
        body: Bytes,
        queue: Arc<Queue>,
        answer: oneshot::Sender<Result<u64, Failure>>,
    },
}

/// A gRPC status that is not OK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The status code.
    pub(super) code: Code,
    /// For people.
    pub(super) text: String,
}

/// The status codes that shards and routing give of themselves; a guest's own come as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// A number a guest gave.
    Guest(i32),
    /// 4.
    DeadlineExceeded,
    /// 8.
    ResourceExhausted,
    /// 12.
    Unimplemented,
    /// 13.
    Internal,
    /// 14.
    Unavailable,
}

impl Failure {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl Code {
    /// Its number in gRPC. What is none, and 0, which would be no failure, are 2: unknown.
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Guest(number) if (1..=16).contains(&number) => number,
            Self::Guest(_) => 2,
            Self::DeadlineExceeded => 4,
            Self::ResourceExhausted => 8,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
        }
    }
}
