//! Inputs: the files that a build is made of, and which of them say something else than before.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use hotseat_build::Digest;

/// Larger files are told apart by length and time alone.
const READ_MAX: u64 = 16 << 20;

/// The most files that are looked at; a crate that has more is watched as far as these.
const FILES_MAX: usize = 20_000;

/// The crate's own files, and those elsewhere that its last build has read.
#[derive(Debug)]
pub(super) struct Inputs {
    dir: PathBuf,
    /// Where cargo writes.
    target: PathBuf,
    outside: BTreeSet<PathBuf>,
    /// What they said last.
    seen: BTreeMap<PathBuf, Digest>,
    /// What changed while the last build ran.
    suspects: BTreeSet<PathBuf>,
}

/// What has become of the inputs while a build ran.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum During {
    /// The build is of what there is.
    Nothing,
    /// It is to be done again.
    Changed,
    /// These have changed in the build before, too: it writes them itself.
    Again(Vec<PathBuf>),
}

impl Inputs {
    pub(super) fn new(dir: &Path, target: &Path) -> Self {
        let (outside, seen, suspects) = Default::default();
        let mut inputs = Self { dir: dir.to_owned(), target: target.to_owned(), outside, seen, suspects };
        inputs.seen = inputs.look();
        inputs
    }

    /// Whether any of them says something else than when this was last asked.
    pub(super) fn have_changed(&mut self) -> bool {
        !self.changes().is_empty()
    }

    /// A build has ended, which has read these files; none are known of one that failed.
    pub(super) fn built(&mut self, files: &[PathBuf]) -> During {
        let changed: BTreeSet<_> = self.changes().into_iter().collect();
        let elsewhere = files.iter().filter(|file| !file.starts_with(&self.dir) && self.matters(file));
        let elsewhere: BTreeSet<_> = elsewhere.cloned().collect();
        if !files.is_empty() {
            self.outside = elsewhere;
            self.seen = self.look();
        }
        let suspects = std::mem::replace(&mut self.suspects, changed.clone());
        if changed.is_empty() {
            During::Nothing
        } else if changed.is_subset(&suspects) {
            During::Again(changed.into_iter().collect())
        } else {
            During::Changed
        }
    }

    /// The directories of the files elsewhere.
    pub(super) fn directories(&self) -> BTreeSet<PathBuf> {
        self.outside.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect()
    }

    /// Whether a file can be one of them.
    pub(super) fn matters(&self, path: &Path) -> bool {
        is_source(&self.dir, &self.target, path)
    }

    fn changes(&mut self) -> Vec<PathBuf> {
        let now = self.look();
        let before = std::mem::replace(&mut self.seen, now);
        let paths: BTreeSet<_> = before.keys().chain(self.seen.keys()).collect();
        let changed = paths.into_iter().filter(|path| before.get(*path) != self.seen.get(*path));
        changed.cloned().collect()
    }

    fn look(&self) -> BTreeMap<PathBuf, Digest> {
        let mut files = BTreeMap::new();
        self.gather(&self.dir, &mut files);
        for file in &self.outside {
            files.extend(digest(file).map(|digest| (file.clone(), digest)));
        }
        files
    }

    fn gather(&self, dir: &Path, files: &mut BTreeMap<PathBuf, Digest>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if files.len() >= FILES_MAX || !self.matters(&path) {
                continue;
            }
            // A link to a directory may lead back here.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.gather(&path, files),
                _ => files.extend(digest(&path).map(|digest| (path, digest))),
            }
        }
    }
}

fn digest(file: &Path) -> Option<Digest> {
    let about = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    if about.len() > READ_MAX {
        return Some(Digest::of(format!("{} {:?}", about.len(), about.modified().ok()).as_bytes()));
    }
    Some(Digest::of(&std::fs::read(file).ok()?))
}

/// Whether a build may read a file: not what cargo writes, nor what editors write beside what one saves.
pub(super) fn is_source(dir: &Path, target: &Path, path: &Path) -> bool {
    if path.starts_with(target) || path == dir {
        return false;
    }
    // Elsewhere a file is watched since a build has read it, wherever it lies.
    let Ok(inside) = path.strip_prefix(dir) else { return !path.file_name().is_some_and(ignored) };
    // A build may write Cargo.lock, and must not cause another build. `target` is an older cargo's, if not this one's.
    !inside.starts_with("target") && inside != Path::new("Cargo.lock") && !inside.iter().any(ignored)
}

fn ignored(name: &OsStr) -> bool {
    // Editors write `.name.swp`, `name~` and `#name#` beside what one saves.
    let name = name.to_string_lossy();
    (name.starts_with('.') && name.len() > 1) || name.starts_with('#') || name.ends_with('~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_matter() {
        let (base, target) = (Path::new("/crate"), Path::new("/crate/out"));
        let cases = [
            ("src/lib.rs", true),
            ("src/target/mod.rs", true),
            ("plugin.toml", true),
            ("Cargo.toml", true),
            ("sdk/guest/src/lib.rs", true),
            ("sdk/Cargo.lock", true),
            ("Cargo.lock", false),
            ("target/plugins/game-logic.wasm", false),
            ("out/plugins/game-logic.wasm", false),
            (".git/index", false),
            ("src/.lib.rs.swp", false),
            ("src/lib.rs~", false),
        ];
        for (path, expected) in cases {
            assert_eq!(is_source(base, target, &base.join(path)), expected, "{path}");
        }
        assert!(is_source(base, target, Path::new("/elsewhere/src/lib.rs")));
        assert!(is_source(base, target, Path::new("/home/.hidden/target/lib.rs")));
        assert!(!is_source(base, target, Path::new("/elsewhere/.lib.rs.swp")));
        assert!(!is_source(base, target, base));
    }

    #[test]
    fn what_a_build_reads_elsewhere_counts_and_what_it_writes_itself_does_not_count_for_ever() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (dir, text, generated) =
            (root.join("game"), root.join("text.txt"), root.join("game/src/made.rs"));
        std::fs::create_dir_all(dir.join("src")).unwrap();
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        write(&text, "one");
        write(&generated, "1");
        let mut inputs = Inputs::new(&dir, &dir.join("target"));
        assert!(!inputs.have_changed());
        assert_eq!(inputs.built(&[text.clone(), generated.clone()]), During::Nothing);
        assert_eq!(inputs.directories(), BTreeSet::from([root.clone()]));
        // Saved, and says the same.
        write(&text, "one");
        assert!(!inputs.have_changed());
        write(&text, "two");
        assert!(inputs.have_changed());
        assert!(!inputs.have_changed());

        // Edited while it was built: once more, and then it is whole.
        write(&text, "three");
        assert_eq!(inputs.built(&[]), During::Changed);
        assert_eq!(inputs.built(&[]), During::Nothing);
        // Written by each build.
        write(&generated, "2");
        assert_eq!(inputs.built(&[]), During::Changed);
        write(&generated, "3");
        assert_eq!(inputs.built(&[]), During::Again(vec![generated.clone()]));
        assert!(!inputs.have_changed());
        // And edited by hand.
        write(&generated, "4");
        assert!(inputs.have_changed());
    }
}
