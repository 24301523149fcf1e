//! Keep: what of a room goes to the journal, and how a room comes back from it.

use std::sync::Arc;

use hotseat_build::Durability;
use tracing::warn;

use super::base::Base;
use super::rebuild::begin;
use super::{Sandbox, SwapError, World};
use crate::actor::Weight;
use crate::journal::SavedState;
use crate::plugin::{InputError, LoadError, Records, Version};

/// Why a room does not come back from what was left of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// The base is not one of this version of the host.
    #[error("its base cannot be read")]
    Base,
    /// An input is none.
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// The guest does not take it.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Sandbox {
    /// Brings a room back from what an earlier process left of it.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing has been changed.
    pub(crate) fn restore(
        mut world: World,
        version: &Arc<Version>,
        room: Arc<str>,
        past: &SavedState,
    ) -> Result<Self, RestoreError> {
        world.meter = Some(version.meter());
        let (args, base) = Base::decode(&past.base).ok_or(RestoreError::Base)?;
        let log = Records::from_bytes(past.inputs.clone())?;
        let instance = begin(&world, version, &room, &args, &base)?;
        let mut sandbox = Self::new(world, room, args, instance, base, log);
        sandbox.replay_all(version)?;
        if sandbox.base.settings != sandbox.world.settings {
            sandbox.adopt_settings();
        }
        Ok(sandbox)
    }

    /// The operator's settings are others than those that the replayed inputs met: the guest goes on with them from here.
    /// One that does not take them keeps those it had, since nothing may be lost for it.
    fn adopt_settings(&mut self) {
        let version = Arc::clone(self.version());
        let adopt = |sandbox: &mut Self| {
            let snapshot = sandbox.snapshot().map_err(|error| error.to_string())?;
            let base = Base { settings: Arc::clone(&sandbox.world.settings), ..sandbox.base_of(snapshot) };
            let instance = begin(&sandbox.world, &version, &sandbox.room, &sandbox.args, &base);
            sandbox.instance = instance.map_err(|error| error.to_string())?;
            sandbox.rebase(base);
            Ok::<_, String>(())
        };
        if let Err(why) = adopt(self) {
            warn!(actor = %self.room, %version, why, "new settings not taken, it keeps the ones it had");
        }
    }

    fn durability(&self) -> Durability {
        self.world.durability.unwrap_or(self.version().manifest().limits.durability)
    }

    /// Writes the base to the journal, and the log behind it.
    pub(super) fn write_base(&mut self) {
        let inputs = if self.durability() == Durability::Journal { self.log.since(0) } else { &[] };
        if self.durability() != Durability::None {
            let base = self.base.encode(&self.args);
            self.position = self.world.journal.base_and_inputs(&self.room, &base, inputs);
        }
        self.journalled = self.log.bytes();
        self.based = true;
    }

    /// Writes base and log to the journal anew, for a room that is new to this host.
    pub(crate) fn keep(&mut self) {
        self.write_base();
    }

    /// Writes to the journal what the log has had since the last time. To be called between batches of inputs.
    #[inline]
    pub(crate) fn write_inputs(&mut self) {
        if self.log.bytes() > self.journalled && self.durability() == Durability::Journal {
            self.position = self.world.journal.inputs(&self.room, self.log.since(self.journalled));
        }
        self.journalled = self.log.bytes();
    }

    /// How large the state is.
    pub(crate) fn weigh(&self) -> Weight {
        let last = self.weight();
        Weight { last, most: last.max(self.instance.snapshot_bound()) }
    }

    /// The position in the journal behind all that the disk has to have before this actor may say what it knows; 0 if
    /// it promises nothing.
    pub(crate) fn position(&self) -> u64 {
        if self.durability() == Durability::Journal { self.position } else { 0 }
    }

    /// What an earlier process would have left of it, had it ended now.
    pub(crate) fn past(&self) -> SavedState {
        let generation = self.world.journal.generation(&self.room);
        SavedState { base: self.base.encode(&self.args), inputs: self.log.since(0).to_vec(), generation }
    }

    /// Whether the journal cannot take more at present.
    pub(crate) fn backed_up(&self) -> bool {
        self.durability() == Durability::Journal && self.world.journal.is_full()
    }

    /// Whether anything has happened since the base that this process has written.
    pub(crate) fn is_new(&self) -> bool {
        !self.based || self.log.inputs() > 0
    }

    /// Writes what the journal has of the room to it anew. The guest is not asked for its state unless the log is long
    /// beside it.
    ///
    /// # Errors
    /// As [`Self::snapshot`]; it is written all the same, unless the room is lost.
    pub(crate) fn rewrite(&mut self) -> Result<(), SwapError> {
        let short = self.log.bytes() <= self.base.weight() / 2;
        if short || self.spares_base() {
            self.write_base();
            return Ok(());
        }
        match self.settle() {
            Err(SwapError::Lost(error)) => Err(SwapError::Lost(error)),
            Err(error) => {
                // The guest cannot save; base and log say the same.
                self.put_off();
                self.write_base();
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Makes the present state the base.
    ///
    /// # Errors
    /// As [`Self::snapshot`].
    pub(crate) fn checkpoint(&mut self) -> Result<(), SwapError> {
        if self.spares_base() {
            // It is written anew as it is, which serves the journal.
            self.write_base();
            return Ok(());
        }
        let settled = self.settle();
        if matches!(settled, Err(SwapError::Save(_))) {
            // As it is: the room comes back from base and log.
            self.put_off();
            self.write_base();
        }
        settled
    }
}
