//! Consent: what an operator allows a deployment to cost.

use serde::{Deserialize, Serialize};

/// What a deployment may do that it does not do by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Rooms that may end if the version cannot take them over. What they were is set aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<String>,
    /// Rooms may stand still for longer than `swap_pause_max_ms` while they are handed over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any_pause: bool,
}

impl Consent {
    /// Of a deployment to a cluster, whose rooms are set aside before.
    pub fn to_pause(any_pause: bool) -> Self {
        Self { set_aside: Vec::new(), any_pause }
    }

    /// To a version that is live elsewhere already, or was before: it has to go live, whatever it costs.
    pub fn to_any_pause() -> Self {
        Self::to_pause(true)
    }
}
