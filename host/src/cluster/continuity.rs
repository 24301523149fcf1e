//! Continuity: whether etcd has kept its data since this host was last among the others.
//!
//! An etcd that has lost its data shows no claims though other hosts hold theirs still, for as long as a
//! lease lasts. A host that starts in this moment must not take their rooms for free. Etcd has a random id,
//! which is lost with everything else and written anew by whichever host comes first. A host keeps the id
//! that it has last seen beside its journal; if etcd has another one, the host waits as long as a lease lasts
//! before it begins a room that nobody has claimed.

use std::path::{Path, PathBuf};

use tracing::{debug, warn};

use crate::blocking;
use crate::discovery::{Discovery, Hold, Written};
use crate::files;

/// Where the id stands in etcd.
const KEY: &str = "cluster/id";

/// Where a host keeps the id, in the directory of its journal.
const FILE: &str = "cluster-id";

/// Longest id that is read, bytes.
const ID_MAX: usize = 128;

/// What this host knows of etcd's id.
#[derive(Debug)]
pub struct Continuity {
    path: PathBuf,
    /// What a process of this host proposes, together with a number of its own.
    process: String,
    /// The id that etcd has, once it is known.
    found: Option<String>,
    /// The id that stands on disk.
    kept: Option<String>,
}

impl Continuity {
    /// Reads what an earlier process has left in `dir`. `process` tells this process from all others. Blocks.
    pub fn open(dir: &Path, process: String) -> Self {
        let path = dir.join(FILE);
        let kept = std::fs::read_to_string(&path).ok().map(|text| text.trim().to_owned());
        Self { path, process, found: None, kept: kept.filter(|id| is_id(id)) }
    }

    /// Asks etcd for its id under the lease number `epoch`, and gives it one if it has none. True if it is
    /// the one that this host has kept; false also if etcd does not answer. Cancel safe.
    pub async fn check(&mut self, discovery: &Discovery, epoch: u64) -> bool {
        let proposed = format!("{}-{epoch}", self.process);
        let found = match discovery.create(KEY, proposed.clone().into_bytes(), Hold::Forever).await {
            Ok(Written::Done(_)) => Some(proposed),
            Ok(Written::Refused(entry)) => {
                entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()).filter(|id| is_id(id))
            }
            Err(error) => {
                debug!(%error, "the id of etcd is not known");
                None
            }
        };
        self.found = found;
        self.found.is_some() && self.found == self.kept
    }

    /// Whether this host has kept an id.
    pub fn is_new(&self) -> bool {
        self.kept.is_none()
    }

    /// Keeps the id that was found: from now on its claims are the claims of all hosts.
    pub async fn keep(&mut self) {
        if self.found.is_none() || self.found == self.kept {
            return;
        }
        let (path, found) = (self.path.clone(), self.found.clone());
        let text = format!("{}\n", found.as_deref().unwrap_or_default());
        // Without it the next start waits for as long as a lease lasts; a runtime that ends writes nothing.
        if let Ok(Err(error)) = blocking::run(move || files::write_whole(&path, text.as_bytes())).await {
            warn!(file = %self.path.display(), %error, "the id of etcd is not kept");
        }
        self.kept = found;
    }
}

fn is_id(text: &str) -> bool {
    (1..=ID_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_etcd_that_has_lost_its_data_is_told_from_one_that_has_not() {
        let dir = tempfile::tempdir().unwrap();
        let open = |process: &str| Continuity::open(dir.path(), process.to_owned());
        let first = Discovery::embedded();
        let mut host = open("one");
        assert!(host.is_new());
        // The very first start, and every one after it.
        assert!(!host.check(&first, 1).await);
        host.keep().await;
        assert!(host.check(&first, 2).await);
        assert!(open("two").check(&first, 1).await);
        // Data lost: somebody's new id, which is not kept before all have claimed again.
        let second = Discovery::embedded();
        let mut host = open("three");
        assert!(!host.is_new());
        assert!(!host.check(&second, 1).await);
        assert!(!open("four").check(&second, 1).await);
        host.keep().await;
        assert!(open("five").check(&second, 1).await);
        // What is no id is none.
        std::fs::write(dir.path().join(FILE), "x".repeat(ID_MAX + 1)).unwrap();
        assert!(open("six").is_new());
    }
}
