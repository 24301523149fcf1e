//! Sender: numbers frames and writes them.

use std::time::Duration;

use hotseat_packet::{AutoId, MAX_UP_PAYLOAD, Message, UserLoginInfo, WriteError, encode_up, opcode};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;

use crate::ClientError;

/// The most bytes that can be queued and not yet written: 1 MiB, 16 of the largest frames.
pub const MAX_QUEUED: usize = 1 << 20;

/// The sending half of a connection. Dropping it tells the server that nothing more comes.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedWriteHalf,
    /// Frames not yet handed to the operating system; the bytes before `written` are.
    queued: Vec<u8>,
    written: usize,
    next_seq: u32,
    timeout: Duration,
}

impl Sender {
    pub(crate) fn new(socket: OwnedWriteHalf, timeout: Duration) -> Self {
        Self { socket, queued: Vec::new(), written: 0, next_seq: 1, timeout }
    }

    /// Sets how long a flush may take; [`Duration::MAX`] is for ever.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The sequence number the next queued frame gets: 1 in the first.
    pub fn next_seq(&self) -> u32 {
        self.next_seq
    }

    /// Bytes queued and not yet written.
    pub fn pending(&self) -> usize {
        self.queued.len() - self.written
    }

    /// Numbers a frame and queues it, to be written with others by one [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`ClientError::Unsendable`] if the payload is above [`MAX_UP_PAYLOAD`], [`ClientError::QueueFull`] if
    /// more than [`MAX_QUEUED`] bytes would be queued.
    pub fn queue(&mut self, opcode: u16, payload: &[u8]) -> Result<(), ClientError> {
        if payload.len() > MAX_UP_PAYLOAD {
            let (len, max) = (payload.len(), MAX_UP_PAYLOAD);
            return Err(WriteError::TooLong { what: "payload", len, max }.into());
        }
        self.make_room(payload.len() + 8)?;
        encode_up(&mut self.queued, self.next_seq, opcode, payload)?;
        // The server's counter wraps too.
        self.next_seq = self.next_seq.wrapping_add(1);
        Ok(())
    }

    /// Writes everything queued, in as few system calls as the socket takes.
    ///
    /// Cancel safe: what is not written stays queued and goes out with the next flush.
    ///
    /// # Errors
    /// [`ClientError::Timeout`] if the server does not take the bytes in time (they stay queued),
    /// [`ClientError::Closed`] if the connection is gone, [`ClientError::Io`].
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        if self.pending() == 0 {
            return Ok(());
        }
        let after = self.timeout;
        match timeout(after, self.write_queued()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let waiting_for = format!("room to send {} bytes", self.pending());
                Err(ClientError::Timeout { waiting_for, after })
            }
        }
    }

    /// Sends one frame: [`queue`](Self::queue), then [`flush`](Self::flush).
    ///
    /// Cancelled or timed out, the frame stays queued and must not be sent again.
    ///
    /// # Errors
    /// As `queue` and `flush`.
    pub async fn send(&mut self, opcode: u16, payload: &[u8]) -> Result<(), ClientError> {
        self.queue(opcode, payload)?;
        self.flush().await
    }

    /// Sends bytes as they are, framed or not; the sequence counter does not move. For tests of what a server
    /// does with them. Cancelled or timed out, they stay queued.
    ///
    /// # Errors
    /// As [`flush`](Self::flush), and [`ClientError::QueueFull`].
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.make_room(bytes.len())?;
        self.queued.extend_from_slice(bytes);
        self.flush().await
    }

    /// Sends a heartbeat; the answer, opcode 1 with the same id, comes to the receiver. Cancel safety as
    /// [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn heartbeat(&mut self, id: i32) -> Result<(), ClientError> {
        self.send(opcode::HEART_BEAT_REQ, &AutoId { id }.to_bytes()?).await
    }

    /// Sends a login request; the answer comes to the receiver.
    pub(crate) async fn login(&mut self, info: &UserLoginInfo) -> Result<(), ClientError> {
        self.send(opcode::USER_LOGIN_REQ, &info.to_bytes()?).await
    }

    fn make_room(&mut self, len: usize) -> Result<(), ClientError> {
        let queued = self.pending();
        if len > MAX_QUEUED - queued {
            return Err(ClientError::QueueFull { len, queued, max: MAX_QUEUED });
        }
        if self.written > 0 {
            self.queued.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    async fn write_queued(&mut self) -> Result<(), ClientError> {
        while let Some(rest) = self.queued.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest).await {
                Ok(0) => return Err(ClientError::Closed { last_error: None, unfinished: 0 }),
                Ok(written) => self.written += written,
                Err(error) if ClientError::is_gone(&error) => {
                    return Err(ClientError::Closed { last_error: None, unfinished: 0 });
                }
                Err(error) => return Err(ClientError::Io(error)),
            }
        }
        self.queued.clear();
        self.written = 0;
        Ok(())
    }
}
