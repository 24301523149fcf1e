//! Estate: what dead hosts have left on storage that all hosts share.
//!
//! Below `shared_dir` each node has a directory of its own name, with its journal and its profiles. Who claims a home
//! room of a host that is gone finds the room's state there, and leaves a mark, so that neither that host, should it come
//! back, nor anybody else takes up the same state again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::game::registry::Document;
use crate::game::{Homes, Profiles};
use crate::journal::{self, Found, LookError, Past};

/// Marks of rooms that others have taken up, in a node's directory.
const TAKEN: &str = "taken";

/// The directory that all hosts share, as one of them sees it.
#[derive(Debug)]
pub struct Estates {
    dir: PathBuf,
    own: String,
    /// What dead hosts left, by host; read once.
    read: HashMap<String, BTreeMap<String, Past>>,
}

/// What was found for the rooms that were asked for.
#[derive(Debug, Default)]
pub struct Estate {
    /// The rooms' states.
    pub rooms: BTreeMap<String, Past>,
    /// Documents of their users.
    pub documents: Vec<Document>,
}

impl Estates {
    /// The estates below `dir`, for the host `own`.
    pub fn new(dir: &Path, own: &str) -> Self {
        Self { dir: dir.to_owned(), own: own.to_owned(), read: HashMap::new() }
    }

    /// Rooms of a directory that others have taken up since its host wrote it. The marks are wiped: the host is back, and
    /// what it writes from now on is new.
    pub fn taken_from(dir: &Path) -> BTreeSet<String> {
        let taken = marked(dir);
        if taken.is_empty() {
            return taken;
        }
        let marks = dir.join(TAKEN);
        if let Err(error) = fs::remove_dir_all(&marks) {
            warn!(dir = %marks.display(), %error, "marks of rooms taken up cannot be wiped");
        }
        taken
    }

    /// What hosts that are not among `live` have left of these home rooms. Blocks: reads their journals.
    pub fn find(&mut self, live: &BTreeSet<String>, homes: &Homes, rooms: &BTreeSet<u32>) -> Estate {
        self.read.retain(|node, _| !live.contains(node));
        let mut found = Estate::default();
        for node in self.dead(live) {
            let dir = self.dir.join(&node);
            let left = self.read.entry(node.clone()).or_insert_with(|| read(&dir));
            let taken = marked(&dir);
            let mut count = 0;
            for home in rooms {
                let name = Homes::name(*home);
                if taken.contains(&name) {
                    left.remove(&name);
                    continue;
                }
                // The mark comes first: a state that is taken up twice is worse than one that is not.
                if let Some(past) = left.remove(&name)
                    && mark(&dir, &name, &self.own)
                {
                    count += 1;
                    found.rooms.insert(name, past);
                }
            }
            if count > 0 {
                info!(host = node, rooms = count, "home rooms of a dead host go on here");
            }
            let of = |user| rooms.contains(&homes.of(user));
            match Profiles::left_in(&dir, of) {
                Ok(documents) => {
                    found.documents.extend(documents.into_iter().map(|(user, version, bytes)| Document {
                        user,
                        version,
                        bytes,
                    }))
                }
                Err(error) => warn!(host = node, %error, "profiles of a dead host cannot be read"),
            }
        }
        found
    }

    /// Hosts that have a directory and are not there.
    fn dead(&self, live: &BTreeSet<String>) -> Vec<String> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) => {
                warn!(dir = %self.dir.display(), %error, "shared_dir cannot be read");
                return Vec::new();
            }
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| *name != self.own && !live.contains(name)).collect()
    }
}

/// What a dead host's journal holds.
fn read(dir: &Path) -> BTreeMap<String, Past> {
    match journal::look(&dir.join("journal")) {
        Ok(Found::Rooms { pasts, torn, .. }) => {
            if let Some((path, offset)) = torn {
                warn!(file = %path.display(), offset, "journal of a dead host ends within a record; what stands before it counts");
            }
            pasts
        }
        // A host that has only begun has left nothing.
        Ok(Found::Letter(_)) | Err(LookError::Empty(_)) => BTreeMap::new(),
        Err(LookError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => {
            warn!(dir = %dir.display(), %error, "journal of a dead host cannot be read");
            BTreeMap::new()
        }
    }
}

fn marked(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir.join(TAKEN)) else { return BTreeSet::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.map(|name| name.replacen('_', "/", 1)).collect()
}

/// Marks a room as taken up; false if somebody else was faster, or nothing can be written.
fn mark(dir: &Path, room: &str, by: &str) -> bool {
    let marks = dir.join(TAKEN);
    let path = marks.join(room.replacen('/', "_", 1));
    let write = || {
        fs::create_dir_all(&marks)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        std::io::Write::write_all(&mut file, by.as_bytes())?;
        file.sync_all()
    };
    match write() {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => {
            warn!(file = %path.display(), %error, "room of a dead host not taken up: no mark can be left");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_taken_up_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(mark(dir.path(), "home/7", "game-2"));
        assert!(!mark(dir.path(), "home/7", "game-3"));
        assert!(marked(dir.path()).contains("home/7"));
        assert_eq!(Estates::taken_from(dir.path()), ["home/7".to_owned()].into());
        assert!(Estates::taken_from(dir.path()).is_empty());
        assert!(mark(dir.path(), "home/7", "game-3"));
    }

    #[test]
    fn nothing_shared_is_nothing_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("game-1")).unwrap();
        let mut estates = Estates::new(dir.path(), "game-2");
        let homes = Homes::shared(4);
        let found = estates.find(&["game-2".to_owned()].into(), &homes, &[0, 1].into());
        assert!(found.rooms.is_empty() && found.documents.is_empty());
        let mut missing = Estates::new(&dir.path().join("nowhere"), "game-2");
        assert!(missing.find(&BTreeSet::new(), &homes, &[0].into()).rooms.is_empty());
    }
}
