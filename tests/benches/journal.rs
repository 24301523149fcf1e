//! What the journal costs a room, and how long a node needs to be where it was.
//!
//! Appends records of a ping's size (31 bytes) as a room does, one at a time and in batches of 16, while the writer
//! thread writes and syncs behind: wall clock of the appending thread, medians of three rounds. Then recovery: a journal
//! of a room with a million pings and one of a shard with a million scores (`RankChange`, 100,000 users) are opened and
//! replayed, by the guest as a node does it and by the same crate compiled for this machine (through the SDK's test room
//! and test shard, which copy what a handler sends). Both read the same journal and decode the same records. Processor
//! time of the thread, medians of three rounds.
//!
//! `cargo bench -p hotseat --bench journal -- [--events 1000000]`

#[path = "support/guest.rs"]
mod guest;
#[path = "support/timing.rs"]
mod timing;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use game_logic::{Arena, V1};
use hotseat::actor::{Replica, Start};
use hotseat::journal::{BUFFER_BYTES, Bounds, Journal, SEGMENT_BYTES, SavedState};
use hotseat::plugin::{Env, Input, Records, Verdict, Version};
use hotseat_guest::testing::{TestRoom, TestShard};
use hotseat_services::rank::{Change, method};
use prost::Message as _;
use timing::{median_of_three, row, spent, told};

const BOUNDS: Bounds = Bounds {
    segment_bytes: SEGMENT_BYTES,
    buffer_bytes: BUFFER_BYTES,
    sync_every: Duration::from_millis(10),
};

/// Where the SDK's tests have their time stand: 2026-01-01 UTC, ms.
const NOW_MS: u64 = 1_767_225_600_000;

const PING: Input<'_> = Input::Message { user: 7, op: 1001, payload: &7i32.to_be_bytes() };

/// Users of the leaderboard.
const USERS: u64 = 100_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let at = args.iter().position(|arg| arg == "--events");
    let events: u64 = at.and_then(|at| args.get(at + 1)).map_or("1000000", String::as_str).parse()?;
    let mut out = std::io::stdout();
    writeln!(out, "| what | time |\n|---|---|")?;
    let mut records = Records::default();
    for _ in 0..16 {
        records.push(NOW_MS, &PING);
    }
    let one = &records.since(0)[..records.bytes() / 16];
    writeln!(out, "| append one record of a ping | {:.0} ns |", append(one, 1_000_000)?)?;
    let batch = append(records.since(0), 125_000)? / 16.0;
    writeln!(out, "| append 16 at a time, a record | {batch:.0} ns |")?;

    writeln!(out, "\n| recovery of {events} events | in the guest | native | ratio |\n|---|---|---|---|")?;
    recover::<Room>(&mut out, "home/17", "game-logic", "pings of a room", |write| {
        write(&Input::Join { user: 7, profile: None });
        (0..events).for_each(|_| write(&PING));
    })?;
    recover::<Shard>(&mut out, "rank#0", "rank", "scores of a shard", |write| {
        let mut random = 0u64;
        for _ in 0..events {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (user, score) = ((random >> 33) % USERS, random >> 24);
            let change = Change { user_id: user.cast_signed(), score: score.cast_signed(), set_id: 1 };
            write(&Input::Call { method: method::RANK_CHANGE, body: &change.encode_to_vec() });
        }
    })
}

/// Nanoseconds an append, the median of three rounds; waits, uncounted, when the disk does not follow.
fn append(records: &[u8], times: u32) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let (journal, _) = Journal::open(dir.path(), BOUNDS)?;
    let room: Arc<str> = "home/17".into();
    journal.base(&room, b"");
    let median = median_of_three(|| {
        let mut spent = Duration::ZERO;
        for _ in 0..times / 1000 {
            while journal.is_full() {
                std::thread::yield_now();
            }
            let started = Instant::now();
            for _ in 0..1000 {
                journal.inputs(&room, records);
            }
            spent += started.elapsed();
        }
        Ok(spent)
    })?;
    journal.close();
    Ok(median.as_secs_f64() * 1e9 / f64::from(times))
}

/// The same code as the guest's, compiled for this machine.
trait Native: Sized {
    fn open(name: &str) -> Result<Self>;
    fn replay(&mut self, input: &Input<'_>) -> Result<()>;
    /// The state, as it would be saved.
    fn state(&self) -> Vec<u8>;
}

/// Writes a journal, and measures how an actor comes back from it.
fn recover<N: Native>(
    out: &mut impl Write,
    name: &str,
    plugin: &str,
    what: &str,
    fill: impl FnOnce(&mut dyn FnMut(&Input<'_>)),
) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (journal, _) = Journal::open(&dir.path().join("journal"), BOUNDS)?;
    let actor: Arc<str> = name.into();
    journal.base(&actor, &base()?);
    let mut one = Records::default();
    fill(&mut |input| {
        while journal.is_full() {
            std::thread::yield_now();
        }
        one.clear();
        one.push(NOW_MS, input);
        journal.inputs(&actor, one.since(0));
    });
    journal.close();
    drop(journal);
    let version = guest::prepare(plugin, dir.path())?;

    let mut past = None;
    let read = median_of_three(|| {
        let (opened, time) = spent(|| Ok(Journal::open(&dir.path().join("journal"), BOUNDS)?))?;
        let (journal, mut saved_states) = opened;
        past = saved_states.remove(name);
        journal.close();
        Ok(time)
    })?;
    let past = past.context("what was written is there")?;
    let mut ends = (Vec::new(), Vec::new());
    let in_guest = median_of_three(|| {
        let (mut replica, time) = spent(|| replay_in_guest(name, &past, &version))?;
        ends.0 = replica.save()?.bytes.to_vec();
        Ok(time)
    })?;
    let native = median_of_three(|| {
        let (native, time) = spent(|| replay_natively::<N>(name, &past))?;
        ends.1 = native.state();
        Ok(time)
    })?;
    ensure!(ends.0 == ends.1 && !ends.0.is_empty(), "the two have come to different states");
    writeln!(out, "| {what}: open and read the journal | {0} | {0} | the same code |", told(read))?;
    writeln!(out, "{}", row(&format!("{what}: replay"), in_guest, native))?;
    writeln!(out, "{}", row(&format!("{what}: both together"), read + in_guest, read + native))?;
    Ok(())
}

/// How an actor began, as the journal keeps it (`host/src/actor/sandbox/base.rs`): its world, no arguments, no settings,
/// and no state, since it opened.
fn base() -> Result<Vec<u8>> {
    let settings = postcard::to_stdvec(&BTreeMap::<String, String>::new())?;
    let mut base = Vec::new();
    for part in [&Env::new(1).to_bytes()[..], &[], &settings] {
        base.extend_from_slice(&u32::try_from(part.len())?.to_le_bytes());
        base.extend_from_slice(part);
    }
    base.push(0);
    Ok(base)
}

fn replay_in_guest(name: &str, past: &SavedState, version: &Arc<Version>) -> Result<Replica> {
    let start = Start::read(name, &past.base, &BTreeMap::new()).context("a base")?;
    let log = Records::from_bytes(past.inputs.clone())?;
    let mut replica = Replica::begin(&start, version)?;
    for record in log.iter() {
        let (at_ms, input, ids) = record?;
        match replica.deliver(at_ms, &input, ids, true)? {
            Verdict::Done | Verdict::Answered(_) => {}
            refused => bail!("{refused:?}"),
        }
    }
    Ok(replica)
}

fn replay_natively<N: Native>(name: &str, past: &SavedState) -> Result<N> {
    let log = Records::from_bytes(past.inputs.clone())?;
    let mut native = N::open(name)?;
    for record in log.iter() {
        native.replay(&record?.1)?;
    }
    Ok(native)
}

/// A room of the reference game.
struct Room(TestRoom<Arena<V1>>);

impl Native for Room {
    fn open(name: &str) -> Result<Self> {
        Ok(Self(TestRoom::open(name, &[]).map_err(anyhow::Error::msg)?))
    }

    fn replay(&mut self, input: &Input<'_>) -> Result<()> {
        match *input {
            Input::Join { user, .. } => self.0.join(user),
            Input::Message { user, op, payload } => {
                self.0.message(user, op, payload).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
                // A replay drops what is sent.
                ensure!(self.0.effects().len() == 1 && self.0.sent_to(user).len() == 1, "a ping is answered");
            }
            _ => bail!("{input:?} is not in this journal"),
        }
        Ok(())
    }

    fn state(&self) -> Vec<u8> {
        self.0.save().bytes
    }
}

/// A shard of the leaderboard.
struct Shard(TestShard<rank::V1>);

impl Native for Shard {
    fn open(name: &str) -> Result<Self> {
        Ok(Self(TestShard::open(name).map_err(anyhow::Error::msg)?))
    }

    fn replay(&mut self, input: &Input<'_>) -> Result<()> {
        let Input::Call { method, body } = *input else { bail!("{input:?} is not in this journal") };
        self.0.call(method, body).map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        Ok(())
    }

    fn state(&self) -> Vec<u8> {
        self.0.save().bytes
    }
}
