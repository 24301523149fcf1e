//! Client: one connection, both halves.

use std::time::Duration;

use hotseat_packet::{UserSnapshot, opcode};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

use crate::error::decode;
use crate::{ClientError, Frame, Login, Receiver, Sender};

/// How long every wait of a new client may take: 5 s.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to an agent. Dropping it closes the connection.
///
/// After an error the client can be used on unless the error's documentation says otherwise; a frame sent
/// after the server closed fails with [`ClientError::Closed`], and [`recv`](Self::recv) then still returns the
/// frames that came before.
#[derive(Debug)]
pub struct Client {
    sender: Sender,
    receiver: Receiver,
}

impl Client {
    /// Connects within [`DEFAULT_TIMEOUT`], with Nagle's algorithm off.
    ///
    /// # Errors
    /// [`ClientError::Timeout`]; [`ClientError::Io`] if the address does not resolve or nothing listens there.
    pub async fn connect(addr: impl ToSocketAddrs) -> Result<Self, ClientError> {
        Self::connect_within(addr, DEFAULT_TIMEOUT).await
    }

    /// Connects within `after`, which stays the client's timeout.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_within(addr: impl ToSocketAddrs, after: Duration) -> Result<Self, ClientError> {
        match timeout(after, TcpStream::connect(addr)).await {
            Ok(socket) => Ok(Self::from_stream(socket.map_err(ClientError::Io)?)?.with_timeout(after)),
            Err(_) => Err(ClientError::Timeout { waiting_for: "connection".into(), after }),
        }
    }

    /// A client on a connection that stands already and has carried no frame yet.
    ///
    /// # Errors
    /// [`ClientError::Io`] if Nagle's algorithm cannot be turned off.
    pub fn from_stream(socket: TcpStream) -> Result<Self, ClientError> {
        socket.set_nodelay(true).map_err(ClientError::Io)?;
        let (read, write) = socket.into_split();
        Ok(Self {
            sender: Sender::new(write, DEFAULT_TIMEOUT),
            receiver: Receiver::new(read, DEFAULT_TIMEOUT),
        })
    }

    /// The same client with another timeout for every single wait; [`Duration::MAX`] is for ever.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.sender.set_timeout(timeout);
        self.receiver.set_timeout(timeout);
        self
    }

    /// Logs in and returns the user id. The answer must be the next frame.
    ///
    /// Not cancel safe: the request may be sent and its answer still to come.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the server's reason, [`ClientError::Unsendable`] if a field is too long,
    /// and what [`send`](Self::send) and [`expect`](Self::expect) return.
    pub async fn login(&mut self, login: &Login) -> Result<u64, ClientError> {
        self.sender.login(login.info()).await?;
        let payload = self.receiver.expect(opcode::USER_LOGIN_SUCCEED_ACK).await?;
        Ok(decode::<UserSnapshot>(opcode::USER_LOGIN_SUCCEED_ACK, &payload)?.user)
    }

    /// Sends one frame; see [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn send(&mut self, opcode: u16, payload: &[u8]) -> Result<(), ClientError> {
        self.sender.send(opcode, payload).await
    }

    /// Queues one frame, to be written with others by one flush; see [`Sender::queue`].
    ///
    /// # Errors
    /// As [`Sender::queue`].
    pub fn queue(&mut self, opcode: u16, payload: &[u8]) -> Result<(), ClientError> {
        self.sender.queue(opcode, payload)
    }

    /// Writes everything queued; see [`Sender::flush`]. Cancel safe.
    ///
    /// # Errors
    /// As [`Sender::flush`].
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        self.sender.flush().await
    }

    /// Sends bytes as they are; see [`Sender::send_raw`].
    ///
    /// # Errors
    /// As [`Sender::send_raw`].
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.sender.send_raw(bytes).await
    }

    /// The sequence number the next frame gets.
    pub fn next_seq(&self) -> u32 {
        self.sender.next_seq()
    }

    /// The next frame, whatever it is, error frames included. Cancel safe; see [`Receiver::recv`].
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub async fn recv(&mut self) -> Result<Frame, ClientError> {
        self.receiver.recv().await
    }

    /// The payload of the next frame, which must have this opcode. Cancel safe; see [`Receiver::expect`].
    ///
    /// # Errors
    /// As [`Receiver::expect`].
    pub async fn expect(&mut self, opcode: u16) -> Result<Vec<u8>, ClientError> {
        self.receiver.expect(opcode).await
    }

    /// The payload of the next frame with this opcode, dropping others; see [`Receiver::wait_for`].
    ///
    /// # Errors
    /// As [`Receiver::wait_for`].
    pub async fn wait_for(&mut self, opcode: u16) -> Result<Vec<u8>, ClientError> {
        self.receiver.wait_for(opcode).await
    }

    /// Sends a heartbeat and waits for its answer. Other frames before the answer are dropped, as
    /// [`wait_for`](Self::wait_for) does; so are answers to earlier heartbeats.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`wait_for`](Self::wait_for).
    pub async fn heartbeat(&mut self, id: i32) -> Result<(), ClientError> {
        self.sender.heartbeat(id).await?;
        self.receiver.wait_for_heartbeat(id).await
    }

    /// The two halves, for two tasks. Sequence counter, buffers and timeout go with them. The connection is
    /// closed when both are dropped.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}
