//! Operator: who deploys versions in a simulated cluster and goes back, what the answers were, and whether
//! the hosts run what the last of them said.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use hotseat::cluster::rollout::{Rollout, RolloutError, RolloutReport};
use hotseat_build::Digest;

use crate::Process;
use crate::lock;
use crate::model::Model;
use crate::stage::{SCHEMA_2, Stage, TRAPS};

/// What was asked for and is not answered yet.
struct Asked {
    of: Process,
    /// The version to deploy; none: the one before.
    version: Option<usize>,
    /// Etcd has lost its data meanwhile.
    wiped: bool,
}

/// One thing at a time is asked for.
pub(crate) struct Operator {
    stage: Arc<Stage>,
    asked: Option<Asked>,
    /// What hosts may run in the end; none: anything.
    may_run: Option<BTreeSet<usize>>,
    /// Not all of them have to run the same.
    may_differ: bool,
}

/// What an answer says of the versions that hosts run.
enum Answer {
    Runs(Option<usize>),
    Unchanged,
    TakenBack,
    Unknown,
}

impl Operator {
    pub(crate) fn new(stage: Arc<Stage>) -> Self {
        Self { stage, asked: None, may_run: Some([0].into()), may_differ: false }
    }

    /// Asks a host's process, unless it waits for another answer. The future is to run there.
    pub(crate) fn ask(
        this: &Arc<Mutex<Self>>,
        of: Process,
        version: Option<usize>,
        rollout: Rollout,
        model: Arc<Mutex<Model>>,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let mut operator = lock(this);
        if operator.asked.is_some() {
            return None;
        }
        operator.asked = Some(Asked { of, version, wiped: false });
        let bytes = version.map(|version| operator.stage.versions[version].bytes.to_vec());
        let this = Arc::clone(this);
        Some(async move {
            let answer = match bytes {
                Some(bytes) => rollout.deploy(bytes, true).await,
                None => rollout.rollback().await,
            };
            let mut operator = lock(&this);
            let text = operator.answered(answer);
            lock(&model).tell(format!("the operator is answered by process {of}: {text}"));
        })
    }

    fn answered(&mut self, answer: Result<RolloutReport, RolloutError>) -> String {
        let (answer, text) = match answer {
            Ok(report) => {
                let version = self.version(report.here.to.digest());
                (Answer::Runs(version), format!("{} nodes run {}", report.nodes, report.here.to.label()))
            }
            Err(error) => (Answer::of(&error), error.to_string()),
        };
        self.know(&answer);
        text
    }

    fn version(&self, digest: Digest) -> Option<usize> {
        self.stage.versions.iter().position(|artefact| artefact.digest == digest)
    }

    fn know(&mut self, answer: &Answer) {
        let Some(Asked { version, wiped, .. }) = self.asked.take() else { return };
        let wanted = version.or(if let Answer::Runs(version) = answer { *version } else { None });
        match answer {
            _ if wiped => (self.may_run, self.may_differ) = (None, true),
            Answer::Runs(_) => {
                let before = self.may_run.take();
                self.may_differ = false;
                self.may_run = match wanted {
                    // It is to be taken back, unless no room ran all the time.
                    Some(TRAPS) => before.map(|mut before| {
                        before.insert(TRAPS);
                        before
                    }),
                    wanted => wanted.map(|version| [version].into()),
                };
            }
            Answer::Unchanged => {}
            // A host that has been restarted since cannot give its rooms to a version that does not read
            // their state (ADR 18).
            Answer::TakenBack => self.may_differ |= wanted == Some(SCHEMA_2),
            Answer::Unknown => {
                self.may_differ |= wanted.is_none_or(|version| version == SCHEMA_2);
                self.may_run = self.may_run.take().zip(wanted).map(|(mut before, version)| {
                    before.insert(version);
                    before
                });
            }
        }
    }

    /// A process is dead, and does not answer any more.
    pub(crate) fn lost(&mut self, process: Process) {
        if self.asked.as_ref().is_some_and(|asked| asked.of == process) {
            self.know(&Answer::Unknown);
        }
    }

    /// Etcd has lost its data, and, unless a host has seen it, what the cluster is to run with it.
    pub(crate) fn wiped(&mut self, seen: bool) {
        if !seen {
            (self.may_run, self.may_differ) = (None, true);
        }
        if let Some(asked) = &mut self.asked {
            asked.wiped = true;
        }
    }

    /// What is not as the operator was told, of what hosts run and of what players were answered by.
    pub(crate) fn wrong(&self, running: &[Digest], answered: &BTreeSet<u8>) -> Option<String> {
        if let Some(Asked { of, .. }) = &self.asked {
            return Some(format!("process {of} does not answer the operator"));
        }
        let running: BTreeSet<_> = running.iter().map(|digest| self.version(*digest)).collect();
        let label = |version: &usize| self.stage.versions[*version].label.clone();
        let labels: Vec<_> = running.iter().map(|version| version.as_ref().map(label)).collect();
        let allowed = |version: &Option<usize>| {
            version.is_some_and(|version| self.may_run.as_ref().is_none_or(|may| may.contains(&version)))
        };
        if !running.iter().all(allowed) {
            let may: Vec<_> = self.may_run.iter().flatten().map(label).collect();
            return Some(format!("hosts run {labels:?}, may run {may:?}"));
        }
        if self.may_differ {
            return None;
        }
        if running.len() != 1 {
            return Some(format!("hosts run {labels:?}"));
        }
        let number = |version: &Option<usize>| version.map(|version| self.stage.versions[version].number);
        let numbers: BTreeSet<_> = running.iter().filter_map(number).collect();
        (numbers != *answered).then(|| format!("hosts run {labels:?}, answers are of {answered:?}"))
    }
}

impl Answer {
    fn of(error: &RolloutError) -> Self {
        match error {
            RolloutError::TakenBack(_) => Self::TakenBack,
            RolloutError::Deploy(_)
            | RolloutError::Withdrawn(_)
            | RolloutError::Busy { .. }
            | RolloutError::Behind(_)
            | RolloutError::NoPrevious => Self::Unchanged,
            RolloutError::Overtaken(_)
            | RolloutError::Apart { .. }
            | RolloutError::Lost
            | RolloutError::Discovery(_)
            | RolloutError::Record { .. }
            | RolloutError::Shutdown => Self::Unknown,
        }
    }
}
