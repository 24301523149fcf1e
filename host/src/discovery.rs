//! Discovery: what the nodes of a cluster tell each other through a table of small entries.
//!
//! One seam with two backends: a table in this process for a node on its own, etcd (v3) for a cluster. Keys are texts
//! without the cluster's prefix and without a slash in front: `nodes/game-1`, `machine-ids/7`, `rooms/home/12`. Who
//! uses it sees no difference but that etcd may be away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

pub mod backends;
mod etcd;
mod key;
mod registration;
pub mod simulated;
mod table;

pub use etcd::{Options, Tls};
pub use registration::Registration;

use etcd::Etcd;
use registration::Kept;
use simulated::{Condition, Simulated};
use table::Table;

/// The longest key, bytes, without the cluster's prefix.
pub const KEY_MAX_BYTES: usize = 512;
/// The longest value, bytes: what etcd takes in one request, with room for the rest of it (1.5 MiB by default).
pub const VALUE_MAX_BYTES: usize = 1024 * 1024;

/// The node's view of the cluster's table, and its hand on it. Cheap to clone; one a node. When the last clone is
/// dropped the work in the background ends, and entries under the lease go when it expires; [`Self::close`] is faster.
#[derive(Debug, Clone)]
pub struct Discovery {
    backend: Backend,
}

#[derive(Debug, Clone)]
enum Backend {
    Table(Arc<Table>),
    Etcd(Arc<Etcd>),
    Simulated(Arc<dyn Simulated>),
}

/// One entry of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was put.
    pub value: Bytes,
    /// The table's revision at this entry's last change.
    pub revision: u64,
}

/// All entries whose keys begin alike, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// By their whole keys, as [`Discovery::get`] takes them.
    pub entries: BTreeMap<String, Entry>,
    /// The table's revision that the view shows; changes to other entries do not raise it.
    pub revision: u64,
    /// Whether changes arrive: false before the first read and while etcd is away. The entries are the last known ones then.
    pub fresh: bool,
}

/// How long an entry stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Until it is removed.
    Forever,
    /// As long as this node's present lease.
    Lease,
    /// As long as another node's lease, which has this id.
    Of(i64),
}

/// Whether two values of one key are of one process.
pub type Same = fn(&[u8], &[u8]) -> bool;

/// What became of a write that has a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It was done, at this revision.
    Done(u64),
    /// Nothing was changed; this is what stands there.
    Refused(Option<Entry>),
}

/// What ties entries to the life of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// Other nodes cannot claim what is held under it.
    Held {
        /// Its name in the cluster, for [`Hold::Of`].
        id: i64,
        /// Counts the leases of this process, from 1. Claims under an earlier one are gone.
        epoch: u64,
        /// Certain up to here, by this process's monotonic clock; moves on while etcd answers.
        until: Instant,
    },
    /// There is none, or it is not certain that there is one.
    Lost,
}

/// What the table does not do.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// No answer in time: try again later. A write may have been done all the same; read, and see.
    #[error("etcd is away ({why})")]
    Away {
        /// The last thing that went wrong.
        why: String,
    },
    /// The answer is no, and asking again will not change it: permissions, credentials, space.
    #[error("etcd refuses ({why})")]
    Refused {
        /// Etcd's words.
        why: String,
    },
    /// There is no lease to hold the entry: wait until [`Discovery::lease`] says there is. Nothing was changed.
    #[error("no lease {id:#x}, as far as is known: entry {key:?} would not last")]
    NoLease {
        /// Which entry.
        key: String,
        /// The lease's id; 0 if this node holds none.
        id: i64,
    },
    /// A key or a value that no table takes. Nothing was sent.
    #[error("entry {key:?}: {why}")]
    Entry {
        /// Its key, shortened if need be.
        key: String,
        /// What is wrong, and what is allowed.
        why: String,
    },
    /// Settings that cannot work, whatever etcd says.
    #[error("etcd settings: {why}")]
    Options {
        /// What is wrong, and what is allowed.
        why: String,
    },
    /// The file of the table in this process cannot be read or written. Of a write, nothing is seen before the next start.
    #[error("table file {}", path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file is there and is no table. It is left as it is.
    #[error("table file {} is damaged ({why}); without it, sequences begin anew", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where it stops to make sense.
        why: String,
    },
}

impl Discovery {
    /// A table in this process, empty. Its lease is held until [`Self::close`].
    pub fn embedded() -> Self {
        Self { backend: Backend::Table(Arc::new(Table::new())) }
    }

    /// As [`Self::embedded`], with the entries held [`Hold::Forever`] in a file of `dir`, which is made if it is not
    /// there. A change of those is on disk before it returns. One process at a time may use the directory.
    ///
    /// # Errors
    /// [`DiscoveryError::Disk`] or [`DiscoveryError::Damaged`]. Blocks on the disk.
    pub fn embedded_at(dir: &Path) -> Result<Self, DiscoveryError> {
        Ok(Self { backend: Backend::Table(Arc::new(Table::open(dir)?)) })
    }

    /// The cluster's etcd (v3). Starts the work in the background and does not wait: until etcd answers it is asked again
    /// and again, with pauses of 100 ms to 5 s, and a line in the log at the first failure and when it is there.
    ///
    /// # Errors
    /// [`DiscoveryError::Options`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn etcd(options: Options) -> Result<Self, DiscoveryError> {
        Ok(Self { backend: Backend::Etcd(Arc::new(Etcd::new(options)?)) })
    }

    /// A table that a simulation keeps.
    pub fn simulated(table: Arc<dyn Simulated>) -> Self {
        Self { backend: Backend::Simulated(table) }
    }

    /// Completes once the table answers and the lease is held. Cancel safe.
    pub async fn ready(&self) {
        let mut lease = self.lease();
        // It fails when the table is gone, and this is a hand on it.
        let _ = lease.wait_for(|lease| matches!(lease, Lease::Held { .. })).await;
    }

    /// The entries whose keys begin with `prefix`, and every change of them. `nodes/` does not match `nodes-old/1`;
    /// `nodes` does. Views of the same prefix share their work; a view costs nothing when its last receiver is dropped.
    ///
    /// Changes that follow each other closely may be seen as one. On etcd, each view is what stood there at its
    /// revision, and after etcd was away the next one is a new read.
    pub fn watch(&self, prefix: &str) -> watch::Receiver<Arc<View>> {
        match &self.backend {
            Backend::Table(table) => table.watch(prefix),
            Backend::Etcd(etcd) => etcd.watch(prefix),
            Backend::Simulated(table) => table.watch(prefix),
        }
    }

    /// The key as it stands in etcd, with the cluster's prefix: what people are told.
    pub fn full_key(&self, key: &str) -> String {
        match &self.backend {
            Backend::Table(_) | Backend::Simulated(_) => format!("/{key}"),
            Backend::Etcd(etcd) => etcd.path(key),
        }
    }

    /// The entry, as it stands now: no reads of the past.
    ///
    /// # Errors
    /// [`DiscoveryError::Away`], [`DiscoveryError::Refused`], [`DiscoveryError::Entry`].
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, DiscoveryError> {
        key::check(key)?;
        match &self.backend {
            Backend::Table(table) => Ok(table.get(key)),
            Backend::Etcd(etcd) => etcd.get(key).await,
            Backend::Simulated(table) => table.get(key).await,
        }
    }

    /// Writes the entry, whatever stands there; gives the revision. If it is cancelled, it may be done or not.
    ///
    /// # Errors
    /// Any but those of the settings. After [`DiscoveryError::Away`] it may be done or not.
    pub async fn put(&self, key: &str, value: Vec<u8>, hold: Hold) -> Result<u64, DiscoveryError> {
        key::check_with(key, &value)?;
        match &self.backend {
            Backend::Table(table) => revision(table.write(key, Some(value), hold, table::If::Always).await?),
            Backend::Etcd(etcd) => etcd.put(key, value, hold).await,
            Backend::Simulated(table) => {
                revision(table.write(key, Some(value), hold, Condition::Always).await?)
            }
        }
    }

    /// Writes the entry if there is none. If it is cancelled, it may be done or not.
    ///
    /// # Errors
    /// As [`Self::put`]. Who asks again after [`DiscoveryError::Away`] may be refused by what it wrote itself.
    pub async fn create(&self, key: &str, value: Vec<u8>, hold: Hold) -> Result<Written, DiscoveryError> {
        key::check_with(key, &value)?;
        match &self.backend {
            Backend::Table(table) => table.write(key, Some(value), hold, table::If::Absent).await,
            Backend::Etcd(etcd) => etcd.write(key, value, hold, etcd::If::Absent).await,
            Backend::Simulated(table) => table.write(key, Some(value), hold, Condition::Absent).await,
        }
    }

    /// Writes the entry if it has not changed since `revision`. If it is cancelled, it may be done or not.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn replace(
        &self,
        key: &str,
        revision: u64,
        value: Vec<u8>,
        hold: Hold,
    ) -> Result<Written, DiscoveryError> {
        key::check_with(key, &value)?;
        match &self.backend {
            Backend::Table(table) => table.write(key, Some(value), hold, table::If::At(revision)).await,
            Backend::Etcd(etcd) => etcd.write(key, value, hold, etcd::If::At(revision)).await,
            Backend::Simulated(table) => table.write(key, Some(value), hold, Condition::At(revision)).await,
        }
    }

    /// Removes the entry if it has not changed since `revision`; says whether it did. If it is cancelled, it may be
    /// done or not.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn remove(&self, key: &str, revision: u64) -> Result<bool, DiscoveryError> {
        key::check(key)?;
        match &self.backend {
            Backend::Table(table) => {
                let written = table.write(key, None, Hold::Forever, table::If::At(revision)).await?;
                Ok(matches!(written, Written::Done(_)))
            }
            Backend::Etcd(etcd) => etcd.remove(key, revision).await,
            Backend::Simulated(table) => {
                let written = table.write(key, None, Hold::Forever, Condition::At(revision)).await?;
                Ok(matches!(written, Written::Done(_)))
            }
        }
    }

    /// Keeps an entry under this node's lease, whatever stands there: written as soon as there is a lease, again after
    /// every loss of it, removed when the registration is dropped. Of two with one key the later one counts. A key or
    /// value that no table takes is logged and not written.
    pub fn register(&self, key: &str, value: Vec<u8>) -> Registration {
        match &self.backend {
            Backend::Table(table) => {
                let token = table.register(key, value);
                Registration::new(key, Kept::Table { table: Arc::clone(table), token })
            }
            Backend::Etcd(etcd) => {
                let registered = Arc::clone(etcd.registered());
                let token = registered.add(key, value);
                Registration::new(key, Kept::Etcd { registered, token })
            }
            Backend::Simulated(table) => {
                let (token, table) = (table.register(key, value), Arc::clone(table));
                Registration::new(key, Kept::Simulated { table, token })
            }
        }
    }

    /// As [`Self::register`], for an entry that one process alone is to have: what another one has written
    /// there stays, as `same` tells of its value and ours, and as long as it does this node is given no new
    /// lease. See [`Self::taken`].
    pub fn register_own(&self, key: &str, value: Vec<u8>, same: Same) -> Registration {
        match &self.backend {
            Backend::Table(_) => self.register(key, value),
            Backend::Etcd(etcd) => {
                let registered = Arc::clone(etcd.registered());
                let token = registered.add_own(key, value, same);
                Registration::new(key, Kept::Etcd { registered, token })
            }
            Backend::Simulated(table) => {
                let (token, table) = (table.register_own(key, value, same), Arc::clone(table));
                Registration::new(key, Kept::Simulated { table, token })
            }
        }
    }

    /// What another process has written in the place of an entry that is this one's own, while it stands
    /// there.
    pub fn taken(&self) -> watch::Receiver<Option<Bytes>> {
        match &self.backend {
            Backend::Table(_) => watch::channel(None).1,
            Backend::Etcd(etcd) => etcd.registered().taken(),
            Backend::Simulated(table) => table.taken(),
        }
    }

    /// The lease and what becomes of it. [`Lease::Lost`] is published when `until` passes, which is before another
    /// node can claim what is held under it.
    pub fn lease(&self) -> watch::Receiver<Lease> {
        match &self.backend {
            Backend::Table(table) => table.lease(),
            Backend::Etcd(etcd) => etcd.lease(),
            Backend::Simulated(table) => table.lease(),
        }
    }

    /// The lease's epoch, if it is certain this very moment that it is held. A process that was stopped sees none when
    /// it goes on, before any task had the chance to publish it.
    pub fn holds(&self) -> Option<u64> {
        let present = match &self.backend {
            Backend::Table(table) => table.present(),
            Backend::Etcd(etcd) => etcd.present(),
            Backend::Simulated(table) => *table.lease().borrow(),
        };
        match present {
            Lease::Held { epoch, until, .. } if Instant::now() < until => Some(epoch),
            _ => None,
        }
    }

    /// Gives the lease back: everything under it is gone, and no other follows. Waits 4 s at most.
    /// If it is cancelled, entries under the lease may stay until it expires.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Table(table) => table.close(),
            Backend::Etcd(etcd) => etcd.close().await,
            Backend::Simulated(table) => table.close().await,
        }
    }
}

/// Of a write without a condition.
fn revision(written: Written) -> Result<u64, DiscoveryError> {
    match written {
        Written::Done(revision) => Ok(revision),
        Written::Refused(_) => unreachable!("a write without a condition is not refused"),
    }
}
