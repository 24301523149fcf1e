//! Languages: the tools that the examples in other languages than Rust are built with; only tests need them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::install;
use crate::shell::{Root, can_apt, first_line, run, say, step};

/// What is installed, in these versions; a change of them installs anew.
const COMPONENTIZE_JS: &str = "@bytecodealliance/componentize-js@0.23.0";
const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";

/// Installs what is missing below `target/languages`, and says what it did. What cannot be installed is missed by the
/// tests that need it, which say so.
pub(crate) fn set_up(root: &Root) -> Result<()> {
    step("languages: tools for the examples in JavaScript, Python and C");
    let dir = root.target().join("languages");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let tools: [(&str, Tool); 3] = [
        (COMPONENTIZE_JS, |dir| javascript(&dir.join("javascript"))),
        (COMPONENTIZE_PY, |dir| python(&dir.join("python"))),
        ("clang and lld", |_| clang()),
    ];
    for (name, tool) in tools {
        match tool(&dir) {
            Ok(()) => say(&format!("  {name}")),
            Err(error) => say(&format!("  {name}: missing, the tests of that language will fail: {error:#}")),
        }
    }
    Ok(())
}

/// Puts one tool in place.
type Tool = fn(&Path) -> Result<()>;

fn javascript(dir: &Path) -> Result<()> {
    installed(dir, COMPONENTIZE_JS, || {
        packages_for("npm", &["nodejs", "npm"])?;
        std::fs::create_dir_all(dir)?;
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(dir)
            .arg(COMPONENTIZE_JS))
    })
}

fn python(dir: &Path) -> Result<()> {
    installed(dir, COMPONENTIZE_PY, || {
        packages_for("python3", &["python3", "python3-venv"])?;
        let make = || run(Command::new("python3").args(["-m", "venv"]).arg(dir));
        if make().is_err() {
            // Debian has it in a package of its own.
            install("python3-venv", &["python3-venv"])?;
            make()?;
        }
        run(Command::new(dir.join("bin/pip")).args(["install", "--quiet", COMPONENTIZE_PY]))
    })
}

fn clang() -> Result<()> {
    packages_for("clang", &["clang", "lld"])?;
    packages_for("wasm-ld", &["lld"])
}

/// Installs unless it was done before in this version.
fn installed(dir: &Path, version: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let note = dir.join("installed");
    if std::fs::read_to_string(&note).is_ok_and(|found| found == version) {
        return Ok(());
    }
    install()?;
    std::fs::write(&note, version).with_context(|| format!("cannot write {}", note.display()))
}

/// Sees that a program is there.
fn packages_for(program: &str, packages: &[&str]) -> Result<()> {
    if first_line(Path::new(program), &["--version"]).is_none() && can_apt() {
        install(program, packages)?;
    }
    first_line(Path::new(program), &["--version"]).with_context(|| format!("there is no {program}"))?;
    Ok(())
}
