//! `hotseat plugin inspect`: what is in a built file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use hotseat_build::Inspection;

use crate::cli::failure::Failure;
use crate::cli::terminal::{self, line};

use super::json;

/// What a node takes at most, bytes (`proto/admin.proto`).
const MAX: u64 = 64 << 20;

/// Shows the file; the exit status is 1 if a node would refuse it.
pub(super) async fn inspect(file: &Path, as_json: bool) -> anyhow::Result<ExitCode> {
    let bytes = read(file)?;
    let inspection = tokio::task::spawn_blocking(move || hotseat_build::inspect(&bytes)).await;
    let inspection = inspection.context("the check died")?.map_err(|error| {
        Failure::new(format!("{} is no plugin: {error}", file.display())).next("`hotseat build` makes one")
    })?;
    if as_json {
        json(&inspection)?;
    } else {
        line(&told(&inspection));
    }
    Ok(if inspection.refusal.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Reads an artefact, at most as much as a node takes.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        Failure::new(format!("cannot read {}", path.display()))
            .cause(error)
            .next("`hotseat build` writes the file")
    })?;
    if bytes.len() as u64 > MAX {
        return Err(Failure::new(format!("{} has more than 64 MiB, the most a node takes", path.display()))
            .next("`hotseat build` without --debug makes smaller ones"));
    }
    Ok(bytes)
}

fn told(inspection: &Inspection) -> String {
    let Inspection { digest, size, manifest, imports, exports, sections, refusal } = inspection;
    let largest = sections.iter().max_by_key(|section| section.bytes);
    let sections = largest.map_or_else(String::new, |it| {
        format!("{}, the largest is {} with {}", sections.len(), it.name, terminal::bytes(it.bytes as u64))
    });
    let head = [
        ("name", manifest.name.clone()),
        ("version", manifest.version.to_string()),
        ("world", manifest.world.clone()),
        ("digest", digest.to_string()),
        ("size", terminal::bytes(*size as u64)),
        ("sections", sections),
        ("verdict", refusal.as_ref().map_or_else(|| "fine".into(), |why| format!("refused: {why}"))),
    ];
    let mut lines: Vec<String> = head.iter().map(|(what, value)| format!("{what:9} {value}")).collect();
    lines.push("limits".into());
    let manifest = manifest.to_toml();
    let limits = manifest.lines().skip_while(|line| line.trim() != "[limits]").skip(1);
    lines.extend(limits.filter(|line| !line.is_empty()).map(|line| format!("  {line}")));
    for (what, items) in [("imports", imports), ("exports", exports)] {
        lines.push(what.into());
        lines.extend(items.iter().map(|item| format!("  {item}")));
    }
    lines.join("\n")
}
