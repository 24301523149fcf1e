//! Compiles the protocols of the service plugins, each into a module of its own.

use std::error::Error;
use std::path::{Path, PathBuf};

/// The services, each `proto/NAME.proto`. They share the package `proto`, so each goes to its own directory.
const SERVICES: [&str; 2] = ["chat", "rank"];

fn main() -> Result<(), Box<dyn Error>> {
    let protos = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let client = std::env::var_os("CARGO_FEATURE_CLIENT").is_some();
    for service in SERVICES {
        let file = format!("{service}.proto");
        println!("cargo:rerun-if-changed={}", protos.join(&file).display());
        let dir = out.join(service);
        std::fs::create_dir_all(&dir)?;
        tonic_prost_build::configure()
            .build_client(client)
            .build_server(false)
            .out_dir(dir)
            .compile_fds(protox::compile([file], [&protos])?)?;
    }
    Ok(())
}
