//! Setup: finds what a build needs, installs what is missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use hotseat_build::Toolchain;

use crate::shell::{self, Root, can_apt, first_line, say, step};

/// The only crate that would compile `.proto` files with an external compiler; our own need none.
const WANTS_PROTOC: &str = "etcd-client";

/// Checks everything and returns the way plugins are compiled.
pub(crate) fn run(root: &Root) -> Result<Toolchain> {
    step("setup");
    let rustc = PathBuf::from(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let version = first_line(&rustc, &["--version"])
        .context("there is no rustc; install Rust from https://rustup.rs")?;
    say(&format!("  rust: {version}"));
    let toolchain = Toolchain::find(&mut |line| say(&format!("  {line}")))?;
    say(&format!("  {}", protoc(root)?));
    Ok(toolchain)
}

fn protoc(root: &Root) -> Result<String> {
    let lock = root.path().join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    if !wants_protoc(&lock) {
        return Ok("protoc: not needed".into());
    }
    if let Some(named) = env::var_os("PROTOC") {
        let version = first_line(Path::new(&named), &["--version"])
            .with_context(|| format!("PROTOC names {}, which does not run", Path::new(&named).display()))?;
        return Ok(format!("protoc: {version}, named by PROTOC"));
    }
    let found = || first_line(Path::new("protoc"), &["--version"]);
    if let Some(version) = found() {
        return Ok(format!("protoc: {version}"));
    }
    if can_apt() {
        say("  protoc: missing, running `apt-get install -y protobuf-compiler`");
        let install =
            || shell::run(apt().args(["install", "-y", "--no-install-recommends", "protobuf-compiler"]));
        if install().is_err() {
            shell::run(apt().arg("update"))?;
            install()?;
        }
        let version = found().context("protoc is still missing after its installation")?;
        return Ok(format!("protoc: {version}, installed"));
    }
    bail!(
        "{WANTS_PROTOC} needs protoc: `sudo apt-get install protobuf-compiler`, `brew install protobuf`, \
         or name one with PROTOC"
    )
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn wants_protoc(lock: &str) -> bool {
    lock.lines().any(|line| line.strip_prefix("name = ") == Some(&format!("\"{WANTS_PROTOC}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_package_itself_wants_protoc() {
        assert!(wants_protoc("[[package]]\nname = \"etcd-client\"\nversion = \"0.19.0\"\n"));
        assert!(!wants_protoc("[[package]]\nname = \"etcd-client-mock\"\n# name = \"etcd-client\"\n"));
    }
}
