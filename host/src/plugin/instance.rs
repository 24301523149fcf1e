//! Instance: one guest in its own store, called one event at a time.
//!
//! After a [`Fault`] the instance is spent: the engine lets nobody enter it again, and the caller builds another
//! one from a snapshot.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use wasmtime::{Store, UpdateDeadline};

use super::deadline::{Deadline, Expired};
use super::effects::Effects;
use super::env::Env;
use super::fault::{Fault, FaultKind, fault};
use super::guest::Guest;
use super::imports::{Ids, LogGate};
use super::input::Input;
use super::memory::Held;
use super::meter::Meter;
use super::version::Version;
use crate::snowflake::Generator;
use hotseat_build::{TEXT_MAX, into_printable};

/// What opening, saving and loading may take at least, since they handle a whole room: longer if the
/// manifest's deadline is longer, which the operator's cap bounds.
const LIFECYCLE_MS: u64 = 1000;

/// A replayed call has met its deadline once; it gets so many times the budget to do so again.
const REPLAY_STRETCH: u64 = 10;

/// Bytes that one call may make the host copy out of the guest: effects and log lines, with room to spare.
const COPY_MAX: usize = 4 << 20;

/// A room's state in a guest's own layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The layout.
    pub schema: u32,
    /// The state.
    pub bytes: Arc<[u8]>,
}

/// How a call that did not fault ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The handler ran to its end.
    Done,
    /// The handler of a service method ran to its end and left a response.
    Answered(Vec<u8>),
    /// The handler said no; its effects are dropped.
    Refused {
        /// The game's number, or a service method's gRPC status.
        code: i32,
        /// For the player or caller.
        text: String,
    },
}

/// Why an instance did not come to life.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The plugin itself said that it cannot.
    #[error("{0}")]
    Declined(String),
    /// It failed in trying.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What the engine hands to every import.
pub(super) struct Host {
    pub(super) limits: Limits,
    pub(super) effects: Effects,
    pub(super) env: Env,
    pub(super) ids: Ids,
    pub(super) log: LogGate,
    deadline: Deadline,
    meter: Arc<Meter>,
    pub(super) settings: Arc<BTreeMap<String, String>>,
}

/// The store's memory limit: its manifest's, and what the node has left for all guests.
pub(super) struct Limits {
    memory_max: usize,
    held: Held,
    /// What was granted last, bytes.
    granted: u64,
    /// A state that is there already comes back: the node does not refuse it.
    must: bool,
    refused: Option<String>,
}

impl Limits {
    fn new(memory_max: usize, held: Held) -> Self {
        Self { memory_max, held, granted: 0, must: true, refused: None }
    }

    /// What it has asked for in vain, if it has.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

impl wasmtime::ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.granted = 0;
        if desired > self.memory_max {
            self.refused = Some(format!("asked for more than {} bytes of memory", self.memory_max));
            return Ok(false);
        }
        let more = desired.saturating_sub(current) as u64;
        if !self.held.grow(more, self.must) {
            let max = self.held.memory().max_bytes();
            self.refused = Some(format!(
                "asked for {desired} bytes of memory while all guests of the node come near {max}"
            ));
            return Ok(false);
        }
        self.granted = more;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.held.give_back(std::mem::take(&mut self.granted));
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 20_000)
    }
}

/// One live guest.
pub struct Instance {
    store: Store<Host>,
    guest: Guest,
    version: Arc<Version>,
    deadline_ms: u64,
    replaying: bool,
}

impl Instance {
    /// Makes a guest that has not seen a call yet: [`Self::open`] or [`Self::load`] comes first.
    ///
    /// # Errors
    /// A [`Fault`] if the guest's start code fails or no memory is left for another instance.
    pub fn new(
        version: &Arc<Version>,
        room: Arc<str>,
        env: Env,
        ids: &Arc<Generator>,
        settings: &Arc<BTreeMap<String, String>>,
    ) -> Result<Self, Fault> {
        let limits = &version.manifest().limits;
        let memory_max = usize::try_from(limits.memory_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
        let host = Host {
            limits: Limits::new(memory_max, Held::none(version.engine.memory())),
            effects: Effects::default(),
            env,
            ids: Ids::new(Arc::clone(ids)),
            log: LogGate::new(version.manifest().name.clone(), version.label(), room),
            deadline: Deadline::default(),
            meter: version.engine.meter(),
            settings: Arc::clone(settings),
        };
        let mut store = Store::new(version.engine.engine(), host);
        store.limiter(|host| &mut host.limits);
        store.set_hostcall_fuel(COPY_MAX);
        store.epoch_deadline_callback(|mut store| {
            let host = store.data_mut();
            Ok(match host.deadline.expired() {
                Expired::On(more) => UpdateDeadline::Continue(more),
                Expired::Long(more) => {
                    host.meter.go_long();
                    UpdateDeadline::Continue(more)
                }
                Expired::Over => UpdateDeadline::Interrupt,
            })
        });
        let ticks = store.data_mut().deadline.begin(u64::from(limits.deadline_ms).max(LIFECYCLE_MS));
        store.set_epoch_deadline(ticks);
        store.data().meter.begin_call();
        let instantiated = version.pre.instantiate(&mut store);
        store.data().meter.end_call();
        let guest = match instantiated {
            Ok(guest) => guest,
            Err(error) => return Err(fault(&mut store, &error)),
        };
        let deadline_ms = u64::from(limits.deadline_ms);
        Ok(Self { store, guest, version: Arc::clone(version), deadline_ms, replaying: false })
    }

    /// The version this is an instance of.
    pub fn version(&self) -> &Arc<Version> {
        &self.version
    }

    /// Counts what it uses for this actor from now on.
    pub fn set_meter(&mut self, meter: &Arc<Meter>) {
        self.store.data_mut().meter = Arc::clone(meter);
    }

    /// Begins a new room.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn open(&mut self, key: &str, args: &[u8]) -> Result<(), LoadError> {
        self.begin(self.deadline_ms.max(LIFECYCLE_MS));
        let result = self.guest.open(&mut self.store, key, args);
        self.end(result)?.map_err(declined)
    }

    /// Takes over a room.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&mut self, snapshot: &Snapshot) -> Result<(), LoadError> {
        self.begin(self.deadline_ms.max(LIFECYCLE_MS));
        let result = self.guest.load(&mut self.store, snapshot);
        let loaded = self.end(result)?.map_err(declined);
        self.store.data_mut().effects.clear();
        loaded
    }

    /// Writes the room down.
    ///
    /// # Errors
    /// A [`Fault`] if it traps, takes too long or is larger than the manifest's `snapshot_max_bytes`.
    pub fn save(&mut self) -> Result<Snapshot, Fault> {
        let saved = self.saving(Guest::save)?;
        let snapshot = self.snapshot(saved.schema, saved.bytes)?;
        self.version.know_schema(snapshot.schema);
        Ok(snapshot)
    }

    /// Writes the room down in the layout of an older schema, for going back to a version that has it.
    ///
    /// # Errors
    /// [`LoadError::Declined`] if the version does not offer that; the instance goes on. [`LoadError::Fault`] as for
    /// [`Self::save`].
    pub fn save_as(&mut self, schema: u32) -> Result<Snapshot, LoadError> {
        let saved = self.saving(|guest, store| guest.save_as(store, schema))?;
        let bytes = saved.map_err(LoadError::Declined)?;
        Ok(self.snapshot(schema, bytes)?)
    }

    /// The most bytes that a snapshot can have now: the guest's memory has it all.
    pub fn snapshot_bound(&self) -> usize {
        let memory = usize::try_from(self.store.data().limits.held.bytes()).unwrap_or(usize::MAX);
        memory.min(self.snapshot_max())
    }

    fn snapshot_max(&self) -> usize {
        usize::try_from(self.version.manifest().limits.snapshot_max_bytes).unwrap_or(usize::MAX)
    }

    /// A call that writes the whole state.
    fn saving<T>(
        &mut self,
        call: impl FnOnce(&Guest, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        let most = self.snapshot_max();
        self.begin(self.deadline_ms.max(LIFECYCLE_MS));
        self.store.set_hostcall_fuel(most.saturating_add(COPY_MAX));
        let result = call(&self.guest, &mut self.store);
        self.store.set_hostcall_fuel(COPY_MAX);
        let saved = self.end(result)?;
        self.store.data_mut().effects.clear();
        Ok(saved)
    }

    fn snapshot(&self, schema: u32, bytes: Vec<u8>) -> Result<Snapshot, Fault> {
        let most = self.snapshot_max();
        if bytes.len() > most {
            let text = format!("snapshot of {} bytes, at most {most} allowed", bytes.len());
            return Err(Fault { kind: FaultKind::Limit, text, frames: Vec::new() });
        }
        Ok(Snapshot { schema, bytes: bytes.into() })
    }

    /// Hands one event to the guest at the time `env.now_ms`; what it asks for is in [`Self::effects`] then.
    ///
    /// # Errors
    /// A [`Fault`]; the instance is spent and the effects are gone.
    pub fn call(&mut self, input: &Input<'_>) -> Result<Verdict, Fault> {
        self.begin(if self.replaying { self.deadline_ms * REPLAY_STRETCH } else { self.deadline_ms });
        self.store.data_mut().limits.must = self.replaying;
        let mark = (!input.changes_state()).then(|| self.store.data().env.mark());
        let result = self.guest.call(&mut self.store, input);
        let verdict = self.end(result)?;
        if let Some(mark) = mark {
            // It is in no log: what it drew or asked for must leave no trace, or a rebuild would go another way.
            let host = self.store.data_mut();
            host.env.reset(mark);
            host.ids.begin(None);
            host.effects.clear();
        }
        if matches!(verdict, Verdict::Refused { .. }) {
            self.store.data_mut().effects.clear();
        }
        Ok(verdict)
    }

    /// What the last call asked for.
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.store.data_mut().effects
    }

    /// The guest's world.
    pub fn env(&mut self) -> &mut Env {
        &mut self.store.data_mut().env
    }

    /// The ids the last call drew.
    pub fn drawn(&self) -> &[u64] {
        self.store.data().ids.drawn()
    }

    /// Draws ids anew from the node for the next call, or exactly `recorded` ones when a call is replayed.
    pub fn draw(&mut self, recorded: Option<Vec<u64>>) {
        self.store.data_mut().ids.begin(recorded);
    }

    /// While replaying, the guest's log lines are dropped, since each call has logged already, and deadlines are
    /// relaxed.
    pub fn set_replaying(&mut self, replaying: bool) {
        self.replaying = replaying;
        self.store.data_mut().log.quiet = replaying;
    }

    #[inline]
    fn begin(&mut self, deadline_ms: u64) {
        let host = self.store.data_mut();
        host.effects.clear();
        host.log.begin();
        host.limits.must = true;
        host.meter.begin_call();
        let ticks = host.deadline.begin(deadline_ms);
        self.store.set_epoch_deadline(ticks);
    }

    #[inline]
    fn end<T>(&mut self, result: wasmtime::Result<T>) -> Result<T, Fault> {
        self.store.data().meter.end_call();
        result.map_err(|error| fault(&mut self.store, &error))
    }
}

fn declined(text: String) -> LoadError {
    LoadError::Declined(into_printable(text, TEXT_MAX))
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instance of {:?}", self.version)
    }
}
