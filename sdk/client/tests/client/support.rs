//! A server for one connection that speaks bytes.

use std::time::Duration;

use hotseat_client::Client;
use hotseat_packet::{ErrorInfo, Message, encode_down};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A client whose waits end soon, for tests that provoke a timeout.
pub(crate) const SOON: Duration = Duration::from_millis(40);

/// A client of a server that accepts it and runs `script`; the handle gives what the script returns.
pub(crate) async fn talk<F, T>(script: impl FnOnce(Socket) -> F + Send + 'static) -> (Client, JoinHandle<T>)
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let addr = listener.local_addr().expect("it is bound");
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("the client connects");
        socket.set_nodelay(true).expect("it is open");
        script(Socket(socket)).await
    });
    (Client::connect(addr).await.expect("the server listens"), server)
}

/// The server's end of the connection.
pub(crate) struct Socket(pub(crate) TcpStream);

impl Socket {
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the client is there");
    }

    pub(crate) async fn frame(&mut self, opcode: u16, payload: &[u8]) {
        self.write(&frame(opcode, payload)).await;
    }

    pub(crate) async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).await.expect("the client sends them");
        bytes
    }

    /// Everything up to the client's end.
    pub(crate) async fn read_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).await.expect("the client ends in order");
        bytes
    }
}

pub(crate) fn frame(opcode: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_down(&mut bytes, opcode, payload).expect("short");
    bytes
}

pub(crate) fn error(code: i32, text: &str) -> Vec<u8> {
    ErrorInfo { code, msg: text.into() }.to_bytes().expect("short")
}
