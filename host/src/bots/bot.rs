//! Bot: one player, from its connection to its end, in one task.
//!
//! A busy bot is cheap: counters are its own and go to the board ten times a second, its one timer is set again
//! only when it fires, and frames that come together are handled and answered together.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hotseat_client::{Client, ClientError, Frame, Login, Receiver, Sender};
use hotseat_packet::{AutoId, ErrorInfo, Message as _, opcode};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep_until};

use super::checks::{Avatar, Ledger};
use super::messages::{
    ARENA_NOTIFY, ENTER_ACK, ENTER_REQ, EnterAck, EnterReq, MOVE_REQ, Notify, PING_ACK, PING_REQ, move_req,
};
use super::tally::{Board, Tally, Wait};
use super::{Options, Play};

/// How long a login or an entry may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a bot's counters go to the board.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// Latencies a bot keeps until then.
const LATENCIES: usize = 256;
/// A bot that could not keep its rate for so long does not catch up.
const BEHIND_MAX: Duration = Duration::from_millis(500);
/// When no timer is needed: later than any fleet may play.
const NEVER: Duration = Duration::from_secs(1 << 20);

/// What a bot is given.
pub(super) struct BotStart {
    pub(super) number: u32,
    pub(super) options: Arc<Options>,
    pub(super) board: Arc<Board>,
    /// How many may connect and log in at a time.
    pub(super) doors: Arc<Semaphore>,
    pub(super) stop: oneshot::Receiver<()>,
}

/// Lives a bot's life. Everything it has to tell is on the board afterwards.
pub(super) async fn live(birth: BotStart) {
    let BotStart { number, options, board, doors, mut stop } = birth;
    let arrival = board.started + options.ramp * number / options.clients.max(1);
    let arrived = async {
        tokio::time::sleep_until(arrival).await;
        let _door = doors.acquire().await;
        arrive(number, &options).await
    };
    let (client, avatar) = tokio::select! {
        biased;
        _ = &mut stop => return,
        arrived = arrived => match arrived {
            Ok(arrived) => arrived,
            Err(error) => {
                board.failed(format!("bot {number} cannot {}: {}", error.0, told(&error.1)));
                board.crowd.send_modify(|crowd| crowd.failed += 1);
                return;
            }
        },
    };
    board.crowd.send_modify(|crowd| crowd.playing += 1);
    let mut bot = Bot::new(number, options, Arc::clone(&board), client, avatar);
    let end = bot.play(&mut stop).await;
    bot.finish();
    if let Err(error) = end {
        board.failed(format!("bot {number} lost its connection: {}", told(&error)));
        board.crowd.send_modify(|crowd| crowd.disconnected += 1);
    }
}

/// Connects, logs in and enters the arena.
async fn arrive(
    number: u32,
    options: &Options,
) -> Result<(Client, Option<Avatar>), (&'static str, ClientError)> {
    let client = Client::connect_within(options.agent, ANSWER).await;
    let mut client = client.map_err(|error| ("connect", error))?;
    let login = Login::device(format!("{}-{number}", options.prefix));
    let user = client.login(&login).await.map_err(|error| ("log in", error))?;
    let arena = match options.play {
        Play::Arenas(arenas) => format!("bots-{}", number % arenas.max(1)),
        Play::Home => String::new(),
        Play::Ping | Play::Heartbeat => return Ok((client, None)),
    };
    let entered = async {
        let request = EnterReq { arena }.to_bytes()?;
        client.send(ENTER_REQ, &request).await?;
        let payload = client.wait_for(ENTER_ACK).await?;
        EnterAck::from_bytes(&payload).map_err(|source| ClientError::Payload { opcode: ENTER_ACK, source })
    };
    let ack = entered.await.map_err(|error| ("enter the arena", error))?;
    Ok((client, Some(Avatar::entered(user, &ack))))
}

/// A sentence out of an error and its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Something done again and again at a rate.
struct Rhythm {
    every: Option<Duration>,
    next: Instant,
}

impl Rhythm {
    fn new(per_s: f64, from: Instant) -> Self {
        let every = (per_s > 0.0).then(|| Duration::from_secs_f64(1.0 / per_s));
        Self { every, next: from + every.unwrap_or(NEVER) }
    }

    /// True, and one step further, if it is time.
    fn due(&mut self, now: Instant) -> bool {
        let Some(every) = self.every else { return false };
        if now < self.next {
            return false;
        }
        self.next = (self.next + every).max(now - BEHIND_MAX);
        true
    }
}

struct Bot {
    options: Arc<Options>,
    board: Arc<Board>,
    sender: Sender,
    receiver: Receiver,
    ask: u16,
    answer: u16,
    ledger: Ledger,
    avatar: Option<Avatar>,
    pings: Rhythm,
    moves: Rhythm,
    /// `seq` of the last move sent.
    moved: u32,
    chance: u64,
    /// Not yet on the board, as the two below.
    tally: Tally,
    latencies: Vec<u64>,
    wait: Wait,
    reported: Instant,
    notified: Option<Instant>,
}

impl Bot {
    fn new(
        number: u32,
        options: Arc<Options>,
        board: Arc<Board>,
        client: Client,
        avatar: Option<Avatar>,
    ) -> Self {
        let (sender, mut receiver) = client.split();
        // Frames come when they come: a bot waits for them until it is told to stop.
        receiver.set_timeout(Duration::MAX);
        let (ask, answer) = match options.play {
            Play::Heartbeat => (opcode::HEART_BEAT_REQ, opcode::HEART_BEAT_ACK),
            _ => (PING_REQ, PING_ACK),
        };
        let now = Instant::now();
        let moves = if avatar.is_some() { options.moves } else { 0.0 };
        Self {
            ask,
            answer,
            sender,
            receiver,
            ledger: Ledger::new(),
            avatar,
            pings: Rhythm::new(options.rate, now),
            moves: Rhythm::new(moves, now),
            moved: 0,
            chance: u64::from(number) + 1,
            tally: Tally::default(),
            latencies: Vec::with_capacity(LATENCIES),
            wait: Wait::default(),
            reported: now,
            notified: None,
            options,
            board,
        }
    }

    /// Plays until told to stop and every answer is there.
    async fn play(&mut self, stop: &mut oneshot::Receiver<()>) -> Result<(), ClientError> {
        let mut timer = pin!(sleep_until(self.next_due()));
        if self.options.rate == 0.0 {
            self.ping(Instant::now())?;
            self.flush().await?;
        }
        loop {
            tokio::select! {
                biased;
                _ = &mut *stop => break,
                () = &mut timer => self.on_time(timer.as_mut()).await?,
                frame = self.receiver.recv() => {
                    let (frame, now) = (frame?, Instant::now());
                    if self.on_frames(frame, now, self.options.rate == 0.0)? {
                        self.flush().await?;
                    }
                    self.report(now);
                }
            }
        }
        let drained = tokio::time::timeout(self.options.patience, async {
            // A last one: its answer says that the connection holds and that everything before it was handled.
            self.ping(Instant::now())?;
            self.flush().await?;
            while !self.settled() {
                let frame = self.receiver.recv().await?;
                let now = Instant::now();
                self.on_frames(frame, now, false)?;
                self.report(now);
            }
            Ok(())
        });
        // What is still open then is lost, and counted by `finish`.
        drained.await.unwrap_or(Ok(()))
    }

    /// Sends what is due.
    async fn on_time(&mut self, timer: Pin<&mut Sleep>) -> Result<(), ClientError> {
        let now = Instant::now();
        while self.moves.due(now) {
            self.stroll()?;
        }
        while self.pings.due(now) {
            self.ping(now)?;
        }
        timer.reset(self.next_due());
        self.report(now);
        self.flush().await
    }

    fn next_due(&self) -> Instant {
        self.pings.next.min(self.moves.next)
    }

    /// True if every ping is answered and the last move has been seen to count.
    fn settled(&self) -> bool {
        self.ledger.open() == 0 && self.moves_seen()
    }

    fn moves_seen(&self) -> bool {
        self.avatar.as_ref().is_none_or(|avatar| avatar.last_move() == self.moved)
    }

    /// Handles a frame and those that came with it. True if there is something to flush.
    fn on_frames(&mut self, first: Frame, now: Instant, echo: bool) -> Result<bool, ClientError> {
        let mut next = Some(first);
        while let Some(frame) = next {
            self.tally.bytes_in += frame.payload.len() as u64 + 4;
            let ping_is_over = self.on_frame(&frame, now);
            if echo && ping_is_over {
                self.ping(now)?;
            }
            next = self.receiver.buffered()?;
        }
        Ok(self.sender.pending() > 0)
    }

    /// True if it is, or may be, what a ping was waiting for.
    fn on_frame(&mut self, frame: &Frame, now: Instant) -> bool {
        match (frame.opcode, &mut self.avatar) {
            (op, _) if op == self.answer => {
                let Ok(AutoId { id }) = AutoId::from_bytes(&frame.payload) else {
                    self.tally.odd_frames += 1;
                    return false;
                };
                let latency = self.ledger.answer(id, now, &mut self.tally);
                if let Some(latency) = latency {
                    self.latencies.push(micros(latency));
                }
                latency.is_some()
            }
            (ARENA_NOTIFY, Some(_)) => {
                self.on_notify(&frame.payload, now);
                false
            }
            (ENTER_ACK, Some(avatar)) => {
                match EnterAck::from_bytes(&frame.payload) {
                    Ok(ack) => avatar.told_again(&ack, &mut self.tally),
                    Err(_) => self.tally.odd_frames += 1,
                }
                false
            }
            // An operator may send anyone into an arena.
            (ENTER_ACK | ARENA_NOTIFY, None) => false,
            (op, _) if opcode::is_error(op) => {
                self.tally.errors += 1;
                let info = ErrorInfo::from_bytes(&frame.payload).unwrap_or_default();
                self.board.refused(info.code, &info.msg);
                // Perhaps of the ping: it stays unanswered, and the next one must not wait for it.
                self.ledger.open() < 16
            }
            _ => {
                self.tally.odd_frames += 1;
                false
            }
        }
    }

    fn on_notify(&mut self, payload: &[u8], now: Instant) {
        let (Some(avatar), Ok(notify)) = (&mut self.avatar, Notify::read(payload)) else {
            self.tally.odd_frames += 1;
            return;
        };
        avatar.see(&notify, self.moved, &mut self.tally);
        if avatar.rules != Some(notify.rules) {
            self.board.rules(avatar.rules.replace(notify.rules), Some(notify.rules));
        }
        if let Some(before) = self.notified.replace(now) {
            let (length, at) = (now - before, now - self.board.started);
            self.wait = self.wait.max(Wait { length, at });
        }
    }

    fn ping(&mut self, now: Instant) -> Result<(), ClientError> {
        let Some(id) = self.ledger.ask(now, &mut self.tally) else { return Ok(()) };
        self.queue(self.ask, &id.to_be_bytes())
    }

    /// One move, in a direction of chance, often enough straight on to get somewhere.
    fn stroll(&mut self) -> Result<(), ClientError> {
        // Marsaglia's xorshift64: players differ, and a run is like the one before.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        let sign = |value: u64| i8::try_from(value % 3).map_or(0, |value| value - 1);
        self.moved += 1;
        self.tally.moves += 1;
        let request = move_req(self.moved, sign(self.chance >> 8), sign(self.chance >> 32));
        self.queue(MOVE_REQ, &request)
    }

    fn queue(&mut self, opcode: u16, payload: &[u8]) -> Result<(), ClientError> {
        self.tally.bytes_out += payload.len() as u64 + 8;
        self.sender.queue(opcode, payload)
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        self.sender.flush().await
    }

    /// Puts the counters on the board, if it is time.
    fn report(&mut self, now: Instant) {
        if now - self.reported >= REPORT_EVERY || self.latencies.len() >= LATENCIES {
            self.reported = now;
            self.put_on_board();
        }
    }

    fn put_on_board(&mut self) {
        let mut totals = self.board.totals();
        totals.tally.add(&std::mem::take(&mut self.tally));
        totals.wait = totals.wait.max(std::mem::take(&mut self.wait));
        for latency in self.latencies.drain(..) {
            totals.latency.saturating_record(latency);
        }
    }

    /// Counts what is missing at the end.
    fn finish(&mut self) {
        self.tally.lost += self.ledger.open() as u64;
        if !self.moves_seen() {
            self.tally.moves_lost += 1;
        }
        self.put_on_board();
        if let Some(rules) = self.avatar.as_mut().and_then(|avatar| avatar.rules.take()) {
            self.board.rules(Some(rules), None);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
