//! Env: the part of a room's world that the host keeps for the guest, and that a recovery must restore.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::effects::{Effect, Effects};
use super::profile_write::ProfileWrite;
use super::profiles::RoomProfiles;

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
    documents: RoomProfiles,
    /// Timer id to the time it is due, ms since 1970.
    timers: BTreeMap<u64, u64>,
    /// Who is in the room, or which streams are open, as the guest was told.
    members: BTreeSet<u64>,
    /// Service calls that have not been answered.
    calls: BTreeSet<u64>,
    /// Timers set by the call that is running: they count against the limit at once.
    setting: usize,
}

/// See [`Env::mark`].
#[derive(Debug, Clone, Copy)]
pub(super) struct EnvMark {
    random: u64,
    token: u64,
    setting: usize,
}

/// What of it is kept on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    now_ms: u64,
    random: u64,
    token: u64,
    documents: RoomProfiles,
    timers: BTreeMap<u64, u64>,
    members: BTreeSet<u64>,
    calls: BTreeSet<u64>,
}

impl Env {
    /// The world of a new room.
    pub fn new(seed: u64) -> Self {
        Self {
            now_ms: 0,
            random: seed,
            token: 0,
            documents: RoomProfiles::default(),
            timers: BTreeMap::new(),
            members: BTreeSet::new(),
            calls: BTreeSet::new(),
            setting: 0,
        }
    }

    /// The form it is kept in on disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        let kept = Kept {
            now_ms: self.now_ms,
            random: self.random,
            token: self.token,
            documents: self.documents.clone(),
            timers: self.timers.clone(),
            members: self.members.clone(),
            calls: self.calls.clone(),
        };
        postcard::to_stdvec(&kept).expect("plain data of known size encodes")
    }

    /// Reads what [`Self::to_bytes`] wrote; none if it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let kept: Kept = postcard::from_bytes(bytes).ok()?;
        let Kept { now_ms, random, token, documents, timers, members, calls } = kept;
        Some(Self { now_ms, random, token, documents, timers, members, calls, setting: 0 })
    }

    /// About how large [`Self::to_bytes`] is.
    pub fn weight(&self) -> usize {
        self.documents.weight() + 16 * (self.timers.len() + self.members.len() + self.calls.len())
    }

    /// Who is in the room, or which streams of a shard are open, as the guest was told.
    pub fn members(&self) -> &BTreeSet<u64> {
        &self.members
    }

    /// The guest hears of a player.
    pub fn add_member(&mut self, user: u64) {
        self.members.insert(user);
    }

    /// The guest has heard that a player is gone. Its document goes too.
    pub fn remove_member(&mut self, user: u64) {
        self.members.remove(&user);
        self.documents.leave(user, self.now_ms);
    }

    /// Service calls that have not been answered.
    pub fn calls(&self) -> &BTreeSet<u64> {
        &self.calls
    }

    /// A service call has been made.
    pub fn add_call(&mut self, token: u64) {
        self.calls.insert(token);
    }

    /// A service call has been answered.
    pub fn remove_call(&mut self, token: u64) {
        self.calls.remove(&token);
    }

    /// The time of the last input.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Moves the clock on; a clock that was set back stands still instead.
    pub fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        // A call that was refused has set none.
        self.setting = 0;
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

    /// What a call uses up by asking.
    pub(super) fn mark(&self) -> EnvMark {
        EnvMark { random: self.random, token: self.token, setting: self.setting }
    }

    /// Takes back what has been used up since.
    pub(super) fn reset(&mut self, mark: EnvMark) {
        let EnvMark { random, token, setting } = mark;
        (self.random, self.token, self.setting) = (random, token, setting);
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
        self.documents.get(user)
    }

    /// A player sits down with this document and its version, or without one. It is kept while the player is here.
    pub fn set_profile(&mut self, user: u64, profile: Option<(u64, Arc<[u8]>)>) {
        self.documents.set(user, profile);
    }

    /// A call has put a document. It is ignored if the player is not here: nobody knows what it would replace.
    pub fn put_profile(&mut self, user: u64, bytes: &[u8]) {
        if self.members.contains(&user) {
            self.documents.put(user, bytes.into());
        }
    }

    /// What calls have put, in order, since this was last asked.
    pub fn take_puts(&mut self) -> Vec<ProfileWrite> {
        self.documents.take_puts()
    }

    /// The guest has been rebuilt; `before` is the world of the one before. What another version has put instead of it
    /// follows upon what the store has.
    pub fn carry_on(&mut self, before: Self) {
        self.documents.carry_on(before.documents, &self.members);
    }

    /// Every document the room has, for a store that may have missed some.
    pub fn documents(&self) -> impl Iterator<Item = ProfileWrite> {
        self.documents.all()
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
    fn it_comes_back_from_disk_as_it_was() {
        let mut env = Env::new(7);
        env.advance(10);
        env.random();
        env.add_call(3);
        env.add_member(1);
        env.set_profile(1, Some((9, b"doc"[..].into())));
        env.add_member(2);
        env.put_profile(2, b"parting");
        env.remove_member(2);
        env.take_puts();
        let mut back = Env::from_bytes(&env.to_bytes()).unwrap();
        assert_eq!(format!("{env:?}"), format!("{back:?}"));
        assert_eq!(env.random(), back.random());
        assert!(Env::from_bytes(b"").is_none());
    }

    #[test]
    fn timers_of_a_call_that_was_refused_do_not_count() {
        let mut env = Env::new(0);
        assert!(env.may_set_timer(1, 1));
        assert!(!env.may_set_timer(2, 1));
        env.advance(1);
        assert!(env.may_set_timer(2, 1));
    }

    #[test]
    fn the_clock_never_goes_back() {
        let mut env = Env::new(0);
        env.advance(10);
        env.advance(5);
        assert_eq!(env.now_ms, 10);
    }
}
