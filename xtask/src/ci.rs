//! Ci: all that must pass before a change is taken, with the time each step took.

use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::shell::{Root, cargo, run as run_command, say, step};
use crate::{deny, setup, test};

type Step = (&'static str, fn(&Root) -> Result<()>);

/// In the order of what fails fastest.
const STEPS: [Step; 6] = [
    ("fmt", fmt),
    ("setup", prepare),
    ("deny", deny::run),
    ("clippy", clippy),
    ("doc", doc),
    ("test", all_tests),
];

/// Runs every step; the first that fails ends it.
pub(crate) fn run(root: &Root) -> Result<()> {
    let begin = Instant::now();
    let mut times = Vec::new();
    for (name, action) in STEPS {
        step(&format!("ci: {name}"));
        let start = Instant::now();
        action(root).with_context(|| format!("ci: {name}"))?;
        let took_s = start.elapsed().as_secs_f64();
        say(&format!("==> ci: {name} passed in {took_s:.1} s"));
        times.push(format!("{name} {took_s:.1} s"));
    }
    say(&format!("==> ci: all passed in {:.0} s ({})", begin.elapsed().as_secs_f64(), times.join(", ")));
    Ok(())
}

fn fmt(root: &Root) -> Result<()> {
    run_command(cargo(root).args(["fmt", "--all", "--check"]))
}

fn prepare(root: &Root) -> Result<()> {
    setup::run(root).map(drop)
}

/// In the release profile, as everything: `clippy` and `doc` share what they check.
fn clippy(root: &Root) -> Result<()> {
    run_command(cargo(root).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--release",
        "--",
        "--deny",
        "warnings",
    ]))
}

fn doc(root: &Root) -> Result<()> {
    run_command(
        cargo(root)
            .args(["doc", "--workspace", "--no-deps", "--release"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}

fn all_tests(root: &Root) -> Result<()> {
    test(root, &[])
}
