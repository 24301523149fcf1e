//! Watch: when the sources of a crate have changed and come to rest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::inputs::{During, Inputs, is_source};
use crate::cli::failure::Failure;
use crate::cli::terminal;

/// An editor writes one save as several events; this long after the last of them the file is whole.
const REST: Duration = Duration::from_millis(100);

/// Watches a crate's directory, but for what cargo writes and what is hidden, and the files elsewhere that builds read.
pub(super) struct Watch {
    dir: PathBuf,
    watcher: RecommendedWatcher,
    /// The subdirectories that are watched; `target` would be thousands of them.
    watched: BTreeSet<PathBuf>,
    changes: Arc<Notify>,
    inputs: Inputs,
    /// To be built again, whatever has changed since.
    again: bool,
}

impl Watch {
    pub(super) fn new(dir: &Path, target: &Path) -> Result<Self, Failure> {
        let changes = Arc::new(Notify::new());
        let (seen, base, own) = (Arc::clone(&changes), dir.to_owned(), target.to_owned());
        let on_event = move |event: notify::Result<notify::Event>| {
            // An error means that events may have been lost: better one build too many.
            if event.map_or(true, |event| matters(&base, &own, &event)) {
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
        let inputs = Inputs::new(dir, target);
        let mut watch =
            Self { dir: dir.to_owned(), watcher, watched: BTreeSet::new(), changes, inputs, again: false };
        watch.subdirectories();
        Ok(watch)
    }

    /// Waits until some file says something else than before, and then nothing for a moment. Cancel safe: a change that
    /// was seen while nobody waited counts.
    pub(super) async fn changed(&mut self) {
        loop {
            self.changes.notified().await;
            while tokio::time::timeout(REST, self.changes.notified()).await.is_ok() {}
            self.subdirectories();
            if std::mem::take(&mut self.again) | self.inputs.have_changed() {
                return;
            }
        }
    }

    /// A build has ended, which has read these files; none are known of one that failed.
    pub(super) fn built(&mut self, files: &[PathBuf]) {
        match self.inputs.built(files) {
            During::Nothing => {}
            During::Changed => {
                self.again = true;
                self.changes.notify_one();
            }
            During::Again(files) => {
                let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                terminal::progress(&format!(
                    "{} changed while it was built, as in the build before: what a build writes itself is not built \
                     again; save once more if that was you",
                    names.join(", ")
                ));
            }
        }
        for dir in self.inputs.directories() {
            self.watch(dir, RecursiveMode::NonRecursive);
        }
    }

    /// Watches the subdirectories that are not watched yet.
    fn subdirectories(&mut self) {
        self.watched.retain(|path| path.is_dir());
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && self.inputs.matters(&path) {
                self.watch(path, RecursiveMode::Recursive);
            }
        }
    }

    fn watch(&mut self, path: PathBuf, mode: RecursiveMode) {
        if self.watched.contains(&path) {
            return;
        }
        match self.watcher.watch(&path, mode) {
            Ok(()) => {
                self.watched.insert(path);
            }
            Err(error) => terminal::progress(&format!("changes in {} are not seen: {error}", path.display())),
        }
    }
}

/// Whether an event can change what is built.
fn matters(base: &Path, target: &Path, event: &notify::Event) -> bool {
    let kind = match event.kind {
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    };
    kind && (event.paths.is_empty() || event.paths.iter().any(|path| is_source(base, target, path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::Event;
    use notify::event::{AccessKind, CreateKind, DataChange, MetadataKind};

    #[test]
    fn reading_is_no_change() {
        let (base, target) = (Path::new("/crate"), Path::new("/crate/target"));
        let kinds = [
            (EventKind::Create(CreateKind::File), true),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), true),
            (EventKind::Access(AccessKind::Read), false),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), false),
        ];
        for (kind, expected) in kinds {
            let event = Event::new(kind).add_path(base.join("src/lib.rs"));
            assert_eq!(matters(base, target, &event), expected, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_save_is_seen_once_even_in_a_new_directory() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let mut watch = Watch::new(&base, &base.join("target")).unwrap();
        let limit = Duration::from_secs(20);
        for step in ["src", "src/a.rs", "src/b.rs", "src/target", "src/target/mod.rs"] {
            let path = base.join(step);
            if path.extension().is_some() {
                std::fs::write(&path, "x").unwrap()
            } else {
                std::fs::create_dir(&path).unwrap()
            }
            if path.is_file() {
                tokio::time::timeout(limit, watch.changed()).await.expect("the change is seen");
            } else {
                // Until it is watched itself, what is written into it right away may go unseen.
                assert!(tokio::time::timeout(3 * REST, watch.changed()).await.is_err(), "an empty directory");
            }
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let text = elsewhere.path().canonicalize().unwrap().join("text.txt");
        std::fs::write(&text, "one").unwrap();
        watch.built(std::slice::from_ref(&text));
        std::fs::write(&text, "two").unwrap();
        tokio::time::timeout(limit, watch.changed()).await.expect("a change elsewhere is seen");
        std::fs::create_dir(base.join("target")).unwrap();
        std::fs::write(base.join("target/x"), "x").unwrap();
        assert!(tokio::time::timeout(3 * REST, watch.changed()).await.is_err(), "nothing of ours changed");
    }
}
