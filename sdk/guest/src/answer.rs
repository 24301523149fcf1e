//! What comes back from another service.

/// What became of a service call. Numbers follow gRPC's status codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 0 ok, 1 cancelled, 4 deadline exceeded, 5 not found, 8 resource exhausted, 13 internal, 14 unavailable;
    /// others as the service sent them.
    pub status: u32,
    /// The response message when `status` is 0, else empty.
    pub body: Vec<u8>,
    /// The error's text when `status` is not 0, else empty.
    pub text: String,
}

impl Answer {
    /// A good answer with this response message.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 0, body: body.into(), text: String::new() }
    }

    /// A failure with a gRPC status (not 0) and its text.
    pub fn error(status: u32, text: impl Into<String>) -> Self {
        Self { status, body: Vec::new(), text: text.into() }
    }

    /// The response message, or status and text of the failure.
    ///
    /// # Errors
    /// `(status, text)` if `status` is not 0.
    pub fn into_result(self) -> Result<Vec<u8>, (u32, String)> {
        if self.status == 0 { Ok(self.body) } else { Err((self.status, self.text)) }
    }
}
