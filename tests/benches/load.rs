//! The load of the frame path's benchmark: one thread, one epoll, one frame under way per client.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use hotseat_packet::{LOGIN_DEVICE, Message, UserLoginInfo, encode_up, opcode};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::node::cpu_of;

pub(crate) mod floor;

/// What a client sends over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Frames without a login, as the floor takes them.
    Bare,
    /// Opcode 0 after a login.
    Heartbeat,
    /// Opcode 1001 after a login: through the room.
    Ping,
}

/// How long a stretch is measured, after a quarter of it to warm up.
#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "each benchmark has its own measure")]
pub(crate) enum Length {
    Time(Duration),
    Trips(u64),
}

impl Length {
    /// Whether so much has passed, in parts of the whole.
    pub(crate) fn is_over(self, part: f64, time: Duration, trips: u64) -> bool {
        match self {
            Self::Time(whole) => time >= whole.mul_f64(part),
            Self::Trips(whole) => trips as f64 >= whole as f64 * part,
        }
    }
}

/// What comes before the measuring, as a part of it.
pub(crate) const WARM_UP: f64 = 0.25;

/// One measured stretch.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) trips: u64,
    pub(crate) time: Duration,
    /// Processor time of each process.
    pub(crate) cpu: Vec<Duration>,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Round {
    /// Of all processes together.
    pub(crate) fn cpu_per_million(&self) -> f64 {
        self.cpu.iter().sum::<Duration>().as_secs_f64() / (self.trips as f64 / 1e6)
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.trips as f64 / self.time.as_secs_f64()
    }
}

struct Client {
    stream: TcpStream,
    seq: u32,
    sent: Instant,
    buffer: Vec<u8>,
    logged_in: bool,
}

/// Processor time that these have spent since they had spent `before`.
pub(crate) fn spent(pids: &[u32], before: &[Duration]) -> Result<Vec<Duration>> {
    pids.iter().zip(before).map(|(pid, before)| Ok(cpu_of(*pid)? - *before)).collect()
}

/// Puts `clients` clients on the server at `addr` and measures the processes `pids`.
pub(crate) fn drive(
    addr: SocketAddr,
    pids: &[u32],
    kind: Kind,
    clients: usize,
    length: Length,
) -> Result<Round> {
    let mut poll = Poll::new()?;
    let mut fleet = Vec::new();
    for at in 0..clients {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        let client = Client { stream, seq: 0, sent: Instant::now(), buffer: Vec::new(), logged_in: false };
        fleet.push(client);
    }
    let mut events = Events::with_capacity(1024);
    let mut latency = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    let (mut trips, mut measuring) = (0u64, None);
    let mut begun = vec![false; clients];
    let mut ready = 0;
    let started = Instant::now();
    loop {
        poll.poll(&mut events, Some(Duration::from_secs(5)))?;
        let now = Instant::now();
        for event in &events {
            let at = event.token().0;
            if !begun[at] && event.is_writable() {
                begun[at] = true;
                fleet[at].begin(kind, at)?;
                ready += usize::from(fleet[at].logged_in);
            }
            if event.is_readable() {
                let was = fleet[at].logged_in;
                let answers = fleet[at].on_readable(kind, now, &mut latency, measuring.is_some())?;
                ready += usize::from(!was && fleet[at].logged_in);
                trips += answers;
            }
        }
        match &measuring {
            None if ready == clients && length.is_over(WARM_UP, started.elapsed(), trips) => {
                trips = 0;
                measuring = Some((now, pids.iter().map(|pid| cpu_of(*pid)).collect::<Result<Vec<_>>>()?));
            }
            None if started.elapsed() > Duration::from_secs(60) => {
                bail!("{ready} of {clients} clients got in")
            }
            Some((since, before)) if length.is_over(1.0, since.elapsed(), trips) => {
                let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
                let (p50_ms, p99_ms) = (ms(0.5), ms(0.99));
                let (time, cpu) = (since.elapsed(), spent(pids, before)?);
                return Ok(Round { trips, time, cpu, p50_ms, p99_ms });
            }
            _ => {}
        }
    }
}

impl Client {
    fn begin(&mut self, kind: Kind, at: usize) -> Result<()> {
        if kind == Kind::Bare {
            self.logged_in = true;
            return self.request(kind);
        }
        let login = UserLoginInfo {
            login_way: LOGIN_DEVICE,
            device_id: format!("bench-{at}"),
            ..UserLoginInfo::default()
        };
        self.write(opcode::USER_LOGIN_REQ, &login.to_bytes()?)
    }

    fn request(&mut self, kind: Kind) -> Result<()> {
        self.sent = Instant::now();
        let op = if kind == Kind::Ping { 1001 } else { opcode::HEART_BEAT_REQ };
        self.write(op, &7i32.to_be_bytes())
    }

    fn write(&mut self, op: u16, payload: &[u8]) -> Result<()> {
        self.seq += 1;
        let mut frame = Vec::with_capacity(16);
        encode_up(&mut frame, self.seq, op, payload)?;
        // One small frame under way: the socket's buffer always has room for it.
        self.stream.write_all(&frame).context("a request")
    }

    fn on_readable(
        &mut self,
        kind: Kind,
        now: Instant,
        latency: &mut Histogram<u64>,
        record: bool,
    ) -> Result<u64> {
        let mut scratch = [0; 4096];
        let mut answers = 0;
        loop {
            match self.stream.read(&mut scratch) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(length) => self.buffer.extend_from_slice(&scratch[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answers),
                Err(error) => return Err(error.into()),
            }
            let mut used = 0;
            while let Some((frame, length)) = hotseat_packet::decode_down(&self.buffer[used..])? {
                let op = frame.opcode;
                used += length;
                match op {
                    opcode::USER_LOGIN_SUCCEED_ACK => self.logged_in = true,
                    opcode::HEART_BEAT_ACK | 1002 => {
                        answers += 1;
                        if record {
                            latency.saturating_record(
                                u64::try_from((now - self.sent).as_micros()).unwrap_or(u64::MAX).max(1),
                            );
                        }
                    }
                    op => bail!("unexpected frame {op}"),
                }
                self.request(kind)?;
            }
            self.buffer.drain(..used);
            if used > 0 {
                // Edge-triggered, but a closed loop has nothing more to read now.
                return Ok(answers);
            }
        }
    }
}
