//! Network: requests between the nodes of a simulated cluster: they take their time, are refused by who is not there,
//! and are lost between those that are cut off from each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use hotseat::peer::{Answer, Network as Way};
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::BoxError;

use crate::Process;
use crate::lock;
use crate::rng::Rng;

/// A message is on the way for so long, ms.
const LATENCY: (u64, u64) = (1, 25);

/// Who waits for a peer that cannot be reached hears that it is gone after so long, ms (`peer::Dialer`).
const SILENCE: u64 = 10_000;

type Reply = Result<Response<Body>, BoxError>;

/// A request that has arrived.
pub(crate) struct Arrived {
    pub(crate) from: Process,
    pub(crate) request: Request<Body>,
    pub(crate) answer: oneshot::Sender<Reply>,
}

enum Post {
    Request { from: Process, to: Process, request: Request<Body>, answer: oneshot::Sender<Reply> },
    Reply { from: Process, to: Process, reply: Reply, answer: oneshot::Sender<Reply> },
    Broken { answer: oneshot::Sender<Reply> },
}

/// What is on the way, and who listens.
pub(crate) struct Network {
    now_ms: u64,
    listening: BTreeMap<Process, mpsc::UnboundedSender<Arrived>>,
    post: BTreeMap<(u64, u64), Post>,
    serial: u64,
    rng: Rng,
    /// What the first says does not reach the second.
    pub(crate) cut: BTreeSet<(Process, Process)>,
}

/// One process's way into the network.
#[derive(Clone)]
pub(crate) struct Port {
    pub(crate) network: Arc<Mutex<Network>>,
    pub(crate) process: Process,
}

/// The address of a process.
pub(crate) fn address(process: Process) -> String {
    format!("process:{process}")
}

/// Whose address it is.
pub(crate) fn process_at(address: &str) -> Option<Process> {
    address.strip_prefix("process:")?.parse().ok()
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now_ms: 0,
            listening: BTreeMap::new(),
            post: BTreeMap::new(),
            serial: 0,
            rng: Rng::new(seed, 0x0e77),
            cut: BTreeSet::new(),
        }
    }

    pub(crate) fn listen(&mut self, process: Process, inbox: mpsc::UnboundedSender<Arrived>) {
        self.listening.insert(process, inbox);
    }

    pub(crate) fn forget(&mut self, process: Process) {
        self.listening.remove(&process);
        self.cut.retain(|(a, b)| *a != process && *b != process);
    }

    /// What `from` says does not reach `to`.
    pub(crate) fn cut(&mut self, from: Process, to: Process) {
        self.cut.insert((from, to));
    }

    fn is_cut(&self, from: Process, to: Process) -> bool {
        self.cut.contains(&(from, to))
    }

    fn post(&mut self, in_ms: u64, post: Post) {
        self.serial += 1;
        self.post.insert((self.now_ms + in_ms, self.serial), post);
    }

    fn latency(&mut self) -> u64 {
        self.rng.range(LATENCY.0, LATENCY.1)
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        while let Some(entry) = self.post.first_entry() {
            if entry.key().0 > now_ms {
                break;
            }
            let post = entry.remove();
            self.deliver(post);
        }
    }

    fn deliver(&mut self, post: Post) {
        match post {
            Post::Request { from, to, answer, .. } if self.is_cut(from, to) => {
                self.post(SILENCE, Post::Broken { answer });
            }
            Post::Request { from, to, request, answer } => {
                let Some(inbox) = self.listening.get(&to) else {
                    let _ = answer.send(Err("connection refused".into()));
                    return;
                };
                // Who has just ended drops it, and whoever waits hears of that.
                let _ = inbox.send(Arrived { from, request, answer });
            }
            Post::Reply { from, to, answer, .. } if self.is_cut(from, to) => {
                self.post(SILENCE, Post::Broken { answer });
            }
            // Who asked may have given up.
            Post::Reply { reply, answer, .. } => drop(answer.send(reply)),
            Post::Broken { answer } => drop(answer.send(Err("the peer is silent".into()))),
        }
    }
}

impl Port {
    /// Answers what has arrived.
    pub(crate) fn reply(&self, to: Process, reply: Reply, answer: oneshot::Sender<Reply>) {
        let mut network = lock(&self.network);
        let latency = network.latency();
        network.post(latency, Post::Reply { from: self.process, to, reply, answer });
    }
}

impl Way for Port {
    fn ask(&self, addr: &str, request: Request<Body>) -> Answer {
        let (answer, reply) = oneshot::channel();
        let mut network = lock(&self.network);
        let latency = network.latency();
        match process_at(addr) {
            Some(to) => network.post(latency, Post::Request { from: self.process, to, request, answer }),
            None => drop(answer.send(Err("no such address".into()))),
        }
        Box::pin(async move { reply.await.unwrap_or_else(|_| Err("the connection broke".into())) })
    }
}
