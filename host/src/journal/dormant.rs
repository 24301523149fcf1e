//! Dormant: states in the journal whose actors do not run here, or not yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SavedState;

/// States in this host's journal that no actor here runs: home rooms of a cluster that an earlier process
/// left and that are not claimed, or that another host has claimed while they ran here; shards of plugins
/// that do not run here. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Dormant {
    states: Arc<Mutex<BTreeMap<String, State>>>,
}

#[derive(Debug)]
enum State {
    Read(SavedState),
    /// On disk alone: its generation.
    OnDisk(u64),
}

impl State {
    fn generation(&self) -> u64 {
        match self {
            Self::Read(past) => past.generation,
            Self::OnDisk(generation) => *generation,
        }
    }
}

impl Dormant {
    /// These.
    pub fn new(saved_states: BTreeMap<String, SavedState>) -> Self {
        let states = saved_states.into_iter().map(|(name, past)| (name, State::Read(past))).collect();
        Self { states: Arc::new(Mutex::new(states)) }
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        // The map is whole at every step.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of them, if it has been read.
    pub fn get(&self, name: &str) -> Option<SavedState> {
        match self.states().get(name)? {
            State::Read(past) => Some(past.clone()),
            State::OnDisk(_) => None,
        }
    }

    /// Whether one stands on disk and has not been read.
    pub fn is_on_disk(&self, name: &str) -> bool {
        matches!(self.states().get(name), Some(State::OnDisk(_)))
    }

    /// The actor of this name has ended here, and its state of that generation stays in the journal.
    pub fn leave(&self, name: &str, generation: u64) {
        self.states().insert(name.to_owned(), State::OnDisk(generation));
    }

    /// It is not dormant any more. The state, if it has been read.
    pub fn remove(&self, name: &str) -> Option<SavedState> {
        match self.states().remove(name)? {
            State::Read(past) => Some(past),
            State::OnDisk(_) => None,
        }
    }

    /// The generation of each.
    pub fn generations(&self) -> BTreeMap<String, u64> {
        self.states().iter().map(|(name, state)| (name.clone(), state.generation())).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.states().is_empty()
    }
}
