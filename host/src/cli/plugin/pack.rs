//! `hotseat plugin pack`: an artefact of what another toolchain made.

use std::fs;
use std::path::Path;

use hotseat_build::{Artefact, BuildError, Manifest, pack as packed};

use crate::cli::build;
use crate::cli::failure::Failure;
use crate::cli::terminal::{self, line};

/// Adds the manifest to a component or core module, checks it as a node does, and writes the artefact.
pub(super) async fn pack(file: &Path, manifest: &Path, output: Option<&Path>) -> anyhow::Result<()> {
    let component = super::inspect::read(file)?;
    let cannot = |error: BuildError| {
        Failure::new(format!("{} cannot be packed", file.display()))
            .cause(error)
            .next("docs/other-languages.md shows what a component for a node is made with")
    };
    let read = fs::read_to_string(manifest);
    let text = read.map_err(|cause| cannot(BuildError::Read { path: manifest.into(), cause }))?;
    let parsed = Manifest::parse(&text);
    let about = parsed.map_err(|cause| cannot(BuildError::Manifest { path: manifest.into(), cause }))?;
    let dir = manifest.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = dir.to_owned();
    let made = tokio::task::spawn_blocking(move || packed(component, &about, &dir)).await?;
    let Artefact { bytes, manifest, digest, .. } = made.map_err(cannot)?;
    let beside = file.with_file_name(format!("{}.hotseat.wasm", manifest.name));
    let output = output.unwrap_or(&beside);
    build::write(output, &bytes)?;
    let size = terminal::bytes(bytes.len() as u64);
    line(&format!("{} {}, {size}, sha256 {digest}", manifest.name, manifest.version));
    line(&output.display().to_string());
    Ok(())
}
