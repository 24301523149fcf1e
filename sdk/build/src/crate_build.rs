//! Crate build: from a plugin crate's directory to its artefact.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use semver::Version;
use serde_json::Value;

use crate::component::{EncodeError, encode};
use crate::digest::Digest;
use crate::manifest::{Manifest, ManifestError};
use crate::pack::build_by_command;
use crate::process::{Line, run};
use crate::proto;
use crate::toolchain::{Route, TARGET, Toolchain};
use crate::verify::{VerifyError, verify};

/// The most text of compiler errors that is kept, in bytes.
const MAX_ERRORS_BYTES: usize = 64 << 10;

/// The last lines of cargo's own output that are kept for an error.
const KEPT_LINES: usize = 20;

/// What to build, and how.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The crate's directory, with `Cargo.toml` and `plugin.toml`.
    pub dir: PathBuf,
    /// Cargo features to turn on.
    pub features: Vec<String>,
    /// Takes the place of the manifest's version.
    pub version: Option<Version>,
    /// Keep line tables, so that traps name files and lines. The artefact grows several times.
    pub debug: bool,
    /// Where cargo builds; `wasm` in the workspace's target directory by default, so that a build never waits
    /// for an outer cargo.
    pub target_dir: Option<PathBuf>,
    /// Refuse to change `Cargo.lock`.
    pub locked: bool,
    /// Do not use the network.
    pub offline: bool,
}

impl BuildOptions {
    /// A plain build of the crate in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }
}

/// A built and verified plugin.
#[derive(Debug, Clone)]
pub struct Artefact {
    /// The file's content: a component with its manifest, and what it serves if it is a service.
    pub bytes: Vec<u8>,
    /// The manifest in it.
    pub manifest: Manifest,
    /// The sha256 of `bytes`.
    pub digest: Digest,
    /// The files of this machine that it was made of, as the compiler names them: the crate's, those of its path
    /// dependencies, and what either includes. Not what comes from a registry.
    pub inputs: Vec<PathBuf>,
}

/// Why no artefact came out.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file of the crate cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// `plugin.toml` is wrong.
    #[error("{path}: {cause}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        #[source]
        cause: ManifestError,
    },
    /// The `.proto` file of a service is wrong, or declares what a node cannot serve.
    #[error("{path}: {text}")]
    Proto {
        /// The file that the manifest names.
        path: PathBuf,
        /// What is wrong; with file and line if it does not compile.
        text: String,
    },
    /// The manifest's own build command failed.
    #[error("`{command}` in {dir} failed: {text}")]
    Command {
        /// What was run.
        command: String,
        /// Where.
        dir: PathBuf,
        /// How it ended, and the last it said.
        text: String,
    },
    /// Cargo could not be run, or stopped before it compiled anything.
    #[error("cargo failed in {dir}: {text}")]
    Cargo {
        /// The crate.
        dir: PathBuf,
        /// What it said.
        text: String,
    },
    /// The crate does not compile.
    #[error("the crate in {dir} does not compile:\n{rendered}")]
    Compile {
        /// The crate.
        dir: PathBuf,
        /// The compiler's errors as it shows them, at most 64 KiB.
        rendered: String,
    },
    /// The crate compiles to something else than a plugin.
    #[error("{dir}/Cargo.toml builds no `cdylib`: add `crate-type = [\"cdylib\", \"rlib\"]` under `[lib]`")]
    NotCdylib {
        /// The crate.
        dir: PathBuf,
    },
    /// The module cannot be made a component.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The component does not fit the world its manifest names.
    #[error("the built plugin would be refused: {0}")]
    Verify(#[from] VerifyError),
}

/// Builds the crate in `options.dir` and verifies the result.
///
/// `progress` gets cargo's lines and the compiler's warnings and errors as they come. Blocks until cargo is
/// done: seconds, or a minute when the standard library has to be built first.
///
/// # Errors
/// [`BuildError`]; its text is fit to be shown to the plugin's author.
pub fn build(
    toolchain: &Toolchain,
    options: &BuildOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<Artefact, BuildError> {
    let dir =
        options.dir.canonicalize().map_err(|cause| BuildError::Read { path: options.dir.clone(), cause })?;
    let manifest = read_manifest(&dir, options)?;
    if let Some(by) = &manifest.build {
        return build_by_command(&dir, &manifest, by, progress);
    }
    // Before the crate, which takes longer; and each time, since cargo does not know of the file.
    let descriptors = manifest.service.as_ref().map(|it| proto::compile(&dir, it)).transpose()?;
    let module = compile(toolchain, &dir, options, progress)?;
    let inputs = inputs(&module);
    let core = std::fs::read(&module).map_err(|cause| BuildError::Read { path: module, cause })?;
    let bytes = encode(&core, &manifest, descriptors.as_deref(), options.debug)?;
    let manifest = verify(&bytes)?;
    let digest = Digest::of(&bytes);
    progress(&format!(
        "{} {}: {} KiB, sha256 {}",
        manifest.name,
        manifest.version,
        bytes.len().div_ceil(1024),
        digest.short()
    ));
    Ok(Artefact { bytes, manifest, digest, inputs })
}

/// What cargo has written down beside the module, in the form of a rule for make; none if it has not.
fn inputs(module: &Path) -> Vec<PathBuf> {
    let rule = std::fs::read_to_string(module.with_extension("d")).unwrap_or_default();
    let files = rule.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, files)| files);
    // A space of a name stands behind a backslash.
    files
        .replace("\\ ", "\0")
        .split(' ')
        .filter(|file| !file.is_empty())
        .map(|file| file.replace('\0', " ").into())
        .collect()
}

/// Builds what is in `options.dir` by the command in its `plugin.toml`; none if that names no command and cargo is to
/// build it. Needs no toolchain for Rust.
///
/// # Errors
/// As [`build`].
pub fn build_with_command(
    options: &BuildOptions,
    progress: &mut dyn FnMut(&str),
) -> Option<Result<Artefact, BuildError>> {
    let manifest = match read_manifest(&options.dir, options) {
        Ok(manifest) => manifest,
        Err(error) => return Some(Err(error)),
    };
    let by = manifest.build.clone()?;
    Some(build_by_command(&options.dir, &manifest, &by, progress))
}

fn read_manifest(dir: &Path, options: &BuildOptions) -> Result<Manifest, BuildError> {
    let path = dir.join("plugin.toml");
    let text =
        std::fs::read_to_string(&path).map_err(|cause| BuildError::Read { path: path.clone(), cause })?;
    let mut manifest = Manifest::parse(&text).map_err(|cause| BuildError::Manifest { path, cause })?;
    if let Some(version) = &options.version {
        manifest.version = version.clone();
    }
    Ok(manifest)
}

/// Runs cargo and returns the path of the core module.
fn compile(
    toolchain: &Toolchain,
    dir: &Path,
    options: &BuildOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, BuildError> {
    let target_dir = target_dir(toolchain, dir, options)?;
    let mut command = toolchain.cargo_build();
    // Cargo keeps one `cdylib` a directory unless told to tell them apart: without this each build of another
    // feature or version of a crate would throw the one before away.
    command.env("__CARGO_DEFAULT_LIB_METADATA", "hotseat");
    command.args(["--lib", "--message-format=json", "--target-dir"]).arg(target_dir);
    for setting in PROFILE {
        command.args(["--config", setting]);
    }
    // Flags of the user's for every target (`[build] rustflags`: a linker, say) are for programs of this machine. Cargo
    // takes them only where a target has none of its own, so this one gets a flag that does nothing.
    command.arg("--config").arg(format!("target.{TARGET}.rustflags=[\"--cfg=hotseat_plugin\"]"));
    if !options.features.is_empty() {
        command.args(["--features", &options.features.join(",")]);
    }
    common_arguments(&mut command, dir, options);

    let mut messages = Messages { manifest_path: dir.join("Cargo.toml"), ..Messages::default() };
    let status = run(&mut command, &mut |line| messages.take(line, progress));
    let cargo = |text| BuildError::Cargo { dir: dir.into(), text };
    match status {
        Err(e) => Err(cargo(e.to_string())),
        Ok(status) if status.success() => messages.module.ok_or(BuildError::NotCdylib { dir: dir.into() }),
        Ok(_) if messages.errors.is_empty() => Err(cargo(messages.last_lines.join("\n"))),
        Ok(_) => Err(BuildError::Compile { dir: dir.into(), rendered: messages.errors }),
    }
}

fn common_arguments(command: &mut Command, dir: &Path, options: &BuildOptions) {
    command.arg("--manifest-path").arg(dir.join("Cargo.toml")).current_dir(dir);
    if options.locked {
        command.arg("--locked");
    }
    if options.offline {
        command.arg("--offline");
    }
}

/// What a plugin is compiled with, whatever its workspace says: small, fast, and no unwinding, which the
/// engine could not carry out. Line tables are always made, and dropped from the artefact unless wanted:
/// otherwise the two kinds of build would compile every dependency anew.
const PROFILE: [&str; 6] = [
    "profile.release.panic=\"abort\"",
    "profile.release.lto=true",
    "profile.release.codegen-units=1",
    "profile.release.opt-level=3",
    "profile.release.strip=\"none\"",
    "profile.release.debug=\"line-tables-only\"",
];

/// A directory that no other cargo uses, one for each way of compiling.
fn target_dir(toolchain: &Toolchain, dir: &Path, options: &BuildOptions) -> Result<PathBuf, BuildError> {
    let base = match &options.target_dir {
        Some(given) => {
            std::path::absolute(given).map_err(|cause| BuildError::Read { path: given.clone(), cause })?
        }
        None => workspace_target(toolchain, dir, options)?.join("wasm"),
    };
    Ok(match toolchain.route() {
        Route::Target => base,
        Route::BuildStd { .. } => base.join("build-std"),
    })
}

fn workspace_target(
    toolchain: &Toolchain,
    dir: &Path,
    options: &BuildOptions,
) -> Result<PathBuf, BuildError> {
    let failed = |text: String| BuildError::Cargo { dir: dir.into(), text };
    let mut command = toolchain.cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    common_arguments(&mut command, dir, options);
    let output = command.output().map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|e| failed(e.to_string()))?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| failed("`cargo metadata` names no target directory".into()))
}

/// What cargo's output amounts to.
#[derive(Debug, Default)]
struct Messages {
    manifest_path: PathBuf,
    module: Option<PathBuf>,
    errors: String,
    last_lines: Vec<String>,
}

impl Messages {
    fn take(&mut self, line: Line, progress: &mut dyn FnMut(&str)) {
        match line {
            Line::Err(text) => {
                progress(&text);
                if self.last_lines.len() == KEPT_LINES {
                    self.last_lines.remove(0);
                }
                self.last_lines.push(text);
            }
            // Cargo writes one JSON value a line; anything else comes from a build script and is of no use here.
            Line::Out(text) => {
                if let Ok(message) = serde_json::from_str(&text) {
                    self.take_message(&message, progress);
                }
            }
        }
    }

    fn take_message(&mut self, message: &Value, progress: &mut dyn FnMut(&str)) {
        match message["reason"].as_str() {
            Some("compiler-message") => {
                let Some(rendered) = message["message"]["rendered"].as_str() else { return };
                progress(rendered.trim_end());
                let is_error = message["message"]["level"].as_str().is_some_and(|l| l.starts_with("error"));
                if is_error && self.errors.len() + rendered.len() <= MAX_ERRORS_BYTES {
                    self.errors.push_str(rendered);
                }
            }
            Some("compiler-artifact") if self.is_ours(message) => {
                let files = message["filenames"].as_array().into_iter().flatten();
                let module = files.filter_map(Value::as_str).find(|name| name.ends_with(".wasm"));
                self.module = module.map(PathBuf::from).or_else(|| self.module.take());
            }
            _ => {}
        }
    }

    /// Dependencies may build modules too: only the crate's own library counts.
    fn is_ours(&self, message: &Value) -> bool {
        message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == self.manifest_path)
    }
}

#[cfg(test)]
mod tests;
