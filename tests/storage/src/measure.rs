//! Measure: one run of one store, and what it took.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::store::{self, Tally};

/// Inputs of a run.
const INPUTS: u64 = 1_000_000;

/// Bytes of an input: 27 of a record's head, the rest payload.
const INPUT: usize = 64;

/// Rooms they are of.
const ROOMS: u64 = 64;

/// How long written inputs wait for the disk: the manifest's default.
const SYNC_EVERY: Duration = Duration::from_millis(10);

/// How long inputs wait to be written: as the host's writer lets them gather.
const WRITE_EVERY: Duration = Duration::from_millis(1);

/// How inputs come.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Inputs a record.
    pub(crate) batch: u64,
    /// Inputs a second; 0 for as fast as it goes.
    pub(crate) per_s: u64,
}

/// Writes all inputs into a new store; the figures.
pub(crate) fn write(name: &str, dir: &Path, load: Load) -> Result<String> {
    let mut store = store::create(name, dir)?;
    let mut source = Source { random: 1, bytes: Vec::new() };
    let (started, cpu) = (Instant::now(), cpu());
    let (mut wrote, mut synced, mut syncs) = (started, started, 0u32);
    for record in 0..INPUTS / load.batch {
        if let Some(due_ns) = (record * load.batch * 1_000_000_000).checked_div(load.per_s) {
            let due = started + Duration::from_nanos(due_ns);
            // In steps of a millisecond, as tasks wake up.
            if due > Instant::now() + Duration::from_millis(1) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let room = format!("home/{}", record % ROOMS);
        store.append(&room, source.batch(record, load.batch))?;
        let now = Instant::now();
        if now - synced >= SYNC_EVERY {
            store.sync()?;
            syncs += 1;
            synced = now;
            wrote = now;
        } else if now - wrote >= WRITE_EVERY {
            store.write()?;
            wrote = now;
        }
    }
    store.sync()?;
    let (wall, cpu) = (started.elapsed(), self::cpu() - cpu);
    let written = written()?;
    drop(store);
    let per_input = |time: Duration| time.as_nanos() as f64 / INPUTS as f64;
    let (wall, cpu, disk) = (per_input(wall), per_input(cpu), on_disk(dir)? as f64 / 1e6);
    Ok(format!("wall={wall} cpu={cpu} disk={disk} written={} syncs={}", written as f64 / 1e6, syncs + 1))
}

/// Opens a store and reads everything in it; the figures.
pub(crate) fn read(name: &str, dir: &Path) -> Result<String> {
    let (started, cpu) = (Instant::now(), cpu());
    let Tally { bytes } = store::read(name, dir)?;
    let (wall, cpu) = (started.elapsed(), self::cpu() - cpu);
    ensure!(bytes == INPUTS * INPUT as u64, "{name} has {bytes} bytes of inputs");
    Ok(format!("read={} read_cpu={}", wall.as_secs_f64() * 1e3, cpu.as_secs_f64() * 1e3))
}

/// Where inputs come from.
struct Source {
    random: u64,
    bytes: Vec<u8>,
}

impl Source {
    /// Inputs like a room's: heads that look much the same, and payloads that no compression makes smaller.
    fn batch(&mut self, record: u64, inputs: u64) -> &[u8] {
        self.bytes.clear();
        for _ in 0..inputs {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&[60, 0, 0, 0, 4]);
            self.bytes.extend_from_slice(&(1_700_000_000_000 + record).to_le_bytes());
            self.bytes.extend_from_slice(&(record % 1000).to_le_bytes());
            self.bytes.extend_from_slice(&[0xe9, 3, 0, 0, 0, 0]);
            while self.bytes.len() < start + INPUT {
                // Xorshift64 (Marsaglia 2003).
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                let left = (start + INPUT - self.bytes.len()).min(8);
                self.bytes.extend_from_slice(&self.random.to_le_bytes()[..left]);
            }
        }
        &self.bytes
    }
}

/// User and system time of all threads of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Bytes this process has had written to the disk.
fn written() -> Result<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

/// Blocks taken by all files below a directory.
fn on_disk(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { on_disk(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(bytes)
}
