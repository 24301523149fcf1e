//! Roster: who is connected, and how many more may be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;

use crate::link::{Close, Outbox, SessionId};

/// All connections of an agent. Locked when one comes or goes, never per frame.
#[derive(Debug)]
pub(super) struct Roster {
    max: usize,
    max_per_addr: Option<usize>,
    inner: Mutex<Inner>,
    count: Arc<AtomicU64>,
    gauge: IntGauge,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<SessionId, Arc<Outbox>>,
    per_addr: HashMap<IpAddr, usize>,
}

/// Why a connection is not taken; the text for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("this node is full: {limit} sessions")]
    Full { limit: usize },
    #[error("too many connections from your address: {limit} allowed")]
    Address { limit: usize },
}

impl Refused {
    /// What the metric counts it under.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Full { .. } => "max_sessions",
            Self::Address { .. } => "max_connections_per_addr",
        }
    }
}

/// A connection's entry; dropping it strikes it off.
#[derive(Debug)]
pub(super) struct Entry {
    roster: Arc<Roster>,
    session: SessionId,
    addr: IpAddr,
}

impl Roster {
    pub(super) fn new(max: usize, max_per_addr: Option<usize>, gauge: IntGauge) -> Self {
        Self { max, max_per_addr, inner: Mutex::default(), count: Arc::default(), gauge }
    }

    /// How many there are; a live view.
    pub(super) fn count(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.count)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Counting cannot panic half-way, so what a panicking thread leaves behind is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a connection down, if it may be taken.
    pub(super) fn enter(
        self: &Arc<Self>,
        session: SessionId,
        addr: IpAddr,
        outbox: &Arc<Outbox>,
    ) -> Result<Entry, Refused> {
        // An IPv4 client that reaches a dual-stack listener is the same client as over IPv4.
        let addr = addr.to_canonical();
        let mut inner = self.lock();
        if inner.sessions.len() >= self.max {
            return Err(Refused::Full { limit: self.max });
        }
        let here = inner.per_addr.get(&addr).copied().unwrap_or(0);
        if let Some(limit) = self.max_per_addr.filter(|limit| here >= *limit) {
            return Err(Refused::Address { limit });
        }
        inner.per_addr.insert(addr, here + 1);
        inner.sessions.insert(session, Arc::clone(outbox));
        drop(inner);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.gauge.inc();
        Ok(Entry { roster: Arc::clone(self), session, addr })
    }

    /// Ends every session with `close`; returns how many there were.
    pub(super) fn close_all(&self, close: &Close) -> usize {
        let outboxes: Vec<_> = self.lock().sessions.values().cloned().collect();
        for outbox in &outboxes {
            outbox.close(close.clone());
        }
        outboxes.len()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut inner = self.roster.lock();
        inner.sessions.remove(&self.session);
        if let Some(here) = inner.per_addr.get_mut(&self.addr) {
            *here -= 1;
            if *here == 0 {
                inner.per_addr.remove(&self.addr);
            }
        }
        drop(inner);
        self.roster.count.fetch_sub(1, Ordering::Relaxed);
        self.roster.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caps_hold_and_are_given_back() {
        let roster = Arc::new(Roster::new(3, Some(2), IntGauge::new("sessions", "of the test").unwrap()));
        let outbox = Arc::new(Outbox::new(1024));
        let enter = |addr: &str| roster.enter(SessionId::next(), addr.parse().unwrap(), &outbox);

        let first = enter("192.0.2.1").unwrap();
        let _second = enter("::ffff:192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.1").unwrap_err(), Refused::Address { limit: 2 });
        let _third = enter("192.0.2.2").unwrap();
        assert_eq!(enter("192.0.2.3").unwrap_err(), Refused::Full { limit: 3 });
        assert_eq!(roster.count().load(Ordering::Relaxed), 3);

        drop(first);
        let _fourth = enter("192.0.2.1").unwrap();
        assert_eq!(roster.lock().per_addr.len(), 2);
        assert_eq!(roster.count().load(Ordering::Relaxed), 3);
        assert_eq!(roster.gauge.get(), 3);
    }
}
