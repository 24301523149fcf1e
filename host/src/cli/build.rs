//! `hotseat build`: from a plugin crate to the one file that is deployed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use hotseat_build::{Artefact, BuildError, BuildOptions, Toolchain};
use semver::Version;

use super::failure::Failure;
use super::terminal;

/// Build a plugin crate into the one file that is deployed
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// The crate's directory, with Cargo.toml and plugin.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Cargo features to turn on, separated by commas
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    features: Vec<String>,
    /// Version to write into the manifest instead of the one in plugin.toml
    #[arg(long, value_name = "VERSION")]
    version: Option<Version>,
    /// Keep line tables, so that traps name file and line; the file grows several times
    #[arg(long)]
    debug: bool,
    /// Where to write the file [default: plugins/NAME.wasm in cargo's target directory]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Builds the crate and writes the file.
///
/// # Errors
/// If there is no toolchain, the crate does not build, or the file cannot be written.
pub async fn run(args: BuildArgs) -> anyhow::Result<ExitCode> {
    let options = BuildOptions {
        features: args.features,
        version: args.version,
        debug: args.debug,
        ..BuildOptions::new(&args.dir)
    };
    let (artefact, by_cargo) = match by_command(options.clone()).await {
        Some(artefact) => (artefact, false),
        None => (build(toolchain().await?, options).await, true),
    };
    let artefact = artefact.map_err(|error| failed(&args.dir, error))?;
    let output = match args.output {
        Some(output) => output,
        None if by_cargo => {
            target_dir(&args.dir)?.join("plugins").join(format!("{}.wasm", artefact.manifest.name))
        }
        None => args.dir.join("target/plugins").join(format!("{}.wasm", artefact.manifest.name)),
    };
    write(&output, &artefact.bytes)?;

    let Artefact { bytes, manifest, digest, .. } = artefact;
    let size = terminal::bytes(bytes.len() as u64);
    terminal::line(&format!("{} {}, {size}, sha256 {digest}", manifest.name, manifest.version));
    terminal::line(&output.display().to_string());
    Ok(ExitCode::SUCCESS)
}

/// Builds by the command in `plugin.toml`, if there is one; with its lines on standard error as they come.
pub(super) async fn by_command(options: BuildOptions) -> Option<Result<Artefact, BuildError>> {
    let dir = options.dir.clone();
    let work = move || hotseat_build::build_with_command(&options, &mut terminal::progress);
    let died = |error: tokio::task::JoinError| BuildError::Cargo { dir, text: error.to_string() };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Some(Err(died(error))))
}

/// The compiler for plugins; installs what is missing, which may take minutes.
pub(super) async fn toolchain() -> anyhow::Result<Toolchain> {
    let found = tokio::task::spawn_blocking(|| Toolchain::find(&mut terminal::progress)).await?;
    found.map_err(|error| Failure::new("there is no compiler for plugins").cause(error).into())
}

/// Builds, with cargo's lines on standard error as they come.
pub(super) async fn build(toolchain: Toolchain, options: BuildOptions) -> Result<Artefact, BuildError> {
    let dir = options.dir.clone();
    let work = move || hotseat_build::build(&toolchain, &options, &mut terminal::progress);
    let died = |error: tokio::task::JoinError| BuildError::Cargo { dir, text: error.to_string() };
    tokio::task::spawn_blocking(work).await.map_err(died)?
}

fn failed(dir: &Path, error: BuildError) -> Failure {
    match error {
        // The compiler's errors have been shown as they came.
        BuildError::Compile { .. } => {
            Failure::new(format!("the crate in {} does not compile", dir.display()))
                .next("mend what the compiler says above")
        }
        error @ (BuildError::Read { .. } | BuildError::Manifest { .. }) => {
            Failure::new(format!("{} cannot be built", dir.display()))
                .cause(error)
                .next("`hotseat new NAME` makes a crate with all it needs")
        }
        error => Failure::new(format!("{} cannot be built", dir.display())).cause(error),
    }
}

/// Where cargo builds the crate in `dir`.
pub(super) fn target_dir(dir: &Path) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let output = hotseat_build::absolute_target_dir(&mut command)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(dir)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        anyhow::bail!("cargo metadata fails: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
    let target = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    Ok(target.context("cargo metadata names no target directory")?.into())
}

/// Writes a file whole or not at all: a node may be reading the old one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&beside, bytes))
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| {
            Failure::new(format!("cannot write {}", path.display()))
                .cause(error)
                .next("name another file with -o")
        })
}
