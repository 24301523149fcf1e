//! Client: a process's hand on the simulated etcd: its lease, what it has registered, what it sees. Does what the node's
//! own module `discovery::etcd` does, on the simulation's time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use hotseat::discovery::simulated::{Answer, Condition, Simulated};
use hotseat::discovery::{DiscoveryError, Entry, Hold, Lease, Same, View, Written};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::Process;
use crate::etcd::{Ask, Etcd, Told};
use crate::lock;

/// As in `discovery::etcd`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);

/// One process's.
#[derive(Clone)]
pub(crate) struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    etcd: Arc<Mutex<Etcd>>,
    process: Process,
    ttl: Duration,
    lease: watch::Sender<Lease>,
    views: Mutex<BTreeMap<String, watch::Sender<Arc<View>>>>,
    slots: Mutex<BTreeMap<String, Slot>>,
    /// Counts the times that etcd was lost: views that began before are not followed any more.
    away: watch::Sender<u64>,
    changed: Notify,
    /// What stands in the place of an entry that is this process's own.
    taken: watch::Sender<Option<Bytes>>,
    doubt: Notify,
    closing: CancellationToken,
    closed: CancellationToken,
}

#[derive(Clone)]
struct Slot {
    token: u64,
    /// How a value of this process is told from others', if it alone is to have the entry.
    same: Option<Same>,
    change: u64,
    value: Option<Vec<u8>>,
    tried: i64,
    written: Option<(i64, u64)>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("process", &self.inner.process).finish_non_exhaustive()
    }
}

fn away(why: &str) -> DiscoveryError {
    DiscoveryError::Away { why: why.to_owned() }
}

impl Client {
    /// Begins its work in the background of the runtime that this is called in.
    pub(crate) fn start(etcd: Arc<Mutex<Etcd>>, process: Process, ttl: Duration) -> Self {
        let inner = Arc::new(Inner {
            etcd,
            process,
            ttl,
            lease: watch::Sender::new(Lease::Lost),
            views: Mutex::default(),
            slots: Mutex::default(),
            away: watch::Sender::new(0),
            changed: Notify::new(),
            taken: watch::Sender::new(None),
            doubt: Notify::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        });
        tokio::spawn(Arc::clone(&inner).keep());
        tokio::spawn(Arc::clone(&inner).register_all());
        Self { inner }
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        lock(&self.slots)
    }

    async fn ask(&self, ask: Ask) -> Result<Told, DiscoveryError> {
        let (answer, told) = oneshot::channel();
        lock(&self.etcd).ask(self.process, ask, answer);
        match timeout(REQUEST_TIMEOUT, told).await {
            Ok(Ok(told)) => Ok(told),
            Ok(Err(_)) => {
                sleep(PAUSE).await;
                Err(away("the connection broke"))
            }
            Err(_) => Err(away("no answer in time")),
        }
    }

    /// The lease, for as long as the process wants one.
    async fn keep(self: Arc<Self>) {
        self.closing.run_until_cancelled(self.hold()).await;
        let held = *self.lease.borrow();
        self.lease.send_replace(Lease::Lost);
        if let Lease::Held { id, .. } = held {
            let _ = self.ask(Ask::Revoke(id)).await;
        }
        self.closed.cancel();
    }

    async fn hold(&self) {
        let (mut epoch, mut old) = (0, Vec::new());
        loop {
            let sent = Instant::now();
            let Ok(Told::Lease(id)) = self.ask(Ask::Grant { ttl_ms: ms(self.ttl) }).await else {
                self.lose_views();
                sleep(PAUSE).await;
                continue;
            };
            let until = sent + self.ttl.saturating_sub(MARGIN);
            old.push(id);
            let complete = timeout(self.ttl / 3, self.pass(id)).await.unwrap_or(false);
            let taken = self.taken.borrow().is_some();
            let unknown = !complete && self.slots().values().any(|slot| slot.same.is_some());
            if unknown && !taken {
                sleep(PAUSE).await;
                continue;
            }
            for other in std::mem::take(&mut old) {
                if other != id || taken {
                    let _ = self.ask(Ask::Revoke(other)).await;
                }
            }
            if taken {
                sleep(PAUSE).await;
                continue;
            }
            old.push(id);
            if Instant::now() >= until {
                continue;
            }
            epoch += 1;
            self.lease.send_replace(Lease::Held { id, epoch, until });
            if self.beat(id, epoch, until).await {
                old.clear();
            }
            self.lease.send_replace(Lease::Lost);
        }
    }

    /// Prolongs a lease until it is lost; whether etcd has said that it is not there.
    async fn beat(&self, id: i64, epoch: u64, mut until: Instant) -> bool {
        let mut pause = self.ttl / 3;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until) => return false,
                () = self.doubt.notified() => {}
                () = sleep(pause) => {}
            }
            let sent = Instant::now();
            let told = tokio::select! {
                biased;
                () = sleep_until(until) => return false,
                told = self.ask(Ask::Prolong(id)) => told,
            };
            match told {
                Ok(Told::NoLease) => return true,
                Ok(_) => {
                    until = sent + self.ttl.saturating_sub(MARGIN);
                    pause = self.ttl / 3;
                    self.lease.send_replace(Lease::Held { id, epoch, until });
                }
                Err(_) => {
                    self.lose_views();
                    pause = PAUSE;
                }
            }
        }
    }

    fn lose_views(&self) {
        self.away.send_modify(|times| *times += 1);
    }

    async fn register_all(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep(self.ttl / 3) => {}
            }
            let held = *self.lease.borrow();
            if let Lease::Held { id, .. } = held {
                self.pass(id).await;
            }
        }
    }

    /// Brings what is registered to what it is to be; whether etcd has answered it all.
    async fn pass(&self, lease: i64) -> bool {
        let all: Vec<_> = self.slots().iter().map(|(key, slot)| (key.clone(), slot.clone())).collect();
        for (key, slot) in all {
            if slot.value.is_some()
                && let Some(slot) = self.slots().get_mut(&key)
            {
                slot.tried = lease;
            }
            let anew = slot.written != Some((lease, slot.change));
            let on = match (slot.same, &slot.value) {
                (Some(same), Some(value)) => match self.look_at_own(&key, value, same).await {
                    Some(Some(at)) => at,
                    // It is another process's, which this one is told.
                    Some(None) => continue,
                    None => return false,
                },
                _ if anew => Condition::Always,
                _ => Condition::Absent,
            };
            let ask = match slot.value.clone() {
                // What stands there already.
                Some(_) if slot.same.is_some() && !anew && on != Condition::Absent => continue,
                Some(value) => Ask::Write { key: key.clone(), value: Some(value), lease, on },
                None => Ask::RemoveUnder { key: key.clone(), lease: slot.tried },
            };
            match self.ask(ask).await {
                Ok(Told::NoLease) => {
                    self.doubt.notify_one();
                    return false;
                }
                Ok(Told::Written(Written::Refused(_))) if slot.same.is_some() => return false,
                Err(_) => return false,
                Ok(_) => {}
            }
            let mut slots = self.slots();
            if let Some(now) = slots.get_mut(&key).filter(|now| now.change == slot.change) {
                now.written = Some((lease, slot.change));
                if slot.value.is_none() {
                    slots.remove(&key);
                }
            }
        }
        true
    }

    /// Looks who has an entry that this process alone is to have: on what writing it depends, if that is nobody else.
    /// None if etcd does not answer.
    async fn look_at_own(&self, key: &str, value: &[u8], same: Same) -> Option<Option<Condition>> {
        let Ok(Told::Entry(standing)) = self.ask(Ask::Get(key.to_owned())).await else { return None };
        let other = standing.as_ref().filter(|entry| !same(&entry.value, value));
        let other = other.map(|entry| entry.value.clone());
        self.taken.send_if_modified(|taken| {
            let news = *taken != other;
            taken.clone_from(&other);
            news
        });
        let at = standing.map_or(Condition::Absent, |entry| Condition::At(entry.revision));
        Some(other.is_none().then_some(at))
    }

    fn register(&self, key: &str, value: Vec<u8>, same: Option<Same>) -> u64 {
        let mut slots = self.slots();
        let tried = slots.get(key).map_or(0, |slot| slot.tried);
        let token = slots.len() as u64 + 1;
        let slot = Slot { token, same, change: 1, value: Some(value), tried, written: None };
        slots.insert(key.to_owned(), slot);
        self.changed.notify_one();
        token
    }

    /// Follows what begins so.
    async fn follow(self: Arc<Self>, prefix: String, view: watch::Sender<Arc<View>>) {
        let mut away = self.away.subscribe();
        loop {
            away.mark_unchanged();
            let (changes, mut news) = mpsc::unbounded_channel();
            if let Ok(Told::View(first)) = self.ask(Ask::Watch { prefix: prefix.clone(), changes }).await {
                view.send_replace(first);
                loop {
                    tokio::select! {
                        biased;
                        changed = news.recv() => match changed {
                            Some(changed) => drop(view.send_replace(changed)),
                            None => break,
                        },
                        _ = away.changed() => break,
                    }
                }
            }
            view.send_if_modified(|view| view.fresh && std::mem::take(&mut Arc::make_mut(view).fresh));
            sleep(PAUSE).await;
        }
    }

    fn lease_of(&self, key: &str, hold: Hold) -> Result<i64, DiscoveryError> {
        match (hold, *self.lease.borrow()) {
            (Hold::Forever, _) => Ok(0),
            (Hold::Of(id), _) if id != 0 => Ok(id),
            (Hold::Lease, Lease::Held { id, until, .. }) if Instant::now() < until => Ok(id),
            _ => Err(DiscoveryError::NoLease { key: key.to_owned(), id: 0 }),
        }
    }
}

impl Simulated for Client {
    fn watch(&self, prefix: &str) -> watch::Receiver<Arc<View>> {
        let mut views = lock(&self.inner.views);
        if let Some(view) = views.get(prefix) {
            return view.subscribe();
        }
        let (view, receiver) = watch::channel(Arc::default());
        views.insert(prefix.to_owned(), view.clone());
        tokio::spawn(Arc::clone(&self.inner).follow(prefix.to_owned(), view));
        receiver
    }

    fn get(&self, key: &str) -> Answer<'_, Option<Entry>> {
        let key = key.to_owned();
        Box::pin(async move {
            match self.inner.ask(Ask::Get(key)).await? {
                Told::Entry(entry) => Ok(entry),
                _ => Err(away("another answer")),
            }
        })
    }

    fn write(&self, key: &str, value: Option<Vec<u8>>, hold: Hold, on: Condition) -> Answer<'_, Written> {
        let key = key.to_owned();
        Box::pin(async move {
            let lease = self.inner.lease_of(&key, hold)?;
            match self.inner.ask(Ask::Write { key: key.clone(), value, lease, on }).await? {
                Told::Written(written) => Ok(written),
                Told::NoLease => {
                    self.inner.doubt.notify_one();
                    Err(DiscoveryError::NoLease { key, id: lease })
                }
                _ => Err(away("another answer")),
            }
        })
    }

    fn register(&self, key: &str, value: Vec<u8>) -> u64 {
        self.inner.register(key, value, None)
    }

    fn register_own(&self, key: &str, value: Vec<u8>, same: Same) -> u64 {
        self.inner.register(key, value, Some(same))
    }

    fn taken(&self) -> watch::Receiver<Option<Bytes>> {
        self.inner.taken.subscribe()
    }

    fn update(&self, key: &str, token: u64, value: Option<Vec<u8>>) {
        if let Some(slot) = self.inner.slots().get_mut(key).filter(|slot| slot.token == token) {
            slot.value = value;
            slot.change += 1;
            self.inner.changed.notify_one();
        }
    }

    fn lease(&self) -> watch::Receiver<Lease> {
        self.inner.lease.subscribe()
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.inner.closing.cancel();
            let _ = timeout(2 * REQUEST_TIMEOUT, self.inner.closed.cancelled()).await;
        })
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
