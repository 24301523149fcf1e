//! Session: a player's connection, as the agent of a node has it: it takes a seat, sends frames, and follows where its
//! room goes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use hotseat::game::registry::Registry;
use hotseat::journal::Journal;
use hotseat::link::{
    AttachError, EarlySignals, FramesBuilder, LeaveReason, Link, Outbox, Player, Seat, SeatRequest,
    SessionId, SignalOutcome, UserId,
};
use ledger::{COUNT, COUNTED};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Process;
use crate::lock;
use crate::model::Model;

/// Bytes that may wait for a player.
const OUTBOX: usize = 1 << 20;

/// What a player does.
pub(crate) enum Order {
    /// Sends a message of this number.
    Send(u32),
    /// Is gone.
    Leave(LeaveReason),
}

/// How a session at one host has ended.
pub(crate) enum End {
    /// It is to ask for a seat elsewhere; messages that it has not sent yet go along.
    LinkRequest { request: Box<SeatRequest>, seat: Option<Box<Seat>>, unsent: VecDeque<u32> },
    /// The player has to come anew.
    Over(String),
}

/// What sessions tell those who keep them.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) seated: Vec<(u64, u64, u64)>,
    pub(crate) ended: Vec<(u64, u64, End)>,
}

/// A session at one host.
pub(crate) struct Session {
    pub(crate) user: u64,
    /// Tells it from others of its user.
    pub(crate) number: u64,
    pub(crate) id: SessionId,
    pub(crate) at: Process,
    pub(crate) request: SeatRequest,
    /// The seat that it had at another host.
    pub(crate) seat: Option<Box<Seat>>,
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    /// Messages that it did not send at another host.
    pub(crate) unsent: VecDeque<u32>,
    pub(crate) link: Link,
    pub(crate) registry: Arc<Registry>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) ends: Arc<Mutex<Ends>>,
}

impl Session {
    /// Runs on its host's runtime.
    pub(crate) async fn run(mut self) {
        let (user, number, ends) = (self.user, self.number, Arc::clone(&self.ends));
        if let Some(end) = self.sit().await {
            lock(&ends).ended.push((user, number, end));
        }
    }

    async fn sit(&mut self) -> Option<End> {
        let outbox = Arc::new(Outbox::new(OUTBOX));
        let player = Player { user: UserId(self.user), session: self.id, outbox: Arc::clone(&outbox) };
        let request = std::mem::take(&mut self.request);
        let uplink = match self.link.attach(player, request.clone()).await {
            Ok(uplink) => uplink,
            // As an agent's router does, with what is to go to the room.
            Err(AttachError::Elsewhere { .. } | AttachError::Shutdown) => {
                let seat = self.seat.take();
                return Some(self.ask(request, seat));
            }
            Err(error) => return Some(End::Over(error.to_string())),
        };
        let login = uplink.login;
        let mut seat = match self.seat.take() {
            Some(mut seat) => {
                seat.moved(uplink);
                *seat
            }
            None => Seat::new(UserId(self.user), self.id, uplink),
        };
        lock(&self.ends).seated.push((self.user, self.number, login));
        let (mut early, mut bytes) = (EarlySignals::default(), Vec::new());
        loop {
            let free = seat.blocked().is_none();
            tokio::select! {
                biased;
                () = outbox.ready() => {
                    let taken = outbox.take(&mut bytes);
                    self.hear(&bytes);
                    bytes.clear();
                    for signal in taken.signals {
                        match early.heed(signal, false, Some(&mut seat), Instant::now()) {
                            SignalOutcome::Done | SignalOutcome::Moved => {}
                            SignalOutcome::LinkRequest(request) => return Some(self.ask(request, Some(Box::new(seat)))),
                            SignalOutcome::Close(close) => return Some(End::Over(close.text)),
                            SignalOutcome::Flooded => return Some(End::Over("too many signals".into())),
                        }
                    }
                }
                gone = poll_fn(|cx| seat.poll(cx)) => if gone.is_err() {
                    return Some(End::Over("its room is gone".into()));
                },
                order = next(&mut self.unsent, &mut self.orders), if free => match order {
                    Some(Order::Send(seq)) => {
                        let mut frames = FramesBuilder::default();
                        frames.push(COUNT, &seq.to_be_bytes());
                        if seat.send(frames.take(), Instant::now()).is_err() {
                            return Some(End::Over("its room is gone".into()));
                        }
                    }
                    Some(Order::Leave(reason)) => {
                        let _ = seat.leave(reason).await;
                        return None;
                    }
                    None => {
                        let _ = seat.leave(LeaveReason::LinkLost).await;
                        return None;
                    }
                },
            }
        }
    }

    fn ask(&mut self, request: SeatRequest, seat: Option<Box<Seat>>) -> End {
        let mut unsent = std::mem::take(&mut self.unsent);
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Send(seq) = order {
                unsent.push_back(seq);
            }
        }
        End::LinkRequest { request: Box::new(request), seat, unsent }
    }

    /// What the room has sent: `u16 size | u16 opcode | payload`.
    fn hear(&self, mut bytes: &[u8]) {
        let mut model = lock(&self.model);
        while let Some((head, rest)) = bytes.split_first_chunk::<4>() {
            let size = usize::from(u16::from_be_bytes([head[0], head[1]])) - 2;
            let opcode = u16::from_be_bytes([head[2], head[3]]);
            let (payload, rest) = rest.split_at(size);
            bytes = rest;
            if let (COUNTED, Some((seq, rest))) = (opcode, payload.split_first_chunk::<4>()) {
                let count = rest.first_chunk::<4>().map_or(0, |count| u32::from_be_bytes(*count));
                let (homes, position) = (self.registry.homes(), self.journal.position());
                if !homes.gate().is_open() || !homes.owns(homes.of(self.user)) {
                    model.answered_late(self.user);
                    continue;
                }
                let number = rest.get(4).copied().unwrap_or_default();
                let told = (u32::from_be_bytes(*seq), count, number);
                model.answered(self.user, self.at, told, position);
            }
        }
    }
}

/// What the player does next. Cancel safe.
async fn next(unsent: &mut VecDeque<u32>, orders: &mut mpsc::UnboundedReceiver<Order>) -> Option<Order> {
    match unsent.pop_front() {
        Some(seq) => Some(Order::Send(seq)),
        None => orders.recv().await,
    }
}
