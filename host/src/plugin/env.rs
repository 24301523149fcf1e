//! Env: the part of a room's world that the host keeps for the guest, and that a recovery must restore.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::effects::{Effect, Effects};

/// Time, randomness, tokens and profiles as the guest of one room sees them.
///
/// Together with the guest's own snapshot this is the whole state that a call depends on, so the same inputs
/// after the same `Env` and snapshot give the same effects.
#[derive(Debug, Clone)]
pub struct Env {
    /// Time of the event that is handled, ms since 1970. Never goes back.
    pub now_ms: u64,
    random: u64,
    token: u64,
    profiles: BTreeMap<u64, Arc<[u8]>>,
    /// Timer id to the time it is due, ms since 1970.
    timers: BTreeMap<u64, u64>,
    /// Timers set by the call that is running: they count against the limit at once.
    setting: usize,
}

impl Env {
    /// The world of a new room.
    pub fn new(seed: u64) -> Self {
        Self {
            now_ms: 0,
            random: seed,
            token: 0,
            profiles: BTreeMap::new(),
            timers: BTreeMap::new(),
            setting: 0,
        }
    }

    /// Moves the clock on; a clock that was set back stands still instead.
    pub fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// The next random number: SplitMix64 (Steele, Lea and Flood 2014), which passes BigCrush and has 64 bits of
    /// state to save.
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A token for a service call; unique within the room.
    pub(super) fn token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    /// Whether a call may set this timer; counts it if so.
    pub(super) fn may_set_timer(&mut self, id: u64, most: usize) -> bool {
        if self.timers.contains_key(&id) {
            return true;
        }
        self.setting += 1;
        self.timers.len() + self.setting <= most
    }

    /// Carries out what a finished call asked of its timers.
    pub fn apply_timers(&mut self, effects: &Effects) {
        self.setting = 0;
        for effect in effects.iter() {
            match effect {
                Effect::SetTimer { id, after_ms } => {
                    self.timers.insert(id, self.now_ms + u64::from(after_ms));
                }
                Effect::CancelTimer { id } => {
                    self.timers.remove(&id);
                }
                _ => {}
            }
        }
    }

    /// The timer that is due first: when, and which. Of several at one time the lowest id.
    pub fn next_timer(&self) -> Option<(u64, u64)> {
        self.timers.iter().map(|(id, due_ms)| (*due_ms, *id)).min()
    }

    /// Forgets a timer because it is about to fire.
    pub fn take_timer(&mut self, id: u64) {
        self.timers.remove(&id);
    }

    /// The document of a player in the room.
    pub fn profile(&self, user: u64) -> Option<&Arc<[u8]>> {
        self.profiles.get(&user)
    }

    /// Keeps a player's document while the player is here.
    pub fn set_profile(&mut self, user: u64, bytes: Arc<[u8]>) {
        self.profiles.insert(user, bytes);
    }

    /// Forgets a player's document.
    pub fn drop_profile(&mut self, user: u64) -> Option<Arc<[u8]>> {
        self.profiles.remove(&user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_is_splitmix64() {
        // The first outputs of the algorithm for the seed 1234567.
        let mut env = Env::new(1_234_567);
        let seen: Vec<_> = (0..3).map(|_| env.random()).collect();
        assert_eq!(seen, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn the_clock_never_goes_back() {
        let mut env = Env::new(0);
        env.advance(10);
        env.advance(5);
        assert_eq!(env.now_ms, 10);
    }
}
