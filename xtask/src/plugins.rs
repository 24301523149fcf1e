//! Plugins: the reference game and its variants, rank and chat, as artefacts in `target/plugins/`.

use anyhow::{Context as _, Result};
use hotseat_build::{BuildOptions, Toolchain, build as build_plugin};
use semver::Version;

use crate::shell::{Root, say, step};

/// An artefact: the name of its file, the crate in `plugins/`, a feature of it, a version instead of its own.
struct Plugin {
    file: &'static str,
    krate: &'static str,
    feature: Option<&'static str>,
    version: Option<Version>,
    /// Keep line tables. They make a file twenty times as large, so only where a trap is the point.
    debug: bool,
}

/// What a node runs by default, the next version of the game, and two that are broken on purpose for the demo and the
/// tests.
const PLUGINS: [Plugin; 6] = [
    Plugin { file: "game-logic", krate: "game-logic", feature: None, version: None, debug: false },
    Plugin { file: "rank", krate: "rank", feature: None, version: None, debug: false },
    Plugin { file: "chat", krate: "chat", feature: None, version: None, debug: false },
    variant("game-logic-v2", "v2", 2, false),
    variant("game-logic-bad-migration", "bad-migration", 3, false),
    variant("game-logic-trapping", "trapping", 4, true),
];

const fn variant(file: &'static str, feature: &'static str, major: u64, debug: bool) -> Plugin {
    Plugin {
        file,
        krate: "game-logic",
        feature: Some(feature),
        version: Some(Version::new(major, 0, 0)),
        debug,
    }
}

/// Builds every plugin to `target/plugins/NAME.wasm`.
pub(crate) fn build(root: &Root, toolchain: &Toolchain) -> Result<()> {
    let out = root.target().join("plugins");
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    for plugin in PLUGINS {
        let path = out.join(plugin.file).with_extension("wasm");
        step(&format!("build: {}", path.strip_prefix(root.path()).unwrap_or(&path).display()));
        let options = BuildOptions {
            features: plugin.feature.map(str::to_owned).into_iter().collect(),
            version: plugin.version,
            debug: plugin.debug,
            target_dir: Some(root.target().join("wasm")),
            ..BuildOptions::new(root.path().join("plugins").join(plugin.krate))
        };
        let artefact = build_plugin(toolchain, &options, &mut |line| say(&format!("  {line}")))?;
        // A node may be watching the file: it must never see half of it.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, &artefact.bytes)
            .and_then(|()| std::fs::rename(&partial, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
