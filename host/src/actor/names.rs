//! Names: which gRPC services of this node are taken, so that no version takes a service away from who serves it.
//!
//! A start, a deployment and a rollout all ask here, before anything changes. A version that is being put live holds its
//! names by a [`Claim`] until it is live or given up; from then on its crew's live versions hold them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::group::{ActorGroup, Live};
use crate::plugin::Version;

/// The package of gRPC's own services (health, reflection), which the host serves.
const GRPC: &str = "grpc.";

/// The names of one node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Names {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The host's own services, by full name.
    own: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: Vec<Weak<ActorGroup>>,
    claims: BTreeMap<u64, Arc<Version>>,
    next: u64,
}

/// Why a version cannot serve what it declares.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakenError {
    /// The service is the host's.
    #[error("the artefact declares the gRPC service {0}, which the host itself serves: name it otherwise")]
    Host(String),
    /// Another plugin serves it.
    #[error(
        "the artefact declares the gRPC service {service}, which the plugin {plugin} serves ({version}): \
         name it otherwise, or deploy it as {plugin}"
    )]
    Plugin {
        /// The service's full name.
        service: String,
        /// Who has it.
        plugin: String,
        /// The version that declares it.
        version: String,
    },
}

/// A version's names, held until it is live or this is dropped.
pub struct Claim {
    inner: Arc<Inner>,
    id: u64,
}

impl Names {
    /// The names of a node whose host serves `own`.
    pub fn new(own: Vec<String>) -> Self {
        Self { inner: Arc::new(Inner { own, state: Mutex::default() }) }
    }

    /// From now on the names of the crew's live version, and of the one that it may go back to, are taken.
    pub(super) fn watch(&self, group: &Arc<ActorGroup>) {
        let mut state = self.inner.state();
        state.groups.retain(|group| group.strong_count() > 0);
        state.groups.push(Arc::downgrade(group));
    }

    /// Takes the names that a version declares.
    ///
    /// # Errors
    /// [`TakenError`] if the host, another plugin, or a version of another plugin that is just being put live has one.
    pub(super) fn claim(&self, version: &Arc<Version>) -> Result<Claim, TakenError> {
        let own = |service: &&String| service.starts_with(GRPC) || self.inner.own.contains(service);
        if let Some(service) = version.services().iter().find(own) {
            return Err(TakenError::Host(service.clone()));
        }
        let mut state = self.inner.state();
        let groups: Vec<_> = state.groups.iter().filter_map(Weak::upgrade).collect();
        let lives = groups.iter().filter_map(|group| group.live());
        let held = lives.flat_map(|Live { version, fallback, .. }| [Some(version), fallback]).flatten();
        for other in held.chain(state.claims.values().cloned()) {
            let plugin = &other.manifest().name;
            let shared = other.services().iter().find(|service| version.services().contains(service));
            if let Some(service) = shared.filter(|_| *plugin != version.manifest().name) {
                let (service, plugin, version) = (service.clone(), plugin.clone(), other.to_string());
                return Err(TakenError::Plugin { service, plugin, version });
            }
        }
        let id = state.next;
        state.next += 1;
        state.claims.insert(id, Arc::clone(version));
        Ok(Claim { inner: Arc::clone(&self.inner), id })
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every step, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.inner.state().claims.remove(&self.id);
    }
}
