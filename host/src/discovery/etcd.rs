//! Etcd: discovery for a cluster, over etcd v3.
//!
//! [`keeper`] holds the lease, [`registrar`] what is registered under it, [`watcher`] a view of one prefix; each is a
//! task. They and every request go through [`wire`], which knows the endpoints. None of them gives up: while etcd is
//! away they ask again with growing pauses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{DiscoveryError, Entry, Hold, Lease, View, Written};

mod backoff;
mod keeper;
mod options;
mod registrar;
mod watcher;
mod wire;

pub use options::{Options, Tls};
pub(super) use registrar::Registered;

use wire::{Failure, Wire};

/// How long a request may take, the way to etcd included.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Etcd {
    shared: Arc<Shared>,
    /// Ends the tasks with the last hand on them.
    _ended: DropGuard,
}

#[derive(Debug)]
struct Shared {
    wire: Wire,
    /// What all keys begin with, the slash included.
    root: String,
    ttl: Duration,
    lease: watch::Sender<Lease>,
    /// The keeper's judgement, so that views learn of it at once.
    away: watch::Sender<bool>,
    views: Mutex<HashMap<String, watch::Sender<Arc<View>>>>,
    registered: Arc<Registered>,
    /// Somebody has met a lease that is not there.
    doubt: Notify,
    closing: CancellationToken,
    closed: CancellationToken,
    ended: CancellationToken,
}

/// On what a write depends.
#[derive(Debug, Clone, Copy)]
pub(super) enum If {
    Absent,
    At(u64),
}

impl Etcd {
    /// Starts the tasks; needs a runtime.
    pub(super) fn new(options: Options) -> Result<Self, DiscoveryError> {
        let (root, ttl) = options.checked()?;
        let ended = CancellationToken::new();
        let shared = Arc::new(Shared {
            wire: Wire::new(options)?,
            root,
            ttl,
            lease: watch::Sender::new(Lease::Lost),
            away: watch::Sender::new(false),
            views: Mutex::default(),
            registered: Arc::default(),
            doubt: Notify::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
            ended: ended.clone(),
        });
        tokio::spawn(ended.clone().run_until_cancelled_owned(keeper::run(Arc::clone(&shared))));
        tokio::spawn(ended.clone().run_until_cancelled_owned(keeper::expire(Arc::clone(&shared))));
        tokio::spawn(ended.clone().run_until_cancelled_owned(registrar::run(Arc::clone(&shared))));
        Ok(Self { shared, _ended: ended.drop_guard() })
    }

    pub(super) fn lease(&self) -> watch::Receiver<Lease> {
        self.shared.lease.subscribe()
    }

    pub(super) fn present(&self) -> Lease {
        *self.shared.lease.borrow()
    }

    pub(super) fn registered(&self) -> &Arc<Registered> {
        &self.shared.registered
    }

    pub(super) fn watch(&self, prefix: &str) -> watch::Receiver<Arc<View>> {
        let mut views = self.shared.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = views.get(prefix) {
            return view.subscribe();
        }
        let (view, receiver) = watch::channel(Arc::default());
        views.insert(prefix.to_owned(), view.clone());
        let work = watcher::run(Arc::clone(&self.shared), prefix.to_owned(), view);
        tokio::spawn(self.shared.ended.clone().run_until_cancelled_owned(work));
        receiver
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, DiscoveryError> {
        let path = self.shared.path(key);
        let got = self.shared.wire.call(|mut client| {
            let path = path.clone();
            async move { client.get(path, None).await }
        });
        let got = got.await.map_err(|failure| failure.of(key, 0))?;
        Ok(got.kvs().first().map(entry))
    }

    pub(super) async fn put(&self, key: &str, value: Vec<u8>, hold: Hold) -> Result<u64, DiscoveryError> {
        let lease = self.shared.lease_of(key, hold)?;
        let (path, value) = (self.shared.path(key), Bytes::from(value));
        let done = self.shared.wire.call(|mut client| {
            let (path, value) = (path.clone(), value.to_vec());
            async move { client.put(path, value, Some(PutOptions::new().with_lease(lease))).await }
        });
        let done = done.await.map_err(|failure| self.shared.failed(failure, key, lease))?;
        Ok(number(done.header().map_or(0, |header| header.revision())))
    }

    pub(super) async fn write(
        &self,
        key: &str,
        value: Vec<u8>,
        hold: Hold,
        condition: If,
    ) -> Result<Written, DiscoveryError> {
        let lease = self.shared.lease_of(key, hold)?;
        let path = self.shared.path(key);
        let put = TxnOp::put(path, value, Some(PutOptions::new().with_lease(lease)));
        self.transact(key, condition, put, lease).await
    }

    pub(super) async fn remove(&self, key: &str, revision: u64) -> Result<bool, DiscoveryError> {
        let delete = TxnOp::delete(self.shared.path(key), None);
        let done = self.transact(key, If::At(revision), delete, 0).await?;
        Ok(matches!(done, Written::Done(_)))
    }

    async fn transact(
        &self,
        key: &str,
        condition: If,
        change: TxnOp,
        lease: i64,
    ) -> Result<Written, DiscoveryError> {
        let path = self.shared.path(key);
        let compares = match condition {
            If::Absent => vec![Compare::create_revision(path.clone(), CompareOp::Equal, 0)],
            // Of a key that is absent, etcd takes all revisions for 0.
            If::At(revision) => vec![
                Compare::create_revision(path.clone(), CompareOp::Greater, 0),
                Compare::mod_revision(
                    path.clone(),
                    CompareOp::Equal,
                    revision.try_into().unwrap_or(i64::MAX),
                ),
            ],
        };
        let txn = Txn::new().when(compares).and_then([change]).or_else([TxnOp::get(path, None)]);
        let done = self.shared.wire.call(|mut client| {
            let txn = txn.clone();
            async move { client.txn(txn).await }
        });
        let done = done.await.map_err(|failure| self.shared.failed(failure, key, lease))?;
        if done.succeeded() {
            return Ok(Written::Done(number(done.header().map_or(0, |header| header.revision()))));
        }
        let standing = done.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(got) => got.kvs().first().map(entry),
            _ => None,
        });
        Ok(Written::Refused(standing))
    }

    /// The key with the cluster's prefix.
    pub(super) fn path(&self, key: &str) -> String {
        self.shared.path(key)
    }

    pub(super) async fn close(&self) {
        self.shared.closing.cancel();
        // The keeper may be gone with its runtime.
        let _ = timeout(2 * REQUEST_TIMEOUT, self.shared.closed.cancelled()).await;
    }
}

impl Shared {
    fn path(&self, key: &str) -> String {
        format!("{}{key}", self.root)
    }

    /// The lease a write is to name; 0 for none.
    fn lease_of(&self, key: &str, hold: Hold) -> Result<i64, DiscoveryError> {
        match (hold, *self.lease.borrow()) {
            (Hold::Forever, _) => Ok(0),
            (Hold::Of(id), _) if id != 0 => Ok(id),
            (Hold::Lease, Lease::Held { id, until, .. }) if Instant::now() < until => Ok(id),
            _ => Err(DiscoveryError::NoLease { key: self.path(key), id: 0 }),
        }
    }

    fn failed(&self, failure: Failure, key: &str, lease: i64) -> DiscoveryError {
        if matches!(failure, Failure::NoLease) {
            self.doubt.notify_one();
        }
        failure.of(&self.path(key), lease)
    }
}

fn entry(kv: &KeyValue) -> Entry {
    Entry { value: Bytes::copy_from_slice(kv.value()), revision: number(kv.mod_revision()) }
}

/// Etcd's revisions are signed and never negative.
fn number(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}
