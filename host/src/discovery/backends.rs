//! Backends: who serves what, in the cluster and in the static table of the configuration.
//!
//! Each service has a table that is replaced whole when something changes, so that looking up takes a short lock and
//! no more. A connection belongs to an id and an address: who is told of again under the same address keeps it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::{Discovery, View};
use crate::peer::{DialError, Dialer, PeerChannel};

/// Where services stand: `backends/SERVICE/ID` = `HOST:PORT`.
pub const BACKENDS: &str = "backends/";
/// The longest address, bytes: the longest host name and a port.
const ADDR_MAX_BYTES: usize = 260;

/// Who serves what. Cheap to clone; the last clone that is dropped ends the work in the background.
#[derive(Debug, Clone)]
pub struct Backends {
    tables: Arc<Tables>,
    _ended: Arc<DropGuard>,
}

/// One that serves.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its name in the cluster; of the static table, its address.
    pub id: Arc<str>,
    /// `HOST:PORT`, or the URL of the static table.
    pub addr: Arc<str>,
    /// A connection to it, made when it is first used. A dead address shows there.
    pub channel: PeerChannel,
}

/// A static table that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("service {service}")]
pub struct BackendsError {
    /// Whose address it is.
    pub service: String,
    /// What is wrong with it.
    pub source: DialError,
}

#[derive(Debug)]
struct Tables {
    services: RwLock<HashMap<String, Service>>,
    /// Those of the configuration.
    fixed: BTreeMap<String, Vec<Backend>>,
    allowed: Option<BTreeSet<String>>,
    dialer: Dialer,
}

#[derive(Debug)]
struct Service {
    present: watch::Sender<Arc<[Backend]>>,
    next: AtomicUsize,
}

impl Default for Service {
    fn default() -> Self {
        Self { present: watch::Sender::new(Arc::from([])), next: AtomicUsize::new(0) }
    }
}

impl Backends {
    /// Follows `backends/` of the cluster, for the services of `allowed` or all; `fixed` is always there. Does not wait.
    ///
    /// # Errors
    /// If an address of `fixed` is none.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(
        discovery: &Discovery,
        fixed: &BTreeMap<String, Vec<String>>,
        allowed: Option<BTreeSet<String>>,
        dialer: Dialer,
    ) -> Result<Self, BackendsError> {
        let open = |service: &str, addr: &str| {
            let channel = dialer.open(addr);
            let channel = channel.map_err(|source| BackendsError { service: service.to_owned(), source })?;
            Ok(Backend { id: addr.into(), addr: addr.into(), channel })
        };
        let mut opened = BTreeMap::new();
        for (service, addrs) in fixed {
            let addrs: BTreeSet<_> = addrs.iter().collect();
            let all = addrs.into_iter().map(|addr| open(service, addr)).collect::<Result<Vec<_>, _>>()?;
            opened.insert(service.clone(), all);
        }
        let tables = Arc::new(Tables { services: RwLock::default(), fixed: opened, allowed, dialer });
        let mut view = discovery.watch(BACKENDS);
        let mut known = Known::default();
        let first = Arc::clone(&view.borrow_and_update());
        tables.follow(&first, &mut known);
        let ended = CancellationToken::new();
        let following = Arc::clone(&tables);
        let work = async move {
            while view.changed().await.is_ok() {
                let present = Arc::clone(&view.borrow_and_update());
                following.follow(&present, &mut known);
            }
        };
        tokio::spawn(ended.clone().run_until_cancelled_owned(work));
        Ok(Self { tables, _ended: Arc::new(ended.drop_guard()) })
    }

    /// The next one of `service`, in turn; none if nobody serves it. Never dials, never waits for anybody.
    pub fn pick(&self, service: &str) -> Option<Backend> {
        self.tables.with(service, |service| {
            let present = service.present.borrow();
            let turn = service.next.fetch_add(1, Ordering::Relaxed);
            present.get(turn.checked_rem(present.len())?).cloned()
        })
    }

    /// The one with that id. Never dials, never waits for anybody.
    pub fn by_id(&self, service: &str, id: &str) -> Option<Backend> {
        self.tables.with(service, |service| service.present.borrow().iter().find(|it| &*it.id == id).cloned())
    }

    /// All of `service`, in the order of their ids, now and after every change.
    pub fn subscribe(&self, service: &str) -> watch::Receiver<Arc<[Backend]>> {
        if let Some(receiver) = self.tables.with(service, |service| Some(service.present.subscribe())) {
            return receiver;
        }
        let mut services = self.tables.services.write().unwrap_or_else(PoisonError::into_inner);
        services.entry(service.to_owned()).or_default().present.subscribe()
    }
}

/// What was made of the last view.
#[derive(Default)]
struct Known {
    /// By service and id.
    backends: BTreeMap<(String, String), Backend>,
    /// Entries that were warned of, by key, with the revision.
    warned: HashMap<String, u64>,
}

impl Tables {
    fn with<T>(&self, service: &str, look: impl FnOnce(&Service) -> Option<T>) -> Option<T> {
        look(self.services.read().unwrap_or_else(PoisonError::into_inner).get(service)?)
    }

    /// Makes the tables of a view, with the connections of the one before.
    fn follow(&self, view: &View, known: &mut Known) {
        let mut backends = BTreeMap::new();
        known.warned.retain(|key, _| view.entries.contains_key(key));
        for (key, entry) in &view.entries {
            let Some(name) = parse(key) else {
                warn_once(known, key, entry.revision, "its key is not backends/SERVICE/ID");
                continue;
            };
            if self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&name.0)) {
                continue;
            }
            let addr = std::str::from_utf8(&entry.value).ok().filter(|addr| is_addr(addr));
            let Some(addr) = addr else {
                warn_once(known, key, entry.revision, "its value is not HOST:PORT");
                continue;
            };
            let backend = match known.backends.get(&name) {
                Some(same) if &*same.addr == addr => same.clone(),
                _ => match self.dialer.open(addr) {
                    Ok(channel) => Backend { id: name.1.as_str().into(), addr: addr.into(), channel },
                    Err(error) => {
                        warn_once(known, key, entry.revision, &error.to_string());
                        continue;
                    }
                },
            };
            backends.insert(name, backend);
        }
        known.backends = backends;
        self.publish(known);
    }

    fn publish(&self, known: &Known) {
        let mut tables: BTreeMap<&str, BTreeMap<&str, &Backend>> = BTreeMap::new();
        for (service, all) in &self.fixed {
            tables.insert(service, all.iter().map(|backend| (&*backend.id, backend)).collect());
        }
        for ((service, id), backend) in &known.backends {
            tables.entry(service).or_default().insert(id, backend);
        }
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        for service in tables.keys() {
            if !services.contains_key(*service) {
                services.insert((*service).to_owned(), Service::default());
            }
        }
        for (name, service) in services.iter() {
            let new: Arc<[Backend]> = tables
                .get(name.as_str())
                .into_iter()
                .flat_map(|all| all.values().copied().cloned())
                .collect();
            let news = service.present.send_if_modified(|present| {
                let same = present.len() == new.len()
                    && present.iter().zip(new.iter()).all(|(a, b)| Arc::ptr_eq(&a.addr, &b.addr));
                if !same {
                    *present = Arc::clone(&new);
                }
                !same
            });
            if news {
                info!(service = name, backends = new.len(), "backends changed");
            }
        }
        // Names that come and go leave nothing behind.
        services.retain(|_, service| {
            !service.present.borrow().is_empty() || service.present.receiver_count() > 0
        });
    }
}

/// Service and id of a key.
fn parse(key: &str) -> Option<(String, String)> {
    let (service, id) = key.strip_prefix(BACKENDS)?.split_once('/')?;
    let good = !service.is_empty() && !id.is_empty() && !id.contains('/');
    good.then(|| (service.to_owned(), id.to_owned()))
}

/// `HOST:PORT`, where the port is one that can be dialled.
fn is_addr(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match inside {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    host_fits && digits && port.parse::<u16>().is_ok_and(|port| port > 0) && text.len() <= ADDR_MAX_BYTES
}

/// One line for an entry, and another when it is changed and still wrong.
fn warn_once(known: &mut Known, key: &str, revision: u64, why: &str) {
    if known.warned.insert(key.to_owned(), revision) != Some(revision) {
        warn!(key, why, "a backend is ignored");
    }
}

#[cfg(test)]
mod tests;
