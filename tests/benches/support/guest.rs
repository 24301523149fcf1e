//! A plugin in the engine without a node: for benchmarks of calls.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hotseat::plugin::{Engine, Version};

/// The plugin `name` as `cargo xtask build` has made it, compiled; `data` is for the engine's cache.
pub(crate) fn prepare(name: &str, data: &Path) -> Result<Arc<Version>> {
    let engine = Engine::start(data.join("cache"), 64, 4 << 30, None)?;
    let artefact = Path::new(env!("CARGO_BIN_EXE_hotseat")).with_file_name(format!("../plugins/{name}.wasm"));
    let bytes = std::fs::read(&artefact)
        .with_context(|| format!("{}: run `cargo xtask build`", artefact.display()))?;
    Ok(Arc::new(Version::prepare(&engine, bytes.into())?))
}
