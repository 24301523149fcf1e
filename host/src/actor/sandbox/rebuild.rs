//! Rebuild: a room from its base and its log.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::base::{Base, Begin};
use super::{Sandbox, World};
use crate::plugin::{Effect, Fault, Input, Instance, LoadError, Meter, Records, Verdict, Version};
use crate::snowflake::Generator;
use crate::telemetry::log_limit::limited;

/// Inputs that a rebuild may leave out because they fault in it, before it gives up. More than one happens only
/// when an older version replays what a newer one has handled.
pub(super) const SKIPS_MAX: usize = 8;

impl Sandbox {
    /// Builds a room that was at work anew on `version`, from base and log.
    pub(super) fn rebuild(&mut self, version: &Arc<Version>) -> Result<(), LoadError> {
        let before = self.instance.env().clone();
        self.replay_all(version)?;
        self.instance.env().carry_on(before);
        Ok(())
    }

    /// Brings the room to where base and log say, on `version`.
    pub(super) fn replay_all(&mut self, version: &Arc<Version>) -> Result<(), LoadError> {
        let mut skips = BTreeSet::new();
        loop {
            let mut instance = begin(&self.world, version, &self.room, &self.args, &self.base)?;
            match replay(&mut instance, &self.log, 0, &skips) {
                Ok(()) => {
                    finish_replay(&mut instance);
                    self.instance = instance;
                    self.drop_inputs(&skips);
                    return Ok(());
                }
                Err((at, fault)) if skips.len() < SKIPS_MAX => {
                    self.post_replayed(version, at, &skips, &fault);
                    let (plugin, room) = (&version.manifest().name, &*self.room);
                    limited!(warn, plugin, room, room, %version, input = at, %fault, "replayed input skipped");
                    skips.insert(at);
                }
                Err((_, fault)) => return Err(fault.into()),
            }
        }
    }

    fn drop_inputs(&mut self, skips: &BTreeSet<usize>) {
        if skips.is_empty() {
            return;
        }
        let mut kept = Records::default();
        for (at, (at_ms, input, ids)) in self.log.iter().flatten().enumerate() {
            if !skips.contains(&at) {
                kept.push(at_ms, &input);
                if !ids.is_empty() {
                    kept.push_ids(at_ms, &ids);
                }
            }
        }
        self.log = kept;
        self.write_base();
    }
}

/// Makes an instance and brings it to where `base` says.
pub(super) fn begin(
    world: &World,
    version: &Arc<Version>,
    room: &Arc<str>,
    args: &[u8],
    base: &Base,
) -> Result<Instance, LoadError> {
    begin_in(&world.ids, world.meter.as_ref(), version, room, args, base)
}

/// As [`begin`], apart from a node.
pub(super) fn begin_in(
    ids: &Arc<Generator>,
    meter: Option<&Arc<Meter>>,
    version: &Arc<Version>,
    room: &Arc<str>,
    args: &[u8],
    base: &Base,
) -> Result<Instance, LoadError> {
    let env = base.env.clone();
    let mut instance = Instance::new(version, Arc::clone(room), env, ids, &base.settings)?;
    if let Some(meter) = meter {
        instance.set_meter(meter);
    }
    match &base.begin {
        Begin::Load(snapshot) => instance.load(snapshot)?,
        Begin::Open => {
            instance.open(room, args)?;
            settle(&mut instance);
        }
    }
    Ok(instance)
}

/// Runs the logged inputs but the skipped ones; an error names the input that faulted. Inputs are counted from `first`.
pub(super) fn replay(
    instance: &mut Instance,
    log: &Records,
    first: usize,
    skips: &BTreeSet<usize>,
) -> Result<(), (usize, Fault)> {
    instance.set_replaying(true);
    for (at, record) in (first..).zip(log.iter()) {
        let (at_ms, input, ids) = record.expect("a log that was read once reads back as it was written");
        if !skips.contains(&at) {
            run(instance, at_ms, &input, Some(ids)).map_err(|fault| (at, fault))?;
        }
    }
    Ok(())
}

/// Ends what [`replay`] has begun: from here on the instance is live.
pub(super) fn finish_replay(instance: &mut Instance) {
    instance.effects().clear();
    // They were handed on when the calls were made, and are in the room's documents.
    instance.env().take_puts();
    instance.set_replaying(false);
}

/// One call with everything it does to the guest's world, the same when live and when replayed.
#[inline]
pub(super) fn run(
    instance: &mut Instance,
    at_ms: u64,
    input: &Input<'_>,
    recorded: Option<Vec<u64>>,
) -> Result<Verdict, Fault> {
    let env = instance.env();
    env.advance(at_ms);
    match input {
        Input::Join { user, profile } => {
            env.add_member(*user);
            env.set_profile(*user, profile.map(|(version, bytes)| (version, Arc::from(bytes))));
        }
        Input::Subscribe { channel, .. } => env.add_member(*channel),
        Input::Unsubscribe { channel } => env.remove_member(*channel),
        Input::Timer { id } => env.take_timer(*id),
        Input::Reply { token, .. } => env.remove_call(*token),
        _ => {}
    }
    instance.draw(recorded);
    let verdict = instance.call(input)?;
    settle(instance);
    match (input, &verdict) {
        (Input::Leave { user, .. }, _) => instance.env().remove_member(*user),
        (Input::Subscribe { channel, .. }, Verdict::Refused { .. }) => instance.env().remove_member(*channel),
        _ => {}
    }
    Ok(verdict)
}

/// Carries out the effects that change the guest's own world.
#[inline]
fn settle(instance: &mut Instance) {
    if instance.effects().is_empty() {
        return;
    }
    let effects = std::mem::take(instance.effects());
    let env = instance.env();
    env.apply_timers(&effects);
    for effect in effects.iter() {
        match effect {
            Effect::PutProfile { user, bytes } => env.put_profile(user, bytes),
            Effect::Call { token, .. } => env.add_call(token),
            Effect::EndChannel { channel, .. } => env.remove_member(channel),
            _ => {}
        }
    }
    *instance.effects() = effects;
}
