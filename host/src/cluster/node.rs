//! Node: who a node is, as it tells the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::actor::deploy::Deployer;
use crate::files;
use crate::game::registry::Registry;
use crate::journal::Dormant;

/// Longest node id, bytes.
const ID_MAX: usize = 64;

/// Where a node without a configured id keeps the one it made for itself, in its data directory.
const FILE: &str = "node-id";

/// What stands under `nodes/ID`, as JSON. Fields that a later version adds are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its id.
    pub id: String,
    /// What tells this process from every other one of the same id; drawn at its start.
    #[serde(default)]
    pub process: String,
    /// What it does.
    pub roles: Vec<String>,
    /// Where other nodes reach it.
    pub grpc: String,
    /// Where operators reach it.
    pub admin: String,
    /// Where clients reach it, if it is an agent.
    pub listen: Option<String>,
    /// The version of its program.
    pub version: String,
    /// The version of the link it speaks.
    pub link: u32,
    /// When it was started, milliseconds since 1970; tells two starts apart.
    pub started_ms: u64,
    /// It takes no rooms any more.
    pub draining: bool,
    /// It does not run the cluster's version of the game yet, and takes no rooms until it does.
    #[serde(default)]
    pub behind: bool,
    /// Home rooms of which its journal holds a state that it has not taken up: it is to have those that nobody has. A bit a
    /// room, the first one lowest, in hexadecimal bytes.
    #[serde(default)]
    pub dormant: String,
    /// Home rooms of which its journal may hold a state: those it has claimed, and the dormant ones. In the
    /// same form.
    #[serde(default)]
    pub holds: String,
    /// How many home rooms it takes the cluster to have.
    #[serde(default)]
    pub home_rooms: u32,
    /// Clients connected.
    pub sessions: u64,
    /// Rooms open.
    pub rooms: u64,
    /// Players in them.
    pub players: u64,
    /// Live plugins: digest by name.
    pub plugins: BTreeMap<String, String>,
}

impl NodeInfo {
    /// Reads what stands there.
    ///
    /// # Errors
    /// If it is nothing that a node writes.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// In the form in which it stands there.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The same with what the node has at present.
    #[must_use]
    pub fn at_present(
        &self,
        sessions: Option<&AtomicU64>,
        registry: Option<&Registry>,
        deployers: &BTreeMap<String, Deployer>,
    ) -> Self {
        let (rooms, players) = registry.map_or((0, 0), Registry::population);
        let live = deployers.iter().filter_map(|(name, deployer)| {
            Some((name.clone(), deployer.group().live()?.version.digest().to_string()))
        });
        Self {
            sessions: sessions.map_or(0, |sessions| sessions.load(Ordering::Relaxed)),
            rooms: rooms as u64,
            players: players as u64,
            plugins: live.collect(),
            ..self.clone()
        }
    }

    /// Whether two entries are of one process; what is no entry is of none.
    pub fn same_process(one: &[u8], other: &[u8]) -> bool {
        let process = |bytes| Self::read(bytes).ok().map(|info| (info.id, info.process));
        process(one).is_some_and(|one| Some(one) == process(other))
    }

    /// Whether it has a state of a home room that it has not taken up.
    pub fn has_dormant(&self, home: u32) -> bool {
        has_bit(&self.dormant, home)
    }

    /// Whether its journal may hold a state of a home room.
    pub fn may_hold(&self, home: u32) -> bool {
        has_bit(&self.holds, home)
    }

    /// Whether it runs rooms and takes more of them.
    pub fn takes_rooms(&self) -> bool {
        !self.draining && !self.behind && self.roles.iter().any(|role| role == "game")
    }
}

fn has_bit(bits: &str, home: u32) -> bool {
    let at = 2 * (home / 8) as usize;
    let byte = bits.get(at..at + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok());
    byte.is_some_and(|byte| byte >> (home % 8) & 1 == 1)
}

/// Home rooms in the form of [`NodeInfo::dormant`].
pub fn bits(homes: impl Iterator<Item = u32>) -> String {
    let mut bytes: Vec<u8> = Vec::new();
    for home in homes {
        let at = (home / 8) as usize;
        if bytes.len() <= at {
            bytes.resize(at + 1, 0);
        }
        bytes[at] |= 1 << (home % 8);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a host tells of its home rooms: [`NodeInfo::dormant`] and [`NodeInfo::holds`].
pub fn homes_held(registry: &Registry, dormant: &Dormant) -> (String, String) {
    let homes = registry.homes();
    let dormant: BTreeSet<u32> = dormant.generations().keys().filter_map(|room| homes.number(room)).collect();
    let held = homes.claims().into_keys().chain(registry.staged_homes()).chain(dormant.iter().copied());
    let held = bits(held.collect::<BTreeSet<_>>().into_iter());
    (bits(dormant.into_iter()), held)
}

/// Why a node has no id.
#[derive(Debug, thiserror::Error)]
pub enum IdError {
    /// Not a name.
    #[error("node_id {0:?}: allowed are 1 to {ID_MAX} of a-z A-Z 0-9 - _ .")]
    Name(String),
    /// The file cannot be read or written.
    #[error("node id file {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// The id of this node: the configured one, or else one that is made once and kept in the data directory.
///
/// # Errors
/// See [`IdError`].
pub fn id(configured: Option<&str>, data_dir: &Path) -> Result<String, IdError> {
    if let Some(id) = configured {
        return check(id);
    }
    let path = data_dir.join(FILE);
    let error = |source| IdError::File { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(kept) => check(kept.trim()),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
            let number = getrandom::u64().map_err(|why| error(std::io::Error::other(why.to_string())))?;
            let id = format!("node-{number:016x}");
            files::write_whole(&path, format!("{id}\n").as_bytes()).map_err(error)?;
            Ok(id)
        }
        Err(source) => Err(error(source)),
    }
}

fn check(id: &str) -> Result<String, IdError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=ID_MAX).contains(&id.len()) && id.bytes().all(allowed) {
        Ok(id.to_owned())
    } else {
        Err(IdError::Name(id.chars().take(2 * ID_MAX).collect()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let made = id(None, dir.path()).unwrap();
        assert_eq!(id(None, dir.path()).unwrap(), made);
        assert_eq!(id(Some("game-1"), dir.path()).unwrap(), "game-1");
        for bad in ["", "a/b", "a b", "a@b", &"x".repeat(65)] {
            assert!(matches!(id(Some(bad), dir.path()), Err(IdError::Name(_))), "{bad}");
        }
        std::fs::write(dir.path().join(FILE), "no/id\n").unwrap();
        assert!(matches!(id(None, dir.path()), Err(IdError::Name(_))));
    }

    #[test]
    fn dormant_rooms_are_told_as_bits() {
        assert_eq!(bits(std::iter::empty()), "");
        let text = bits([0, 9, 17].into_iter());
        assert_eq!(text, "010202");
        let node = json!({
            "id": "game-1", "roles": ["game"], "grpc": "", "admin": "", "listen": null, "version": "", "link": 1,
            "started_ms": 0, "draining": false, "sessions": 0, "rooms": 0, "players": 0, "plugins": {},
        });
        let node = NodeInfo::read(node.to_string().as_bytes()).unwrap();
        assert!(!node.has_dormant(0));
        let node = NodeInfo { dormant: text, ..node };
        let dormant: Vec<u32> = (0..1000).filter(|home| node.has_dormant(*home)).collect();
        assert_eq!(dormant, [0, 9, 17]);
    }

    #[test]
    fn what_is_no_node_is_refused() {
        assert!(NodeInfo::read(b"127.0.0.1:1").is_err());
        assert!(NodeInfo::read(b"{}").is_err());
    }
}
