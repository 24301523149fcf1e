//! Replica: a room's guest brought to where a base says, apart from any node.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::base::{Base, Begin};
use super::rebuild::{begin_in, run};
use crate::plugin::{Effects, Fault, Input, Instance, LoadError, Snapshot, Verdict, Version};
use crate::snowflake::Generator;

/// The machine whose ids a replica draws, should it draw more than were recorded.
const MACHINE: u16 = 1023;

/// Where replicas begin.
#[derive(Clone)]
pub struct Start {
    room: Arc<str>,
    args: Arc<[u8]>,
    base: Base,
}

/// A guest that is given what another one was given, with no effect on anybody.
pub struct Replica {
    instance: Instance,
}

impl Start {
    /// Reads a base as the journal keeps it; none if it is something else. `settings` are over those it was met with.
    pub fn read(room: &str, base: &[u8], settings: &BTreeMap<String, String>) -> Option<Self> {
        let (args, mut base) = Base::decode(base)?;
        Arc::make_mut(&mut base.settings).extend(settings.clone());
        Some(Self { room: room.into(), args, base })
    }

    /// The room's arguments, if it begins with them rather than with a state.
    pub fn opens_with(&self) -> Option<&[u8]> {
        matches!(self.base.begin, Begin::Open).then_some(&self.args)
    }

    /// The state it begins with.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match &self.base.begin {
            Begin::Load(snapshot) => Some(snapshot),
            Begin::Open => None,
        }
    }

    /// When the base was written, ms since 1970; 0 for one that opens.
    pub fn at_ms(&self) -> u64 {
        self.base.env.now_ms
    }
}

impl Replica {
    /// Opens the room or loads its state, the same every time.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn begin(start: &Start, version: &Arc<Version>) -> Result<Self, LoadError> {
        let ids = Arc::new(Generator::standing_at(MACHINE, start.base.env.now_ms));
        let Start { room, args, base } = start;
        Ok(Self { instance: begin_in(&ids, None, version, room, args, base)? })
    }

    /// Hands one input to the guest as it was recorded. `again`: it has been handled before, so deadlines are relaxed
    /// as in any rebuild.
    ///
    /// # Errors
    /// A [`Fault`]; the replica is spent.
    pub fn deliver(
        &mut self,
        at_ms: u64,
        input: &Input<'_>,
        ids: Vec<u64>,
        again: bool,
    ) -> Result<Verdict, Fault> {
        self.instance.set_replaying(again);
        run(&mut self.instance, at_ms, input, Some(ids))
    }

    /// What the last call asked for.
    pub fn effects(&mut self) -> &Effects {
        self.instance.effects()
    }

    /// The state as the guest writes it now.
    ///
    /// # Errors
    /// A [`Fault`]; the replica is spent.
    pub fn save(&mut self) -> Result<Snapshot, Fault> {
        self.instance.save()
    }
}
