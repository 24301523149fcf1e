//! What the sources promise about themselves: who may know whom, how long a file may be.

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

#[test]
fn arrows_of_dependency_point_one_way() {
    for (name, forbidden) in [
        (
            "actor",
            &["game", "service", "agent", "link", "admin", "app", "cli", "bots", "demo", "proto", "config"][..],
        ),
        (
            "http",
            &[
                "actor", "game", "service", "agent", "link", "admin", "app", "cli", "plugin", "journal",
                "config",
            ],
        ),
        ("service", &["game", "agent", "link", "admin", "app", "cli", "bots", "demo", "proto", "config"]),
        (
            "journal",
            &["actor", "game", "service", "agent", "plugin", "link", "admin", "app", "cli", "config"],
        ),
        (
            "agent",
            &[
                "actor",
                "cluster",
                "discovery",
                "service",
                "game",
                "plugin",
                "admin",
                "app",
                "cli",
                "bots",
                "demo",
                "proto",
                "snowflake",
            ],
        ),
        (
            "cluster",
            &["agent", "service", "plugin", "admin", "app", "cli", "bots", "demo", "replay", "config"],
        ),
        (
            "game",
            &["cluster", "discovery", "service", "agent", "admin", "app", "cli", "bots", "demo", "proto"],
        ),
        (
            "plugin",
            &[
                "actor", "service", "agent", "game", "link", "admin", "app", "cli", "bots", "demo", "proto",
                "config",
            ],
        ),
        (
            "link",
            &[
                "actor", "cluster", "service", "agent", "game", "plugin", "admin", "app", "cli", "bots",
                "demo", "config",
            ],
        ),
        (
            "discovery",
            &[
                "actor",
                "agent",
                "game",
                "journal",
                "plugin",
                "service",
                "snowflake",
                "link",
                "admin",
                "app",
                "cli",
                "bots",
                "demo",
                "replay",
                "proto",
                "config",
            ],
        ),
        (
            "config",
            &["discovery", "agent", "game", "plugin", "link", "admin", "app", "cli", "bots", "demo", "proto"],
        ),
        ("telemetry", &["agent", "game", "plugin", "link", "admin", "app", "cli", "bots", "demo", "proto"]),
        (
            "peer",
            &[
                "actor",
                "service",
                "agent",
                "game",
                "plugin",
                "link",
                "admin",
                "app",
                "cli",
                "bots",
                "demo",
                "proto",
                "config",
                "telemetry",
            ],
        ),
        ("admin", &["agent", "app", "cli", "bots", "demo"]),
        ("app", &["cli", "bots", "demo"]),
        (
            "replay",
            &["agent", "game", "service", "link", "admin", "app", "cli", "bots", "demo", "proto", "config"],
        ),
        (
            "snowflake",
            &[
                "actor",
                "service",
                "agent",
                "game",
                "link",
                "admin",
                "app",
                "cli",
                "bots",
                "demo",
                "config",
                "plugin",
                "journal",
                "replay",
                "peer",
                "telemetry",
            ],
        ),
        // Bots are clients: of a node they know what comes over the wire.
        ("bots", &["agent", "game", "plugin", "link", "admin", "app", "cli", "demo", "proto"]),
        ("demo", &["agent", "game", "plugin", "link", "admin", "cli"]),
    ] {
        none(&module(name), |line| {
            let known =
                crate_modules(line).into_iter().find(|module| forbidden.contains(&module.as_str()))?;
            Some(format!("{name} must not know {known}: {}", line.trim()))
        });
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

#[test]
fn the_map_fits_on_a_few_screens() {
    if let Ok(map) = std::fs::read_to_string(root().join("ARCHITECTURE.md")) {
        assert!(map.lines().count() <= 150, "{} lines", map.lines().count());
    }
}
