//! What a leaderboard of a million costs inside the guest, and the same code natively, in one run.
//!
//! The rank plugin as it is built for a node, called through the engine as a shard does; beside it the same crate
//! compiled for this machine, called through the SDK's test shard. Both get the same encoded requests. Best of three
//! rounds each, by the wall clock, on one thread. An argument is the number of entries.
//!
//! `cargo bench -p hotseat --bench rank -- [1000000]`

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hotseat::plugin::{Engine, Env, Input, Instance, Verdict, Version};
use hotseat::snowflake::Generator;
use hotseat_guest::testing::TestShard;
use hotseat_services::rank::{Change, Changes, Range, Users, method};
use prost::Message as _;

/// Changes of one `Update`.
const BATCH: u64 = 1000;

/// Batches of a round.
const ROUND: u64 = 500;

fn main() -> Result<()> {
    let entries: u64 =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let mut out = std::io::stdout();
    writeln!(out, "{entries} entries, random scores; best of three rounds\n")?;
    writeln!(out, "{:<34} {:>12} {:>12} {:>8}", "", "guest", "native", "ratio")?;
    let guest = measure(&mut Guest::new()?, entries)?;
    let native = measure(&mut Native::new()?, entries)?;
    for ((what, guest), (_, native)) in guest.iter().zip(&native) {
        let ratio = guest.as_secs_f64() / native.as_secs_f64();
        writeln!(out, "{what:<34} {:>12} {:>12} {ratio:>8.2}", told(*guest), told(*native))?;
    }
    let per_second = 1.0 / guest[1].1.as_secs_f64();
    writeln!(out, "\nupdates in the guest: {:.2} M/s", per_second / 1e6)?;
    Ok(())
}

fn told(time: Duration) -> String {
    match time.as_nanos() {
        0..1_000 => format!("{} ns", time.as_nanos()),
        1_000..1_000_000 => format!("{:.1} us", time.as_secs_f64() * 1e6),
        _ => format!("{:.1} ms", time.as_secs_f64() * 1e3),
    }
}

/// Somebody who answers requests.
trait Shard {
    fn call(&mut self, method: &str, body: &[u8]) -> Result<usize>;
    fn query(&mut self, method: &str, body: &[u8]) -> Result<usize>;
    /// Saves the state and makes another shard of it.
    fn save_and_load(&mut self) -> Result<(Duration, Duration)>;
}

fn measure(shard: &mut dyn Shard, entries: u64) -> Result<Vec<(&'static str, Duration)>> {
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
    let started = Instant::now();
    for body in &fill {
        shard.call(method::UPDATE, body)?;
    }
    let insert = started.elapsed() / u32::try_from(entries)?;
    drop(fill);

    let update = best(|| {
        let bodies: Vec<_> = (0..ROUND).map(|_| batch(&mut |random| 1 + random.below(entries))).collect();
        let started = Instant::now();
        for body in &bodies {
            shard.call(method::UPDATE, body)?;
        }
        Ok(started.elapsed() / u32::try_from(ROUND * BATCH)?)
    })?;
    let mut random = Random(7);
    let single = best(|| {
        let bodies: Vec<_> = (0..20_000)
            .map(|_| {
                let (user, score) = (1 + random.below(entries), random.below(1 << 40));
                let (user_id, score) = (user.cast_signed(), score.cast_signed());
                Change { user_id, score, set_id: 1 }.encode_to_vec()
            })
            .collect();
        each(&bodies, |body| shard.call(method::RANK_CHANGE, body))
    })?;
    let top = Range { a: 1, b: 100, set_id: 1, season: 0 }.encode_to_vec();
    let top = best(|| each(&vec![top.clone(); 5000], |body| shard.query(method::QUERY_RANK_RANGE, body)))?;
    let rank = best(|| {
        let bodies: Vec<_> = (0..20_000)
            .map(|_| {
                let user_ids = vec![(1 + random.below(entries)).cast_signed()];
                Users { user_ids, set_id: 1, season: 0 }.encode_to_vec()
            })
            .collect();
        each(&bodies, |body| shard.query(method::QUERY_USERS, body))
    })?;
    let (save, load) = shard.save_and_load()?;
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
    let started = Instant::now();
    for body in bodies {
        ask(body)?;
    }
    Ok(started.elapsed() / u32::try_from(bodies.len())?)
}

fn best(mut round: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut best = round()?;
    for _ in 0..2 {
        best = best.min(round()?);
    }
    Ok(best)
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
        let engine = Engine::start(data.path().join("cache"), 8, 4 << 30)?;
        let artefact = Path::new(env!("CARGO_BIN_EXE_hotseat")).with_file_name("../plugins/rank.wasm");
        let bytes = std::fs::read(&artefact)
            .with_context(|| format!("{}: run `cargo xtask build`", artefact.display()))?;
        let version = Arc::new(Version::prepare(&engine, bytes.into())?);
        let mut instance = fresh(&version)?;
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

fn fresh(version: &Arc<Version>) -> Result<Instance> {
    let (ids, settings) = (Arc::new(Generator::new(1)), Arc::new(BTreeMap::new()));
    Ok(Instance::new(version, "rank#0".into(), Env::new(1), &ids, &settings)?)
}

impl Shard for Guest {
    fn call(&mut self, method: &str, body: &[u8]) -> Result<usize> {
        self.ask(&Input::Call { method, body })
    }

    fn query(&mut self, method: &str, body: &[u8]) -> Result<usize> {
        self.ask(&Input::Query { method, body })
    }

    fn save_and_load(&mut self) -> Result<(Duration, Duration)> {
        let started = Instant::now();
        let snapshot = self.instance.save()?;
        let save = started.elapsed();
        let mut other = fresh(&self.version)?;
        let started = Instant::now();
        other.load(&snapshot)?;
        Ok((save, started.elapsed()))
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
        let started = Instant::now();
        let snapshot = self.0.save();
        let save = started.elapsed();
        let started = Instant::now();
        let other = TestShard::<rank::V1>::load(&snapshot).map_err(anyhow::Error::msg)?;
        let load = started.elapsed();
        drop(other);
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
