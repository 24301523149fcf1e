//! What the host is built of besides its sources: the gRPC code of `proto/` and the SDK that `hotseat new` writes.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prost::Message as _;

/// The protocol files, by their path below `proto/`.
const PROTOS: [&str; 5] = ["admin.proto", "cluster.proto", "game.proto", "rollout.proto", "snowflake.proto"];
/// What a plugin crate needs of this repository, by its path from the root.
const SDK: [&str; 5] = ["Cargo.lock", "Cargo.toml", "sdk/guest", "sdk/packet", "wit"];
/// The client is for the example that plays the new game.
const CLIENT: &str = "sdk/client";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("..");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    protocols(&root.join("proto"), &out)?;
    sdk(&root, &out.join("sdk.rs"))
}

/// Compiles the protocols without `protoc`, and keeps their descriptors for server reflection.
fn protocols(dir: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={}", dir.display());
    let descriptors = protox::compile(PROTOS, [dir])?;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // The client and the server find their own transport; `--json` prints messages as they are.
        .build_transport(false)
        // Payloads pass through: they are cut out of what was received, not copied.
        .bytes(".hotseat.cluster.v1")
        .type_attribute(".hotseat.admin.v1", "#[derive(serde::Serialize)]")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Writes a table of the SDK's files: path from the root, and content.
fn sdk(root: &Path, table: &Path) -> Result<(), Box<dyn Error>> {
    let mut files = Vec::new();
    for part in SDK.into_iter().chain([CLIENT]) {
        println!("cargo:rerun-if-changed={}", root.join(part).display());
        collect(root, Path::new(part), &mut files)?;
    }
    files.sort();
    let mut text = String::from("&[\n");
    for file in files {
        let path = root.join(&file).canonicalize()?;
        writeln!(
            text,
            "    ({:?}, include_str!({:?})),",
            file.display().to_string(),
            path.display().to_string()
        )?;
    }
    text.push_str("]\n");
    std::fs::write(table, text)?;
    Ok(())
}

/// The files at or below `part` that a build reads: sources and manifests, no tests.
fn collect(root: &Path, part: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let path = root.join(part);
    if !path.is_dir() {
        files.push(part.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(&path)? {
        let name = entry?.file_name();
        let hidden = name.to_string_lossy().starts_with('.');
        if !hidden && !["target", "tests", "benches", "fuzz", "corpus"].iter().any(|skipped| name == *skipped)
        {
            collect(root, &part.join(&name), files)?;
        }
    }
    Ok(())
}
