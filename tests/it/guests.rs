//! Guests: every plugin the tests deploy, built from source once a run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hotseat_build::{Artefact, BuildOptions, Digest, Manifest, Toolchain, build, with_manifest};
use semver::Version;

/// What is there to deploy. All of them go by the name `game-logic`.
pub(crate) struct Guests {
    /// The reference game, 1.0.0.
    pub(crate) v1: Artefact,
    /// Its next version: other rules, other schema; 2.0.0.
    pub(crate) v2: Artefact,
    /// 2.0.0 with a trap at every 50th ping; 3.0.0.
    pub(crate) trapping: Artefact,
    /// Takes over no state of another version; 4.0.0.
    pub(crate) bad_migration: Artefact,
    /// The guest that counts, 1.0.0.
    pub(crate) ledger: Artefact,
    /// Its next version: other schema; 2.0.0.
    pub(crate) ledger_v2: Artefact,
    /// The guest that misbehaves on request, 1.0.0.
    pub(crate) misbehave: Artefact,
    /// The same, but it always saves; 5.0.0.
    pub(crate) misbehave_mended: Artefact,
    /// The guest that takes as much of the node as it can on request, 1.0.0.
    pub(crate) greedy: Artefact,
}

/// The service plugins, each by its own name.
pub(crate) struct Services {
    /// Leaderboards, 1.0.0.
    pub(crate) rank: Artefact,
    /// Its next version: other schema; 2.0.0.
    pub(crate) rank_v2: Artefact,
    /// 3.0.0: traps at a certain score.
    pub(crate) rank_trapping: Artefact,
    /// Chat, 1.0.0.
    pub(crate) chat: Artefact,
    /// Its next version: other schema; 2.0.0.
    pub(crate) chat_v2: Artefact,
    /// 3.0.0: traps at a certain body.
    pub(crate) chat_trapping: Artefact,
    /// The service that misbehaves on request, 1.0.0.
    pub(crate) clumsy: Artefact,
}

/// The guests; whoever asks first builds them.
pub(crate) fn guests() -> &'static Guests {
    static GUESTS: OnceLock<Result<Guests, String>> = OnceLock::new();
    match GUESTS.get_or_init(build_all) {
        Ok(guests) => guests,
        Err(error) => panic!("{error}"),
    }
}

/// The service plugins; whoever asks first builds them.
pub(crate) fn services() -> &'static Services {
    static SERVICES: OnceLock<Result<Services, String>> = OnceLock::new();
    let built = SERVICES.get_or_init(|| {
        let one = builder()?;
        Ok(Services {
            rank: one("plugins/rank", None, 1)?,
            rank_v2: one("plugins/rank", Some("v2"), 2)?,
            rank_trapping: one("plugins/rank", Some("trapping"), 3)?,
            chat: one("plugins/chat", None, 1)?,
            chat_v2: one("plugins/chat", Some("v2"), 2)?,
            chat_trapping: one("plugins/chat", Some("trapping"), 3)?,
            clumsy: one("tests/guests/clumsy", None, 1)?,
        })
    });
    built.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Nobody else who runs these tests has the lock of that name until it is dropped.
pub(crate) fn lock(name: &str) -> File {
    let file = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)).unwrap();
    file.lock().unwrap();
    file
}

/// Builds one plugin: its folder, a cargo feature, its major version.
type Builder = Box<dyn Fn(&str, Option<&str>, u64) -> Result<Artefact, String>>;

fn builder() -> Result<Builder, String> {
    // Two versions of a crate have one file name between them, as cargo leaves them.
    let lock = lock("guests.lock");
    let toolchain = Toolchain::find(&mut |_| {}).map_err(|error| error.to_string())?;
    Ok(Box::new(move |dir, feature, major| {
        let _ = &lock;
        let options = BuildOptions {
            features: feature.map(str::to_owned).into_iter().collect(),
            version: Some(Version::new(major, 0, 0)),
            // Lines, so that a trap is told with them.
            debug: feature == Some("trapping"),
            ..BuildOptions::new(root().join(dir))
        };
        build(&toolchain, &options, &mut |_| {}).map_err(|error| format!("{dir} {feature:?}: {error}"))
    }))
}

fn build_all() -> Result<Guests, String> {
    let one = builder()?;
    Ok(Guests {
        v1: one("plugins/game-logic", None, 1)?,
        v2: one("plugins/game-logic", Some("v2"), 2)?,
        trapping: one("plugins/game-logic", Some("trapping"), 3)?,
        bad_migration: one("plugins/game-logic", Some("bad-migration"), 4)?,
        ledger: one("tests/guests/ledger", None, 1)?,
        ledger_v2: one("tests/guests/ledger", Some("v2"), 2)?,
        misbehave: one("tests/guests/misbehave", None, 1)?,
        misbehave_mended: one("tests/guests/misbehave", Some("mended"), 5)?,
        greedy: one("tests/guests/greedy", None, 1)?,
    })
}

/// The component of an artefact, without its manifest.
pub(crate) fn bare(artefact: &Artefact) -> Vec<u8> {
    let section = with_manifest(Vec::new(), &artefact.manifest);
    artefact.bytes.strip_suffix(&section[..]).unwrap().to_owned()
}

/// The same component under another manifest: another version to the node.
pub(crate) fn relabelled(artefact: &Artefact, change: impl FnOnce(&mut Manifest)) -> Artefact {
    let mut manifest = artefact.manifest.clone();
    change(&mut manifest);
    let bytes = with_manifest(bare(artefact), &manifest);
    let digest = Digest::of(&bytes);
    Artefact { bytes, manifest, digest, inputs: Vec::new() }
}

/// The same component as version `major`.0.0.
pub(crate) fn versioned(artefact: &Artefact, major: u64) -> Artefact {
    relabelled(artefact, |manifest| manifest.version = Version::new(major, 0, 0))
}
