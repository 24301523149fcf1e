//! Stage: what all simulations of this process share: the engine, the guest, compiled once.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hotseat::journal::{Counters, Letters, RollbackStore};
use hotseat::plugin::{Engine, Version};
use hotseat_build::{BuildOptions, Toolchain, build, with_manifest};
use prometheus::{IntCounter, IntGauge};

/// Instances that may be there at a time, of all simulations.
const INSTANCES: u32 = 400;

/// Below this the files of all simulations are; in memory, if the system has a place for that.
const MEMORY: &str = "/dev/shm";

/// Of which there is one.
pub(crate) struct Stage {
    pub(crate) version: Arc<Version>,
    pub(crate) letters: Arc<Letters>,
    pub(crate) rollbacks: Arc<RollbackStore>,
    pub(crate) dir: tempfile::TempDir,
    _engine: Engine,
}

impl Stage {
    /// Builds and compiles the guest that counts.
    pub(crate) fn set() -> Result<Self> {
        let base = if Path::new(MEMORY).is_dir() { MEMORY.into() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("hotseat-sim-").tempdir_in(base)?;
        let engine = Engine::start(dir.path().join("cache"), INSTANCES, 64 << 20, None)?;
        let version = Arc::new(Version::prepare(&engine, guest()?.into())?);
        let counter = || IntCounter::new("x", "x");
        let counters = Counters { written: counter()?, lost: counter()? };
        let letters = Arc::new(Letters::open(&dir.path().join("letters"), 10, counters)?);
        let gauge = IntGauge::new("x", "x")?;
        let rollbacks = Arc::new(RollbackStore::open(&dir.path().join("rollbacks"), 64 << 20, gauge)?);
        Ok(Self { version, letters, rollbacks, dir, _engine: engine })
    }
}

/// The guest that counts, with fewer ticks and more patience with a busy machine than it asks for.
fn guest() -> Result<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the workspace")?;
    // Who builds it at the same time for other tests has the same file.
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests.lock"))?;
    lock.lock()?;
    let toolchain = Toolchain::find(&mut |_| {})?;
    let options = BuildOptions {
        version: Some(semver::Version::new(1, 0, 0)),
        ..BuildOptions::new(root.join("tests/guests/ledger"))
    };
    let artefact = build(&toolchain, &options, &mut |_| {})?;
    let mut manifest = artefact.manifest.clone();
    let section = with_manifest(Vec::new(), &manifest);
    let bare = artefact.bytes.strip_suffix(&section[..]).context("an artefact ends with its manifest")?;
    manifest.limits.tick_hz = 1;
    manifest.limits.deadline_ms = 10_000;
    Ok(with_manifest(bare.to_vec(), &manifest))
}
