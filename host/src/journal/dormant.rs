//! Dormant: states in the journal whose actors do not run here, or not yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Past;

/// States that an earlier process left and that nobody has taken up yet: home rooms of a cluster that are not claimed, and
/// shards of plugins that do not run here. Cheap to clone; it only shrinks.
#[derive(Debug, Clone, Default)]
pub struct Dormant {
    pasts: Arc<Mutex<BTreeMap<String, Past>>>,
}

impl Dormant {
    /// These.
    pub fn new(pasts: BTreeMap<String, Past>) -> Self {
        Self { pasts: Arc::new(Mutex::new(pasts)) }
    }

    fn pasts(&self) -> MutexGuard<'_, BTreeMap<String, Past>> {
        // The map is whole at every step.
        self.pasts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<Past> {
        self.pasts().get(name).cloned()
    }

    /// It is not dormant any more.
    pub fn remove(&self, name: &str) -> Option<Past> {
        self.pasts().remove(name)
    }

    /// The generation of each.
    pub fn generations(&self) -> BTreeMap<String, u64> {
        self.pasts().iter().map(|(name, past)| (name.clone(), past.generation)).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pasts().is_empty()
    }
}
