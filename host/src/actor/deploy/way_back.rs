//! Way back: whether, how and until when a version can be gone back from once its probation has passed.

use std::sync::PoisonError;
use std::time::Duration;

use super::Inner;

/// The way back from a version to the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayBack {
    /// At any time: the version before reads its state as it is.
    State,
    /// At any time: it writes its state for the version before.
    Downgrade,
    /// The version before is given what it handed over and all inputs since.
    Inputs {
        /// For so long after the cut.
        window: Duration,
        /// The node keeps no more than so many bytes for it.
        most_bytes: u64,
        /// Why not otherwise.
        why: String,
    },
    /// None once the probation has passed.
    None {
        /// Why.
        why: String,
    },
}

impl WayBack {
    /// Its name in answers to operators.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Downgrade => "downgrade",
            Self::Inputs { .. } => "inputs",
            Self::None { .. } => "none",
        }
    }
}

impl std::fmt::Display for WayBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::State => f.write_str("at any time: the version before reads the state as it is"),
            Self::Downgrade => f.write_str("at any time: it writes its state for the version before"),
            Self::Inputs { window, most_bytes, why } => write!(
                f,
                "for {window:?} after it goes live, until the node restarts, or until {most_bytes} bytes are kept for \
                 it: the version before is given what it handed over and all inputs since ({why})"
            ),
            Self::None { why } => write!(f, "none once the probation has passed: {why}"),
        }
    }
}

impl Inner {
    /// The way back if state goes back as `carried` says, or not for that reason.
    pub(super) fn way_back(&self, carried: Result<WayBack, String>) -> WayBack {
        let window = self.terms.window;
        match carried {
            Ok(way) => way,
            Err(why) if window.is_zero() => {
                WayBack::None { why: format!("{why}, and nothing is kept for it (rollback_window_ms = 0)") }
            }
            Err(why) => WayBack::Inputs { window, most_bytes: self.group.world().rollbacks.most(), why },
        }
    }

    pub(super) fn set_way_back(&self, way: Option<WayBack>) {
        *self.way_back.lock().unwrap_or_else(PoisonError::into_inner) = way;
    }

    /// As [`super::Deployer::way_back`].
    pub(super) fn told_way_back(&self) -> Option<String> {
        let way = self.way_back.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let kept = self.group.live().is_some_and(|live| live.earlier.is_some());
        match way {
            WayBack::Inputs { why, .. } if !kept => {
                let closed = self.why_closed();
                Some(
                    WayBack::None { why: format!("{why}, and nothing is kept any more ({closed})") }
                        .to_string(),
                )
            }
            way => Some(way.to_string()),
        }
    }

    /// Notes why nothing is kept any more of what rooms were before.
    pub(super) fn note_closed(&self, why: impl Into<String>) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = why.into();
    }

    /// Why nothing is kept of what rooms were before.
    pub(super) fn why_closed(&self) -> String {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
