//! Entry faults: how often guests have failed to let a user in lately, in whichever room of this host.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::actor::FaultWindow;

/// Failures within the window of [`FaultWindow`] that cost the connection.
const STRIKES: u32 = 3;

/// Users who are remembered. Beyond that, who is not among them is treated as one who has failed often enough: so many
/// failures in so little time are a guest that lets nobody in.
const USERS_MAX: usize = 16_384;

/// The users.
#[derive(Debug, Default)]
pub(in crate::game) struct EntryFaults(Mutex<HashMap<u64, FaultWindow>>);

impl EntryFaults {
    /// A guest has failed to let the user in; true if that costs the connection.
    pub(in crate::game) fn count(&self, user: u64) -> bool {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= USERS_MAX && !users.contains_key(&user) {
            users.retain(|_, faults_lately| !faults_lately.are_over());
            if users.len() >= USERS_MAX {
                return true;
            }
        }
        users.entry(user).or_insert_with(FaultWindow::new).count(STRIKES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_failure_costs_the_connection_and_users_are_bounded() {
        let faults = EntryFaults::default();
        assert_eq!([1, 1, 2, 1].map(|user| faults.count(user)), [false, false, false, true]);
        let most = u64::try_from(USERS_MAX).unwrap();
        assert!((10..10 + most - 2).all(|user| !faults.count(user)));
        assert!(faults.count(5), "one more than are remembered");
        assert!(!faults.count(2), "who is remembered has its own count");
    }
}
