//! Ready: how a node cuts over once all are ready to.

use hotseat_build::Digest;

use crate::actor::deploy::{Deployer, Prepared};

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

    /// As [`Self::of`], for a node that has not said that it is ready: it refuses if a room that cannot take
    /// the present state to that version has not kept the one before either. The other nodes would go back,
    /// and this one could not.
    pub(super) async fn back(
        prepared: Result<Prepared, String>,
        deployer: &Deployer,
        to: Digest,
    ) -> Result<Self, String> {
        let why = match prepared {
            Ok(prepared) => return Ok(Self::Next(prepared)),
            Err(why) => why,
        };
        match deployer.keeps_not(to).await {
            _ if !deployer.keeps(to) => Err(why),
            None => Ok(Self::Back),
            Some(room) => Err(format!(
                "{why}; and room {room} has not kept what it was before, since it came here, or this node was started, after \
                 the version had gone live"
            )),
        }
    }
}
