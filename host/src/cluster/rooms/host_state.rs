//! Host state: what other hosts have left on storage that all hosts share.
//!
//! Below `shared_dir` each node has a directory of its own name, with its journal and its profiles. Who claims a home
//! room that nobody has finds the room's state there: of several states the one of the highest generation. Once that is
//! on the new owner's disk, a mark in the directory says which generation it is superseded by, so that what is older is
//! taken up neither by that host, should it come back, nor by anybody else. A mark needs no end: when the room comes
//! back to that host, it is of a later generation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, info, warn};

use crate::game::registry::Document;
use crate::game::{Homes, Profiles};
use crate::journal::disk::{Disk, RealDisk, Stamp};
use crate::journal::{self, Found, InspectError, SavedState};

/// Marks of rooms that others have taken up, in a node's directory.
const TAKEN: &str = "taken";

/// The directory that all hosts share, as one of them sees it.
#[derive(Debug)]
pub struct HostStates {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    own: String,
    /// What other hosts left, by host.
    read: HashMap<String, Read>,
    /// States that are superseded once this host's journal is on disk up to the position that is given with
    /// each.
    to_mark: Vec<(u64, Superseded)>,
}

/// A state in the directory `node` that a state of the generation `by` supersedes.
#[derive(Debug)]
struct Superseded {
    node: String,
    room: String,
    by: u64,
}

/// A journal as it was read; of no use once its files have changed.
#[derive(Debug)]
struct Read {
    files: Files,
    saved_states: BTreeMap<String, SavedState>,
    /// Whether that is all there is.
    is_readable: bool,
}

impl Default for Read {
    fn default() -> Self {
        Self { files: Files::new(), saved_states: BTreeMap::new(), is_readable: true }
    }
}

/// The files of a journal.
type Files = Vec<(String, Stamp)>;

/// What was found for the rooms that were asked for.
#[derive(Debug, Default)]
pub struct HostState {
    /// The rooms' states, where they are later than what the host itself has.
    pub rooms: BTreeMap<String, SavedState>,
    /// Documents of their users.
    pub documents: Vec<Document>,
    /// Generations by which the host's own states are superseded.
    pub marks: BTreeMap<String, u64>,
}

impl HostStates {
    /// The host states below `dir`, for the host `own`.
    pub fn new(dir: &Path, own: &str) -> Self {
        Self::on(Arc::new(RealDisk), dir, own)
    }

    /// The same, with the journals on another disk.
    pub fn on(disk: Arc<dyn Disk>, dir: &Path, own: &str) -> Self {
        Self { disk, dir: dir.to_owned(), own: own.to_owned(), read: HashMap::new(), to_mark: Vec::new() }
    }

    /// All hosts that have a directory, but this one. Blocks.
    pub fn others(&self) -> Vec<String> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) => {
                warn!(dir = %self.dir.display(), %error, "shared_dir cannot be read");
                return Vec::new();
            }
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| *name != self.own).collect()
    }

    /// Whether no other host has a state of a home room. Blocks: reads their journals.
    pub fn are_empty(&mut self) -> bool {
        self.others()
            .iter()
            .all(|node| !self.read_anew(node).saved_states.keys().any(|room| Homes::is_home(room)))
    }

    /// Whether it can be told what a host has left: its journal is whole, or there is none. Blocks: reads it.
    pub fn is_readable(&mut self, node: &str) -> bool {
        self.read_anew(node).is_readable
    }

    /// What the hosts `nodes` have left of these home rooms, where it is later than the generation that is
    /// given with each; none: the host itself has nothing. Blocks: reads their journals.
    pub fn find(
        &mut self,
        nodes: &BTreeSet<String>,
        homes: &Homes,
        rooms: &BTreeMap<u32, Option<u64>>,
    ) -> HostState {
        self.read.retain(|node, _| nodes.contains(node));
        let mut found = HostState { marks: self.own_marks(), ..HostState::default() };
        for node in nodes {
            let dir = self.dir.join(node);
            let left = &self.read_anew(node).saved_states;
            let marks = marked(&dir);
            let mut count = 0;
            for (home, own) in rooms {
                let name = Homes::name(*home);
                let Some(past) = left.get(&name) else { continue };
                let known = found.rooms.get(&name).map(|past| past.generation).or(*own);
                if !is_superseded(&marks, &name, past) && known.is_none_or(|known| known < past.generation) {
                    count += 1;
                    found.rooms.insert(name, past.clone());
                }
            }
            if count > 0 {
                info!(host = node, rooms = count, "home rooms of another host go on here");
            }
            if *node == self.own {
                continue;
            }
            let of = |user| rooms.contains_key(&homes.of(user));
            match Profiles::left_in(&dir, of) {
                Ok(documents) => {
                    found.documents.extend(documents.into_iter().map(|(user, version, bytes)| Document {
                        user,
                        version,
                        bytes,
                    }))
                }
                Err(error) => warn!(host = node, %error, "profiles of another host cannot be read"),
            }
        }
        found
    }

    /// This host has these rooms, each of that generation, and they are on its disk once its journal is up to
    /// `position`: from then on what was read of them elsewhere is taken up by nobody any more. Blocks.
    pub fn supersede(&mut self, rooms: &BTreeMap<u32, u64>, position: u64) {
        for (node, read) in &self.read {
            for (home, by) in rooms {
                let room = Homes::name(*home);
                if read.saved_states.get(&room).is_some_and(|past| past.generation < *by) {
                    self.to_mark.retain(|(_, it)| it.node != *node || it.room != room);
                    self.to_mark.push((position, Superseded { node: node.clone(), room, by: *by }));
                }
            }
        }
        self.mark_kept(0);
    }

    /// Whether states are superseded that are not marked so yet: at most one a host and room.
    pub fn has_to_mark(&self) -> bool {
        !self.to_mark.is_empty()
    }

    /// This host's journal is on disk up to `synced`. Blocks.
    pub fn mark_kept(&mut self, synced: u64) {
        for (_, Superseded { node, room, by }) in self.to_mark.extract_if(.., |(at, _)| *at <= synced) {
            mark(&self.dir.join(&node), &room, by, &self.own);
            if let Some(read) = self.read.get_mut(&node) {
                read.saved_states.remove(&room);
            }
        }
    }

    /// Generations by which other hosts have superseded what is in this host's own directory, by room.
    pub fn own_marks(&self) -> BTreeMap<String, u64> {
        marked(&self.dir.join(&self.own))
    }

    /// What a host's journal holds now: a host that has been back since it was read has written more.
    fn read_anew(&mut self, node: &str) -> &Read {
        let journal = self.dir.join(node).join("journal");
        let read = self.read.entry(node.to_owned()).or_default();
        let files = match files(&*self.disk, &journal) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => Files::new(),
            Err(error) => {
                warn!(dir = %journal.display(), %error, "journal of another host cannot be read");
                *read = Read { is_readable: false, ..Read::default() };
                return read;
            }
        };
        if read.files != files {
            let saved_states = saved_states(&*self.disk, &journal);
            let is_readable = saved_states.is_some();
            *read = Read { files, saved_states: saved_states.unwrap_or_default(), is_readable };
        }
        read
    }
}

/// Rooms among those of a directory's journal that have gone on at other hosts since they were written.
pub fn superseded(dir: &Path, saved_states: &BTreeMap<String, SavedState>) -> Vec<String> {
    let marks = marked(dir);
    let superseded = saved_states.iter().filter(|(room, past)| is_superseded(&marks, room, past));
    superseded.map(|(room, _)| room.clone()).collect()
}

fn is_superseded(marks: &BTreeMap<String, u64>, room: &str, past: &SavedState) -> bool {
    marks.get(room).is_some_and(|generation| past.generation < *generation)
}

/// The files of a journal.
fn files(disk: &dyn Disk, journal: &Path) -> io::Result<Files> {
    let names = disk.list(journal)?.into_iter();
    let stamped = names.map(|name| disk.stamp(&journal.join(&name)).map(|stamp| (name, stamp)));
    let mut files = stamped.collect::<io::Result<Files>>()?;
    files.sort();
    Ok(files)
}

/// What a host's journal holds, also while the host writes to it; none if that cannot be said.
fn saved_states(disk: &dyn Disk, journal: &Path) -> Option<BTreeMap<String, SavedState>> {
    match journal::look_at(disk, journal) {
        Ok(Found::Rooms { saved_states, torn, .. }) => {
            if let Some((path, offset)) = torn {
                warn!(file = %path.display(), offset, "journal of another host ends within a record; what stands before it counts");
            }
            Some(saved_states)
        }
        // A host that has only begun has left nothing.
        Ok(Found::DeadLetter(_)) | Err(InspectError::Empty(_)) => Some(BTreeMap::new()),
        Err(InspectError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Some(BTreeMap::new()),
        Err(error) => {
            warn!(dir = %journal.display(), %error, "journal of another host cannot be read");
            None
        }
    }
}

/// The marks of a directory: a room, and the generation by which what is there is superseded.
fn marked(dir: &Path) -> BTreeMap<String, u64> {
    let Ok(entries) = fs::read_dir(dir.join(TAKEN)) else { return BTreeMap::new() };
    let mark = |entry: fs::DirEntry| {
        let room = entry.file_name().into_string().ok()?.replacen('_', "/", 1);
        let text = fs::read_to_string(entry.path()).ok()?;
        // Marks of earlier versions name a host alone, and states had no generation then.
        let generation = text.split(' ').next()?.parse().unwrap_or(1);
        Some((room, generation))
    };
    entries.flatten().filter_map(mark).collect()
}

/// Marks a room: what the directory holds of it is superseded by `generation`, which `by` has.
fn mark(dir: &Path, room: &str, generation: u64, by: &str) {
    let marks = dir.join(TAKEN);
    let path = marks.join(room.replacen('/', "_", 1));
    let partial = dir.join(format!("{TAKEN}.partial"));
    let write = || {
        fs::create_dir_all(&marks)?;
        let mut file = File::create(&partial)?;
        write!(file, "{generation} {by}")?;
        file.sync_all()?;
        fs::rename(&partial, &path)
    };
    match write() {
        Ok(()) => debug!(file = %path.display(), generation, "state of a room is superseded"),
        // Its generation says so too, as long as the later state is there.
        Err(error) => {
            warn!(file = %path.display(), %error, "room of another host cannot be marked as taken up")
        }
    }
}

#[cfg(test)]
mod tests;
