//! Run: one room's inputs handed to one version, step by step.

use std::collections::BTreeSet;
use std::sync::Arc;

use hotseat_build::Digest;

use super::{Case, Entry, ReplayError};
use crate::actor::Replica;
use crate::plugin::{Fault, Input, Snapshot, Verdict, Version};

/// Faults after which a run goes no further: each takes a replay of what came before.
const FAULTS_MAX: usize = 100;

/// One input and what came of it.
#[derive(Debug, Clone)]
pub struct Step {
    /// Counted from 1; 0 is the opening of a room that begins there.
    pub n: usize,
    /// Its time, ms since 1970.
    pub at_ms: u64,
    /// The input.
    pub input: Entry,
    /// Whether it is the one that a dead letter is about.
    pub failed_then: bool,
    /// What came of it.
    pub happened: Happened,
}

/// What came of an input.
#[derive(Debug, Clone)]
pub struct Happened {
    /// How the call ended.
    pub ended: Ended,
    /// What the guest asked for, in order.
    pub effects: Vec<Entry>,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// The guest handled it.
    Done,
    /// So too, and it left a response.
    Answered(Entry),
    /// The guest refused it.
    Refused {
        /// The game's number, or a service method's gRPC status.
        code: i32,
        /// The game's words.
        text: String,
    },
    /// The guest failed on it, and goes on as if it had not been.
    Fault(Fault),
}

impl Happened {
    /// Whether two versions did the same. Frames of a fault are no matter: they change with every build.
    pub fn same(&self, other: &Self) -> bool {
        let ended = match (&self.ended, &other.ended) {
            (Ended::Done, Ended::Done) => true,
            (Ended::Answered(answer), Ended::Answered(other)) => answer == other,
            (Ended::Refused { code, text }, Ended::Refused { code: other, text: words }) => {
                (code, text) == (other, words)
            }
            (Ended::Fault(fault), Ended::Fault(other)) => {
                (fault.kind, &fault.text) == (other.kind, &other.text)
            }
            _ => false,
        };
        ended && self.effects == other.effects
    }
}

/// A room's state at the end.
#[derive(Debug, Clone)]
pub struct State {
    /// As the guest writes it.
    pub snapshot: Snapshot,
    /// The sha256 of its bytes.
    pub digest: Digest,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Inputs that were handed over.
    pub inputs: usize,
    /// Effects that were asked for.
    pub effects: usize,
    /// Inputs that were refused.
    pub refused: usize,
    /// Inputs that the guest failed on.
    pub faults: usize,
    /// Inputs that were left because there were too many faults.
    pub left: usize,
    /// The state at the end, or why the guest cannot write it.
    pub state: Result<State, Fault>,
}

/// A run under way.
pub struct Run<'a> {
    case: &'a Case,
    version: Arc<Version>,
    replica: Replica,
    inputs: Vec<(u64, Input<'a>, Vec<u64>)>,
    next: usize,
    opening: bool,
    skips: BTreeSet<usize>,
    effects: usize,
    refused: usize,
}

impl<'a> Run<'a> {
    /// Opens the room or loads its state.
    ///
    /// # Errors
    /// [`ReplayError::Begin`].
    pub fn begin(case: &'a Case, version: &Arc<Version>) -> Result<Self, ReplayError> {
        Ok(Self {
            case,
            replica: begin(case, version)?,
            version: Arc::clone(version),
            inputs: case.inputs(),
            next: 0,
            opening: case.start.opens_with().is_some(),
            skips: BTreeSet::new(),
            effects: 0,
            refused: 0,
        })
    }

    /// The version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Whether there is another input to hand over.
    pub fn goes_on(&self) -> bool {
        self.opening || (self.next < self.inputs.len() && self.skips.len() < FAULTS_MAX)
    }

    /// Hands the next input over.
    ///
    /// # Errors
    /// [`ReplayError::Begin`] and [`ReplayError::Unsteady`], if the room cannot be built again after a fault.
    pub fn step(&mut self) -> Result<Option<Step>, ReplayError> {
        if !self.goes_on() {
            return Ok(None);
        }
        if std::mem::take(&mut self.opening) {
            let args = self.case.start.opens_with().unwrap_or_default();
            let happened = self.happened(Ended::Done);
            let input = Entry::open(&self.case.room, args);
            return Ok(Some(Step {
                n: 0,
                at_ms: self.case.start.at_ms(),
                input,
                failed_then: false,
                happened,
            }));
        }
        let at = self.next;
        self.next += 1;
        let (at_ms, input, ids) = &self.inputs[at];
        let (at_ms, entry, handled) = (*at_ms, Entry::input(input), at < self.case.handled());
        let happened = match self.replica.deliver(at_ms, input, ids.clone(), handled) {
            Ok(Verdict::Done) => self.happened(Ended::Done),
            Ok(Verdict::Answered(body)) => self.happened(Ended::Answered(Entry::answer(&body))),
            Ok(Verdict::Refused { code, text }) => {
                self.refused += 1;
                self.happened(Ended::Refused { code, text })
            }
            Err(fault) => {
                self.skips.insert(at);
                self.replica = self.again()?;
                Happened { ended: Ended::Fault(fault), effects: Vec::new() }
            }
        };
        Ok(Some(Step { n: at + 1, at_ms, input: entry, failed_then: !handled, happened }))
    }

    fn happened(&mut self, ended: Ended) -> Happened {
        let effects: Vec<_> = self.replica.effects().iter().map(|effect| Entry::effect(&effect)).collect();
        self.effects += effects.len();
        Happened { ended, effects }
    }

    /// The room as it stands, without what it failed on.
    fn again(&self) -> Result<Replica, ReplayError> {
        let mut replica = begin(self.case, &self.version)?;
        for (at, (at_ms, input, ids)) in self.inputs[..self.next].iter().enumerate() {
            if !self.skips.contains(&at) {
                let unsteady =
                    |fault| ReplayError::Unsteady { room: self.case.room.clone(), n: at + 1, fault };
                replica.deliver(*at_ms, input, ids.clone(), true).map_err(unsteady)?;
            }
        }
        Ok(replica)
    }

    /// Ends the run, however far it is.
    pub fn end(mut self) -> Summary {
        let state = self.replica.save().map(|snapshot| {
            let digest = Digest::of(&snapshot.bytes);
            State { snapshot, digest }
        });
        Summary {
            inputs: self.next,
            effects: self.effects,
            refused: self.refused,
            faults: self.skips.len(),
            left: self.inputs.len() - self.next,
            state,
        }
    }
}

impl Summary {
    /// Whether every input was handled, and the state can be saved.
    pub fn is_sound(&self) -> bool {
        self.faults == 0 && self.left == 0 && self.state.is_ok()
    }
}

fn begin(case: &Case, version: &Arc<Version>) -> Result<Replica, ReplayError> {
    Replica::begin(&case.start, version).map_err(|source| ReplayError::Begin {
        room: case.room.clone(),
        version: format!("{} {version}", version.manifest().name),
        source,
    })
}
