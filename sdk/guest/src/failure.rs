//! A service's way to say no.

use std::fmt;

/// A service method's way to say no: a gRPC status and a text. Numbers are gRPC's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The gRPC status. 0 and numbers that gRPC does not know reach the caller as 2 (unknown).
    pub status: u32,
    /// For people; at most 1,024 bytes reach the caller.
    pub text: String,
}

impl Failure {
    /// A failure with any gRPC status.
    pub fn new(status: u32, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// 3, invalid argument: the request is wrong whatever the state is.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(3, text)
    }

    /// 5, not found.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(5, text)
    }

    /// 6, already exists.
    pub fn already_exists(text: impl Into<String>) -> Self {
        Self::new(6, text)
    }

    /// 7, permission denied.
    pub fn denied(text: impl Into<String>) -> Self {
        Self::new(7, text)
    }

    /// 8, resource exhausted: a limit of the service is reached.
    pub fn exhausted(text: impl Into<String>) -> Self {
        Self::new(8, text)
    }

    /// 9, failed precondition: the state does not allow it now.
    pub fn precondition(text: impl Into<String>) -> Self {
        Self::new(9, text)
    }

    /// 13, internal: the request is no message of its type. It is what gRPC servers answer to bytes that do not decode.
    pub fn undecodable(text: impl Into<String>) -> Self {
        Self::new(13, text)
    }

    /// 12, unimplemented: this version does not know the method.
    pub fn unimplemented(method: &str) -> Self {
        Self::new(12, format!("there is no method {method}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "status {}: {}", self.status, self.text)
    }
}

impl std::error::Error for Failure {}
