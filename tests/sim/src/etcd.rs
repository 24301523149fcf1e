//! Etcd: the table that all nodes of a simulated cluster share: entries, leases, conditions, and answers that take their
//! time or never come.
//!
//! What etcd does is here; what a node makes of it (`client`) follows the node's own module `discovery::etcd`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use hotseat::discovery::simulated::Condition;
use hotseat::discovery::{Entry, View, Written};
use tokio::sync::{mpsc, oneshot};

use crate::Process;
use crate::rng::Rng;

/// An answer is on the way for so long, in ms.
const LATENCY: (u64, u64) = (1, 30);

/// Changes for a process that is cut off are sent again so much later, ms, as a connection does that has not broken.
const AGAIN: u64 = 100;

/// What a process asks.
pub(crate) enum Ask {
    Get(String),
    Write {
        key: String,
        value: Option<Vec<u8>>,
        lease: i64,
        on: Condition,
    },
    /// Removes an entry if it stands under that lease.
    RemoveUnder {
        key: String,
        lease: i64,
    },
    Grant {
        ttl_ms: u64,
    },
    Prolong(i64),
    Revoke(i64),
    /// All entries that begin so, and what becomes of them.
    Watch {
        prefix: String,
        changes: mpsc::UnboundedSender<Arc<View>>,
    },
}

/// What it is told.
pub(crate) enum Told {
    Entry(Option<Entry>),
    Written(Written),
    Lease(i64),
    NoLease,
    Done,
    View(Arc<View>),
}

enum Post {
    Ask { from: Process, ask: Ask, answer: oneshot::Sender<Told> },
    Told { to: Process, told: Told, answer: oneshot::Sender<Told> },
    Change { watcher: u64, view: Arc<View> },
}

struct Stored {
    value: Bytes,
    revision: u64,
    lease: i64,
}

struct Watcher {
    of: Process,
    prefix: String,
    changes: mpsc::UnboundedSender<Arc<View>>,
    last_due: u64,
}

/// The table, and what is on the way from it and to it.
pub(crate) struct Etcd {
    now_ms: u64,
    entries: BTreeMap<String, Stored>,
    revision: u64,
    /// Counts changes, of whichever life of its data.
    pub(crate) changes: u64,
    /// When each ends, and its time to live.
    leases: BTreeMap<i64, (u64, u64)>,
    last_lease: i64,
    watchers: BTreeMap<u64, Watcher>,
    post: BTreeMap<(u64, u64), Post>,
    serial: u64,
    rng: Rng,
    /// It answers nobody.
    pub(crate) stopped: bool,
    /// It does not hear these.
    pub(crate) mute: BTreeSet<Process>,
    /// These do not hear it.
    pub(crate) deaf: BTreeSet<Process>,
}

impl Etcd {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now_ms: 0,
            entries: BTreeMap::new(),
            revision: 1,
            changes: 1,
            leases: BTreeMap::new(),
            last_lease: 0,
            watchers: BTreeMap::new(),
            post: BTreeMap::new(),
            serial: 0,
            rng: Rng::new(seed, 0xe7cd),
            stopped: false,
            mute: BTreeSet::new(),
            deaf: BTreeSet::new(),
        }
    }

    /// A process asks; `answer` may never come.
    pub(crate) fn ask(&mut self, from: Process, ask: Ask, answer: oneshot::Sender<Told>) {
        let due = self.due();
        self.post(due, Post::Ask { from, ask, answer });
    }

    fn due(&mut self) -> u64 {
        self.now_ms + self.rng.range(LATENCY.0, LATENCY.1)
    }

    fn post(&mut self, due: u64, post: Post) {
        self.serial += 1;
        self.post.insert((due, self.serial), post);
    }

    /// All data is gone: it comes back as a new one.
    pub(crate) fn wipe(&mut self) {
        self.entries.clear();
        self.leases.clear();
        self.watchers.clear();
        self.post.clear();
        self.revision = 1;
        self.changes += 1;
    }

    /// All connections work.
    pub(crate) fn mend(&mut self) {
        self.mute.clear();
        self.deaf.clear();
    }

    /// The process is dead: nobody waits for its answers.
    pub(crate) fn forget(&mut self, process: Process) {
        self.watchers.retain(|_, watcher| watcher.of != process);
        self.mute.remove(&process);
        self.deaf.remove(&process);
    }

    /// What stands there, by the rest of the key, for those who look from outside of the simulation.
    pub(crate) fn values<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.entries.iter().filter_map(move |(key, stored)| Some((key.strip_prefix(prefix)?, &*stored.value)))
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if self.stopped {
            return;
        }
        while let Some(entry) = self.post.first_entry() {
            if entry.key().0 > now_ms {
                break;
            }
            let post = entry.remove();
            self.deliver(post);
        }
        let over: Vec<i64> =
            self.leases.iter().filter(|(_, (ends, _))| *ends <= now_ms).map(|(id, _)| *id).collect();
        for id in over {
            self.end(id);
        }
    }

    fn deliver(&mut self, post: Post) {
        match post {
            Post::Ask { from, ask, answer } => {
                if self.mute.contains(&from) {
                    return;
                }
                let told = self.answer(from, ask);
                let due = self.due();
                self.post(due, Post::Told { to: from, told, answer });
            }
            Post::Told { to, told, answer } => {
                if !self.deaf.contains(&to) {
                    // It may have given up.
                    let _ = answer.send(told);
                }
            }
            Post::Change { watcher, view } => {
                let Some(known) = self.watchers.get(&watcher) else { return };
                if self.deaf.contains(&known.of) {
                    let due = self.now_ms + AGAIN;
                    self.post(due, Post::Change { watcher, view });
                } else if known.changes.send(view).is_err() {
                    self.watchers.remove(&watcher);
                }
            }
        }
    }

    fn answer(&mut self, from: Process, ask: Ask) -> Told {
        match ask {
            Ask::Get(key) => Told::Entry(self.entry(&key)),
            Ask::Write { key, value, lease, on } => {
                if lease != 0 && !self.leases.contains_key(&lease) {
                    return Told::NoLease;
                }
                let standing = self.entry(&key);
                let holds = match on {
                    Condition::Always => true,
                    Condition::Absent => standing.is_none(),
                    Condition::At(revision) => {
                        standing.as_ref().is_some_and(|entry| entry.revision == revision)
                    }
                };
                if !holds {
                    return Told::Written(Written::Refused(standing));
                }
                self.set(&key, value.map(Bytes::from), lease);
                Told::Written(Written::Done(self.revision))
            }
            Ask::RemoveUnder { key, lease } => {
                if self.entries.get(&key).is_some_and(|stored| stored.lease == lease) {
                    self.set(&key, None, 0);
                }
                Told::Done
            }
            Ask::Grant { ttl_ms } => {
                self.last_lease += 1;
                self.leases.insert(self.last_lease, (self.now_ms + ttl_ms, ttl_ms));
                Told::Lease(self.last_lease)
            }
            Ask::Prolong(id) => match self.leases.get_mut(&id) {
                Some((ends, ttl_ms)) => {
                    *ends = self.now_ms + *ttl_ms;
                    Told::Done
                }
                None => Told::NoLease,
            },
            Ask::Revoke(id) => {
                self.end(id);
                Told::Done
            }
            Ask::Watch { prefix, changes } => {
                let view = self.view(&prefix);
                self.serial += 1;
                let last_due = self.now_ms + LATENCY.1;
                let watcher = Watcher { of: from, prefix, changes, last_due };
                self.watchers.insert(self.serial, watcher);
                Told::View(view)
            }
        }
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        let stored = self.entries.get(key)?;
        Some(Entry { value: stored.value.clone(), revision: stored.revision })
    }

    fn end(&mut self, lease: i64) {
        self.leases.remove(&lease);
        let under = self.entries.iter().filter(|(_, stored)| stored.lease == lease);
        let under: Vec<String> = under.map(|(key, _)| key.clone()).collect();
        for key in under {
            self.set(&key, None, 0);
        }
    }

    fn set(&mut self, key: &str, value: Option<Bytes>, lease: i64) {
        self.revision += 1;
        self.changes += 1;
        let revision = self.revision;
        match value {
            Some(value) => drop(self.entries.insert(key.to_owned(), Stored { value, revision, lease })),
            None => drop(self.entries.remove(key)),
        }
        let seeing = self.watchers.iter().filter(|(_, watcher)| key.starts_with(&watcher.prefix));
        let seeing: Vec<u64> = seeing.map(|(id, _)| *id).collect();
        for id in seeing {
            let due = self.due();
            let Some(watcher) = self.watchers.get_mut(&id) else { continue };
            watcher.last_due = due.max(watcher.last_due);
            let (due, prefix) = (watcher.last_due, watcher.prefix.clone());
            let view = self.view(&prefix);
            self.post(due, Post::Change { watcher: id, view });
        }
    }

    fn view(&self, prefix: &str) -> Arc<View> {
        let from = self.entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        let entries = from.map(|(key, stored)| {
            (key.clone(), Entry { value: stored.value.clone(), revision: stored.revision })
        });
        Arc::new(View { entries: entries.collect(), revision: self.revision, fresh: true })
    }
}
