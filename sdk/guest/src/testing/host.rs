//! The host a test room or shard talks to: inputs under the test's control, effects queued until the call returns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::answer::Answer;
use crate::game::UserId;
use crate::testing::channels::Channels;
use crate::testing::{Effect, Level, LogLine, ServiceCall};

/// Limits of the contract, from `wit/host.wit`.
const MAX_EFFECTS: usize = 4096;
const MAX_EFFECT_BYTES: usize = 1 << 20;
const MAX_PAYLOAD: usize = 65_533;
const OPCODES: std::ops::RangeInclusive<u16> = 1001..=32_767;
const MAX_TIMERS: usize = 1024;
const MAX_PROFILE: usize = 64 << 10;
const MAX_CALLS: usize = 64;

/// More events than this following from one another are a loop of the plugin's.
pub(crate) const MAX_FOLLOW_UPS: usize = 10_000;

/// Where time begins in a test: 2026-01-01 UTC.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// An event that follows from an effect.
pub(crate) enum FollowUp {
    Kicked(UserId),
    Transferred(UserId),
    Rejoin(UserId),
    Overloaded(u64),
}

/// What the host answers to a call beyond the limit.
pub(crate) fn overloaded() -> Answer {
    Answer::error(8, format!("{MAX_CALLS} calls are in flight"))
}

#[derive(Clone)]
pub(crate) struct TestHost {
    pub(crate) key: String,
    pub(crate) now_ms: u64,
    pub(crate) config: BTreeMap<String, Vec<u8>>,
    pub(crate) profiles: BTreeMap<UserId, Vec<u8>>,
    pub(crate) players: BTreeSet<UserId>,
    /// Who is just being told of as gone: nothing reaches that player, but its document is still there.
    pub(crate) leaving: Option<UserId>,
    /// Rooms a transfer finds, beside the home rooms.
    pub(crate) rooms: BTreeSet<String>,
    /// Due time of each timer.
    pub(crate) timers: BTreeMap<u64, u64>,
    pub(crate) calls: BTreeMap<u64, ServiceCall>,
    pub(crate) logs: Vec<LogLine>,
    /// Of calls that returned, until the test takes them.
    pub(crate) released: Vec<Effect>,
    pub(crate) sent: BTreeMap<UserId, Vec<(u16, Vec<u8>)>>,
    pub(crate) closed: Option<u32>,
    pub(crate) channels: Channels,
    random: u64,
    last_id: u64,
    last_token: u64,
    /// Of the call that is running.
    queued: Vec<Effect>,
    queued_bytes: usize,
}

impl TestHost {
    pub(crate) fn new() -> Self {
        Self {
            key: String::new(),
            now_ms: EPOCH_MS,
            config: BTreeMap::new(),
            profiles: BTreeMap::new(),
            players: BTreeSet::new(),
            leaving: None,
            rooms: BTreeSet::new(),
            timers: BTreeMap::new(),
            calls: BTreeMap::new(),
            logs: Vec::new(),
            released: Vec::new(),
            sent: BTreeMap::new(),
            closed: None,
            channels: Channels::default(),
            random: 1,
            last_id: 0,
            last_token: 0,
            queued: Vec::new(),
            queued_bytes: 0,
        }
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        self.random = seed;
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): one word of state, every seed is good.
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Shaped as the host's: milliseconds above 22 bits of machine and serial, rising.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id = (self.now_ms << 22).max(self.last_id + 1);
        self.last_id
    }

    /// Forgets the next timer that is due until then, moves time there, and names it.
    pub(crate) fn take_due(&mut self, until: u64) -> Option<u64> {
        let (due, id) = self.timers.iter().map(|(id, due)| (*due, *id)).min()?;
        if due > until {
            return None;
        }
        self.timers.remove(&id);
        self.now_ms = self.now_ms.max(due);
        Some(id)
    }

    pub(crate) fn log(&mut self, level: Level, text: &str) {
        self.logs.push(LogLine { level, text: text.into() });
    }

    pub(crate) fn profile(&self, user: UserId) -> Option<Vec<u8>> {
        self.profiles.get(&user).filter(|_| self.has_document(user)).cloned()
    }

    fn has_document(&self, user: UserId) -> bool {
        self.players.contains(&user) || self.leaving == Some(user)
    }

    pub(crate) fn call(&mut self, service: &str, instance: &str, method: &str, body: &[u8]) -> u64 {
        self.last_token += 1;
        let token = self.last_token;
        self.queue(Effect::Call(ServiceCall {
            token,
            service: service.into(),
            instance: instance.into(),
            method: method.into(),
            body: body.to_vec(),
        }));
        token
    }

    pub(crate) fn queue(&mut self, effect: Effect) {
        match &effect {
            Effect::Send { payload, op, .. } | Effect::Broadcast { payload, op, .. } => {
                assert!(OPCODES.contains(op), "trap: opcode {op}: a game sends {OPCODES:?}");
                assert!(
                    payload.len() <= MAX_PAYLOAD,
                    "trap: the payload of frame {op} has {} bytes, at most {MAX_PAYLOAD} fit",
                    payload.len()
                );
            }
            Effect::PutProfile { user, bytes } => assert!(
                bytes.len() <= MAX_PROFILE,
                "trap: the profile of player {user} has {} bytes, at most {MAX_PROFILE} fit",
                bytes.len()
            ),
            Effect::SetTimer { id, .. } => assert!(
                self.timer_ids_with(*id) <= MAX_TIMERS,
                "trap: timer {id} would be one more than {MAX_TIMERS}"
            ),
            _ => {}
        }
        self.queued_bytes += effect.payload_bytes();
        self.queued.push(effect);
        assert!(self.queued.len() <= MAX_EFFECTS, "trap: more than {MAX_EFFECTS} effects in one call");
        assert!(
            self.queued_bytes <= MAX_EFFECT_BYTES,
            "trap: more than {MAX_EFFECT_BYTES} bytes of effects in one call"
        );
    }

    /// The call refused, trapped or is one whose effects are ignored.
    pub(crate) fn drop_queued(&mut self) {
        self.queued.clear();
        self.queued_bytes = 0;
    }

    /// The call returned: its effects happen, in order. What follows from them is returned.
    pub(crate) fn release(&mut self) -> VecDeque<FollowUp> {
        self.queued_bytes = 0;
        let queued = std::mem::take(&mut self.queued);
        let mut follow_ups = VecDeque::new();
        for effect in &queued {
            follow_ups.extend(self.carry_out(effect));
        }
        self.released.extend(queued);
        follow_ups
    }

    fn carry_out(&mut self, effect: &Effect) -> Option<FollowUp> {
        match effect {
            Effect::Send { user, op, payload } => self.deliver(*user, *op, payload),
            Effect::Broadcast { users, op, payload } => {
                let everyone: Vec<UserId> = self.players.iter().copied().collect();
                for user in if users.is_empty() { &everyone } else { users } {
                    self.deliver(*user, *op, payload);
                }
            }
            Effect::Kick { user, .. } => {
                return self.players.remove(user).then_some(FollowUp::Kicked(*user));
            }
            Effect::Transfer { user, room } => {
                if !self.players.contains(user) {
                    return None;
                }
                if !room.starts_with("home/") && !self.rooms.contains(room) {
                    return Some(FollowUp::Rejoin(*user));
                }
                self.players.remove(user);
                return Some(FollowUp::Transferred(*user));
            }
            Effect::CreateRoom { room, .. } => {
                assert!(
                    is_room_name(room),
                    "{room:?} is no name for a room: 1 to 64 of a-z 0-9 / - _ ., no home/"
                );
                self.rooms.insert(room.clone());
            }
            Effect::CloseRoom { reason } => {
                if !self.key.starts_with("home/") {
                    self.closed = Some(*reason);
                    self.players.clear();
                    self.timers.clear();
                }
            }
            Effect::SetTimer { id, after_ms } => {
                self.timers.insert(*id, self.now_ms + u64::from(*after_ms));
            }
            Effect::CancelTimer { id } => {
                self.timers.remove(id);
            }
            Effect::PutProfile { user, bytes } => {
                if self.has_document(*user) {
                    self.profiles.insert(*user, bytes.clone());
                }
            }
            Effect::Call(call) => {
                if self.calls.len() >= MAX_CALLS {
                    return Some(FollowUp::Overloaded(call.token));
                }
                self.calls.insert(call.token, call.clone());
            }
            Effect::ChannelSend { channels, message } => self.channels.send(channels, message),
            Effect::ChannelEnd { channel, status, text } => self.channels.end(*channel, *status, text),
        }
        None
    }

    fn deliver(&mut self, user: UserId, op: u16, payload: &[u8]) {
        if self.players.contains(&user) {
            self.sent.entry(user).or_default().push((op, payload.to_vec()));
        }
    }

    /// How many timers there are once `id` and what is queued is set.
    fn timer_ids_with(&self, id: u64) -> usize {
        let queued = self.queued.iter().filter_map(|effect| match effect {
            Effect::SetTimer { id, .. } => Some(id),
            _ => None,
        });
        self.timers.keys().chain(queued).chain([&id]).collect::<BTreeSet<_>>().len()
    }
}

fn is_room_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with("home/")
}
