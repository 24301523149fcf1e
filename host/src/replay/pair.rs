//! Pair: one room's inputs handed to two versions, and where they part.

use std::sync::Arc;

use super::{Case, Happened, ReplayError, Run, Step, Summary};
use crate::plugin::Version;

/// Two runs side by side.
pub struct Pair<'a> {
    first: Run<'a>,
    second: Run<'a>,
}

/// An input that two versions handle differently.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The input, and what the first did.
    pub step: Step,
    /// What the second did.
    pub second: Happened,
}

/// How two final states compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum States {
    /// The same bytes.
    Same,
    /// The same schema, other bytes; or one of them cannot be saved.
    Differ,
    /// Other schemas: their bytes tell nothing about each other.
    Schemas(u32, u32),
}

impl<'a> Pair<'a> {
    /// Begins both.
    ///
    /// # Errors
    /// [`ReplayError::Begin`], which names the version.
    pub fn begin(case: &'a Case, [first, second]: [&Arc<Version>; 2]) -> Result<Self, ReplayError> {
        Ok(Self { first: Run::begin(case, first)?, second: Run::begin(case, second)? })
    }

    /// Goes on to the next input that they handle differently; none at the end.
    ///
    /// # Errors
    /// As [`Run::step`].
    pub fn part(&mut self) -> Result<Option<Difference>, ReplayError> {
        // One that has failed too often does not hold the other back, but there is nothing to compare any more.
        while self.first.goes_on() && self.second.goes_on() {
            let (Some(step), Some(other)) = (self.first.step()?, self.second.step()?) else { break };
            if !step.happened.same(&other.happened) {
                return Ok(Some(Difference { step, second: other.happened }));
            }
        }
        Ok(None)
    }

    /// Ends both.
    pub fn end(self) -> ([Summary; 2], States) {
        let summaries = [self.first.end(), self.second.end()];
        let states = match [&summaries[0].state, &summaries[1].state] {
            [Ok(first), Ok(second)] if first.snapshot == second.snapshot => States::Same,
            [Ok(first), Ok(second)] if first.snapshot.schema != second.snapshot.schema => {
                States::Schemas(first.snapshot.schema, second.snapshot.schema)
            }
            _ => States::Differ,
        };
        (summaries, states)
    }
}
