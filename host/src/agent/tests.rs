//! The agent from the outside: raw bytes on a socket on one side, a game end played by the test on the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hotseat_packet::{
    ErrorInfo, LOGIN_CERTIFICATE, LOGIN_DEVICE, Message as _, UserLoginInfo, code, decode_down, encode_up,
    opcode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Agent, AgentConfig, Authenticator, Rate, Rates};
use crate::link::{
    Attach, AttachError, Close, LeaveReason, LinkRequest, Outbox, Player, SessionId, Signal, Up, Uplink,
    UserId, link,
};
use crate::telemetry::metrics::Metrics;

mod bad_input;
mod life;
mod limits;
mod moves;

/// Far more than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const PING: u16 = 1001;
const PONG: u16 = 1002;

fn config() -> AgentConfig {
    AgentConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        max_sessions: 100,
        max_connections_per_addr: None,
        login_frame_max_bytes: 1024,
        frame_max_bytes: 4096,
        login_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(30),
        attach_timeout: Duration::from_secs(5),
        rates: None,
        outbox_max_bytes: 64 * 1024,
        grace: Duration::from_secs(10),
    }
}

/// An agent, and the game's end of its link.
struct World {
    addr: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
    metrics: Arc<Metrics>,
    sessions: Arc<std::sync::atomic::AtomicU64>,
    asks: mpsc::Receiver<LinkRequest>,
}

impl World {
    async fn start(config: AgentConfig) -> Self {
        Self::with(config, Authenticator::Dev).await
    }

    async fn with(config: AgentConfig, authenticator: Authenticator) -> Self {
        let (link, asks) = link(1024);
        let metrics = Arc::new(Metrics::new().unwrap());
        let agent = Agent::bind(config, authenticator, link, Arc::clone(&metrics)).await.unwrap();
        let (addr, sessions) = (agent.local_addr(), agent.sessions());
        let stop = CancellationToken::new();
        let running = tokio::spawn(agent.run(stop.clone()));
        Self { addr, stop, running, metrics, sessions, asks }
    }

    async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.addr).await.unwrap(), seq: 0, buf: Vec::new() }
    }

    async fn attach(&mut self) -> Attach {
        loop {
            // That others have left is none of its concern.
            if let LinkRequest::Attach(attach) = timeout(PATIENCE, self.asks.recv()).await.unwrap().unwrap() {
                return attach;
            }
        }
    }

    /// A client that has logged in, and the room it sits in.
    async fn player(&mut self, mailbox: usize) -> (Client, Room) {
        let mut client = self.connect().await;
        client.send(opcode::USER_LOGIN_REQ, &device("tablet")).await;
        let attach = self.attach().await;
        let room = Room::seat(attach, mailbox);
        assert_eq!(client.recv().await.unwrap().0, opcode::USER_LOGIN_SUCCEED_ACK);
        (client, room)
    }

    /// Waits until a line stands in the metrics. Bounded; what the client sees comes before what is counted.
    async fn counted(&self, line: &str) {
        let line = format!("\nhotseat_agent_{line}\n");
        let found = async {
            while !self.metrics.render().contains(&line) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if timeout(PATIENCE, found).await.is_err() {
            panic!("no {line:?} in {}", self.metrics.render());
        }
    }
}

/// The room end of one session.
struct Room {
    player: Player,
    tx: mpsc::Sender<Up>,
    rx: mpsc::Receiver<Up>,
}

impl Room {
    fn seat(attach: Attach, mailbox: usize) -> Self {
        let (tx, rx) = mpsc::channel(mailbox);
        let room = Self { player: attach.player, tx, rx };
        assert!(attach.seat.send(Ok(room.uplink())).is_ok());
        room
    }

    fn next_door(&self, mailbox: usize) -> Self {
        let (tx, rx) = mpsc::channel(mailbox);
        Self { player: self.player.clone(), tx, rx }
    }

    fn uplink(&self) -> Uplink {
        Uplink { room: "home/7".into(), mailbox: self.tx.clone(), login: 1 }
    }

    fn push(&self, opcode: u16, payload: &[u8]) {
        self.player.outbox.push(opcode, payload);
    }

    async fn up(&mut self) -> Up {
        timeout(PATIENCE, self.rx.recv()).await.unwrap().unwrap()
    }

    /// The next `count` game frames, however they were batched.
    async fn frames(&mut self, count: usize) -> Vec<(u16, Vec<u8>)> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.up().await {
                Up::Frames { user, session, frames } => {
                    assert_eq!((user, session), (self.player.user, self.player.session));
                    all.extend(frames.iter().map(|(opcode, payload)| (opcode, payload.to_vec())));
                }
                other => panic!("{other:?} after {} of {count} frames", all.len()),
            }
        }
        assert_eq!(all.len(), count);
        all
    }

    async fn fence(&mut self) {
        match self.up().await {
            Up::Fence { user, session } => {
                assert_eq!((user, session), (self.player.user, self.player.session));
            }
            other => panic!("{other:?} instead of the fence"),
        }
    }

    /// The leave is the last thing a room hears of a session, and it hears it once.
    async fn left(mut self) -> LeaveReason {
        let Up::Leave { user, session, reason } = self.up().await else { panic!("not the leave") };
        assert_eq!((user, session), (self.player.user, self.player.session));
        drop(self.tx);
        let more = timeout(PATIENCE, self.rx.recv()).await.unwrap();
        assert!(more.is_none(), "{more:?} after the leave");
        assert_eq!(self.player.outbox.push(PONG, b""), crate::link::Push::Dropped);
        reason
    }
}

/// A client made of bytes.
struct Client {
    stream: TcpStream,
    seq: u32,
    buf: Vec<u8>,
}

impl Client {
    fn encode(&mut self, opcode: u16, payload: &[u8]) -> Vec<u8> {
        self.seq = self.seq.wrapping_add(1);
        let mut bytes = Vec::new();
        encode_up(&mut bytes, self.seq, opcode, payload).unwrap();
        bytes
    }

    async fn send(&mut self, opcode: u16, payload: &[u8]) {
        let bytes = self.encode(opcode, payload);
        self.raw(&bytes).await;
    }

    async fn raw(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().unwrap();
    }

    /// The next frame; `None` once the agent has closed in good order.
    async fn recv(&mut self) -> Option<(u16, Vec<u8>)> {
        loop {
            if let Some((frame, used)) = decode_down(&self.buf).unwrap() {
                let found = (frame.opcode, frame.payload.to_vec());
                self.buf.drain(..used);
                return Some(found);
            }
            let read = self.stream.read_buf(&mut self.buf);
            if timeout(PATIENCE, read).await.expect("the agent is silent").unwrap() == 0 {
                assert!(self.buf.is_empty(), "half a frame: {:?}", self.buf);
                return None;
            }
        }
    }

    /// The next frame, which is an error: opcode, code and text.
    async fn error(&mut self) -> (u16, i32, String) {
        let (opcode, payload) = self.recv().await.expect("an error frame");
        assert!(opcode::is_error(opcode), "opcode {opcode}");
        let info = ErrorInfo::from_bytes(&payload).unwrap();
        (opcode, info.code, info.msg)
    }

    /// The next frame is the `client_error_ack` with `code`; returns its text.
    async fn refused(&mut self, code: i32) -> String {
        let (opcode, found, text) = self.error().await;
        assert_eq!((opcode, found), (opcode::CLIENT_ERROR_ACK, code), "{text}");
        text
    }

    /// As [`Self::refused`], and then the agent closes.
    async fn kicked(&mut self, code: i32) -> String {
        let text = self.refused(code).await;
        assert_eq!(self.recv().await, None);
        text
    }

    /// The session goes on: a heartbeat is answered.
    async fn lives(&mut self) {
        let id = self.seq.to_be_bytes();
        self.send(opcode::HEART_BEAT_REQ, &id).await;
        assert_eq!(self.recv().await, Some((opcode::HEART_BEAT_ACK, id.to_vec())));
    }
}

fn device(id: &str) -> Vec<u8> {
    let info =
        UserLoginInfo { login_way: LOGIN_DEVICE, device_id: id.to_owned(), ..UserLoginInfo::default() };
    info.to_bytes().unwrap()
}

fn certificate(token: &str) -> Vec<u8> {
    let client_certificate = token.to_owned();
    let info = UserLoginInfo { login_way: LOGIN_CERTIFICATE, client_certificate, ..UserLoginInfo::default() };
    info.to_bytes().unwrap()
}

fn close(leave: LeaveReason, code: i32, text: &str) -> Close {
    Close { leave, reason: "kicked", code, text: text.to_owned() }
}
