//! Room: the task that owns one guest and everyone who sits with it.
//!
//! It drains its bounded mailbox in batches and calls the guest on the spot; a call is 250 ns, a hop to
//! another thread would cost more. Between two calls it takes commands: save, swap, stop. Station 6 of the
//! frame's way.

mod absentees;
mod deferred_messages;
mod effects;
mod faults;
mod handover;
mod init;
mod profile_writes;
mod seats;
mod shutdown;
mod ticks;
mod time;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use self::absentees::Absent;
use self::deferred_messages::Deferred;
pub(super) use self::handover::{Departing, Gone, RoomCommand};
pub(super) use self::init::{OpeningState, RoomInit, run};
use self::profile_writes::ProfileWrites;
pub(super) use self::seats::Target;
use self::seats::{Here, Seats};
use self::shutdown::{Closing, Ending};
use self::ticks::Ticks;
use super::registry::Registry;
use crate::actor::{Actor, ActorCommand, Delivered, FaultWindow, Reply, Sandbox};
use crate::link::{Frames, FramesBuilder, LeaveReason, Player, SessionId, Up, UserId};
use crate::plugin::Input;

/// Mailbox items taken at a time; commands and time are looked at in between.
const BATCH: usize = 64;

/// After a turn that took longer others have theirs first.
const YIELD: Duration = Duration::from_micros(200);

struct Room {
    name: Arc<str>,
    registry: Arc<Registry>,
    actor: Actor,
    seats: Seats,
    ticks: Ticks,
    replies: mpsc::Sender<Reply>,
    in_flight: usize,
    /// Players whom the last call sent away: the guest hears of it before anything else.
    pending: VecDeque<Departure>,
    /// What earlier calls caused and may cause again without end; takes its turn with the mailbox.
    deferred: VecDeque<Deferred>,
    faults_lately: FaultWindow,
    puts: ProfileWrites,
    /// Sessions that have left in this batch.
    left: Vec<(u64, SessionId)>,
    /// Players as the gauge knows them.
    counted: i64,
    closing: Option<Closing>,
    ending: Ending,
    absent: Absent,
}

/// A player is gone by the room's own doing. Each makes the room emptier, so they come to an end.
#[derive(Debug)]
struct Departure(u64, LeaveReason);

impl Room {
    fn new(registry: Arc<Registry>, name: Arc<str>, sandbox: Sandbox, replies: mpsc::Sender<Reply>) -> Self {
        let ticks = Ticks::new(sandbox.version().manifest());
        registry.metrics.rooms.inc();
        let actor = Actor::new(Arc::clone(registry.group()), Arc::clone(&name), sandbox);
        Self {
            name,
            registry,
            actor,
            seats: Seats::default(),
            ticks,
            replies,
            in_flight: 0,
            pending: VecDeque::new(),
            deferred: VecDeque::new(),
            faults_lately: FaultWindow::new(),
            puts: ProfileWrites::default(),
            left: Vec::new(),
            counted: 0,
            closing: None,
            ending: Ending::default(),
            absent: Absent::default(),
        }
    }

    async fn run(
        mut self,
        mut mailbox: mpsc::Receiver<Up>,
        mut commands: mpsc::Receiver<ActorCommand>,
        mut answers: mpsc::Receiver<Reply>,
        mut room_commands: mpsc::Receiver<RoomCommand>,
    ) {
        let mut gone = false;
        self.release(None);
        self.settle(self.now());
        self.write_out();
        let mut batch = Vec::with_capacity(BATCH);
        let journal = Arc::clone(&self.registry.group().world().journal);
        let homes = Arc::clone(&self.registry.homes);
        let alarm = tokio::time::sleep(Duration::from_secs(3600));
        tokio::pin!(alarm);
        while self.closing.is_none() {
            // Who has used too much takes nothing in for a while; commands are heard all the same.
            let rest = self.actor.resting();
            let rests = rest.is_some();
            let due = rest.or_else(|| self.due());
            if let Some(due) = due
                && due != alarm.deadline()
            {
                alarm.as_mut().reset(due);
            }
            let backed_up = self.actor.sandbox.backed_up();
            let open = homes.gate().is_open();
            let awake = open && !rests;
            let mut yields = false;
            tokio::select! {
                biased;
                Some(order) = commands.recv() => {
                    if matches!(order, ActorCommand::Stop) {
                        break;
                    }
                    let obeyed = self.actor.handle_command(order);
                    self.check(obeyed);
                }
                Some(room_command) = room_commands.recv() => {
                    gone = self.run_command(room_command, &mut mailbox, &mut answers).await;
                    if gone {
                        break;
                    }
                }
                // A host that cannot prove its lease takes nothing in: the room may be another one's by now.
                () = homes.gate().opened(), if !open => {}
                () = &mut alarm, if open && due.is_some() => {
                    if !rests {
                        self.on_time();
                        // Timers that are always due do not keep the room from its players.
                        while !backed_up && batch.len() < BATCH && let Ok(up) = mailbox.try_recv() {
                            batch.push(up);
                        }
                        self.take_all(&mut batch);
                        yields = true;
                    }
                }
                Some(reply) = answers.recv(), if awake => {
                    self.actor.begin_turn();
                    self.on_reply(&reply);
                }
                () = journal.space(), if backed_up => {}
                taken = mailbox.recv_many(&mut batch, BATCH), if awake && !backed_up => {
                    if taken == 0 {
                        break;
                    }
                    self.actor.begin_turn();
                    self.take_all(&mut batch);
                    self.on_deferred();
                }
                () = std::future::ready(()), if awake && !self.deferred.is_empty() => {
                    self.actor.begin_turn();
                    self.on_deferred();
                    yields = true;
                }
            }
            if self.actor.take_changed() {
                self.ticks.adopt(self.actor.sandbox.version().manifest());
                self.take_puts();
                if self.has_puts() && self.closing.is_none() {
                    // A version that has taken over by replay has put other documents than the one before it: only
                    // a new base remembers that.
                    self.checkpoint();
                }
            }
            self.write_out();
            self.count_players();
            match self.actor.end_turn() {
                Ok(ran) => yields |= ran > YIELD,
                Err(why) => self.closing = Some(Closing::Forced(why)),
            }
            if yields {
                tokio::task::yield_now().await;
            }
        }
        if gone {
            if !self.ending.stays_on_disk() {
                journal.forget(&self.name);
            }
        } else if self.closing.is_some() {
            self.puts_kept().await;
            if let Some(Closing::Forced(why)) = &self.closing {
                self.actor.sandbox.post_closed(why);
            }
            journal.forget(&self.name);
        } else {
            self.last_words();
        }
        self.registry.forget(&self.name);
        self.registry.metrics.rooms.dec();
        match self.closing.take() {
            _ if gone => self.see_off(&mut mailbox).await,
            Some(closing) => self.close(&closing, &mut mailbox).await,
            None => mailbox.close(),
        }
        self.registry.metrics.players.sub(self.counted);
    }

    /// Brings the gauge of players up to date.
    fn count_players(&mut self) {
        let players = i64::try_from(self.seats.len()).unwrap_or(i64::MAX);
        if players != self.counted {
            self.registry.metrics.players.add(players - self.counted);
            self.counted = players;
        }
    }

    fn now(&self) -> u64 {
        self.actor.now_ms()
    }

    /// Takes in what has come from the players.
    fn take_all(&mut self, batch: &mut Vec<Up>) {
        if batch.is_empty() {
            return;
        }
        let now_ms = self.now();
        for up in batch.drain(..) {
            self.take(now_ms, up);
        }
        self.trim();
    }

    fn take(&mut self, now_ms: u64, up: Up) {
        if self.closing.is_some() {
            self.ending.late.push(up);
            return;
        }
        match up {
            Up::Frames { user, session, frames } => self.on_frames(now_ms, user.0, session, &frames),
            Up::Join { player, backlog, profile, again } => {
                self.on_join(now_ms, player, &backlog, profile, again);
            }
            Up::Fence { user, session } => self.on_fence(user.0, session),
            Up::Leave { user, session, reason } => self.on_leave(now_ms, user.0, session, reason),
        }
    }

    fn on_frames(&mut self, now_ms: u64, user: u64, session: crate::link::SessionId, frames: &Frames) {
        let mut seat_of = None;
        let mut rest = FramesBuilder::default();
        for (op, payload) in frames.iter() {
            if self.closing.is_some() {
                // A frame before this one has ended the room: the next room answers the rest.
                rest.push(op, payload);
                continue;
            }
            if seat_of != Some(self.seats.changes()) {
                seat_of = Some(self.seats.changes());
                match self.seats.here(user, session) {
                    Here::Yes => {}
                    Here::Moving(backlog) => {
                        backlog.push(op, payload);
                        // Frame by frame from here on: the seat does not change back.
                        seat_of = None;
                        continue;
                    }
                    Here::No => {
                        self.registry.metrics.stale.inc();
                        seat_of = None;
                        continue;
                    }
                }
            }
            self.deliver(now_ms, &Input::Message { user, op, payload });
            self.settle(now_ms);
        }
        if !rest.is_empty() {
            self.ending.late.push(Up::Frames { user: UserId(user), session, frames: rest.take() });
        }
    }

    fn on_join(
        &mut self,
        now_ms: u64,
        player: Player,
        backlog: &[Frames],
        profile: Option<(u64, Arc<[u8]>)>,
        again: bool,
    ) {
        let (user, session) = (player.user.0, player.session);
        if player.outbox.is_shut() && self.seats.holds(user) {
            // Two logins of one user overtook each other: the one that has been closed must not win.
            return;
        }
        self.absent.came(user);
        self.seats.remove(user);
        let known = self.knows(user);
        if known && !again {
            self.gone(now_ms, user, LeaveReason::Replaced);
        }
        if self.seats.is_empty() {
            self.ticks.start(Instant::now());
        }
        self.seats.insert(player);
        if known && again {
            self.deliver(now_ms, &Input::Rejoin { user });
        } else {
            let profile = profile.as_ref().map(|(version, bytes)| (*version, &**bytes));
            self.deliver(now_ms, &Input::Join { user, profile });
        }
        self.settle(now_ms);
        for frames in backlog {
            self.on_frames(now_ms, user, session, frames);
        }
    }

    fn on_fence(&mut self, user: u64, session: crate::link::SessionId) {
        if let Some((player, to, backlog)) = self.seats.take_moving(user, session) {
            // The next room is to be given what this one has put.
            self.write_out();
            self.registry.metrics.transfers.inc();
            self.registry.clone().forward(player, to, backlog, None, &self.name);
        }
    }

    fn on_leave(&mut self, now_ms: u64, user: u64, session: crate::link::SessionId, reason: LeaveReason) {
        if let Some((player, to, backlog)) = self.seats.take_moving(user, session) {
            // The guest has seen this player leave. What the client sent since belongs to the next room.
            self.write_out();
            self.registry.clone().forward(player, to, backlog, Some(reason), &self.name);
        } else if self.seats.remove_session(user, session) {
            self.gone(now_ms, user, reason);
        }
        self.left.push((user, session));
    }

    fn on_reply(&mut self, reply: &Reply) {
        self.in_flight -= 1;
        let now_ms = self.now();
        let Reply { token, status, body, text } = reply;
        self.deliver(now_ms, &Input::Reply { token: *token, status: *status, body, text });
        self.settle(now_ms);
    }

    /// Works off what the last call caused.
    fn settle(&mut self, now_ms: u64) {
        while let Some(Departure(user, reason)) = self.pending.pop_front() {
            self.deliver(now_ms, &Input::Leave { user, reason: reason as u32 });
        }
    }

    fn deliver(&mut self, now_ms: u64, input: &Input<'_>) {
        match self.actor.deliver(now_ms, input) {
            // Handlers of rooms leave no responses.
            Delivered::Done | Delivered::Answered(_) => self.release(input.player()),
            Delivered::Refused { code, text } => self.refuse(input, code, &text),
            Delivered::Failed(fault) => self.on_fault(input, &fault),
            Delivered::Lost(why) => {
                // There is no guest any more that could be told who has left.
                self.pending.clear();
                self.closing = Some(Closing::SetAside(why));
            }
        }
    }

    /// Ends the room if its actor is lost.
    fn check(&mut self, lost: Result<(), String>) {
        if let Err(why) = lost {
            self.closing = Some(Closing::SetAside(why));
        }
    }

    fn trim(&mut self) {
        let trimmed = self.actor.trim();
        self.check(trimmed);
    }
}
