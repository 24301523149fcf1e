//! Manifest: what `plugin.toml` says about a plugin, checked.
//!
//! Every default and every allowed range of a plugin's limits lives here.

use std::ops::RangeInclusive;

use semver::Version;
use serde::{Deserialize, Serialize};

/// The world of plugins that serve gRPC.
pub(crate) const SERVICE_WORLD: &str = "service";

/// The longest version, bytes: it is the label that logs, reports and file names show.
const VERSION_MAX: usize = 64;

/// What a plugin says about itself; the content of `plugin.toml`.
///
/// The same text, completed with the defaults, travels in the artefact's `hotseat:manifest` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The plugin's name: 1 to 64 of `a-z 0-9 -`, beginning with a letter.
    pub name: String,
    /// The version of this build: at most 64 bytes.
    pub version: Version,
    /// The world of `wit/` that the component is for, such as `game-logic`.
    pub world: String,
    /// What a plugin of the world `service` serves; none in any other world.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// What the host grants and expects.
    pub limits: Limits,
    /// How it is built, if not by cargo. Stands in `plugin.toml` alone and does not travel in the artefact.
    #[serde(skip)]
    pub build: Option<Build>,
}

/// The `[build]` table of a `plugin.toml`: for plugins that cargo does not build.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// A command for `sh`, run in the directory of `plugin.toml`: 1 to 4,096 bytes.
    pub command: String,
    /// The component or core module that it leaves, relative to that directory: 1 to 1,024 bytes.
    pub output: String,
}

/// The `[service]` table of a manifest: which gRPC methods the plugin serves, and how they find their shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// The `.proto` file with the methods, relative to `plugin.toml`: 1 to 1,024 bytes. Only a build reads it; the
    /// artefact carries what it says in the section `hotseat:proto`.
    pub proto: String,
    /// The field that every request message has and whose value decides the shard: a uint64, int64, uint32, int32,
    /// fixed64 or sfixed64. 1 to 64 of `a-z A-Z 0-9 _`, not beginning with a digit.
    pub shard_by: String,
}

/// The `[limits]` table of a manifest. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Linear memory a room may grow to, in MiB: 1 to 4,096, default 64.
    pub memory_mib: u32,
    /// Time a single call may take, in milliseconds: 1 to 10,000, default 50.
    pub deadline_ms: u32,
    /// Largest snapshot `save` may return, in bytes: 1,024 to 1 GiB, default 32 MiB.
    pub snapshot_max_bytes: u64,
    /// Ticks per second: 0 (no ticks) to 1,000, default 0.
    pub tick_hz: u32,
    /// Whether rooms without players tick too; default no.
    pub tick_when_empty: bool,
    /// What survives a crash of the node; default `journal`.
    pub durability: Durability,
    /// Longest time a journalled call stays in memory before it is synced to disk, in milliseconds:
    /// 0 (sync every batch at once) to 10,000, default 10.
    pub fsync_ms: u32,
}

/// What of a room survives a crash of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Nothing: rooms begin anew.
    None,
    /// The last periodic snapshot.
    Snapshot,
    /// Every call, replayed from a journal upon the last snapshot.
    Journal,
}

/// Why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML, a key is missing or unknown, or a value has the wrong type.
    #[error("{0}")]
    Syntax(String),
    /// A value is outside of what is allowed.
    #[error("key {key:?}: {value:?} is not allowed: must be {allowed}")]
    Value {
        /// The key, dotted: `limits.memory_mib`.
        key: &'static str,
        /// What stands there.
        value: String,
        /// What may stand there.
        allowed: String,
    },
}

/// The file as written; numbers wide enough that a wrong one reaches our own range check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    version: String,
    world: String,
    service: Option<RawService>,
    #[serde(default)]
    limits: RawLimits,
    build: Option<Build>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    proto: String,
    shard_by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    memory_mib: i64,
    deadline_ms: i64,
    snapshot_max_bytes: i64,
    tick_hz: i64,
    tick_when_empty: bool,
    durability: Durability,
    fsync_ms: i64,
}

impl Default for RawLimits {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            memory_mib: limits.memory_mib.into(),
            deadline_ms: limits.deadline_ms.into(),
            snapshot_max_bytes: 32 << 20,
            tick_hz: limits.tick_hz.into(),
            tick_when_empty: limits.tick_when_empty,
            durability: limits.durability,
            fsync_ms: limits.fsync_ms.into(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mib: 64,
            deadline_ms: 50,
            snapshot_max_bytes: 32 << 20,
            tick_hz: 0,
            tick_when_empty: false,
            durability: Durability::Journal,
            fsync_ms: 10,
        }
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`], naming the key, its value and what is allowed.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let raw: Raw =
            toml::from_str(text).map_err(|e| ManifestError::Syntax(e.to_string().trim_end().into()))?;
        let refused = |why: String| ManifestError::Value {
            key: "version",
            value: raw.version.chars().take(80).collect(),
            allowed: format!("a semantic version such as \"1.0.0\" ({why})"),
        };
        if raw.version.len() > VERSION_MAX {
            return Err(refused(format!("at most {VERSION_MAX} bytes")));
        }
        let version = Version::parse(&raw.version).map_err(|e| refused(e.to_string()))?;
        check_word("name", &raw.name)?;
        check_word("world", &raw.world)?;
        let service = service(&raw.world, raw.service)?;
        if let Some(build) = &raw.build {
            within("build.command", build.command.len() as i64, 1..=4096)?;
            within("build.output", build.output.len() as i64, 1..=1024)?;
        }
        let limits = raw.limits;
        Ok(Self {
            build: raw.build,
            name: raw.name,
            version,
            world: raw.world,
            service,
            limits: Limits {
                memory_mib: within("limits.memory_mib", limits.memory_mib, 1..=4096)?,
                deadline_ms: within("limits.deadline_ms", limits.deadline_ms, 1..=10_000)?,
                snapshot_max_bytes: within(
                    "limits.snapshot_max_bytes",
                    limits.snapshot_max_bytes,
                    1024..=1 << 30,
                )?
                .into(),
                tick_hz: within("limits.tick_hz", limits.tick_hz, 0..=1000)?,
                tick_when_empty: limits.tick_when_empty,
                durability: limits.durability,
                fsync_ms: within("limits.fsync_ms", limits.fsync_ms, 0..=10_000)?,
            },
        })
    }

    /// The manifest as TOML, with every default written out. [`Manifest::parse`] reads it back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("strings, integers and booleans always serialise")
    }
}

/// The table is there in the world `service` and nowhere else.
fn service(world: &str, raw: Option<RawService>) -> Result<Option<Service>, ManifestError> {
    let refused = |key, value: &str, allowed: &str| ManifestError::Value {
        key,
        value: value.chars().take(80).collect(),
        allowed: allowed.into(),
    };
    match raw {
        None if world == SERVICE_WORLD => {
            let allowed = "a table with `proto` and `shard_by` for world \"service\"";
            Err(refused("service", "nothing", allowed))
        }
        None => Ok(None),
        Some(_) if world != SERVICE_WORLD => {
            Err(refused("service", "a table", &format!("left out for world {world:?}")))
        }
        Some(RawService { proto, .. })
            if !(1..=1024).contains(&proto.len()) || proto.contains(char::is_control) =>
        {
            let allowed = "1 to 1024 bytes: the path of a .proto file, relative to plugin.toml";
            Err(refused("service.proto", &proto, allowed))
        }
        Some(RawService { shard_by, .. }) if !is_field_name(&shard_by) => {
            let allowed = "1 to 64 of a-z, A-Z, 0-9 and _, not beginning with a digit";
            Err(refused("service.shard_by", &shard_by, allowed))
        }
        Some(RawService { proto, shard_by }) => Ok(Some(Service { proto, shard_by })),
    }
}

fn is_field_name(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.len() <= 64 && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

fn check_word(key: &'static str, value: &str) -> Result<(), ManifestError> {
    let letter_first = value.starts_with(|c: char| c.is_ascii_lowercase());
    let clean = value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if letter_first && clean && value.len() <= 64 {
        return Ok(());
    }
    Err(ManifestError::Value {
        key,
        value: value.chars().take(80).collect(),
        allowed: "1 to 64 of a-z, 0-9 and -, beginning with a letter".into(),
    })
}

fn within(key: &'static str, value: i64, range: RangeInclusive<u32>) -> Result<u32, ManifestError> {
    u32::try_from(value).ok().filter(|v| range.contains(v)).ok_or_else(|| ManifestError::Value {
        key,
        value: value.to_string(),
        allowed: format!("{} to {}", range.start(), range.end()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = \"arena\"\nversion = \"1.2.3\"\nworld = \"game-logic\"\n";

    #[track_caller]
    fn refused(text: &str, expected: &[&str]) {
        let error = Manifest::parse(text).expect_err("must be refused").to_string();
        for word in expected {
            assert!(error.contains(word), "{error:?} does not name {word:?}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let manifest = Manifest::parse(HEAD).unwrap();
        assert_eq!(manifest.limits, Limits::default());
        assert_eq!((manifest.limits.memory_mib, manifest.limits.deadline_ms), (64, 50));
        assert_eq!(manifest.version, Version::new(1, 2, 3));
    }

    #[test]
    fn every_key_is_read_and_written() {
        let text = format!(
            "{HEAD}[limits]\nmemory_mib = 8\ndeadline_ms = 5\nsnapshot_max_bytes = 4096\ntick_hz = 20\n\
             tick_when_empty = true\ndurability = \"none\"\nfsync_ms = 0\n"
        );
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!(manifest.limits.tick_hz, 20);
        assert_eq!(manifest.limits.durability, Durability::None);
        assert_eq!(Manifest::parse(&manifest.to_toml()).unwrap(), manifest);
    }

    const SERVICE: &str = "name = \"rank\"\nversion = \"1.0.0\"\nworld = \"service\"\n";
    const TABLE: &str = "[service]\nproto = \"../../proto/rank.proto\"\nshard_by = \"SetId\"\n";

    #[test]
    fn the_service_table_is_kept_as_written() {
        let manifest = Manifest::parse(&format!("{SERVICE}{TABLE}[limits]\nmemory_mib = 8\n")).unwrap();
        let service = manifest.service.as_ref().unwrap();
        assert_eq!((service.proto.as_str(), service.shard_by.as_str()), ("../../proto/rank.proto", "SetId"));
        assert_eq!(Manifest::parse(&manifest.to_toml()).unwrap(), manifest);
        assert_eq!(Manifest::parse(HEAD).unwrap().service, None);
    }

    #[test]
    fn the_service_table_belongs_to_the_world_service() {
        refused(SERVICE, &["\"service\"", "\"nothing\"", "`proto` and `shard_by`"]);
        refused(&format!("{HEAD}{TABLE}"), &["\"service\"", "left out", "\"game-logic\""]);
        refused(&format!("{SERVICE}[service]\nproto = \"a.proto\"\n"), &["shard_by"]);
        refused(&format!("{SERVICE}[service]\nshard_by = \"Id\"\n"), &["proto"]);
        refused(&format!("{SERVICE}{TABLE}shards = 8\n"), &["shards"]);
        refused(
            &format!("{SERVICE}[service]\nproto = \"\"\nshard_by = \"Id\"\n"),
            &["service.proto", "1 to 1024 bytes", "plugin.toml"],
        );
        for name in ["", "1st", "Set-Id", "Set.Id", &"a".repeat(65)] {
            refused(
                &format!("{SERVICE}[service]\nproto = \"a.proto\"\nshard_by = {name:?}\n"),
                &["service.shard_by", &format!("{name:?}"), "1 to 64"],
            );
        }
    }

    #[test]
    fn refusals_name_key_value_and_range() {
        refused("", &["name"]);
        refused("name = ", &["line 1"]);
        refused(&format!("{HEAD}colour = 1\n"), &["colour"]);
        refused(&format!("{HEAD}[limits]\ntick = 1\n"), &["tick", "tick_hz"]);
        refused(&format!("{HEAD}[limits]\ntick_hz = 1001\n"), &["limits.tick_hz", "1001", "0 to 1000"]);
        refused(&format!("{HEAD}[limits]\nmemory_mib = 0\n"), &["limits.memory_mib", "\"0\"", "1 to 4096"]);
        refused(&format!("{HEAD}[limits]\ndeadline_ms = -5\n"), &["limits.deadline_ms", "-5"]);
        refused(&format!("{HEAD}[limits]\nfsync_ms = 9999999999\n"), &["limits.fsync_ms", "9999999999"]);
        refused(&format!("{HEAD}[limits]\ndurability = \"disk\"\n"), &["disk", "journal"]);
        refused(&HEAD.replace("1.2.3", "1.2"), &["version", "1.2", "1.0.0"]);
        let long = format!("1.2.3-{}", "a".repeat(100));
        refused(&HEAD.replace("1.2.3", &long), &["version", "at most 64 bytes"]);
        refused(&HEAD.replace("arena", "Arena 1"), &["name", "Arena 1", "a-z"]);
        refused(&HEAD.replace("arena", ""), &["name", "1 to 64"]);
        refused(&HEAD.replace("arena", &"a".repeat(65)), &["1 to 64"]);
    }
}
