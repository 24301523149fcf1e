//! What the journal costs a room, and how fast a node reads it back.
//!
//! Appends records of a ping's size (31 bytes) as a room does, one at a time and in batches of 16, while the writer
//! thread writes and syncs behind; then opens the journal again, and lets the reference game replay a million pings.
//!
//! `cargo bench -p hotseat --bench journal`

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hotseat::journal::{BUFFER_BYTES, Bounds, Journal, SEGMENT_BYTES};
use hotseat::plugin::{Engine, Env, Input, Instance, Records, Version};
use hotseat::snowflake::Generator;

const BOUNDS: Bounds = Bounds {
    segment_bytes: SEGMENT_BYTES,
    buffer_bytes: BUFFER_BYTES,
    sync_every: Duration::from_millis(10),
};

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut out = std::io::stdout();
    let ping = Input::Message { user: 7, op: 1001, payload: &7i32.to_be_bytes() };
    let mut records = Records::default();
    for _ in 0..16 {
        records.push(1, &ping);
    }
    let one = &records.since(0)[..records.bytes() / 16];

    let (journal, _) = Journal::open(dir.path(), BOUNDS)?;
    let room: Arc<str> = "home/17".into();
    journal.base(&room, b"");
    writeln!(
        out,
        "append, one record a time    {:>6.0} ns a record",
        append(&journal, &room, one, 2_000_000)
    )?;
    let batch = append(&journal, &room, records.since(0), 125_000) / 16.0;
    writeln!(out, "append, 16 records a time    {batch:>6.0} ns a record")?;
    journal.close();
    let started = Instant::now();
    let (journal, pasts) = Journal::open(dir.path(), BOUNDS)?;
    let inputs = pasts["home/17"].inputs.len() / one.len();
    writeln!(out, "read back {inputs} records  {:>7.0} ms", started.elapsed().as_secs_f64() * 1e3)?;
    drop(journal);

    let engine = Engine::start(dir.path().join("cache"), 8, 64 << 20)?;
    let artefact =
        std::path::Path::new(env!("CARGO_BIN_EXE_hotseat")).with_file_name("../plugins/game-logic.wasm");
    let bytes = std::fs::read(&artefact)
        .with_context(|| format!("{}: run `cargo xtask build`", artefact.display()))?;
    let version = Arc::new(Version::prepare(&engine, bytes.into())?);
    let (ids, settings) = (Arc::new(Generator::new(1)), Arc::default());
    let mut guest = Instance::new(&version, room, Env::new(1), &ids, &settings)?;
    guest.open("home/17", &[])?;
    guest.call(&Input::Join { user: 7, profile: None })?;
    let started = Instant::now();
    for _ in 0..1_000_000 {
        guest.call(&ping)?;
    }
    writeln!(out, "replay 1,000,000 pings       {:>6.0} ms", started.elapsed().as_secs_f64() * 1e3)?;
    Ok(())
}

/// Nanoseconds an append; waits, uncounted, when the disk does not follow.
fn append(journal: &Journal, room: &Arc<str>, records: &[u8], times: u32) -> f64 {
    let mut spent = Duration::ZERO;
    for _ in 0..times / 1000 {
        while journal.is_full() {
            std::thread::yield_now();
        }
        let started = Instant::now();
        for _ in 0..1000 {
            journal.inputs(room, records);
        }
        spent += started.elapsed();
    }
    spent.as_secs_f64() * 1e9 / f64::from(times)
}
