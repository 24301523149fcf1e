//! What a leaderboard of a million costs inside the guest, and the same code natively, in one run.
//!
//! The rank plugin as it is built for a node, called through the engine as a shard does; beside it the same crate
//! compiled for this machine, called through the SDK's test shard. Both get the same encoded requests. Processor time of
//! the one thread that does it all, medians of three rounds. An argument is the number of entries.
//!
//! `cargo bench -p hotseat --bench rank -- [1000000]`

#[path = "support/guest.rs"]
mod guest;
#[path = "support/instance.rs"]
mod instance;
#[path = "support/timing.rs"]
mod timing;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use guest::prepare;
use hotseat::plugin::{Input, Instance, Verdict, Version};
use hotseat_guest::testing::TestShard;
use hotseat_services::rank::{Change, Changes, Range, Users, method};
use instance::fresh;
use prost::Message as _;
use timing::{median_of_three, row, spent};

/// Changes of one `Update`.
const BATCH: u64 = 1000;

/// Batches of a round.
const ROUND: u64 = 500;

fn main() -> Result<()> {
    let entries: u64 =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let mut out = std::io::stdout();
    writeln!(out, "{entries} entries, random scores; processor time, medians of three rounds\n")?;
    writeln!(out, "| what | in the guest | native | ratio |\n|---|---|---|---|")?;
    let guest = measure(Guest::new, entries)?;
    let native = measure(Native::new, entries)?;
    for ((what, guest), (_, native)) in guest.iter().zip(&native) {
        writeln!(out, "{}", row(what, *guest, *native))?;
    }
    let per_second = 1.0 / guest[1].1.as_secs_f64();
    writeln!(out, "\nupdates in the guest: {:.2} M/s", per_second / 1e6)?;
    Ok(())
}

/// Somebody who answers requests.
trait Shard {
    fn call(&mut self, method: &str, body: &[u8]) -> Result<usize>;
    fn query(&mut self, method: &str, body: &[u8]) -> Result<usize>;
    /// Saves the state and makes another shard of it.
    fn save_and_load(&mut self) -> Result<(Duration, Duration)>;
}

fn measure<S: Shard>(make: impl Fn() -> Result<S>, entries: u64) -> Result<Vec<(&'static str, Duration)>> {
    let mut random = Random(0x5DEE_CE66);
    let mut batch = |users: &mut dyn FnMut(&mut Random) -> u64| {
        let (mut user_ids, mut scores) = (Vec::new(), Vec::new());
        for _ in 0..BATCH {
            user_ids.push(users(&mut random).cast_signed());
            scores.push(i64::try_from(random.below(1 << 40)).unwrap_or(0));
        }
        Changes { set_id: 1, user_ids, scores }.encode_to_vec()
    };
    let mut next = 0;
    let fill: Vec<_> = (0..entries.div_ceil(BATCH))
        .map(|_| {
            batch(&mut |_| {
                next += 1;
                next
            })
        })
        .collect();
    let mut filled = None;
    let insert = median_of_three(|| {
        // One at a time: they are large.
        drop(filled.take());
        let shard = filled.insert(make()?);
        let (_, time) =
            spent(|| fill.iter().try_for_each(|body| shard.call(method::UPDATE, body).map(drop)))?;
        Ok(time / u32::try_from(entries)?)
    })?;
    let mut shard = filled.context("a round has filled it")?;
    drop(fill);

    let update = median_of_three(|| {
        let bodies: Vec<_> = (0..ROUND).map(|_| batch(&mut |random| 1 + random.below(entries))).collect();
        let (_, time) =
            spent(|| bodies.iter().try_for_each(|body| shard.call(method::UPDATE, body).map(drop)))?;
        Ok(time / u32::try_from(ROUND * BATCH)?)
    })?;
    let mut random = Random(7);
    let single = median_of_three(|| {
        let bodies: Vec<_> = (0..100_000)
            .map(|_| {
                let (user, score) = (1 + random.below(entries), random.below(1 << 40));
                let (user_id, score) = (user.cast_signed(), score.cast_signed());
                Change { user_id, score, set_id: 1 }.encode_to_vec()
            })
            .collect();
        each(&bodies, |body| shard.call(method::RANK_CHANGE, body))
    })?;
    let top = Range { a: 1, b: 100, set_id: 1, season: 0 }.encode_to_vec();
    let top = median_of_three(|| {
        each(&vec![top.clone(); 50_000], |body| shard.query(method::QUERY_RANK_RANGE, body))
    })?;
    let rank = median_of_three(|| {
        let bodies: Vec<_> = (0..100_000)
            .map(|_| {
                let user_ids = vec![(1 + random.below(entries)).cast_signed()];
                Users { user_ids, set_id: 1, season: 0 }.encode_to_vec()
            })
            .collect();
        each(&bodies, |body| shard.query(method::QUERY_USERS, body))
    })?;
    let mut loads = Vec::new();
    let save = median_of_three(|| {
        let (save, load) = shard.save_and_load()?;
        loads.push(load);
        Ok(save)
    })?;
    loads.sort();
    let load = loads[1];
    Ok(vec![
        ("insert, 1,000 a call, each", insert),
        ("update, 1,000 a call, each", update),
        ("update, a call each", single),
        ("top 100", top),
        ("rank of a user", rank),
        ("save all", save),
        ("load all", load),
    ])
}

fn each(bodies: &[Vec<u8>], mut ask: impl FnMut(&[u8]) -> Result<usize>) -> Result<Duration> {
    let (_, time) = spent(|| bodies.iter().try_for_each(|body| ask(body).map(drop)))?;
    Ok(time / u32::try_from(bodies.len())?)
}

/// The plugin in the engine.
struct Guest {
    version: Arc<Version>,
    instance: Instance,
    _data: tempfile::TempDir,
}

impl Guest {
    fn new() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let version = prepare("rank", data.path())?;
        let mut instance = fresh(&version, "rank#0", &[])?;
        instance.open("rank#0", &[])?;
        Ok(Self { version, instance, _data: data })
    }

    fn ask(&mut self, input: &Input<'_>) -> Result<usize> {
        match self.instance.call(input)? {
            Verdict::Answered(body) => Ok(body.len()),
            other => bail!("{other:?}"),
        }
    }
}

impl Shard for Guest {
    fn call(&mut self, method: &str, body: &[u8]) -> Result<usize> {
        self.ask(&Input::Call { method, body })
    }

    fn query(&mut self, method: &str, body: &[u8]) -> Result<usize> {
        self.ask(&Input::Query { method, body })
    }

    fn save_and_load(&mut self) -> Result<(Duration, Duration)> {
        let (snapshot, save) = spent(|| Ok(self.instance.save()?))?;
        let mut other = fresh(&self.version, "rank#0", &[])?;
        let (_, load) = spent(|| Ok(other.load(&snapshot)?))?;
        Ok((save, load))
    }
}

/// The same code compiled for this machine.
struct Native(TestShard<rank::V1>);

impl Native {
    fn new() -> Result<Self> {
        Ok(Self(TestShard::open("rank#0").map_err(anyhow::Error::msg)?))
    }
}

impl Shard for Native {
    fn call(&mut self, method: &str, body: &[u8]) -> Result<usize> {
        let answer = self.0.call(method, body).map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        Ok(answer.len())
    }

    fn query(&mut self, method: &str, body: &[u8]) -> Result<usize> {
        let answer = self.0.query(method, body).map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        Ok(answer.len())
    }

    fn save_and_load(&mut self) -> Result<(Duration, Duration)> {
        let (snapshot, save) = spent(|| Ok(self.0.save()))?;
        // Handed out, so that dropping it is not measured.
        let (_other, load) = spent(|| TestShard::<rank::V1>::load(&snapshot).map_err(anyhow::Error::msg))?;
        Ok((save, load))
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
