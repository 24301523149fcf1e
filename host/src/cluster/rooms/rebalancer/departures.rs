//! Departing room: rooms of this host that go to other hosts.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Rebalancer;
use crate::cluster::placement::rendezvous;
use crate::cluster::rooms::handover::HandOverError;
use crate::game::Homes;

/// Rooms on their way to other hosts at a time: a large one keeps no small one waiting.
const HANDING: usize = 4;

/// How long a host that has not taken a room is given none.
const REFUSED: Duration = Duration::from_secs(1);

/// How long a room that another host has not taken stays before it is tried again.
const STAYS: Duration = Duration::from_secs(10);

/// A room that is to go.
#[derive(Debug, Clone)]
pub(super) enum DepartingRoom {
    Home(u32),
    /// One that a plugin has opened.
    Plugin(String),
}

impl DepartingRoom {
    fn name(&self) -> String {
        match self {
            Self::Home(home) => Homes::name(*home),
            Self::Plugin(name) => name.clone(),
        }
    }
}

/// What has not gone just now: hosts that take nothing, and rooms that stay.
struct Refusals {
    hosts: Mutex<HashMap<String, Instant>>,
    rooms: Mutex<HashMap<String, Instant>>,
    /// Home rooms that are this host's no more, though nobody has taken them.
    lost: Mutex<Vec<String>>,
}

impl Rebalancer {
    /// The rooms that plugins have opened here, each with a host that is to have it.
    pub(super) fn plugin_rooms(&self, hosts: &[&str]) -> Vec<(DepartingRoom, String)> {
        let rooms = self.registry.plugin_rooms().into_iter().filter(|room| !self.registry.has_staged(room));
        let with_host = |room: String| {
            let host = rendezvous(&room, hosts.iter().copied())?.to_owned();
            Some((DepartingRoom::Plugin(room), host))
        };
        rooms.filter_map(with_host).collect()
    }

    /// Hands these rooms to these hosts, as far as they go at present. A room that does not go keeps no other
    /// one here; one that did not go before is tried last.
    pub(super) async fn let_go(&mut self, mut leaving: Vec<(DepartingRoom, String)>) {
        self.refusing.retain(|_, since| since.elapsed() < REFUSED);
        self.staying.retain(|_, since| since.elapsed() < STAYS);
        let names: std::collections::BTreeSet<String> = leaving.iter().map(|(room, _)| room.name()).collect();
        self.progress.retain(|room| names.contains(room));
        leaving.retain(|(room, _)| !self.staying.contains_key(&room.name()));
        leaving.sort_by_key(|(room, _)| self.progress.is_staying(&room.name()));
        let refusals = Refusals {
            hosts: Mutex::new(std::mem::take(&mut self.refusing)),
            rooms: Mutex::new(std::mem::take(&mut self.staying)),
            lost: Mutex::default(),
        };
        {
            let (rebalancer, refusals) = (&*self, &refusals);
            let each = |(room, host): (DepartingRoom, String)| async move {
                rebalancer.hand_over(&room, &host, refusals).await
            };
            stream::iter(leaving).for_each_concurrent(HANDING, each).await;
        }
        self.refusing = refusals.hosts.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.staying = refusals.rooms.into_inner().unwrap_or_else(PoisonError::into_inner);
        for room in refusals.lost.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let generation = self.homes().number(&room).map_or(0, |home| self.homes().generation(home));
            self.leave_ending(room, generation);
        }
        let (_, staying) = self.progress.told();
        self.metrics.staying.set(i64::try_from(staying.len()).unwrap_or(i64::MAX));
    }

    async fn hand_over(&self, leaving: &DepartingRoom, host: &str, refusals: &Refusals) {
        if !self.homes().gate().is_open() || locked(&refusals.hosts).contains_key(host) {
            return;
        }
        let Some(to) = self.placement.node(host) else { return };
        let room = leaving.name();
        let gone = match leaving {
            DepartingRoom::Home(home) => {
                let Some(revision) = self.homes().claims().get(home).copied() else { return };
                self.handover_sender.hand_over(&self.registry, *home, revision, &to).await
            }
            DepartingRoom::Plugin(name) => {
                self.handover_sender.hand_over_room(&self.registry, name, &to).await
            }
        };
        let why = match gone {
            Ok(()) => {
                self.metrics.handed_over.inc();
                self.progress.moved(&room);
                debug!(room, to = host, "room handed over");
                return;
            }
            Err(HandOverError::Lost) if matches!(leaving, DepartingRoom::Home(_)) => {
                warn!(
                    room,
                    to = host,
                    "it is not known whether the room was handed over: whoever has the latest state goes on"
                );
                locked(&refusals.lost).push(room);
                return;
            }
            // The next room would fare no better.
            Err(why @ HandOverError::Refused { .. }) => {
                locked(&refusals.hosts).insert(host.to_owned(), Instant::now());
                why.to_string()
            }
            Err(why) => {
                locked(&refusals.rooms).insert(room.clone(), Instant::now());
                why.to_string()
            }
        };
        if self.progress.stays(&room, &why) {
            warn!(room, to = host, why, "room not handed over, it stays here");
        }
    }
}

fn locked<T>(refusals: &Mutex<T>) -> MutexGuard<'_, T> {
    // They are whole at every step.
    refusals.lock().unwrap_or_else(PoisonError::into_inner)
}
