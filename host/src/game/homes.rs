//! Homes: which home rooms are this host's, and whether it may act for them right now.
//!
//! On a node by itself all are, always. In a cluster each is claimed under the host's lease, and a host that cannot prove
//! its lease takes nothing in: its rooms stand still until it can, or until another host has claimed them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::actor::spread;

/// The part of a login's number that counts logins under one claim; the rest is the claim's revision.
const LOGIN_BITS: u32 = 24;

/// What the name of every home room begins with.
const PREFIX: &str = "home/";

/// How long it may take until agents have told the new host of a room of all its users.
const NEW: Duration = Duration::from_secs(2);

/// What says that a room is ours.
#[derive(Debug, Clone, Copy)]
struct Claim {
    revision: u64,
    since: Instant,
}

/// The home rooms, as one host sees them.
#[derive(Debug)]
pub struct Homes {
    count: u32,
    /// By room; none on a node by itself.
    owned: Option<RwLock<HashMap<u32, Claim>>>,
    /// The highest generation that is known of each room's state; stays when the room goes. At most one a room.
    generations: RwLock<HashMap<u32, u64>>,
    logins: AtomicU64,
    gate: Gate,
}

impl Homes {
    /// All of `count` home rooms are this node's.
    pub fn single_node(count: u32) -> Self {
        let generations = RwLock::default();
        Self { count, owned: None, generations, logins: AtomicU64::new(0), gate: Gate::open() }
    }

    /// None of `count` is, until it is claimed; nothing moves before the lease is there.
    pub fn clustered(count: u32) -> Self {
        let (owned, generations) = (Some(RwLock::default()), RwLock::default());
        Self { count, owned, generations, logins: AtomicU64::new(0), gate: Gate::closed() }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The number of a user's home room: a stable spread of users over rooms.
    pub fn of(&self, user: u64) -> u32 {
        u32::try_from(spread(user, u64::from(self.count))).unwrap_or(0)
    }

    /// A home room's name.
    pub fn name(home: u32) -> String {
        format!("{PREFIX}{home}")
    }

    /// The number in a home room's name.
    pub fn number(&self, name: &str) -> Option<u32> {
        let number = name.strip_prefix(PREFIX)?.parse().ok()?;
        (number < self.count).then_some(number)
    }

    /// Whether a room is one of them.
    pub fn is_home(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    /// Whether other hosts have home rooms too.
    pub fn are_clustered(&self) -> bool {
        self.owned.is_some()
    }

    fn claim(&self, home: u32) -> Option<Claim> {
        let owned = self.owned.as_ref()?.read().unwrap_or_else(PoisonError::into_inner);
        owned.get(&home).copied()
    }

    /// Whether this one is ours.
    pub fn owns(&self, home: u32) -> bool {
        self.owned.is_none() || self.claim(home).is_some()
    }

    /// Whether this one has come so lately that not all of its users may be known here.
    pub fn is_new(&self, home: u32) -> bool {
        self.claim(home).is_some_and(|claim| claim.since.elapsed() < NEW)
    }

    /// It is ours now, by a claim of that revision.
    pub fn claimed(&self, home: u32, revision: u64) {
        if let Some(owned) = &self.owned {
            let mut owned = owned.write().unwrap_or_else(PoisonError::into_inner);
            let claim = owned.entry(home).or_insert(Claim { revision, since: Instant::now() });
            claim.revision = revision;
        }
        self.logins.fetch_max(revision << LOGIN_BITS, Ordering::Relaxed);
    }

    /// It is ours no longer.
    pub fn given_up(&self, home: u32) {
        if let Some(owned) = &self.owned {
            owned.write().unwrap_or_else(PoisonError::into_inner).remove(&home);
        }
    }

    /// The room's state is of this generation at least.
    pub fn raise(&self, home: u32, generation: u64) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        let known = generations.entry(home).or_default();
        *known = generation.max(*known);
    }

    /// The highest generation that is known of a room's state; see
    /// [`crate::journal::SavedState::generation`].
    pub fn generation(&self, home: u32) -> u64 {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        generations.get(&home).copied().unwrap_or(0)
    }

    /// Revisions of the claims, by room.
    pub fn claims(&self) -> HashMap<u32, u64> {
        let Some(owned) = &self.owned else { return HashMap::new() };
        let owned = owned.read().unwrap_or_else(PoisonError::into_inner);
        owned.iter().map(|(home, claim)| (*home, claim.revision)).collect()
    }

    /// A number for a login: higher than any that was given for the same user before, by whichever host.
    pub fn next_login(&self) -> u64 {
        self.logins.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether this host may act.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
}

/// Open for as long as the lease is known to be held.
#[derive(Debug)]
pub struct Gate {
    since: Instant,
    /// Milliseconds after `since`; the highest number for ever.
    until: AtomicU64,
    moved: Notify,
}

impl Gate {
    fn open() -> Self {
        Self { since: Instant::now(), until: AtomicU64::new(u64::MAX), moved: Notify::new() }
    }

    fn closed() -> Self {
        Self { until: AtomicU64::new(0), ..Self::open() }
    }

    /// Whether it is open at this moment: a process that was frozen finds it closed, whoever runs first.
    #[inline]
    pub fn is_open(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until == u64::MAX || self.since.elapsed() < Duration::from_millis(until)
    }

    /// Keeps it open until then; a time that has passed closes it.
    pub fn open_until(&self, until: Instant) {
        let until = until.saturating_duration_since(self.since).as_millis();
        self.until.store(u64::try_from(until).unwrap_or(u64::MAX - 1), Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// Completes when it is open. Cancel safe.
    pub async fn opened(&self) {
        loop {
            let moved = self.moved.notified();
            if self.is_open() {
                return;
            }
            moved.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_by_itself_has_all_of_them() {
        let homes = Homes::single_node(4);
        assert!((0..4).all(|home| homes.owns(home)));
        assert!(homes.gate().is_open());
        assert_eq!(homes.number("home/3"), Some(3));
        assert_eq!(homes.number("home/4"), None);
        assert_eq!(homes.number("match"), None);
        assert!((1..=100).all(|user| homes.of(user) < 4));
    }

    #[test]
    fn logins_rise_from_claim_to_claim() {
        let (one, other) = (Homes::clustered(2), Homes::clustered(2));
        one.claimed(0, 7);
        let first = one.next_login();
        assert!(one.next_login() > first);
        other.claimed(0, 8);
        assert!(other.next_login() > one.next_login());
        one.given_up(0);
        assert!(!one.owns(0) && other.owns(0) && !other.owns(1));
    }

    #[tokio::test]
    async fn the_gate_is_open_while_the_lease_is_held() {
        let homes = Homes::clustered(1);
        let gate = homes.gate();
        assert!(!gate.is_open());
        let open = async {
            gate.open_until(Instant::now() + Duration::from_secs(60));
        };
        tokio::join!(gate.opened(), open);
        assert!(gate.is_open());
        gate.open_until(Instant::now());
        assert!(!gate.is_open());
    }
}
