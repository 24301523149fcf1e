//! Drain progress: how far a host is with handing its rooms to others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What has gone, and what does not go. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct DrainProgress {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    moved: u64,
    /// At most one a room of this host.
    staying: BTreeMap<String, String>,
}

impl DrainProgress {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // It is whole at every step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A room has gone.
    pub fn moved(&self, room: &str) {
        let mut inner = self.inner();
        inner.moved += 1;
        inner.staying.remove(room);
    }

    /// A room does not go; whether that is news.
    pub fn stays(&self, room: &str, why: &str) -> bool {
        self.inner().staying.insert(room.to_owned(), why.to_owned()).is_none_or(|before| before != why)
    }

    /// Whether a room did not go when it was to.
    pub fn is_staying(&self, room: &str) -> bool {
        self.inner().staying.contains_key(room)
    }

    /// Forgets what is not to leave any more.
    pub fn retain(&self, leaves: impl Fn(&str) -> bool) {
        self.inner().staying.retain(|room, _| leaves(room));
    }

    /// Rooms that have gone since the node was started, and those that do not go with the reasons.
    pub fn told(&self) -> (u64, BTreeMap<String, String>) {
        let inner = self.inner();
        (inner.moved, inner.staying.clone())
    }
}
