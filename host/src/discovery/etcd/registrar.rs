//! Registrar: entries that are to stand under this node's lease, whatever happens.
//!
//! They are written when they are new or changed and when there is a new lease, and put back when somebody
//! has removed them. An entry that somebody else has put in their place is left. Of an entry that one process
//! alone is to have, its own or another one's is told from the value: see [`Registered::taken`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::warn;

use super::Shared;
use super::backoff::Backoff;
use super::wire::Failure;
use crate::discovery::{Lease, Same, key};

/// What is to stand, by its key.
#[derive(Debug, Default)]
pub(in crate::discovery) struct Registered {
    slots: Mutex<BTreeMap<String, Slot>>,
    /// The last registration's, or change's, number.
    number: AtomicU64,
    changed: Notify,
    /// What stands in the place of an entry that is this process's own.
    taken: watch::Sender<Option<Bytes>>,
    /// One pass at a time.
    passing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Slot {
    token: u64,
    /// How a value of this process is told from that of another one, if one process alone is to have the
    /// entry.
    same: Option<Same>,
    /// The number of its last change.
    change: u64,
    /// None: it is to be removed.
    value: Option<Bytes>,
    /// The last lease under which it may have been written.
    tried: Option<i64>,
    /// The last lease and change for which it certainly was.
    written: Option<(i64, u64)>,
    /// Whether a refusal has been logged.
    told: bool,
}

/// Passes on every change, and every third of a lease's life.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut backoff = Backoff::default();
    let mut pause = shared.ttl / 3;
    loop {
        tokio::select! {
            () = shared.registered.changed.notified() => {}
            () = sleep(pause) => {}
        }
        match shared.registered.pass_present(&shared).await {
            Ok(()) => {
                backoff = Backoff::default();
                pause = shared.ttl / 3;
            }
            Err(Failure::NoLease) => {
                shared.doubt.notify_one();
                pause = backoff.pause();
            }
            Err(_) => pause = backoff.pause(),
        }
    }
}

impl Registered {
    /// Takes an entry on; its token.
    pub(in crate::discovery) fn add(&self, key: &str, value: Vec<u8>) -> u64 {
        self.add_with(key, value, None)
    }

    /// As [`Self::add`], for an entry that one process alone is to have.
    pub(in crate::discovery) fn add_own(&self, key: &str, value: Vec<u8>, same: Same) -> u64 {
        self.add_with(key, value, Some(same))
    }

    /// What stands in the place of an entry that is this process's own.
    pub(in crate::discovery) fn taken(&self) -> watch::Receiver<Option<Bytes>> {
        self.taken.subscribe()
    }

    /// Whether nobody else stands in the place of an entry that is this process's own, as far as is known.
    pub(super) fn is_taken(&self) -> bool {
        self.taken.borrow().is_some()
    }

    /// Whether there are entries that one process alone is to have.
    pub(super) fn has_own(&self) -> bool {
        self.slots().values().any(|slot| slot.same.is_some())
    }

    fn add_with(&self, key: &str, value: Vec<u8>, same: Option<Same>) -> u64 {
        let token = self.next();
        if let Err(error) = key::check_with(key, &value) {
            warn!(%error, "a registration is not written");
            return token;
        }
        let mut slots = self.slots();
        let tried = slots.get(key).and_then(|slot| slot.tried);
        let slot =
            Slot { token, same, change: token, value: Some(value.into()), tried, written: None, told: false };
        slots.insert(key.to_owned(), slot);
        self.changed.notify_one();
        token
    }

    /// Changes or, without a value, removes an entry, unless a later one has its key.
    pub(in crate::discovery) fn update(&self, key: &str, token: u64, value: Option<Vec<u8>>) {
        if let Some(Err(error)) = value.as_ref().map(|value| key::check_with(key, value)) {
            warn!(%error, "a registration is not changed");
            return;
        }
        let change = self.next();
        if let Some(slot) = self.slots().get_mut(key).filter(|slot| slot.token == token) {
            (slot.value, slot.change, slot.told) = (value.map(Bytes::from), change, false);
            self.changed.notify_one();
        }
    }

    async fn pass_present(&self, shared: &Shared) -> Result<(), Failure> {
        let _one = self.passing.lock().await;
        let held = *shared.lease.borrow();
        match held {
            Lease::Held { id, .. } => self.pass_with(shared, id).await,
            Lease::Lost => Ok(()),
        }
    }

    /// Brings all entries to what they are to be, under that lease. Stops at the first that gets no answer.
    pub(super) async fn pass(&self, shared: &Shared, lease: i64) -> Result<(), Failure> {
        let _one = self.passing.lock().await;
        self.pass_with(shared, lease).await
    }

    async fn pass_with(&self, shared: &Shared, lease: i64) -> Result<(), Failure> {
        let all: Vec<_> = self.slots().iter().map(|(key, slot)| (key.clone(), slot.clone())).collect();
        for (key, slot) in all {
            let done = match &slot.value {
                Some(value) => {
                    // Whatever becomes of the slot meanwhile: who removes the entry must know of this.
                    if let Some(slot) = self.slots().get_mut(&key) {
                        slot.tried = Some(lease);
                    }
                    let anew = slot.written != Some((lease, slot.change));
                    match slot.same {
                        Some(same) => self.put_own(shared, &key, value, lease, same).await,
                        None => put(shared, &key, value, lease, anew).await,
                    }
                }
                None => match slot.tried {
                    Some(tried) => remove(shared, &key, tried).await,
                    None => Ok(()),
                },
            };
            match done {
                Ok(()) if slot.value.is_none() => {
                    let mut slots = self.slots();
                    if slots.get(&key).is_some_and(|now| now.change == slot.change) {
                        slots.remove(&key);
                    }
                }
                Ok(()) => self.note(&key, &slot, |slot| slot.written = Some((lease, slot.change))),
                Err(Failure::Refused(why)) => {
                    if !slot.told {
                        warn!(key, why, "etcd refuses a registration");
                        self.note(&key, &slot, |slot| slot.told = true);
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Puts the entry unless another process stands there.
    async fn put_own(
        &self,
        shared: &Shared,
        key: &str,
        value: &Bytes,
        lease: i64,
        same: Same,
    ) -> Result<(), Failure> {
        let path = shared.path(key);
        let got = shared.wire.call(|mut client| {
            let path = path.clone();
            async move { client.get(path, None).await }
        });
        let got = got.await?;
        let standing = got.kvs().first();
        let other = standing.map(|kv| kv.value()).filter(|standing| !same(standing, value));
        let other = other.map(Bytes::copy_from_slice);
        self.taken.send_if_modified(|taken| {
            let news = *taken != other;
            taken.clone_from(&other);
            news
        });
        if other.is_some() || standing.is_some_and(|kv| kv.lease() == lease && *kv.value() == **value) {
            return Ok(());
        }
        let revision = standing.map_or(0, |kv| kv.mod_revision());
        let unchanged = Compare::mod_revision(path.clone(), CompareOp::Equal, revision);
        let put = TxnOp::put(path, value.to_vec(), Some(PutOptions::new().with_lease(lease)));
        let txn = Txn::new().when([unchanged]).and_then([put]);
        let send = |mut client: etcd_client::Client| {
            let txn = txn.clone();
            async move { client.txn(txn).await }
        };
        match shared.wire.call(send).await?.succeeded() {
            true => Ok(()),
            false => Err(Failure::Away("an entry changed while it was written".into())),
        }
    }

    /// Writes something down of a slot that has not changed meanwhile.
    fn note(&self, key: &str, seen: &Slot, note: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots().get_mut(key).filter(|slot| slot.change == seen.change) {
            note(slot);
        }
    }

    fn next(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the entry; one that was put before only if it is not there.
async fn put(shared: &Shared, key: &str, value: &Bytes, lease: i64, anew: bool) -> Result<(), Failure> {
    let path = shared.path(key);
    let put = TxnOp::put(path.clone(), value.to_vec(), Some(PutOptions::new().with_lease(lease)));
    let absent = Compare::create_revision(path, CompareOp::Equal, 0);
    let txn = if anew { Txn::new() } else { Txn::new().when([absent]) }.and_then([put]);
    let send = |mut client: etcd_client::Client| {
        let txn = txn.clone();
        async move { client.txn(txn).await }
    };
    shared.wire.call(send).await.map(drop)
}

/// Removes the entry if it stands under that lease.
async fn remove(shared: &Shared, key: &str, lease: i64) -> Result<(), Failure> {
    let path = shared.path(key);
    let ours = Compare::lease(path.clone(), CompareOp::Equal, lease);
    let txn = Txn::new().when([ours]).and_then([TxnOp::delete(path, None)]);
    let send = |mut client: etcd_client::Client| {
        let txn = txn.clone();
        async move { client.txn(txn).await }
    };
    shared.wire.call(send).await.map(drop)
}
