//! Way back: what it takes to give a room back to the version before, with everything that came since.
//!
//! The base of the hand-over and the inputs since stay in memory as base and log of the room. When a snapshot takes
//! their place there, both go to a [`RollbackFile`], so a way back is as long as its file may grow.

use std::collections::BTreeSet;
use std::sync::Arc;

use hotseat_build::Digest;
use tracing::warn;

use super::base::{Base, Begin};
use super::rebuild::{SKIPS_MAX, begin, finish_replay, replay};
use super::{Sandbox, SwapError};
use crate::journal::{RollbackError, RollbackFile};
use crate::plugin::{Fault, Instance, LoadError, Records, Version};

/// The way back to one version.
pub(super) struct WayBack {
    pub(super) version: Arc<Version>,
    /// The present version is on probation: its first fault leads back.
    pub(super) probation: bool,
    /// What was handed over and the inputs since, once a snapshot has taken the place of both.
    kept: RollbackFile,
}

/// Why a kept way back was not gone.
enum Stop {
    /// The version fails on an input: the how manieth, counted from the hand-over, and the record.
    At(usize, Records, Fault),
    Because(SwapError),
}

impl From<RollbackError> for Stop {
    fn from(error: RollbackError) -> Self {
        Self::Because(SwapError::Kept(error.to_string()))
    }
}

impl Sandbox {
    /// From the present base and log on the room can be given back to `version`.
    pub(super) fn begin_way_back(&mut self, version: Arc<Version>, probation: bool) {
        let kept = self.world.rollbacks.begin(&self.room);
        self.back = Some(WayBack { version, probation, kept });
    }

    /// A room that has just opened on a version that replaced `version` not long ago can be given back to that one too.
    pub(crate) fn open_way_back(&mut self, version: &Arc<Version>) {
        let newborn = matches!(self.base.begin, Begin::Open) && self.log.inputs() == 0;
        if newborn && self.back.is_none() && self.version().digest() != version.digest() {
            self.begin_way_back(Arc::clone(version), false);
        }
    }

    /// Whether the room can be given back to that version with all that it was told since, or runs it.
    pub(crate) fn keeps(&self, version: Digest) -> bool {
        let kept = self.back.as_ref().is_some_and(|back| back.version.digest() == version);
        kept || self.version().digest() == version
    }

    /// Whether the present version is on probation here.
    pub(super) fn on_probation(&self) -> bool {
        self.back.as_ref().is_some_and(|back| back.probation)
    }

    /// Ends the probation of the present version. With `keep` the way back stays open.
    pub(crate) fn confirm(&mut self, keep: bool) {
        match &mut self.back {
            Some(back) if keep => back.probation = false,
            _ => self.back = None,
        }
    }

    /// Whether a snapshot that is not needed had better wait: it would write the state of the hand-over to a file.
    pub(super) fn spares_base(&self) -> bool {
        let in_memory = self.back.as_ref().is_some_and(|back| !back.kept.has_base());
        in_memory && self.base.size() > self.world.log_bytes
    }

    /// To be called before a snapshot takes the place of base and log.
    pub(super) fn keep_way_back(&mut self) {
        let Some(back) = &mut self.back else { return };
        let based = match back.kept.has_base() {
            true => Ok(()),
            false => back.kept.base(&self.base.encode(&self.args)),
        };
        if let Err(error) = based.and_then(|()| back.kept.inputs(self.log.since(0))) {
            self.lose_way_back(error.to_string());
        }
    }

    pub(super) fn lose_way_back(&mut self, why: String) {
        self.back = None;
        self.back_lost = Some(why);
    }

    /// Why the way back has ended, if that is news.
    pub(crate) fn take_back_lost(&mut self) -> Option<String> {
        self.back_lost.take()
    }

    /// Goes back to an earlier version: from the state it handed over and the inputs since, or, if that is not kept, by
    /// an ordinary hand-over.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub(crate) fn revert(&mut self, to: &Arc<Version>) -> Result<(), SwapError> {
        match self.back.take() {
            Some(back) if back.version.digest() == to.digest() => {
                let gone = self.go_back(&back);
                if gone.is_err() {
                    self.back = Some(back);
                }
                gone
            }
            _ => {
                self.swap(to)?;
                self.back = None;
                Ok(())
            }
        }
    }

    /// Hands over a room whose version cannot write its state down: the new one is given base and log instead. Every input
    /// has to be handled again, or the room would not be what it was.
    pub(super) fn swap_by_log(&mut self, to: &Arc<Version>, fault: Fault) -> Result<(), SwapError> {
        let before = self.instance.env().clone();
        let replayed = begin(&self.world, to, &self.room, &self.args, &self.base).and_then(|mut next| {
            replay(&mut next, &self.log, 0, &BTreeSet::new()).map_err(|(_, fault)| fault)?;
            Ok(next)
        });
        let mut next = match replayed {
            Ok(next) => next,
            Err(why) => return Err(SwapError::Unsaved { fault, why }),
        };
        finish_replay(&mut next);
        next.env().carry_on(before);
        let old = Arc::clone(self.version());
        self.instance = next;
        self.next_snapshot = super::bounds(&self.world, &self.base);
        self.begin_way_back(old, true);
        Ok(())
    }

    /// An older version that has not taken the present state, `why`, gets it as the present one writes it for that one.
    pub(super) fn begin_below(
        &mut self,
        to: &Arc<Version>,
        schema: u32,
        why: LoadError,
    ) -> Result<(Base, Instance), SwapError> {
        let Some(older) = to.schema().filter(|older| *older != schema) else { return Err(why.into()) };
        let snapshot = match self.instance.save_as(older) {
            Ok(snapshot) => snapshot,
            Err(LoadError::Declined(not_written)) => {
                return Err(LoadError::Declined(format!("{why}; {not_written}")).into());
            }
            Err(LoadError::Fault(fault)) => {
                let version = Arc::clone(self.version());
                self.rebuild(&version).map_err(SwapError::Lost)?;
                return Err(SwapError::Save(fault));
            }
        };
        let base = self.base_of(snapshot);
        let next = begin(&self.world, to, &self.room, &self.args, &base)?;
        Ok((base, next))
    }

    /// Gives the room back. It stays as it was if that fails.
    pub(super) fn go_back(&mut self, back: &WayBack) -> Result<(), SwapError> {
        if !back.kept.has_base() {
            return self.rebuild(&back.version).map_err(SwapError::Load);
        }
        let before = self.instance.env().clone();
        let (mut instance, settings) = self.replay_kept(back)?;
        instance.env().carry_on(before);
        let snapshot = instance.save().map_err(SwapError::Save)?;
        let base = Base { begin: Begin::Load(snapshot), env: instance.env().clone(), settings };
        if !instance.env().calls().is_empty() {
            // As in `settle`: no snapshot has the futures of a guest.
            instance = begin(&self.world, &back.version, &self.room, &self.args, &base)?;
        }
        self.instance = instance;
        self.rebase(base);
        Ok(())
    }

    /// An instance of the earlier version that has been given what was handed over and all inputs since.
    fn replay_kept(
        &self,
        back: &WayBack,
    ) -> Result<(Instance, Arc<std::collections::BTreeMap<String, String>>), SwapError> {
        let mut skips = BTreeSet::new();
        loop {
            match self.try_kept(back, &skips) {
                Ok(instance) => return Ok(instance),
                Err(Stop::At(at, record, fault)) if skips.len() < SKIPS_MAX => {
                    self.post_alone(&back.version, &fault, &record, back.kept.bytes());
                    warn!(room = %self.room, version = %back.version, input = at, %fault, "replayed input skipped");
                    skips.insert(at);
                }
                Err(Stop::At(_, _, fault)) => return Err(LoadError::from(fault).into()),
                Err(Stop::Because(error)) => return Err(error),
            }
        }
    }

    fn try_kept(
        &self,
        back: &WayBack,
        skips: &BTreeSet<usize>,
    ) -> Result<(Instance, Arc<std::collections::BTreeMap<String, String>>), Stop> {
        let (base, pieces) = back.kept.read()?;
        let unreadable = || Stop::Because(SwapError::Kept("what is kept cannot be read".to_owned()));
        let (args, base) = Base::decode(&base).ok_or_else(unreadable)?;
        let begun = begin(&self.world, &back.version, &self.room, &args, &base);
        let mut instance = begun.map_err(|error| Stop::Because(error.into()))?;
        let mut first = 0;
        for piece in pieces {
            let records = Records::from_bytes(piece?).map_err(|_| unreadable())?;
            replay_piece(&mut instance, &records, first, skips)?;
            first += records.inputs();
        }
        replay_piece(&mut instance, &self.log, first, skips)?;
        finish_replay(&mut instance);
        Ok((instance, base.settings))
    }
}

fn replay_piece(
    instance: &mut Instance,
    records: &Records,
    first: usize,
    skips: &BTreeSet<usize>,
) -> Result<(), Stop> {
    replay(instance, records, first, skips).map_err(|(at, fault)| {
        let mut failed = Records::default();
        // A log reads back as it was written.
        if let Some((at_ms, input, ids)) = records.iter().flatten().nth(at - first) {
            failed.push(at_ms, &input);
            if !ids.is_empty() {
                failed.push_ids(at_ms, &ids);
            }
        }
        Stop::At(at, failed, fault)
    })
}
