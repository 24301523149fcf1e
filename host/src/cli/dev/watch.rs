//! Watch: when the sources of a crate have changed and come to rest.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::cli::failure::Failure;
use crate::cli::terminal;

/// An editor writes one save as several events; this long after the last of them the file is whole.
const REST: Duration = Duration::from_millis(100);

/// Watches a crate's directory but for `target`, `Cargo.lock` and what is hidden.
pub(super) struct Watch {
    dir: PathBuf,
    watcher: RecommendedWatcher,
    /// The subdirectories that are watched; `target` would be thousands of them.
    watched: BTreeSet<PathBuf>,
    changes: Arc<Notify>,
}

impl Watch {
    pub(super) fn new(dir: &Path) -> Result<Self, Failure> {
        let changes = Arc::new(Notify::new());
        let (seen, base) = (Arc::clone(&changes), dir.to_owned());
        let on_event = move |event: notify::Result<notify::Event>| {
            // An error means that events may have been lost: better one build too many.
            if event.map_or(true, |event| matters(&base, &event)) {
                seen.notify_one();
            }
        };
        let failed = |error: notify::Error| {
            Failure::new(format!("cannot watch {}", dir.display()))
                .cause(error)
                .next("the system may be out of watches: see fs.inotify.max_user_watches")
        };
        let mut watcher = notify::recommended_watcher(on_event).map_err(failed)?;
        watcher.watch(dir, RecursiveMode::NonRecursive).map_err(failed)?;
        let mut watch = Self { dir: dir.to_owned(), watcher, watched: BTreeSet::new(), changes };
        watch.subdirectories();
        Ok(watch)
    }

    /// Waits until something has changed and then nothing for a moment. Cancel safe: a change that was seen
    /// while nobody waited counts.
    pub(super) async fn changed(&mut self) {
        self.changes.notified().await;
        while tokio::time::timeout(REST, self.changes.notified()).await.is_ok() {}
        self.subdirectories();
    }

    /// Watches the subdirectories that are not watched yet.
    fn subdirectories(&mut self) {
        self.watched.retain(|path| path.is_dir());
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if ignored(&entry.file_name()) || !path.is_dir() || self.watched.contains(&path) {
                continue;
            }
            match self.watcher.watch(&path, RecursiveMode::Recursive) {
                Ok(()) => {
                    self.watched.insert(path);
                }
                Err(error) => {
                    terminal::progress(&format!("changes in {} are not seen: {error}", path.display()))
                }
            }
        }
    }
}

/// Whether an event can change what is built.
fn matters(base: &Path, event: &notify::Event) -> bool {
    let kind = match event.kind {
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    };
    kind && (event.paths.is_empty() || event.paths.iter().any(|path| is_source(base, path)))
}

fn is_source(base: &Path, path: &Path) -> bool {
    // A build may write Cargo.lock, and must not cause another build.
    let Ok(path) = path.strip_prefix(base) else { return false };
    !path.as_os_str().is_empty() && path != Path::new("Cargo.lock") && !path.iter().any(ignored)
}

fn ignored(name: &OsStr) -> bool {
    // Editors write `.name.swp`, `name~` and `#name#` beside what one saves.
    let name = name.to_string_lossy();
    name == "target" || name.starts_with(['.', '#']) || name.ends_with('~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::Event;
    use notify::event::{AccessKind, CreateKind, DataChange, MetadataKind};

    #[test]
    fn only_sources_matter() {
        let base = Path::new("/crate");
        let cases = [
            ("src/lib.rs", true),
            ("plugin.toml", true),
            ("Cargo.toml", true),
            ("sdk/guest/src/lib.rs", true),
            ("Cargo.lock", false),
            ("target/plugins/game-logic.wasm", false),
            (".git/index", false),
            ("src/.lib.rs.swp", false),
            ("src/lib.rs~", false),
        ];
        for (path, expected) in cases {
            assert_eq!(is_source(base, &base.join(path)), expected, "{path}");
        }
        assert!(!is_source(base, Path::new("/elsewhere/src/lib.rs")));
        assert!(!is_source(base, base));
        let kinds = [
            (EventKind::Create(CreateKind::File), true),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), true),
            (EventKind::Access(AccessKind::Read), false),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), false),
        ];
        for (kind, expected) in kinds {
            let event = Event::new(kind).add_path(base.join("src/lib.rs"));
            assert_eq!(matters(base, &event), expected, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_save_is_seen_once_even_in_a_new_directory() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let mut watch = Watch::new(&base).unwrap();
        let limit = Duration::from_secs(20);
        for step in ["src", "src/a.rs", "src/b.rs"] {
            let path = base.join(step);
            if path.extension().is_some() {
                std::fs::write(&path, "x").unwrap()
            } else {
                std::fs::create_dir(&path).unwrap()
            }
            tokio::time::timeout(limit, watch.changed()).await.expect("the change is seen");
        }
        std::fs::create_dir(base.join("target")).unwrap();
        std::fs::write(base.join("target/x"), "x").unwrap();
        assert!(tokio::time::timeout(3 * REST, watch.changed()).await.is_err(), "nothing of ours changed");
    }
}
