//! What the sources promise about themselves: who may know whom, how long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::guests::root;

/// A file holds one noun and no more.
const LINES_MAX: usize = 400;

/// Where our own sources are, from the root.
const SOURCES: [&str; 5] = ["host", "plugins", "sdk", "tests", "xtask"];

/// A source file, by its path from the root, and its text.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Lines of code, numbered; comments tell, they do not depend.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// All Rust files at or below these.
fn sources(dirs: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for dir in dirs {
        collect(&root().join(dir), &mut found);
    }
    assert!(!found.is_empty(), "{dirs:?}");
    found
}

fn collect(path: &Path, found: &mut Vec<Source>) {
    if path.extension().is_some_and(|extension| extension == "rs") {
        let text = std::fs::read_to_string(path).unwrap();
        found.push(Source { path: path.strip_prefix(root()).unwrap().to_owned(), text });
    } else if path.is_dir() && !path.ends_with("target") {
        std::fs::read_dir(path).unwrap().for_each(|entry| collect(&entry.unwrap().path(), found));
    }
}

/// A module of the host: its file and its folder.
fn module(name: &str) -> Vec<Source> {
    let file = format!("host/src/{name}.rs");
    sources(&[file.as_str(), &format!("host/src/{name}")])
}

/// The modules of this crate that a line names: what follows `crate::`, each of a group too.
fn crate_modules(line: &str) -> Vec<String> {
    let ident =
        |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group.split(',').map(|item| ident(item.trim_start()))),
            None => found.push(ident(rest)),
        }
    }
    found
}

/// No line of `sources` for which `bad` finds something.
#[track_caller]
fn none(sources: &[Source], bad: impl Fn(&str) -> Option<String>) {
    let found: Vec<_> = sources
        .iter()
        .flat_map(|source| {
            let told = |(at, line)| bad(line).map(|what| format!("{}:{at}: {what}", source.path.display()));
            source.code().filter_map(told).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The modules of the host and those that each may use, as the table in ARCHITECTURE.md has them.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = map.split_once("## Modules and their arrows").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').collect();
        (names(cells[1]).pop_first().unwrap(), names(cells[3]))
    };
    rows.map(row).collect()
}

#[test]
fn modules_use_those_of_the_table_alone() {
    let arrows = arrows();
    let is_module = |path: &Path| !["main", "lib"].iter().any(|name| path.ends_with(format!("{name}.rs")));
    let modules: BTreeSet<String> = std::fs::read_dir(root().join("host/src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs") && is_module(path))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        arrows.keys().cloned().collect::<BTreeSet<_>>(),
        modules,
        "rows of the table, modules of the host"
    );
    for (name, allowed) in &arrows {
        none(&module(name), |line| {
            let used = |it: &String| modules.contains(it) && it != name && !allowed.contains(it);
            let other = crate_modules(line).into_iter().find(used)?;
            Some(format!("{name} must not use {other}: {}", line.trim()))
        });
    }
}

#[test]
fn the_table_of_modules_has_no_circle() {
    let mut left = arrows();
    while !left.is_empty() {
        let ground = left.iter().find(|(_, uses)| uses.iter().all(|used| !left.contains_key(used)));
        let ground = ground.map(|(name, _)| name.clone());
        let Some(name) = ground else { panic!("a circle among {:?}", left.keys()) };
        left.remove(&name);
    }
}

#[test]
fn the_engine_is_known_to_the_plugin_module_alone() {
    let others: Vec<_> = sources(&SOURCES)
        .into_iter()
        .filter(|source| !source.path.starts_with("host/src/plugin"))
        .filter(|source| source.path != Path::new("host/src/plugin.rs"))
        .collect();
    none(&others, |line| {
        let uses = line.contains("wasmtime::") || line.contains("use wasmtime");
        (uses && !line.contains('"')).then(|| line.trim().to_owned())
    });
}

/// Leases, deadlines and timers go by the monotonic clock, so that a clock that is set does nothing to them. What goes by
/// the other one asks `snowflake/clock.rs`: ids, which defend themselves, and times that are only shown.
#[test]
fn the_wall_clock_is_read_in_one_place() {
    let clock = "host/src/snowflake/clock.rs";
    let others: Vec<_> = sources(&["host/src", "sdk/build"])
        .into_iter()
        .filter(|it| it.path.to_str() != Some(clock) && !it.path.starts_with("host/src/demo"))
        .collect();
    none(&others, |line| line.contains("SystemTime").then(|| line.trim().to_owned()));
}

#[test]
fn etcd_is_known_to_discovery_alone() {
    let others: Vec<_> =
        sources(&["host/src"]).into_iter().filter(|it| !it.path.starts_with("host/src/discovery")).collect();
    none(&others, |line| line.contains("etcd_client").then(|| line.trim().to_owned()));
}

#[test]
fn grpc_is_known_at_the_edges_alone() {
    let edges = [
        "admin",
        "app",
        "cli",
        "cluster",
        "demo/operator",
        "gonet",
        "http",
        "link/line",
        "proto",
        "actor/services",
        "peer",
        "service",
        "snowflake/service",
    ]
    .map(|edge| format!("host/src/{edge}"));
    let inner: Vec<_> = sources(&["host/src", "sdk/build", "sdk/client", "sdk/guest", "sdk/packet"])
        .into_iter()
        .filter(|source| !edges.iter().any(|edge| source.path.to_str().unwrap().starts_with(edge)))
        .collect();
    let names = ["tonic::", "prost::", "use tonic", "use prost", "axum::"];
    none(&inner, |line| {
        // Numbers and addresses are no gRPC: the room gives its status codes to answers of its own, the configuration
        // checks that a service's URL is one.
        let fine = ["tonic::Code::", "transport::Uri"].iter().any(|name| line.contains(name));
        let uses = names.iter().any(|name| line.contains(name)) && !fine;
        uses.then(|| line.trim().to_owned())
    });
}

#[test]
fn the_codec_and_the_guests_reach_nothing_of_a_system() {
    let pure: Vec<_> = sources(&[
        "sdk/packet/src",
        "sdk/guest/src",
        "plugins/chat/src",
        "plugins/game-logic/src",
        "plugins/rank/src",
    ]);
    let names = ["std::fs", "std::net", "std::env", "std::process", "std::thread", "tokio"];
    none(&pure, |line| names.iter().find(|name| line.contains(**name)).map(|name| (*name).to_owned()));
}

#[test]
fn files_are_one_noun_long() {
    let long: Vec<_> = sources(&SOURCES)
        .into_iter()
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "above {LINES_MAX} lines: {long:?}");
}

#[test]
fn nothing_is_left_for_later() {
    // Written apart, or this file would find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X "), concat!("todo", "!(")];
    let found: Vec<_> = sources(&SOURCES)
        .iter()
        .flat_map(|source| {
            let left = |line: &&str| words.iter().any(|word| line.contains(word));
            let line = |line: &str| format!("{}: {}", source.path.display(), line.trim());
            source.text.lines().filter(left).map(line).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_test_runs() {
    none(&sources(&SOURCES), |line| {
        line.trim_start().starts_with(concat!("#[ign", "ore")).then(|| line.trim().to_owned())
    });
}

/// A newcomer reads so many words in a quarter of an hour.
const MAP_WORDS_MAX: usize = 3_000;

#[test]
fn the_map_is_read_in_a_quarter_of_an_hour() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let words = map.split_whitespace().filter(|word| *word != "|").count();
    assert!(words <= MAP_WORDS_MAX, "{words} words");
}

#[test]
fn files_that_the_map_names_exist() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named = map.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let files: Vec<_> = named.filter(|name| name.ends_with(".rs")).collect();
    assert!(files.len() > 40, "{files:?}");
    let missing: Vec<_> = files
        .into_iter()
        .filter(|name| {
            ![root().join("host/src").join(name), root().join(name)].iter().any(|path| path.exists())
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_index_lists_every_decision_with_its_title_and_status() {
    let dir = root().join("docs/adr");
    let index = std::fs::read_to_string(dir.join("README.md")).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        let text = std::fs::read_to_string(dir.join(&name)).unwrap();
        let (number, title) =
            text.lines().next().unwrap().strip_prefix("# ").unwrap().split_once(". ").unwrap();
        let status = text.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or_default();
        assert!(!status.is_empty(), "{name} has no line \"Status: ...\"");
        let row = format!("| [{number}]({name}) | {title} | {} |", status.trim_end_matches('.'));
        assert!(index.contains(&row), "docs/adr/README.md lacks the row {row}");
        count += 1;
    }
    assert_eq!(index.lines().filter(|line| line.starts_with("| [")).count(), count);
}
