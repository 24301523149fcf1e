//! Toolchain: finds or installs a compiler for the `wasm32-unknown-unknown` target.
//!
//! The ordinary way is a rustup target. Where rustup is missing or cannot download, Debian's `rustc-web` and
//! `rust-web-src` packages carry a compiler and the library's source, from which cargo builds `std` itself.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Line, output, run, without_outer_build};

/// The target that plugins are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Chooses the way by hand: `rustup` or `debian`.
const FORCE_VARIABLE: &str = "HOTSEAT_WASM_TOOLCHAIN";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// A way to compile plugins that was seen to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    route: Route,
}

/// Which way a [`Toolchain`] compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The compiler has the target's standard library.
    Target,
    /// Debian's compiler; cargo builds the standard library from source.
    BuildStd {
        /// The linker: rustup's `rust-lld`, or an lld of the system.
        linker: PathBuf,
    },
}

/// No way to compile plugins was found. The texts end with what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolchainError {
    /// There is no Rust compiler.
    #[error("cannot run {program:?}: install Rust from https://rustup.rs")]
    NoRust {
        /// What could not be run.
        program: String,
    },
    /// Something has to be installed by hand.
    #[error("{problem}; run: {command}")]
    Install {
        /// What is missing.
        problem: String,
        /// The command that installs it.
        command: String,
    },
    /// An installation was tried and failed.
    #[error("`{command}` failed: {text}")]
    Failed {
        /// The command that was run.
        command: String,
        /// The last lines it wrote.
        text: String,
    },
    /// The variable that chooses a way has a value that is none.
    #[error("{FORCE_VARIABLE}={0:?} is not known: must be \"rustup\" or \"debian\"")]
    Force(String),
}

impl Toolchain {
    /// Finds a way to compile plugins, installing what is missing where that needs no questions: the rustup
    /// target, or as root the Debian packages. Says which way it took through `progress`, a line at a time.
    ///
    /// The compiler is `$RUSTC`, or `rustc` in `PATH`. `HOTSEAT_WASM_TOOLCHAIN=rustup|debian` forces a way.
    /// Blocks for as long as installations take, which may be minutes.
    ///
    /// # Errors
    /// [`ToolchainError`], with the command that would help.
    pub fn find(progress: &mut dyn FnMut(&str)) -> Result<Self, ToolchainError> {
        let forced = env::var(FORCE_VARIABLE).ok();
        Self::find_by(forced.as_deref().filter(|way| !way.is_empty()), progress)
    }

    /// [`Toolchain::find`] with the way given (`rustup`, `debian`) rather than read from the environment.
    ///
    /// # Errors
    /// As [`Toolchain::find`].
    pub fn find_by(way: Option<&str>, progress: &mut dyn FnMut(&str)) -> Result<Self, ToolchainError> {
        let cargo = env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
        let rustc = env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from);
        if output(&cargo, &["--version"]).is_none() {
            return Err(ToolchainError::NoRust { program: cargo.display().to_string() });
        }
        match way {
            None => rustup(&cargo, &rustc, progress).or_else(|problem| {
                progress(&format!("{TARGET}: {problem}; trying Debian's compiler"));
                debian(&cargo, &rustc, progress)
            }),
            Some("rustup") => rustup(&cargo, &rustc, progress),
            Some("debian") => debian(&cargo, &rustc, progress),
            Some(other) => Err(ToolchainError::Force(other.to_owned())),
        }
    }

    /// Which way it compiles.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// `cargo` with this compiler, without what an outer cargo left in the environment.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        without_outer_build(&mut command);
        command.env("RUSTC", &self.rustc);
        command
    }

    /// `cargo build` for the target.
    pub(crate) fn cargo_build(&self) -> Command {
        let mut command = self.cargo();
        command.args(["build", "--release", "--target", TARGET]);
        if let Route::BuildStd { linker } = &self.route {
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                .arg("-Zbuild-std=std,panic_abort");
        }
        command
    }
}

fn rustup(cargo: &Path, rustc: &Path, progress: &mut dyn FnMut(&str)) -> Result<Toolchain, ToolchainError> {
    let found = || Toolchain { cargo: cargo.into(), rustc: rustc.into(), route: Route::Target };
    if has_target(rustc)? {
        progress(&format!("{TARGET}: found, standard library of {}", version(rustc)));
        return Ok(found());
    }
    let command = format!("rustup target add {TARGET}");
    if output("rustup", &["--version"]).is_none() {
        let problem = format!("{} has no {TARGET} and there is no rustup", rustc.display());
        return Err(ToolchainError::Install { problem, command });
    }
    progress(&format!("{TARGET}: missing, running `{command}`"));
    install("rustup", &["target", "add", TARGET])?;
    if has_target(rustc)? {
        progress(&format!("{TARGET}: installed by rustup"));
        return Ok(found());
    }
    Err(ToolchainError::Failed { command, text: format!("{} still has no {TARGET}", rustc.display()) })
}

fn debian(cargo: &Path, rustc: &Path, progress: &mut dyn FnMut(&str)) -> Result<Toolchain, ToolchainError> {
    if !debian_is_there() {
        let [compiler, source] = DEBIAN_PACKAGES;
        let args = ["install", "-y", "--no-install-recommends", compiler, source];
        let command = format!("sudo apt-get {}", args.join(" "));
        let problem = || format!("there is no compiler for {TARGET}");
        if output("apt-get", &["--version"]).is_none() {
            let command = format!("rustup target add {TARGET}");
            return Err(ToolchainError::Install { problem: problem(), command });
        }
        if output("id", &["-u"]).as_deref() != Some("0") {
            return Err(ToolchainError::Install { problem: problem(), command });
        }
        progress(&format!("{TARGET}: installing {compiler} and {source} with apt-get (about half a minute)"));
        if install("apt-get", &args).is_err() {
            install("apt-get", &["update"])?;
            install("apt-get", &args)?;
        }
        if !debian_is_there() {
            let text = format!("{DEBIAN_RUSTC} or its library source is still missing");
            return Err(ToolchainError::Failed { command, text });
        }
    }
    let linker = linker(rustc).ok_or_else(|| ToolchainError::Install {
        problem: "there is no linker for WebAssembly".into(),
        command: "sudo apt-get install -y lld".into(),
    })?;
    let found = Path::new(DEBIAN_RUSTC);
    progress(&format!(
        "{TARGET}: Debian's {} with the standard library built from source (the first build takes a minute or two)",
        version(found)
    ));
    Ok(Toolchain { cargo: cargo.into(), rustc: found.into(), route: Route::BuildStd { linker } })
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    output(rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

fn version(rustc: &Path) -> String {
    let text = output(rustc, &["--version"]).unwrap_or_else(|| "rustc".into());
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn has_target(rustc: &Path) -> Result<bool, ToolchainError> {
    let sysroot =
        sysroot(rustc).ok_or_else(|| ToolchainError::NoRust { program: rustc.display().to_string() })?;
    // The directory alone is not enough: an uninstalled target may leave it behind empty.
    let libraries = std::fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib"));
    Ok(libraries.is_ok_and(|mut files| {
        files.any(|f| f.is_ok_and(|f| f.file_name().to_string_lossy().starts_with("libstd-")))
    }))
}

/// Debian's compiler counts only together with the library's source of the same package.
fn debian_is_there() -> bool {
    sysroot(Path::new(DEBIAN_RUSTC))
        .is_some_and(|root| root.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file())
}

/// rustup's own lld, which is not in `PATH`, or one of the system.
fn linker(rustc: &Path) -> Option<PathBuf> {
    let bundled = sysroot(rustc).and_then(|root| {
        let hosts = std::fs::read_dir(root.join("lib/rustlib")).ok()?;
        hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|path| path.is_file())
    });
    bundled.or_else(|| {
        let path = env::var_os("PATH")?;
        env::split_paths(&path)
            .flat_map(|dir| [dir.join("rust-lld"), dir.join("wasm-ld")])
            .find(|path| path.is_file())
    })
}

fn install(program: &str, args: &[&str]) -> Result<(), ToolchainError> {
    let mut last = Vec::new();
    let mut command = Command::new(program);
    // Waits for another package manager instead of failing, and never asks.
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    if program == "apt-get" {
        command.args(["-o", "DPkg::Lock::Timeout=300"]);
    }
    let status = run(&mut command, &mut |line| {
        let (Line::Out(text) | Line::Err(text)) = line;
        if last.len() == 5 {
            last.remove(0);
        }
        last.push(text);
    });
    let failed =
        |text: String| ToolchainError::Failed { command: format!("{program} {}", args.join(" ")), text };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(failed(last.join(" / "))),
        Err(e) => Err(failed(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_way_is_refused() {
        let error = Toolchain::find_by(Some("conda"), &mut |_| {}).expect_err("no such way");
        assert_eq!(error, ToolchainError::Force("conda".into()));
        assert!(error.to_string().contains("rustup"));
    }

    #[test]
    fn it_says_what_it_found() {
        let mut said = Vec::new();
        let toolchain =
            Toolchain::find(&mut |line| said.push(line.to_owned())).expect("this machine builds plugins");
        assert!(said.iter().any(|line| line.contains(TARGET)), "{said:?}");
        let arguments: Vec<_> =
            toolchain.cargo_build().get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        let builds_std = arguments.iter().any(|a| a.starts_with("-Zbuild-std"));
        assert_eq!(builds_std, matches!(toolchain.route(), Route::BuildStd { .. }));
    }
}
