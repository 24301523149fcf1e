//! Dead letter file: what the guest failed on goes to a file, with what it takes to see it fail again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Cause, Sandbox};
use crate::journal::{About, Context, DeadLetterFile};
use crate::plugin::{Fault, FaultKind, Input, Records, Version};
use crate::snowflake::now_ms;

impl Sandbox {
    /// Posts the input that the running instance has just failed on; the log ends before it.
    pub(super) fn post_input(&mut self, input: &Input<'_>, fault: &Fault) {
        let at_ms = self.instance.env().now_ms;
        let mut record = Records::default();
        record.push(at_ms, input);
        if !self.instance.drawn().is_empty() {
            record.push_ids(at_ms, self.instance.drawn());
        }
        let cause = if self.on_probation() { Cause::Reverted } else { Cause::Skipped };
        let inputs = || self.log.since(0).to_vec();
        self.post(cause, self.version(), fault, inputs, record.since(0).to_vec());
    }

    /// Posts the input of the log that has failed in a rebuild which leaves the inputs `skips` out.
    pub(super) fn post_replayed(
        &self,
        version: &Arc<Version>,
        failed: usize,
        skips: &BTreeSet<usize>,
        fault: &Fault,
    ) {
        let (mut before, mut record) = (Records::default(), Records::default());
        for (at, (at_ms, input, ids)) in self.log.iter().flatten().enumerate().take(failed + 1) {
            if skips.contains(&at) {
                continue;
            }
            let to = if at == failed { &mut record } else { &mut before };
            to.push(at_ms, &input);
            if !ids.is_empty() {
                to.push_ids(at_ms, &ids);
            }
        }
        let inputs = || before.since(0).to_vec();
        self.post(Cause::Replayed, version, fault, inputs, record.since(0).to_vec());
    }

    /// Posts that the running instance has failed to write its state down: what the room is, and no input.
    pub(super) fn post_unsaved(&self, fault: &Fault) {
        let inputs = || self.log.since(0).to_vec();
        self.post(Cause::Unsaved, self.version(), fault, inputs, Vec::new());
    }

    /// Posts what the room is, which the host is about to end.
    pub(crate) fn post_closed(&self, why: &str) {
        let fault = Fault { kind: FaultKind::Limit, text: why.to_owned(), frames: Vec::new() };
        let inputs = || self.log.since(0).to_vec();
        self.post(Cause::Closed, self.version(), &fault, inputs, Vec::new());
    }

    /// Posts an input that has failed in a replay of more than is in memory, `kept_bytes`, without what came before it.
    pub(super) fn post_alone(
        &self,
        version: &Arc<Version>,
        fault: &Fault,
        record: &Records,
        kept_bytes: u64,
    ) {
        let about = About { omitted_bytes: kept_bytes, ..self.about(Cause::Replayed, version, fault) };
        let (room, input) = (Arc::clone(&self.room), record.since(0).to_vec());
        self.world.dead_letters.post(input.len(), |_| DeadLetterFile { room, about, context: None, input });
    }

    fn about(&self, cause: Cause, version: &Arc<Version>, fault: &Fault) -> About {
        About {
            plugin: version.manifest().name.clone(),
            version: version.label(),
            digest: version.digest().to_string(),
            failed_at_ms: now_ms(),
            cause,
            fault: fault.kind.name().to_owned(),
            text: fault.text.clone(),
            frames: fault.frames.clone(),
            settings: self.base.settings.as_ref().clone(),
            omitted_bytes: 0,
        }
    }

    fn post(
        &self,
        cause: Cause,
        version: &Arc<Version>,
        fault: &Fault,
        inputs: impl FnOnce() -> Vec<u8>,
        input: Vec<u8>,
    ) {
        let weight = self.base.weight() + self.args.len() + self.log.bytes();
        self.world.dead_letters.post(weight, |whole| {
            let about = self.about(cause, version, fault);
            let context = whole.then(|| {
                let (base, args) = (self.base.clone(), Arc::clone(&self.args));
                Context { base: Box::new(move || base.encode(&args)), inputs: inputs() }
            });
            DeadLetterFile { room: Arc::clone(&self.room), about, context, input }
        });
    }
}
