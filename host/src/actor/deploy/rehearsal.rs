//! Rehearsal: a version is tried on live state before anything changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tracing::warn;

use super::commands::ask;
use super::{Consent, DeployError, Inner, WayBack};
use crate::actor::group::ActorHandle;
use crate::actor::{ActorCommand, RehearsalInput, Replica, Start};
use crate::blocking;
use crate::journal::SavedState;
use crate::plugin::{Instance, Records, Snapshot, Version, VersionError};

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

/// What a rehearsal has shown.
pub(super) struct Rehearsed {
    /// Rooms that went over and saved again.
    pub(super) rooms: usize,
    /// Whether what they became comes back to the live version.
    pub(super) back: Result<WayBack, String>,
    /// Rooms that do not go, and may be set aside.
    pub(super) aside: Vec<ActorHandle>,
    /// How long the room took that took longest to save its state and to load it again.
    pub(super) pause: Duration,
}

/// Which of these rooms has the largest state. A sample may miss it, and its players wait longest.
async fn heaviest(rooms: &[ActorHandle]) -> Option<usize> {
    let mut heaviest = None;
    for (at, room) in rooms.iter().enumerate() {
        if let Some(Ok(weight)) = ask(room, ActorCommand::Weigh).await {
            heaviest = heaviest.max(Some((weight.most, at)));
        }
    }
    heaviest.map(|(_, at)| at)
}

impl Inner {
    /// Verifies and compiles an artefact for this plugin, in a process of its own. Nothing waits for it: it is done
    /// before a deployment takes its turn. Dropping the future ends it.
    pub(super) async fn prepare(&self, bytes: Arc<[u8]>) -> Result<Arc<Version>, DeployError> {
        let compiling = Compiling::begin(&self.compiling);
        let version = Version::compile(&self.engine, bytes).await;
        let outcome = version.as_ref().map_or_else(VersionError::name, |_| "done");
        self.group.metrics().compiles.with_label_values(&[outcome]).inc();
        drop(compiling);
        let version = version?;
        if version.manifest().name != self.group.plugin() {
            let found = version.manifest().name.clone();
            return Err(DeployError::Name { found, wanted: self.group.plugin().to_owned() });
        }
        if version.manifest().world != self.group.wit_world() {
            return Err(DeployError::World {
                found: version.manifest().world.clone(),
                plugin: self.group.plugin().to_owned(),
                wanted: self.group.wit_world(),
            });
        }
        self.group.caps().check(&version.manifest().limits)?;
        Ok(Arc::new(version))
    }

    /// Tries live state on the new version, or a new room where there is none. Rooms that may be set aside may fail.
    pub(super) async fn rehearse(
        &self,
        live: &Arc<Version>,
        version: &Arc<Version>,
        consent: &Consent,
    ) -> Result<Rehearsed, DeployError> {
        let may_stay = &consent.set_aside;
        let is_named = |room: &ActorHandle| may_stay.iter().any(|name| **name == *room.name);
        let (named, others): (Vec<_>, Vec<_>) = self.group.members().into_iter().partition(is_named);
        if let Some(name) = may_stay.iter().find(|name| !named.iter().any(|room| *room.name == ***name)) {
            return Err(DeployError::Rehearsal(format!("there is no room {name} to set aside")));
        }
        // The sample is spread over the rooms, whatever order they come in.
        let step = others.len().div_ceil(REHEARSE_MAX).max(1);
        let heaviest = heaviest(&others).await.filter(|at| !at.is_multiple_of(step));
        let heaviest = heaviest.map(|at| others[at].clone());
        let rooms: Vec<_> =
            named.into_iter().chain(others.into_iter().step_by(step)).chain(heaviest).collect();
        let mut rehearsed = 0;
        let mut back = Ok(WayBack::State);
        let (mut aside, mut slowest) = (Vec::new(), None);
        for room in rooms {
            let name = Arc::clone(&room.name);
            let began = Instant::now();
            let Some(input) = ask(&room, ActorCommand::Snapshot).await else { continue };
            let there = match input {
                Ok(RehearsalInput::State(state)) => {
                    let carried = self.carry(live, version, &name, state).await?;
                    carried.map(|(there, _)| there).map_err(|why| format!("state of room {name}: {why}"))
                }
                Ok(RehearsalInput::Log { past, why }) => {
                    let replayed = self.replay(version, &name, past).await?;
                    let both =
                        |other| format!("{why}; the new version does not come to it by its inputs: {other}");
                    replayed.map_err(|other| format!("room {name} cannot be saved: {}", both(other)))
                }
                Err(why) => Err(format!("room {name} cannot be saved: {why}")),
            };
            let there = match there {
                Ok(there) => there,
                Err(why) if is_named(&room) => {
                    warn!(plugin = self.group.plugin(), room = %name, %version, why, "room is to be set aside");
                    aside.push(room);
                    continue;
                }
                Err(why) => return Err(DeployError::Rehearsal(why)),
            };
            slowest = slowest.max(Some((began.elapsed(), Arc::clone(&name))));
            back = self.come_back(version, live, &name, there, back).await?;
            rehearsed += 1;
        }
        if rehearsed == 0 {
            let rehearsal_name = Arc::clone(self.group.rehearsal_name());
            let there = self.rehearse_opening(version).await?;
            back = self.come_back(version, live, &rehearsal_name, there, back).await?;
        }
        let pause = self.check_pause(slowest, consent)?;
        Ok(Rehearsed { rooms: rehearsed, back, aside, pause })
    }

    /// How long players are expected to wait, if they may.
    fn check_pause(
        &self,
        slowest: Option<(Duration, Arc<str>)>,
        consent: &Consent,
    ) -> Result<Duration, DeployError> {
        let Some((pause, room)) = slowest else { return Ok(Duration::ZERO) };
        let (most, ms) = (self.terms.pause_max, |pause: Duration| pause.as_millis());
        if pause > most && !consent.any_pause {
            let (expected_ms, max_ms) = (ms(pause), ms(most));
            return Err(DeployError::Pause { room: room.to_string(), expected_ms, max_ms });
        }
        Ok(pause)
    }

    /// What a version makes of a room's base and log: every input has to be handled again, and the state saved.
    async fn replay(
        &self,
        version: &Arc<Version>,
        room: &Arc<str>,
        past: SavedState,
    ) -> Result<Result<Snapshot, String>, DeployError> {
        let (version, room) = (Arc::clone(version), Arc::clone(room));
        let task = blocking::run(move || {
            let start = Start::read(&room, &past.base, &BTreeMap::new()).ok_or("its base cannot be read")?;
            let records = Records::from_bytes(past.inputs).map_err(|error| error.to_string())?;
            let mut replica = Replica::begin(&start, &version).map_err(|error| error.to_string())?;
            for (at_ms, input, ids) in records.iter().flatten() {
                replica.deliver(at_ms, &input, ids, true).map_err(|fault| fault.to_string())?;
            }
            replica.save().map_err(|fault| format!("cannot be saved by it either: {fault}"))
        });
        Ok(task.await?)
    }

    /// What is known of the way back once it was tried with one more state.
    async fn come_back(
        &self,
        from: &Arc<Version>,
        to: &Arc<Version>,
        room: &Arc<str>,
        state: Snapshot,
        so_far: Result<WayBack, String>,
    ) -> Result<Result<WayBack, String>, DeployError> {
        let Ok(so_far) = so_far else { return Ok(so_far) };
        Ok(match self.carry(from, to, room, state).await? {
            Ok((_, WayBack::Downgrade)) => Ok(WayBack::Downgrade),
            Ok(_) => Ok(so_far),
            Err(why) => Err(format!("state of room {room}: {why}")),
        })
    }

    /// Brings a state from one version to the other: as it is, or as the first one writes it for the second. What the
    /// second one makes of it, and how it went; or why it does not go.
    async fn carry(
        &self,
        from: &Arc<Version>,
        to: &Arc<Version>,
        room: &Arc<str>,
        state: Snapshot,
    ) -> Result<Result<(Snapshot, WayBack), String>, DeployError> {
        let why = match self.load_and_save(to, room, state.clone()).await? {
            Ok(there) => return Ok(Ok((there, WayBack::State))),
            Err(why) => why,
        };
        if to.schema().is_none() {
            // What it writes is not known before it has written something.
            self.rehearse_opening(to).await?;
        }
        let Some(schema) = to.schema().filter(|schema| *schema != state.schema) else { return Ok(Err(why)) };
        let write = self.shadow(from, room, move |shadow| {
            shadow.load(&state).map_err(|error| error.to_string())?;
            shadow.save_as(schema).map_err(|error| error.to_string())
        });
        match write.await? {
            Err(not_written) => Ok(Err(format!("{why}; {not_written}"))),
            Ok(written) => {
                let there = self.load_and_save(to, room, written).await?;
                Ok(there.map(|there| (there, WayBack::Downgrade)))
            }
        }
    }

    async fn load_and_save(
        &self,
        version: &Arc<Version>,
        room: &Arc<str>,
        state: Snapshot,
    ) -> Result<Result<Snapshot, String>, DeployError> {
        let load = self.shadow(version, room, move |shadow| {
            shadow.load(&state).map_err(|error| error.to_string())?;
            shadow.save().map_err(|fault| format!("cannot be saved again: {fault}"))
        });
        load.await
    }

    /// What a new room saves.
    pub(super) async fn rehearse_opening(&self, version: &Arc<Version>) -> Result<Snapshot, DeployError> {
        let rehearsal_name = Arc::clone(self.group.rehearsal_name());
        let open = self.shadow(version, self.group.rehearsal_name(), move |shadow| {
            shadow.open(&rehearsal_name, &[]).map_err(|error| error.to_string())?;
            shadow.save().map_err(|fault| format!("cannot be saved: {fault}"))
        });
        open.await?.map_err(|why| DeployError::Rehearsal(format!("a new room: {why}")))
    }

    /// Runs something on an instance that nobody else sees, on a thread that may block.
    async fn shadow<T: Send + 'static>(
        &self,
        version: &Arc<Version>,
        room: &Arc<str>,
        run: impl FnOnce(&mut Instance) -> Result<T, String> + Send + 'static,
    ) -> Result<Result<T, String>, DeployError> {
        let (version, room) = (Arc::clone(version), Arc::clone(room));
        let (world, env) = (self.group.world().clone(), self.group.new_env());
        let task = blocking::run(move || {
            let shadow = Instance::new(&version, room, env, &world.ids, &world.settings);
            let mut shadow = shadow.map_err(|fault| fault.to_string())?;
            shadow.set_replaying(true);
            run(&mut shadow)
        });
        Ok(task.await?)
    }
}
