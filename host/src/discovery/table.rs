//! Table: discovery for a node on its own, in this process.
//!
//! Two locks: who writes holds `writing`, across the disk; `state` is held for moments only, so reads never wait for
//! the disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use super::{DiscoveryError, Entry, Hold, Lease, View, Written, key};

mod file;

use file::File;

/// The only lease there is.
const LEASE: i64 = 1;
/// Further off than any process lives.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[derive(Debug)]
pub(super) struct Table {
    writing: Mutex<()>,
    state: Mutex<State>,
    file: Option<File>,
    lease: watch::Sender<Lease>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<String, Held>,
    revision: u64,
    views: BTreeMap<String, watch::Sender<Arc<View>>>,
    /// The last registration's token.
    token: u64,
}

#[derive(Debug, Clone)]
struct Held {
    entry: Entry,
    by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    File,
    Lease,
    Registration(u64),
}

/// On what a write depends.
#[derive(Debug, Clone, Copy)]
pub(super) enum If {
    Always,
    Absent,
    At(u64),
}

/// A write that has been found possible.
struct Change<'a> {
    key: &'a str,
    /// None removes.
    new: Option<(Bytes, By)>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self::of(None, State::default())
    }

    pub(super) fn open(dir: &Path) -> Result<Self, DiscoveryError> {
        let (file, kept) = File::open(dir)?;
        let revision = kept.values().map(|entry| entry.revision).max().unwrap_or(0);
        let entries = kept.into_iter().map(|(key, entry)| (key, Held { entry, by: By::File })).collect();
        Ok(Self::of(Some(file), State { entries, revision, ..State::default() }))
    }

    fn of(file: Option<File>, state: State) -> Self {
        let until = Instant::now().checked_add(FOR_EVER).expect("a clock of 64 bits lasts longer");
        let lease = watch::Sender::new(Lease::Held { id: LEASE, epoch: 1, until });
        Self { writing: Mutex::new(()), state: Mutex::new(state), file, lease }
    }

    pub(super) fn lease(&self) -> watch::Receiver<Lease> {
        self.lease.subscribe()
    }

    pub(super) fn present(&self) -> Lease {
        *self.lease.borrow()
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.state().entries.get(key).map(|held| held.entry.clone())
    }

    pub(super) fn watch(&self, prefix: &str) -> watch::Receiver<Arc<View>> {
        let mut state = self.state();
        let view = Arc::new(state.view(prefix));
        let sender = state.views.entry(prefix.to_owned()).or_insert_with(|| watch::Sender::new(view));
        sender.subscribe()
    }

    /// Off the executor if the disk is waited for.
    pub(super) async fn write(
        self: &Arc<Self>,
        key: &str,
        value: Option<Vec<u8>>,
        hold: Hold,
        condition: If,
    ) -> Result<Written, DiscoveryError> {
        if self.file.is_none() {
            return self.write_now(key, value, hold, condition);
        }
        let (table, owned) = (Arc::clone(self), key.to_owned());
        let work = move || table.write_now(&owned, value, hold, condition);
        // It is cancelled only with the runtime, which then drops the caller too.
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|e| Err(DiscoveryError::Away { why: e.to_string() }))
    }

    fn write_now(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        hold: Hold,
        condition: If,
    ) -> Result<Written, DiscoveryError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let by = match hold {
            Hold::Forever => By::File,
            Hold::Lease | Hold::Of(LEASE) if *self.lease.borrow() != Lease::Lost => By::Lease,
            Hold::Lease => return Err(DiscoveryError::NoLease { key: key.to_owned(), id: 0 }),
            Hold::Of(id) => return Err(DiscoveryError::NoLease { key: key.to_owned(), id }),
        };
        let standing = self.get(key);
        let fits = match condition {
            If::Always => true,
            If::Absent => standing.is_none(),
            If::At(revision) => standing.as_ref().is_some_and(|entry| entry.revision == revision),
        };
        if !fits {
            return Ok(Written::Refused(standing));
        }
        self.apply(Change { key, new: value.map(|value| (value.into(), by)) }).map(Written::Done)
    }

    /// With `writing` held.
    fn apply(&self, change: Change<'_>) -> Result<u64, DiscoveryError> {
        if let Some(file) = &self.file {
            let (was, kept, revision) = {
                let state = self.state();
                let was = state.entries.get(change.key).is_some_and(|held| held.by == By::File);
                (was, state.kept(), state.revision + 1)
            };
            let is = matches!(change.new, Some((_, By::File)));
            if was || is {
                let mut kept = kept;
                kept.remove(change.key);
                if let Some((value, By::File)) = &change.new {
                    kept.insert(change.key.to_owned(), Entry { value: value.clone(), revision });
                }
                file.write(&kept)?;
            }
        }
        let mut state = self.state();
        state.revision += 1;
        let revision = state.revision;
        match change.new {
            Some((value, by)) => {
                let held = Held { entry: Entry { value, revision }, by };
                state.entries.insert(change.key.to_owned(), held);
            }
            None => {
                state.entries.remove(change.key);
            }
        }
        state.publish(change.key);
        Ok(revision)
    }

    /// The registration's token.
    pub(super) fn register(&self, key: &str, value: Vec<u8>) -> u64 {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let token = {
            let mut state = self.state();
            state.token += 1;
            state.token
        };
        self.keep(key, token, value);
        token
    }

    /// Changes or, without a value, removes what `token` has registered.
    pub(super) fn update(&self, key: &str, token: u64, value: Option<Vec<u8>>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = self.state().entries.get(key).is_some_and(|held| held.by == By::Registration(token));
        match value {
            Some(value) if ours => self.keep(key, token, value),
            None if ours => self.apply_registered(Change { key, new: None }),
            _ => {}
        }
    }

    fn keep(&self, key: &str, token: u64, value: Vec<u8>) {
        if let Err(error) = key::check_with(key, &value) {
            warn!(%error, "a registration is not written");
        } else if *self.lease.borrow() != Lease::Lost {
            self.apply_registered(Change { key, new: Some((value.into(), By::Registration(token))) });
        }
    }

    fn apply_registered(&self, change: Change<'_>) {
        if let Err(error) = self.apply(change) {
            warn!(error = &error as &dyn std::error::Error, "a registration is not written");
        }
    }

    pub(super) fn close(&self) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.lease.send_replace(Lease::Lost);
        let mut state = self.state();
        let under = |held: &Held| held.by != By::File;
        let gone: Vec<_> =
            state.entries.iter().filter(|(_, held)| under(held)).map(|(key, _)| key.clone()).collect();
        state.revision += u64::from(!gone.is_empty());
        for key in gone {
            state.entries.remove(&key);
            state.publish(&key);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn view(&self, prefix: &str) -> View {
        let from = self.entries.range(prefix.to_owned()..);
        let entries = from
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, held)| (key.clone(), held.entry.clone()));
        View { entries: entries.collect(), revision: self.revision, fresh: true }
    }

    /// Tells those who see `key` of its change, and forgets views that nobody looks at.
    fn publish(&mut self, key: &str) {
        self.views.retain(|_, sender| sender.receiver_count() > 0);
        for (prefix, sender) in self.views.iter().filter(|(prefix, _)| key.starts_with(prefix.as_str())) {
            sender.send_replace(Arc::new(self.view(prefix)));
        }
    }

    /// What the file is to hold.
    fn kept(&self) -> BTreeMap<String, Entry> {
        let kept = self.entries.iter().filter(|(_, held)| held.by == By::File);
        kept.map(|(key, held)| (key.clone(), held.entry.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
