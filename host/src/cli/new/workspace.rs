//! Workspace: the tables of the new crate's `Cargo.toml` that the SDK's crates inherit from.
//!
//! Made of this repository's own manifest, so that they never say something else.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use toml::{Table, Value};

use super::{SDK, TEMPLATE};

/// The `[workspace…]` tables. `sdk`: a checkout to take the SDK's crates from, instead of the copy in `sdk/`.
pub(super) fn tables(sdk: Option<&Path>) -> anyhow::Result<String> {
    let root: Table = text("Cargo.toml")?.parse()?;
    let root = table(&root, "workspace")?;
    let resolver = root.get("resolver").cloned().unwrap_or_else(|| "3".into());
    let mut text =
        format!("# A workspace of its own, wherever it lies.\n[workspace]\nresolver = {resolver}\n");

    let mut manifests = vec![TEMPLATE[0].1.replace("{{name}}", "x").replace("{{workspace}}", "")];
    if sdk.is_none() {
        let crates = SDK.iter().filter(|(path, _)| path.starts_with("sdk/") && path.ends_with("/Cargo.toml"));
        manifests.extend(crates.map(|(_, text)| (*text).to_owned()));
    }
    section(&mut text, "workspace.dependencies", &dependencies(root, &manifests, sdk)?);
    if sdk.is_none() {
        text.push_str("\n# What the crates in sdk/ inherit.");
        section(&mut text, "workspace.package", table(root, "package")?);
        for (tool, lints) in table(root, "lints")? {
            let lints = lints.as_table().with_context(|| format!("lints.{tool} is no table"))?;
            section(&mut text, &format!("workspace.lints.{tool}"), lints);
        }
    }
    Ok(text.trim_end().to_owned())
}

/// Appends a table with one line a key, as people write it.
fn section(text: &mut String, header: &str, table: &Table) {
    text.push_str(&format!("\n[{header}]\n"));
    for (key, value) in table {
        text.push_str(&format!("{key} = {value}\n"));
    }
}

fn table<'a>(parent: &'a Table, key: &str) -> anyhow::Result<&'a Table> {
    parent.get(key).and_then(Value::as_table).with_context(|| format!("Cargo.toml has no table {key}"))
}

fn text(path: &str) -> anyhow::Result<&'static str> {
    let file = SDK.iter().find(|(known, _)| *known == path);
    file.map(|(_, text)| *text).ok_or_else(|| anyhow!("{path} is missing"))
}

/// The entries of `[workspace.dependencies]` that one of the manifests inherits.
fn dependencies(root: &Table, manifests: &[String], sdk: Option<&Path>) -> anyhow::Result<Table> {
    let all = table(root, "dependencies")?;
    let mut names = BTreeSet::new();
    for manifest in manifests {
        inherited(&manifest.parse()?, &mut names);
    }
    names
        .into_iter()
        .map(|name| {
            let mut entry =
                all.get(&name).cloned().with_context(|| format!("no workspace dependency {name}"))?;
            if let (Some(sdk), Some(table)) = (sdk, entry.as_table_mut())
                && let Some(Value::String(path)) = table.get_mut("path")
            {
                *path = sdk.join(&*path).to_str().context("the path of --sdk is not UTF-8")?.to_owned();
            }
            Ok((name, entry))
        })
        .collect()
}

/// The names of a manifest's dependencies with `workspace = true`, of every kind and target.
fn inherited(manifest: &Table, names: &mut BTreeSet<String>) {
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            let from_root = |value: &Value| {
                value.get("workspace").and_then(Value::as_bool).is_some_and(|inherits| inherits)
            };
            names.extend(table.iter().filter(|(_, value)| from_root(value)).map(|(name, _)| name.clone()));
        } else if key == "target" {
            table.values().filter_map(Value::as_table).for_each(|target| inherited(target, names));
        }
    }
}
