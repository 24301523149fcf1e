//! Table: one plugin's entries in etcd, read and written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use super::RolloutError;
use super::record::{Record, Status};
use crate::discovery::{Discovery, DiscoveryError, Entry, Hold, View, Written};

/// How long a change is tried while etcd is away.
const CHANGE: Duration = Duration::from_secs(10);

/// Between two tries.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// One plugin's entries. Each clone sees changes for itself.
#[derive(Clone)]
pub(super) struct Table {
    discovery: Discovery,
    key: String,
    prefix: String,
    records: watch::Receiver<Arc<View>>,
    nodes: watch::Receiver<Arc<View>>,
    /// The revision of the last bad record that was told of.
    told: Arc<AtomicU64>,
}

impl Table {
    pub(super) fn new(discovery: &Discovery, plugin: &str) -> Self {
        let key = format!("plugins/{plugin}");
        // Not below the record's key: watches go by the beginning of a key.
        let prefix = format!("plugin-nodes/{plugin}/");
        let (records, nodes) = (discovery.watch(&key), discovery.watch(&prefix));
        Self { discovery: discovery.clone(), key, prefix, records, nodes, told: Arc::default() }
    }

    /// Where a node tells how far it is.
    pub(super) fn node_key(&self, node: &str) -> String {
        format!("{}{node}", self.prefix)
    }

    /// Whether what is known is up to date.
    pub(super) fn is_fresh(&self) -> bool {
        self.records.borrow().fresh && self.nodes.borrow().fresh
    }

    /// The record as last seen. One that cannot be read is as good as none, and told of once.
    pub(super) fn record(&self) -> Option<Record> {
        let view = self.records.borrow();
        let entry = view.entries.get(&self.key)?;
        match self.read(entry) {
            Ok(record) => Some(record),
            Err(error) => {
                if self.told.swap(entry.revision, Ordering::Relaxed) != entry.revision {
                    warn!(key = self.key, %error, "entry ignored");
                }
                None
            }
        }
    }

    /// The nodes that run the plugin and how far each is. Entries that cannot be read are left out.
    pub(super) fn nodes(&self) -> BTreeMap<String, Status> {
        let view = self.nodes.borrow();
        let status = |(key, entry): (&String, &Entry)| {
            let node = key.strip_prefix(&self.prefix)?;
            Some((node.to_owned(), serde_json::from_slice(&entry.value).ok()?))
        };
        view.entries.iter().filter_map(status).collect()
    }

    /// Whether a node is gone, whatever this one has seen of it. False if that cannot be told.
    pub(super) async fn is_gone(&self, node: &str) -> bool {
        let key = self.node_key(node);
        // The view of the nodes may be behind that of the records.
        !self.nodes.borrow().entries.contains_key(&key) && matches!(self.discovery.get(&key).await, Ok(None))
    }

    /// Completes when something has changed since the last call. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let (records, nodes) = (&mut self.records, &mut self.nodes);
        tokio::select! {
            biased;
            Ok(()) = records.changed() => {}
            Ok(()) = nodes.changed() => {}
            else => std::future::pending().await,
        }
    }

    /// The record as it stands now.
    pub(super) async fn get(&self) -> Result<Option<Record>, RolloutError> {
        let entry = self.discovery.get(&self.key).await?;
        entry.map(|entry| self.read(&entry)).transpose()
    }

    /// Changes the record to what `to` makes of it; it is asked again if somebody else was faster, and after an answer
    /// was lost, so it must see by the record that its change is made. False if it wants no change. Tries for 10 s.
    pub(super) async fn change(
        &self,
        to: impl Fn(Option<&Record>) -> Option<Record>,
    ) -> Result<bool, RolloutError> {
        let deadline = Instant::now() + CHANGE;
        loop {
            match self.try_change(&to).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => continue,
                Err(RolloutError::Discovery(DiscoveryError::Away { .. })) if Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// One try; none if somebody else was faster.
    async fn try_change(
        &self,
        to: impl Fn(Option<&Record>) -> Option<Record>,
    ) -> Result<Option<bool>, RolloutError> {
        let entry = self.discovery.get(&self.key).await?;
        let record = entry.as_ref().map(|entry| self.read(entry)).transpose()?;
        let Some(changed) = to(record.as_ref()) else { return Ok(Some(false)) };
        let value = serde_json::to_vec(&changed).expect("a record is plain data");
        let written = match entry {
            Some(entry) => self.discovery.replace(&self.key, entry.revision, value, Hold::Forever).await?,
            None => self.discovery.create(&self.key, value, Hold::Forever).await?,
        };
        Ok(matches!(written, Written::Done(_)).then_some(true))
    }
}

impl Table {
    fn read(&self, entry: &Entry) -> Result<Record, RolloutError> {
        serde_json::from_slice(&entry.value).map_err(|error| RolloutError::Record {
            key: self.discovery.full_key(&self.key),
            why: error.to_string(),
        })
    }
}
