//! Receiver: cuts the received bytes into frames.

use std::time::Duration;

use hotseat_packet::{AutoId, ErrorInfo, Message, decode_down, opcode};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, timeout, timeout_at};

use crate::ClientError;
use crate::error::decode;

/// The least room a read finds in the buffer, in bytes. As a read comes only when less than a frame (65,537
/// bytes) is in the buffer, the buffer doubles to 128 KiB at most.
const READ: usize = 4096;

/// One frame from the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is; see [`hotseat_packet::opcode`].
    pub opcode: u16,
    /// The message's fields.
    pub payload: Vec<u8>,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Receiver {
    socket: OwnedReadHalf,
    /// What was received; the bytes before `start` are in frames already.
    buffer: Vec<u8>,
    start: usize,
    /// Set while an error frame is the last frame received.
    last_error: Option<ErrorInfo>,
    timeout: Duration,
}

impl Receiver {
    pub(crate) fn new(socket: OwnedReadHalf, timeout: Duration) -> Self {
        Self { socket, buffer: Vec::new(), start: 0, last_error: None, timeout }
    }

    /// Sets how long every wait may take; [`Duration::MAX`] is for ever.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The next frame, whatever it is, error frames included.
    ///
    /// Cancel safe: no byte is lost, so it may stand in a `select!`.
    ///
    /// # Errors
    /// [`ClientError::Closed`] with the last error frame, [`ClientError::Timeout`], [`ClientError::Frame`],
    /// [`ClientError::Io`].
    pub async fn recv(&mut self) -> Result<Frame, ClientError> {
        if let Some(frame) = self.buffered()? {
            return Ok(frame);
        }
        let after = self.timeout;
        if after == Duration::MAX {
            // A client with thousands of frames a second is spared a timer for each.
            return self.read_frame().await;
        }
        match timeout(after, self.read_frame()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ClientError::Timeout { waiting_for: "frame".into(), after }),
        }
    }

    /// A frame that is here already, without waiting and without a system call.
    ///
    /// # Errors
    /// [`ClientError::Frame`].
    pub fn buffered(&mut self) -> Result<Option<Frame>, ClientError> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let Some((frame, used)) = decode_down(rest)? else { return Ok(None) };
        let frame = Frame { opcode: frame.opcode, payload: frame.payload.to_vec() };
        self.start += used;
        self.last_error = match frame.opcode {
            opcode if opcode::is_error(opcode) => ErrorInfo::from_bytes(&frame.payload).ok(),
            _ => None,
        };
        Ok(Some(frame))
    }

    /// The payload of the next frame, which must have this opcode. Cancel safe.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if an error frame comes instead, [`ClientError::Unexpected`] if any other
    /// does, [`ClientError::Timeout`] naming the opcode, and what [`recv`](Self::recv) returns.
    pub async fn expect(&mut self, opcode: u16) -> Result<Vec<u8>, ClientError> {
        let frame = self.recv().await.map_err(|error| Self::waiting_for(error, opcode))?;
        match frame.opcode {
            got if got == opcode => Ok(frame.payload),
            got if opcode::is_error(got) => Err(ClientError::refused(got, &frame.payload)),
            got => Err(ClientError::Unexpected { expected: opcode, got }),
        }
    }

    /// The payload of the next frame with this opcode; frames with other opcodes before it are dropped. The
    /// timeout bounds the whole wait. Cancelled, it has dropped what came until then and nothing else.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if an error frame comes first, [`ClientError::Timeout`] naming the opcode, and
    /// what [`recv`](Self::recv) returns.
    pub async fn wait_for(&mut self, opcode: u16) -> Result<Vec<u8>, ClientError> {
        self.wait_until(opcode, |_| Ok(true)).await
    }

    /// Waits for the answer to a heartbeat with this id; other frames before it are dropped.
    pub(crate) async fn wait_for_heartbeat(&mut self, id: i32) -> Result<(), ClientError> {
        let answer = opcode::HEART_BEAT_ACK;
        self.wait_until(answer, |payload| Ok(decode::<AutoId>(answer, payload)?.id == id)).await.map(drop)
    }

    async fn wait_until(
        &mut self,
        opcode: u16,
        mut wanted: impl FnMut(&[u8]) -> Result<bool, ClientError>,
    ) -> Result<Vec<u8>, ClientError> {
        let after = self.timeout;
        // None is a timeout so long that no clock reaches it.
        let deadline = Instant::now().checked_add(after);
        loop {
            let frame = match (self.buffered()?, deadline) {
                (Some(frame), _) => frame,
                (None, None) => self.read_frame().await?,
                (None, Some(deadline)) => match timeout_at(deadline, self.read_frame()).await {
                    Ok(outcome) => outcome?,
                    Err(_) => {
                        let error = ClientError::Timeout { waiting_for: String::new(), after };
                        return Err(Self::waiting_for(error, opcode));
                    }
                },
            };
            if frame.opcode == opcode && wanted(&frame.payload)? {
                return Ok(frame.payload);
            }
            if frame.opcode != opcode && opcode::is_error(frame.opcode) {
                return Err(ClientError::refused(frame.opcode, &frame.payload));
            }
        }
    }

    fn waiting_for(error: ClientError, opcode: u16) -> ClientError {
        match error {
            ClientError::Timeout { after, .. } => {
                ClientError::Timeout { waiting_for: format!("frame with opcode {opcode}"), after }
            }
            other => other,
        }
    }

    /// Reads until a frame is whole. Every byte read is in the buffer before the next await.
    async fn read_frame(&mut self) -> Result<Frame, ClientError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.reserve(READ);
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(self.closed()),
                Ok(_) => {}
                Err(error) if ClientError::is_gone(&error) => return Err(self.closed()),
                Err(error) => return Err(ClientError::Io(error)),
            }
        }
    }

    fn closed(&self) -> ClientError {
        let unfinished = self.buffer.len() - self.start;
        ClientError::Closed { last_error: self.last_error.clone(), unfinished }
    }
}
