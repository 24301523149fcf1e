//! Shard: the task that owns one guest of a service and answers its requests.
//!
//! It works as a room does: a bounded mailbox, batches, the guest called on the spot, commands in between.
//! What differs is when others hear of it. A room's frames leave at once; a shard's answers, messages and
//! calls wait until the journal has on disk what they rest on, all in one order, so a client is never told
//! what a crash could take back. One sync serves all that has gathered.

mod effects;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use self::effects::Said;
use super::frames::Unread;
use super::metrics::ServiceMetrics;
use super::request::{Code, Failure, Request};
use super::stream::Queue;
use crate::actor::{Actor, ActorCommand, Delivered, FaultWindow, IN_FLIGHT_MAX, Reply, Sandbox, Services};
use crate::plugin::{Fault, FaultKind, Input};

/// Requests taken at a time; commands and time are looked at in between.
const BATCH: usize = 64;

/// After a turn that took longer others have theirs first.
const YIELD: Duration = Duration::from_micros(200);

/// Faults of timers and the like within the window of [`FaultWindow`] that take the shard down.
const STRIKES: u32 = 10;

/// What may wait for the disk; then no more requests are taken.
const HELD_MAX: usize = 16 << 10;

/// Events of its own making that may wait; a shard with more feeds itself and is taken down.
const DEFERRED_MAX: usize = 8192;

/// A failure's text is cut here (`wit/types.wit`).
const TEXT_MAX: usize = 1024;

/// How long a node that ends waits for the disk, so that what has happened is also told.
const LAST_SYNC: Duration = Duration::from_secs(2);

/// The ends of a shard that its task waits on.
pub(super) struct Inbox {
    pub(super) mailbox: mpsc::Receiver<Request>,
    pub(super) commands: mpsc::Receiver<ActorCommand>,
    /// Streams whose clients have gone.
    pub(super) gone: mpsc::UnboundedReceiver<u64>,
}

/// Why a shard does not go on.
pub(super) enum Exit {
    /// The node ends.
    Stopped,
    /// It cannot; its state is in the sandbox still.
    Down(String, Box<Sandbox>),
}

/// An event of the shard's own making.
#[derive(Debug)]
enum Deferred {
    /// Too many service calls are under way for this one.
    Refused(u64),
    /// A stream was cut.
    Cut(u64),
}

pub(super) struct Shard {
    actor: Actor,
    services: Services,
    unread: Arc<Unread>,
    metrics: ServiceMetrics,
    streams: HashMap<u64, Arc<Queue>>,
    replies: mpsc::Sender<Reply>,
    in_flight: usize,
    deferred: VecDeque<Deferred>,
    /// Said by the inputs at hand.
    said: Vec<Said>,
    /// Said before, each with the position that the disk has to have reached.
    held: VecDeque<(u64, Said)>,
    /// How many of these the gauge knows, which all shards share.
    held_counted: i64,
    synced: watch::Receiver<u64>,
    faults_lately: FaultWindow,
    down: Option<String>,
}

impl Shard {
    pub(super) fn new(
        actor: Actor,
        services: Services,
        unread: Arc<Unread>,
        metrics: ServiceMetrics,
    ) -> (Self, mpsc::Receiver<Reply>) {
        let synced = actor.group.world().journal.synced();
        let (replies, answers) = mpsc::channel(IN_FLIGHT_MAX);
        let shard = Self {
            actor,
            services,
            unread,
            metrics,
            streams: HashMap::new(),
            replies,
            in_flight: 0,
            deferred: VecDeque::new(),
            said: Vec::new(),
            held: VecDeque::new(),
            held_counted: 0,
            synced,
            faults_lately: FaultWindow::new(),
            down: None,
        };
        (shard, answers)
    }

    /// The shard has come back from an earlier process: its streams are gone, and what it waited for will not come.
    pub(super) fn come_back(&mut self) {
        let now_ms = self.now();
        let channels: Vec<u64> = self.actor.sandbox.env().members().iter().copied().collect();
        let calls: Vec<u64> = self.actor.sandbox.env().calls().iter().copied().collect();
        for channel in channels {
            self.deliver(now_ms, &Input::Unsubscribe { channel });
        }
        for token in calls {
            // gRPC's status 1: cancelled.
            let input = Input::Reply { token, status: 1, body: &[], text: "the node was restarted" };
            self.deliver(now_ms, &input);
        }
        let kept = self.actor.checkpoint();
        self.check(kept);
    }

    pub(super) async fn run(mut self, inbox: &mut Inbox, mut answers: mpsc::Receiver<Reply>) -> Exit {
        self.metrics.shards.inc();
        let journal = Arc::clone(&self.actor.group.world().journal);
        let alarm = tokio::time::sleep(Duration::from_secs(3600));
        tokio::pin!(alarm);
        let mut batch = Vec::with_capacity(BATCH);
        // What the guest asked for when it was opened.
        self.release();
        self.flush();
        let stopped = loop {
            if self.down.is_some() {
                break false;
            }
            // Who has used too much takes nothing in for a while; commands are heard all the same.
            let rest = self.actor.resting();
            let awake = rest.is_none();
            let due = rest.or_else(|| self.actor.next_timer());
            if let Some(due) = due
                && due != alarm.deadline()
            {
                alarm.as_mut().reset(due);
            }
            let backed_up = self.actor.sandbox.backed_up();
            let takes = awake && !backed_up && self.held.len() < HELD_MAX;
            let mut yields = false;
            let waits_for = self.held.front().map(|(position, _)| *position);
            tokio::select! {
                biased;
                Some(order) = inbox.commands.recv() => {
                    if matches!(order, ActorCommand::Stop) {
                        break true;
                    }
                    let obeyed = self.actor.handle_command(order);
                    self.check(obeyed);
                }
                () = reached(&mut self.synced, waits_for), if waits_for.is_some() => {}
                () = &mut alarm, if due.is_some() => {
                    if awake {
                        self.on_time();
                        yields = true;
                    }
                }
                Some(reply) = answers.recv(), if awake => {
                    self.actor.begin_turn();
                    self.on_reply(&reply);
                }
                Some(channel) = inbox.gone.recv(), if awake => {
                    self.actor.begin_turn();
                    self.on_gone(channel);
                }
                () = journal.space(), if backed_up => {}
                taken = inbox.mailbox.recv_many(&mut batch, BATCH), if takes => {
                    if taken == 0 {
                        break true;
                    }
                    self.actor.begin_turn();
                    let now_ms = self.now();
                    for request in batch.drain(..) {
                        self.take(now_ms, request);
                    }
                    let trimmed = self.actor.trim();
                    self.check(trimmed);
                }
                () = std::future::ready(()), if awake && !self.deferred.is_empty() => yields = true,
            }
            if awake {
                self.on_deferred();
            }
            self.flush();
            match self.actor.end_turn() {
                Ok(ran) => yields |= ran > YIELD,
                Err(why) => self.check(Err(why)),
            }
            if yields {
                tokio::task::yield_now().await;
            }
        };
        if stopped {
            self.last_words().await;
        }
        self.close(stopped)
    }

    fn now(&self) -> u64 {
        self.actor.now_ms()
    }

    /// Takes the shard down if its actor is lost.
    fn check(&mut self, lost: Result<(), String>) {
        if let Err(why) = lost {
            self.down = Some(why);
        }
    }

    fn take(&mut self, now_ms: u64, request: Request) {
        match request {
            Request::Unary { answer, .. } if answer.is_closed() => {}
            Request::Unary { method, body, query, answer } => {
                let input = match query {
                    true => Input::Query { method: &method, body: &body },
                    false => Input::Call { method: &method, body: &body },
                };
                let result = match self.deliver(now_ms, &input) {
                    Delivered::Answered(body) => Ok(Bytes::from(body)),
                    other => Err(failure(other)),
                };
                self.said.push(Said::Answer(answer, result));
            }
            Request::Subscribe { answer, .. } if answer.is_closed() => {}
            Request::Subscribe { method, body, queue, answer } => {
                let channel = self.actor.group.world().ids.reserve_for_guests(1).map(|block| block.first());
                let Ok(channel) = channel else {
                    let none =
                        Failure::new(Code::Unavailable, "this node holds no ids to name a stream with");
                    return self.said.push(Said::Subscribed(answer, Err(none)));
                };
                self.streams.insert(channel, queue);
                self.metrics.streams.inc();
                let at = self.said.len();
                let result =
                    match self.deliver(now_ms, &Input::Subscribe { channel, method: &method, body: &body }) {
                        Delivered::Done => Ok(channel),
                        other => {
                            self.forget(channel);
                            Err(failure(other))
                        }
                    };
                // The client hears of its stream before it hears of its end.
                self.said.insert(at, Said::Subscribed(answer, result));
            }
        }
    }

    fn forget(&mut self, channel: u64) {
        if self.streams.remove(&channel).is_some() {
            self.metrics.streams.dec();
        }
    }

    fn on_gone(&mut self, channel: u64) {
        if self.streams.contains_key(&channel) {
            self.forget(channel);
            let now_ms = self.now();
            self.deliver(now_ms, &Input::Unsubscribe { channel });
        }
    }

    fn on_reply(&mut self, reply: &Reply) {
        self.in_flight -= 1;
        let Reply { token, status, body, text } = reply;
        let now_ms = self.now();
        self.deliver(now_ms, &Input::Reply { token: *token, status: *status, body, text });
    }

    fn on_time(&mut self) {
        self.actor.begin_turn();
        let now_ms = self.now();
        // A timer set for "now" by a timer's own handler waits for the next round, so this ends.
        for _ in 0..BATCH {
            match self.actor.sandbox.env().next_timer() {
                Some((due_ms, id)) if due_ms <= now_ms => {
                    self.deliver(now_ms, &Input::Timer { id });
                }
                _ => break,
            }
        }
        let trimmed = self.actor.trim();
        self.check(trimmed);
    }

    fn on_deferred(&mut self) {
        if self.deferred.len() > DEFERRED_MAX {
            self.down = Some(format!("it feeds itself: {DEFERRED_MAX} events of its own making wait"));
            return;
        }
        let now_ms = self.now();
        for _ in 0..BATCH.min(self.deferred.len()) {
            match self.deferred.pop_front() {
                Some(Deferred::Cut(channel)) => {
                    self.deliver(now_ms, &Input::Unsubscribe { channel });
                }
                Some(Deferred::Refused(token)) => {
                    let text = format!("{IN_FLIGHT_MAX} calls of this shard are under way");
                    // gRPC's status 8: resource exhausted.
                    self.deliver(now_ms, &Input::Reply { token, status: 8, body: &[], text: &text });
                }
                None => return,
            }
        }
    }

    fn deliver(&mut self, now_ms: u64, input: &Input<'_>) -> Delivered {
        let delivered = self.actor.deliver(now_ms, input);
        match &delivered {
            Delivered::Done | Delivered::Answered(_) => self.release(),
            Delivered::Refused { .. } => {}
            Delivered::Failed(fault) => self.on_fault(input, fault),
            Delivered::Lost(why) => self.down = Some(why.clone()),
        }
        delivered
    }

    fn on_fault(&mut self, input: &Input<'_>, fault: &Fault) {
        let by_client = matches!(input, Input::Call { .. } | Input::Query { .. } | Input::Subscribe { .. });
        if !by_client && self.faults_lately.count(STRIKES) {
            self.down = Some(format!("{STRIKES} faults, the last one: {fault}"));
        }
    }

    /// The node shuts down: what is worth keeping is kept, and what has happened is told.
    async fn last_words(&mut self) {
        let kept = self.actor.keep_at_the_end();
        self.check(kept);
        self.flush();
        let last = self.held.back().map(|(position, _)| *position);
        // What the disk does not take in time is not told.
        let _ = tokio::time::timeout(LAST_SYNC, reached(&mut self.synced, last)).await;
        self.flush();
    }

    fn close(mut self, stopped: bool) -> Exit {
        let why = self.down.take();
        let text = why.clone().unwrap_or_else(|| "the node is shutting down".to_owned());
        for queue in self.streams.values() {
            queue.end(Err(Failure::new(Code::Unavailable, &text)));
        }
        self.metrics.streams.sub(i64::try_from(self.streams.len()).unwrap_or(i64::MAX));
        self.metrics.shards.dec();
        self.metrics.held.sub(self.held_counted);
        match why {
            Some(why) if !stopped => Exit::Down(why, Box::new(self.actor.sandbox)),
            _ => Exit::Stopped,
        }
    }
}

/// Waits until the disk has what is up to `position`. Cancel safe.
async fn reached(synced: &mut watch::Receiver<u64>, position: Option<u64>) {
    if let Some(position) = position {
        // A journal that is gone syncs no more.
        if synced.wait_for(|synced| *synced >= position).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn failure(delivered: Delivered) -> Failure {
    match delivered {
        Delivered::Refused { code, text } => Failure::new(Code::Guest(code), cut(&text)),
        Delivered::Failed(Fault { kind: FaultKind::Deadline, .. }) => {
            Failure::new(Code::DeadlineExceeded, "the plugin ran past its deadline; nothing of it happened")
        }
        Delivered::Failed(fault) => {
            let text = format!("the plugin failed on this ({}); nothing of it happened", fault.kind.name());
            Failure::new(Code::Internal, text)
        }
        Delivered::Lost(_) => Failure::new(Code::Unavailable, "the plugin's state is lost for now"),
        Delivered::Done | Delivered::Answered(_) => Failure::new(Code::Internal, "the plugin left no answer"),
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}
