//! Stage: what all simulations of this process share: the engine, the guest, compiled once.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hotseat::journal::{Counters, DeadLetters, RollbackStore};
use hotseat::plugin::{Engine, Version};
use hotseat_build::{BuildOptions, Digest, Toolchain, build, with_manifest};
use prometheus::{IntCounter, IntGauge};

/// Instances that may be there at a time, of all simulations.
const INSTANCES: u32 = 400;

/// Below this the files of all simulations are; in memory, if the system has a place for that.
const MEMORY: &str = "/dev/shm";

/// A version of the guest.
pub(crate) struct Artefact {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) digest: Digest,
    /// Its label, by which histories name it.
    pub(crate) label: String,
    /// What its answers end with.
    pub(crate) number: u8,
}

/// Its versions: what hosts start with, the same code by another number, one with another schema, and one
/// that traps within its probation.
pub(crate) const VERSIONS: usize = 4;

/// The one with another schema.
pub(crate) const SCHEMA_2: usize = 2;

/// The one that traps.
pub(crate) const TRAPS: usize = 3;

/// Of which there is one.
pub(crate) struct Stage {
    pub(crate) versions: [Artefact; VERSIONS],
    pub(crate) engine: Engine,
    pub(crate) dead_letters: Arc<DeadLetters>,
    pub(crate) rollbacks: Arc<RollbackStore>,
    pub(crate) dir: tempfile::TempDir,
}

impl Stage {
    /// Builds and compiles the guest that counts, in all its versions.
    pub(crate) fn set() -> Result<Self> {
        let base = if Path::new(MEMORY).is_dir() { MEMORY.into() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("hotseat-sim-").tempdir_in(base)?;
        let engine = Engine::start(dir.path().join("cache"), INSTANCES, 64 << 20, None)?;
        let versions = [
            guest((1, 0), &[], 1)?,
            guest((1, 1), &[], 1)?,
            guest((2, 0), &["v2"], 2)?,
            guest((3, 0), &["trapping"], 3)?,
        ];
        for artefact in &versions {
            // Hosts find it in the cache.
            Version::prepare(&engine, Arc::clone(&artefact.bytes))?;
        }
        let counter = || IntCounter::new("x", "x");
        let counters = Counters { written: counter()?, lost: counter()? };
        let dead_letters = Arc::new(DeadLetters::open(&dir.path().join("dead-letters"), 10, counters)?);
        let gauge = IntGauge::new("x", "x")?;
        let rollbacks = Arc::new(RollbackStore::open(&dir.path().join("rollbacks"), 64 << 20, gauge)?);
        Ok(Self { versions, engine, dead_letters, rollbacks, dir })
    }
}

/// The guest that counts, with fewer ticks and more patience with a busy machine than it asks for.
fn guest((major, minor): (u64, u64), features: &[&str], number: u8) -> Result<Artefact> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the workspace")?;
    // Who builds it at the same time for other tests has the same file.
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests.lock"))?;
    lock.lock()?;
    let toolchain = Toolchain::find(&mut |_| {})?;
    let options = BuildOptions {
        version: Some(semver::Version::new(major, minor, 0)),
        features: features.iter().map(|name| (*name).to_owned()).collect(),
        ..BuildOptions::new(root.join("tests/guests/ledger"))
    };
    let artefact = build(&toolchain, &options, &mut |_| {})?;
    let mut manifest = artefact.manifest.clone();
    let section = with_manifest(Vec::new(), &manifest);
    let bare = artefact.bytes.strip_suffix(&section[..]).context("an artefact ends with its manifest")?;
    manifest.limits.tick_hz = 1;
    manifest.limits.deadline_ms = 10_000;
    let bytes: Arc<[u8]> = with_manifest(bare.to_vec(), &manifest).into();
    let digest = Digest::of(&bytes);
    Ok(Artefact { bytes, digest, label: format!("{major}.{minor}.0"), number })
}
