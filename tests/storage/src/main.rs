//! Storage: what a journal costs in segments of our own, and what it would cost in stores that others keep.
//!
//! The pattern is the host's: inputs of 64 bytes come in batches of one room, are written behind and synced in groups
//! of 10 ms; at the next start all of them are read once, in order. Figures and the decision are in
//! `docs/adr/0009-one-journal-of-plain-segments.md`.
//!
//! This package is no part of the workspace. From its folder:
//!
//! ```text
//! cargo run --release                 # everything, three times, medians; some seven minutes
//! cargo run --release -- --runs 1     # once
//! TMPDIR=/path cargo run --release    # on another disk
//! ```
//!
//! Each figure is taken in a process of its own, which says what it took on one line.

mod measure;
mod store;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::measure::Load;
use crate::store::NAMES;

/// Inputs a second of the paced runs: 1,000 of them in a group.
const PACE: u64 = 100_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => all(3),
        ["--runs", runs] => all(runs.parse().context("--runs takes a number")?),
        ["write", name, dir, batch, pace] => {
            let load = Load { batch: batch.parse()?, per_s: pace.parse()? };
            say(&measure::write(name, Path::new(dir), load)?)
        }
        ["read", name, dir] => say(&measure::read(name, Path::new(dir))?),
        _ => bail!("usage: storage [--runs N]"),
    }
}

fn say(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn all(runs: usize) -> Result<()> {
    ensure!(runs > 0, "--runs takes a number above 0");
    for (batch, per_s) in [(64, PACE), (64, 0), (1, PACE), (1, 0)] {
        let pace = if per_s == 0 { "as fast as it goes".to_owned() } else { format!("{per_s} inputs/s") };
        say(&format!("\n{batch} inputs a record, {pace}:\n"))?;
        say(
            "| store | wall ns/input | CPU ns/input | on disk MB | written MB | syncs | read back ms | CPU ms |",
        )?;
        say("|---|---|---|---|---|---|---|---|")?;
        for name in NAMES {
            let mut columns: BTreeMap<String, Vec<f64>> = BTreeMap::new();
            for _ in 0..runs {
                let dir = tempfile::tempdir()?;
                let at = dir.path().to_str().context("a path that is no text")?;
                let written = child(&["write", name, at, &batch.to_string(), &per_s.to_string()])?;
                let read = if name == "nothing" { String::new() } else { child(&["read", name, at])? };
                for figure in written.split_whitespace().chain(read.split_whitespace()) {
                    let (key, value) = figure.split_once('=').context("a figure is key=value")?;
                    columns.entry(key.to_owned()).or_default().push(value.parse()?);
                }
            }
            let cell = |key: &str| columns.get(key).map_or("".into(), |figures| median(figures));
            let keys = ["wall", "cpu", "disk", "written", "syncs", "read", "read_cpu"];
            say(&format!("| {name} | {} |", keys.map(cell).join(" | ")))?;
        }
    }
    Ok(())
}

fn child(args: &[&str]) -> Result<String> {
    let output = Command::new(std::env::current_exe()?).args(args).output()?;
    let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{args:?}: {err}");
    Ok(out)
}

fn median(figures: &[f64]) -> String {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let median = figures[figures.len() / 2];
    if median < 10.0 { format!("{median:.1}") } else { format!("{median:.0}") }
}
