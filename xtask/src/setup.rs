//! Setup: finds what a build needs, installs what is missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use hotseat_build::Toolchain;

use crate::shell::{self, Root, can_apt, first_line, say, step};

/// The only crate that would compile `.proto` files with an external compiler; our own need none.
const WANTS_PROTOC: &str = "etcd-client";

/// What etcd's own `.proto` files import, too.
const PROBE: &str = "syntax = \"proto3\";\n\
    import \"google/protobuf/descriptor.proto\"; import \"google/protobuf/struct.proto\";\n";

/// Checks everything and returns the way plugins are compiled.
pub(crate) fn run(root: &Root) -> Result<Toolchain> {
    step("setup");
    let rustc = PathBuf::from(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let version = first_line(&rustc, &["--version"])
        .context("there is no rustc; install Rust from https://rustup.rs")?;
    say(&format!("  rust: {version}"));
    let toolchain = Toolchain::find(&mut |line| say(&format!("  {line}")))?;
    say(&format!("  {}", protoc(root)?));
    say(&format!("  {}", etcd()?));
    Ok(toolchain)
}

fn protoc(root: &Root) -> Result<String> {
    let lock = root.path().join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    if !wants_protoc(&lock) {
        return Ok("protoc: not needed".into());
    }
    if let Some(named) = env::var_os("PROTOC") {
        let named = Path::new(&named);
        let version = compiles(root, named)
            .with_context(|| format!("PROTOC names {}, which does not compile {PROBE:?}", named.display()))?;
        return Ok(format!("protoc: {version}, named by PROTOC"));
    }
    let found = || compiles(root, Path::new("protoc"));
    if let Some(version) = found() {
        return Ok(format!("protoc: {version}"));
    }
    if can_apt() {
        install("protoc, or the files it includes", &["protobuf-compiler", "libprotobuf-dev"])?;
        let version = found().context("protoc still does not work after its installation")?;
        return Ok(format!("protoc: {version}, installed"));
    }
    bail!(
        "{WANTS_PROTOC} needs protoc and google/protobuf/*.proto: `sudo apt-get install protobuf-compiler \
         libprotobuf-dev`, `brew install protobuf`, or name them with PROTOC and PROTOC_INCLUDE"
    )
}

/// The version of a protoc that finds what comes with it: on some systems that is a package of its own.
fn compiles(root: &Root, protoc: &Path) -> Option<String> {
    let version = first_line(protoc, &["--version"])?;
    let dir = root.target().join("protoc-probe");
    let file = dir.join("probe.proto");
    std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&file, PROBE)).ok()?;
    let mut probe = Command::new(protoc);
    probe.arg("--proto_path").arg(&dir).arg("--descriptor_set_out").arg(dir.join("probe.bin"));
    if let Some(include) = env::var_os("PROTOC_INCLUDE") {
        probe.arg("--proto_path").arg(include);
    }
    let probe = probe.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().ok()?.success().then_some(version)
}

/// The server that the tests of the cluster start. Building goes without.
fn etcd() -> Result<String> {
    if let Some(named) = env::var_os("HOTSEAT_ETCD") {
        let named = Path::new(&named);
        let version = first_line(named, &["--version"])
            .with_context(|| format!("HOTSEAT_ETCD names {}, which does not run", named.display()))?;
        return Ok(format!("etcd: {version}, named by HOTSEAT_ETCD"));
    }
    let found = || first_line(Path::new("etcd"), &["--version"]);
    if let Some(version) = found() {
        return Ok(format!("etcd: {version}"));
    }
    // Debian's package starts a service of its own where there is systemd. Tests do not use it: theirs have their own
    // ports and data.
    if can_apt() && install("etcd", &["etcd-server"]).is_ok() {
        let version = found().context("etcd is still missing after its installation")?;
        return Ok(format!("etcd: {version}, installed"));
    }
    Ok("etcd: missing; tests of the cluster need it (3.4 or later): `sudo apt-get install etcd-server`, or name \
        one with HOTSEAT_ETCD"
        .into())
}

/// Installs packages, after an update of the lists if need be.
pub(crate) fn install(what: &str, packages: &[&str]) -> Result<()> {
    say(&format!("  {what}: missing, running `apt-get install -y {}`", packages.join(" ")));
    let install = || shell::run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages));
    if install().is_err() {
        shell::run(apt().arg("update"))?;
        install()?;
    }
    Ok(())
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
    fn a_protoc_that_is_none_does_not_compile() {
        let root = Root::find().expect("the workspace");
        assert_eq!(compiles(&root, Path::new("no-such-protoc")), None);
        assert_eq!(compiles(&root, Path::new("false")), None);
    }

    #[test]
    fn only_the_package_itself_wants_protoc() {
        assert!(wants_protoc("[[package]]\nname = \"etcd-client\"\nversion = \"0.19.0\"\n"));
        assert!(!wants_protoc("[[package]]\nname = \"etcd-client-mock\"\n# name = \"etcd-client\"\n"));
    }
}
