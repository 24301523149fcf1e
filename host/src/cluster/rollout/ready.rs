//! Ready: how a node cuts over once all are ready to.

use crate::actor::deploy::Prepared;

/// How a node that is ready cuts over.
#[derive(Clone)]
pub(super) enum Ready {
    /// To a version that it has got ready.
    Next(Prepared),
    /// To what it replaced, by undoing that.
    Back,
    /// It runs it.
    Same,
}

impl Ready {
    /// With a version that was got ready; or, if its rooms do not take the present state, with what they handed over, should
    /// that be kept.
    pub(super) fn of(prepared: Result<Prepared, String>, kept: bool) -> Result<Self, String> {
        match prepared {
            Err(_) if kept => Ok(Self::Back),
            prepared => prepared.map(Self::Next),
        }
    }
}
