//! Rehearsal: a version is tried on live state before anything changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::orders::ask;
use super::{DeployError, Inner};
use crate::actor::Order;
use crate::blocking;
use crate::plugin::{Instance, Snapshot, Version, VersionError};

/// Rooms whose state is tried on the new version before the cut.
const REHEARSE_MAX: usize = 16;

/// A compilation under way, for who asks what is.
struct Compiling<'a>(&'a AtomicUsize);

impl<'a> Compiling<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Compiling<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    /// Verifies and compiles an artefact for this plugin, in a process of its own. Nothing waits for it: it is done
    /// before a deployment takes its turn. Dropping the future ends it.
    pub(super) async fn prepare(&self, bytes: Arc<[u8]>) -> Result<Arc<Version>, DeployError> {
        let compiling = Compiling::begin(&self.compiling);
        let version = Version::compile(&self.engine, bytes).await;
        let outcome = version.as_ref().map_or_else(VersionError::name, |_| "done");
        self.crew.metrics().compiles.with_label_values(&[outcome]).inc();
        drop(compiling);
        let version = version?;
        if version.manifest().name != self.crew.plugin() {
            let found = version.manifest().name.clone();
            return Err(DeployError::Name { found, wanted: self.crew.plugin().to_owned() });
        }
        if version.manifest().world != self.crew.wit_world() {
            return Err(DeployError::World {
                found: version.manifest().world.clone(),
                plugin: self.crew.plugin().to_owned(),
                wanted: self.crew.wit_world(),
            });
        }
        Ok(Arc::new(version))
    }

    /// Tries live state on the new version, or a new room where there is none.
    pub(super) async fn rehearse(&self, version: &Arc<Version>) -> Result<usize, DeployError> {
        let mut rooms = self.crew.members();
        // The sample is spread over the rooms, whatever order they come in.
        let step = rooms.len().div_ceil(REHEARSE_MAX).max(1);
        rooms = rooms.into_iter().step_by(step).collect();
        let mut rehearsed = 0;
        for room in rooms {
            let name = Arc::clone(&room.name);
            let Some(snapshot) = ask(&room, Order::Snapshot).await else { continue };
            let snapshot = snapshot
                .map_err(|why| DeployError::Rehearsal(format!("room {name} cannot be saved: {why}")))?;
            self.rehearse_loading(version, &name, snapshot).await?;
            rehearsed += 1;
        }
        if rehearsed == 0 {
            self.rehearse_opening(version).await?;
        }
        Ok(rehearsed)
    }

    pub(super) async fn rehearse_loading(
        &self,
        version: &Arc<Version>,
        room: &Arc<str>,
        snapshot: Snapshot,
    ) -> Result<(), DeployError> {
        let name = Arc::clone(room);
        let load = self.shadow(version, room, move |shadow| {
            shadow.load(&snapshot).map_err(|error| error.to_string())?;
            shadow.save().map(drop).map_err(|fault| format!("cannot be saved again: {fault}"))
        });
        load.await?.map_err(|why| DeployError::Rehearsal(format!("state of room {name}: {why}")))
    }

    pub(super) async fn rehearse_opening(&self, version: &Arc<Version>) -> Result<(), DeployError> {
        let sample = Arc::clone(self.crew.sample());
        let open = self.shadow(version, self.crew.sample(), move |shadow| {
            shadow.open(&sample, &[]).map_err(|error| error.to_string())?;
            shadow.save().map(drop).map_err(|fault| format!("cannot be saved: {fault}"))
        });
        open.await?.map_err(|why| DeployError::Rehearsal(format!("a new room: {why}")))
    }

    /// Runs something on an instance that nobody else sees, on a thread that may block.
    pub(super) async fn shadow(
        &self,
        version: &Arc<Version>,
        room: &Arc<str>,
        run: impl FnOnce(&mut Instance) -> Result<(), String> + Send + 'static,
    ) -> Result<Result<(), String>, DeployError> {
        let (version, room) = (Arc::clone(version), Arc::clone(room));
        let (world, env) = (self.crew.world().clone(), self.crew.new_env());
        let task = blocking::run(move || {
            let shadow = Instance::new(&version, room, env, &world.ids, &world.settings);
            let mut shadow = shadow.map_err(|fault| fault.to_string())?;
            shadow.set_replaying(true);
            run(&mut shadow)
        });
        task.await.map_err(|_| DeployError::Shutdown)
    }
}
