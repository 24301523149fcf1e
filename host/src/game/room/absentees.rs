//! Absent: players that the guest knows and who have no seat: their room has come from another host, or the way to
//! their agent broke. Who comes back in time keeps its place (`rejoin`); for the others the guest sees `leave`.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Room;
use crate::link::LeaveReason;
use crate::overdue::Overdue;
use crate::plugin::Input;

/// How long they may take. An agent notices within 10 s that a way is dead, and opens another.
pub(super) const ABSENT: Duration = Duration::from_secs(20);

/// Who is awaited, and until when.
#[derive(Debug, Default)]
pub(super) struct Absent {
    until: HashMap<u64, Instant>,
    /// No earlier than this is anybody given up; some may have come back since.
    next: Option<Instant>,
    overdue: Overdue,
}

impl Absent {
    pub(super) fn wait_for(&mut self, user: u64, now: Instant) {
        let until = now + ABSENT;
        self.until.insert(user, until);
        // All wait equally long, so who is awaited already is given up first.
        self.next.get_or_insert(until);
    }

    pub(super) fn came(&mut self, user: u64) {
        self.until.remove(&user);
    }

    /// When to look for those who have not come.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Whether to look again first: who came while the node stood still has not been read yet.
    fn waits(&mut self, now: Instant) -> bool {
        let Some(due) = self.next else { return true };
        let pause = self.overdue.again(now.saturating_duration_since(due), ABSENT);
        match pause {
            Some(pause) => self.next = Some(now + pause),
            None => self.overdue.met(),
        }
        pause.is_some()
    }

    /// Those who have not come.
    fn take(&mut self, now: Instant) -> Vec<u64> {
        let mut late: Vec<_> =
            self.until.extract_if(|_, until| *until <= now).map(|(user, _)| user).collect();
        self.next = self.until.values().min().copied();
        // A map has no order, and a guest's inputs should have one.
        late.sort_unstable();
        late
    }
}

impl Room {
    /// Tells the guest that a player has gone, or waits for one who may come back.
    pub(super) fn gone(&mut self, now_ms: u64, user: u64, reason: LeaveReason) {
        if reason == LeaveReason::LinkLost {
            self.absent.wait_for(user, Instant::now());
        } else {
            self.deliver(now_ms, &Input::Leave { user, reason: reason as u32 });
            self.settle(now_ms);
        }
    }

    /// Players who have not come in time.
    pub(super) fn give_up_absent(&mut self, now: Instant) {
        if self.absent.waits(now) {
            return;
        }
        let now_ms = self.now();
        for user in self.absent.take(now) {
            if self.knows(user) && !self.seats.holds(user) {
                self.gone(now_ms, user, LeaveReason::Lost);
            }
        }
    }

    /// Whether the guest has seen the player come, and not go.
    pub(super) fn knows(&mut self, user: u64) -> bool {
        self.actor.sandbox.env().members().contains(&user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_come_is_given_up_when_its_own_time_is_over() {
        let (mut absent, begin) = (Absent::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        absent.wait_for(7, begin);
        absent.wait_for(3, begin);
        absent.wait_for(5, after(5));
        absent.came(3);
        // One that came and has gone astray again waits anew.
        absent.came(7);
        absent.wait_for(7, after(10));
        assert_eq!(absent.due(), Some(begin + ABSENT));
        assert!(absent.take(begin + ABSENT).is_empty());
        assert_eq!(absent.due(), Some(after(5) + ABSENT));
        assert_eq!(absent.take(after(9) + ABSENT), [5]);
        assert_eq!(absent.take(after(10) + ABSENT), [7]);
        assert_eq!(absent.due(), None);
    }

    #[test]
    fn nobody_is_given_up_for_time_in_which_the_node_stood_still() {
        let (mut absent, begin) = (Absent::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        absent.wait_for(7, begin);
        absent.wait_for(3, begin);
        assert!(absent.waits(after(8) + ABSENT));
        assert_eq!(absent.due(), Some(after(16) + ABSENT));
        absent.came(7);
        assert!(!absent.waits(after(16) + ABSENT));
        assert_eq!(absent.take(after(16) + ABSENT), [3]);
    }
}
