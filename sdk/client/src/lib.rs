//! Async client of the agent: connect, log in, send, expect. Bots, tests and benches are written with it.
//!
//! [`Client`] is one connection. It numbers the frames it sends, cuts the received bytes into [`Frame`]s and
//! turns every way a conversation can end into a [`ClientError`]. Every wait is bounded, 5 s unless
//! [`with_timeout`](Client::with_timeout) says otherwise, and so is every buffer. [`split`](Client::split)
//! gives a [`Sender`] and a [`Receiver`] for two tasks.
//!
//! ```
//! use hotseat_client::{Client, ClientError, Login};
//!
//! async fn ping(addr: std::net::SocketAddr) -> Result<u64, ClientError> {
//!     let mut client = Client::connect(addr).await?;
//!     let user = client.login(&Login::device("my-phone")).await?;
//!     client.send(1001, &7_i32.to_be_bytes()).await?;
//!     assert_eq!(client.wait_for(1002).await?, 7_i32.to_be_bytes());
//!     Ok(user)
//! }
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let addr = listener.local_addr()?;
//! # tokio::spawn(async move {
//! #     let (mut socket, _) = listener.accept().await?;
//! #     let size = socket.read_u16().await?;
//! #     socket.read_exact(&mut vec![0; size.into()]).await?;
//! #     socket.write_all(&[0, 14, 0, 11, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 5]).await?;
//! #     socket.read_exact(&mut [0; 12]).await?;
//! #     socket.write_all(&[0, 6, 3, 234, 0, 0, 0, 7]).await
//! # });
//! # assert_eq!(ping(addr).await?, 5);
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod login;
mod receiver;
mod sender;

pub use client::{Client, DEFAULT_TIMEOUT};
pub use error::ClientError;
pub use login::Login;
pub use receiver::{Frame, Receiver};
pub use sender::{MAX_QUEUED, Sender};
