//! Shell: the command in a directory with artefacts, and what it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hotseat_build::Artefact;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Told, hotseat};

/// `hotseat replay ARGS` in a directory with artefacts, apart from the runtime of a node in this process.
pub(crate) struct Shell(pub(crate) TempDir);

impl Shell {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// An artefact's file.
    pub(crate) fn file(&self, artefact: &Artefact) -> String {
        let path = self.0.path().join(format!("{}.wasm", artefact.digest));
        std::fs::write(&path, &artefact.bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) async fn replay(&self, path: &Path, args: &[&str]) -> Told {
        let mut command = hotseat(self.0.path());
        command.arg("replay").arg(path).args(args);
        tokio::task::spawn_blocking(move || command.output().unwrap().into()).await.unwrap()
    }

    /// With `--json`: the status, and the objects.
    pub(crate) async fn json(&self, path: &Path, args: &[&str]) -> (Option<i32>, Vec<Value>) {
        let told = self.replay(path, &[args, &["--json"]].concat()).await;
        let objects = told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (told.code, objects)
    }
}

/// Standard output of a command that ended with this status and says all of these.
#[track_caller]
pub(crate) fn says(told: Told, code: i32, words: &[&str]) -> String {
    assert_eq!(told.code, Some(code), "{}\n{}", told.out, told.err);
    for word in words {
        assert!(told.out.contains(word), "{} does not say {word:?}", told.out);
    }
    told.out
}

/// The only object of that kind.
#[track_caller]
pub(crate) fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind}: {objects:?}"));
    assert!(found.next().is_none(), "{objects:?}");
    one
}

/// The letters of a data directory, oldest first.
pub(crate) fn letters(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data.join("dead-letters")).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let serial = |path: &PathBuf| {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        stem.rsplit('-').next().unwrap().parse::<u32>().unwrap()
    };
    paths.sort_by_key(serial);
    paths
}

/// All files below a directory.
pub(crate) fn listing(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(listing(&path));
        } else {
            files.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    files
}
