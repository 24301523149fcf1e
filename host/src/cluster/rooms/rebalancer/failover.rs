//! Inherit: from which state a home room goes on that nobody has handed to this host.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::Rebalancer;
use crate::blocking;
use crate::cluster::node::NodeInfo;
use crate::cluster::placement::{NODES, Owner, rendezvous};
use crate::cluster::rooms::host_state::{HostState, HostStates};
use crate::game::Homes;
use crate::game::registry::following;

/// How long the new owner of a room has to take up the state that this host has of it.
const TAKING_UP: Duration = Duration::from_secs(60);

/// How long a host waits before it tries again to read a state that its version did not read.
const UNREADABLE: Duration = Duration::from_secs(5);

/// How often it is said that rooms wait for a journal that cannot be read.
const TELL_UNREADABLE: Duration = Duration::from_secs(30);

/// A room that nobody has for so long may be begun by any host.
const LEFT_FREE: Duration = Duration::from_secs(15);

impl Rebalancer {
    /// Rooms that were not handed over go on from the latest state that this host, or one that is gone, has
    /// of them. It is on this host's disk, and what is older counts no more, before anybody is let in. With
    /// each room: whether nobody had it. The rooms that cannot go on before what was loaded of them here has
    /// ended.
    ///
    /// `at_ms` is the time before they were claimed. It goes into their generations, not the time at which they begin: if this
    /// host stands still in between, and others claim them meanwhile, theirs are later.
    pub(super) async fn bring_back(
        &mut self,
        homes: impl Iterator<Item = (u32, bool)>,
        at_ms: u64,
    ) -> BTreeSet<u32> {
        let generations = self.dormant.generations();
        let (mut wanted, mut staged, mut later) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for (home, anew) in homes {
            let room = Homes::name(home);
            let loaded = self.registry.staged_generation(&room);
            // Its host has not given it away: it has gone on there from what was loaded here, and then ended.
            if let Some(loaded) = loaded.filter(|_| anew) {
                staged.insert(home);
                wanted.insert(home, Some(loaded));
            } else if loaded.is_some() || self.registry.is_open(&room) {
                // What was handed over is later than all that lies about.
                self.dormant.remove(&room);
            } else {
                // What stands on disk alone is found there.
                let read = !self.dormant.is_on_disk(&room);
                wanted.insert(home, generations.get(&room).copied().filter(|_| read));
            }
        }
        // Rooms come one by one when another host hands its own over; only those that nobody handed over are looked for.
        if wanted.is_empty() {
            return later;
        }
        let Some((mut host_state, ticket)) = self.look_for(&wanted).await else { return later };
        for home in staged {
            let room = Homes::name(home);
            wanted.remove(&home);
            if host_state.rooms.remove(&room).is_some() {
                debug!(room, "what was loaded of a room is older than what its host has left");
                self.registry.unstage(&room);
                self.ending.insert(room);
                later.insert(home);
            } else {
                self.dormant.remove(&room);
            }
        }
        let (mut back, mut begun) = (BTreeMap::new(), BTreeMap::new());
        for home in wanted.into_keys() {
            let room = Homes::name(home);
            let found = host_state.rooms.remove(&room);
            let own = self.dormant.get(&room);
            let marked = host_state.marks.get(&room).copied();
            let known = [
                found.as_ref().map(|past| past.generation),
                own.as_ref().map(|past| past.generation),
                marked,
            ];
            let latest = known.into_iter().flatten().max().unwrap_or(0).max(self.homes().generation(home));
            let generation = following(latest, at_ms);
            self.homes().raise(home, generation);
            begun.insert(home, generation);
            if self.dormant.is_on_disk(&room) {
                self.dormant.remove(&room);
            }
            if let (Some(_), Some(own)) = (&found, &own) {
                debug!(room, "what this host had of a room is older than what another one has left");
                self.registry.set_aside(&room, own);
            }
            if let Some(past) = found.or(own) {
                back.insert(room, past);
            }
        }
        let mut bytes = 0;
        if !back.is_empty() {
            let rooms: Vec<String> = back.keys().cloned().collect();
            bytes = back.values().map(|past| past.base.len()).sum();
            let closed = self.registry.restore(back).await;
            for room in rooms {
                if !closed.contains(&room) {
                    self.dormant.remove(&room);
                } else if let Some(home) = self.homes().number(&room) {
                    // It counts, and is not to be superseded, until a version reads it.
                    begun.remove(&home);
                    later.insert(home);
                    self.unreadable.insert(home, Instant::now());
                }
            }
        }
        let position = self.registry.group().world().journal.position();
        let kept = self.registry.kept(ticket, bytes).await;
        if !kept {
            warn!("rooms that go on here are not on this host's disk yet");
        }
        // What others have left counts until then.
        let from = if kept { 0 } else { position };
        self.with_estates(move |host_states| host_states.supersede(&begun, from)).await;
        later
    }

    /// What others have left of rooms that go on here counts no more once these are on this host's disk.
    pub(super) async fn mark_kept(&mut self) {
        if self.host_states.as_ref().is_some_and(HostStates::has_to_mark) {
            let synced = *self.registry.group().world().journal.synced().borrow();
            self.with_estates(move |host_states| host_states.mark_kept(synced)).await;
        }
    }

    /// Whether this host is to begin a room that nobody has: if it has a state of it, or else if it is `to_be` its own and
    /// no other host that is there has one. Such a host has the time of [`TAKING_UP`] to claim it.
    pub(super) fn is_to_begin(&mut self, home: u32, nodes: &[NodeInfo], to_be: Option<&str>) -> bool {
        if to_be.is_none() {
            return false;
        }
        let holds = |node: &&NodeInfo| node.has_dormant(home) && node.takes_rooms();
        let holders: Vec<&str> = nodes.iter().filter(holds).map(|node| node.id.as_str()).collect();
        let Some(holder) = rendezvous(home.to_be_bytes(), holders.into_iter()) else {
            // Those that cannot run it yet.
            let waits = nodes.iter().any(|node| node.has_dormant(home) && node.id != self.node);
            return self.may_begin(home, to_be) && !(waits && self.is_left(home));
        };
        if holder == self.node {
            return !self.is_unreadable(home);
        }
        self.may_begin(home, to_be) && !self.is_left(home)
    }

    /// Of rooms that nobody has, those are left free whose last host is gone and has left a journal that cannot be read: what
    /// it was told would be lost if they went on without. An operator repairs the journal, or takes it away.
    pub(super) async fn hold_back(
        &mut self,
        wanted: &mut Vec<u32>,
        claims: &HashMap<u32, (Owner, u64)>,
        nodes: &[NodeInfo],
    ) {
        let is_gone = |node: &String| *node != self.node && !nodes.iter().any(|it| it.id == *node);
        let last: BTreeMap<u32, String> = wanted
            .iter()
            .filter(|home| !claims.contains_key(home))
            .filter_map(|home| {
                Some((*home, self.last_owners.get(home).filter(|node| is_gone(node))?.clone()))
            })
            .collect();
        let gone: BTreeSet<String> = last.values().cloned().collect();
        let mut unreadable = BTreeSet::new();
        for node in gone {
            let name = node.clone();
            if self.with_estates(move |host_states| host_states.is_readable(&name)).await == Some(false) {
                unreadable.insert(node);
            }
        }
        let before = wanted.len();
        wanted.retain(|home| last.get(home).is_none_or(|node| !unreadable.contains(node)));
        let rooms = before - wanted.len();
        if rooms > 0 && self.told_unreadable.is_none_or(|told| told.elapsed() > TELL_UNREADABLE) {
            self.told_unreadable = Some(Instant::now());
            error!(
                rooms,
                hosts = ?unreadable,
                "home rooms wait for the journal of a host that is gone, which cannot be read: repair it with `hotseat journal \
                 repair`, or take its directory away to go on without"
            );
        }
    }

    /// Whether it is this host's turn to begin a room: it is `to_be` here, or the host that it is to be on has not begun it,
    /// since its version does not read the state.
    fn may_begin(&mut self, home: u32, to_be: Option<&str>) -> bool {
        let free_since = *self.free_since.entry(home).or_insert_with(Instant::now);
        let is_ours = to_be == Some(&*self.node);
        (is_ours || free_since.elapsed() > LEFT_FREE) && !self.is_unreadable(home)
    }

    /// Whether this host's version did not read the state of a room just now.
    pub(super) fn is_unreadable(&self, home: u32) -> bool {
        self.unreadable.get(&home).is_some_and(|since| since.elapsed() < UNREADABLE)
    }

    /// Whether a room is left to another host that has a state of it.
    fn is_left(&mut self, home: u32) -> bool {
        self.left_to_others.entry(home).or_insert_with(Instant::now).elapsed() < TAKING_UP
    }

    /// What others have left of these rooms, and what to wait for until their documents are on disk.
    async fn look_for(&mut self, rooms: &BTreeMap<u32, Option<u64>>) -> Option<(HostState, u64)> {
        if self.host_states.is_none() {
            return Some((HostState::default(), 0));
        }
        let mut nodes = BTreeSet::new();
        for node in self.with_estates(|host_states| host_states.others()).await? {
            if self.may_have_left(&node, rooms).await {
                nodes.insert(node);
            }
        }
        if rooms.keys().any(|home| self.dormant.is_on_disk(&Homes::name(*home))) {
            // It may not have been written out yet.
            self.registry.kept(0, 0).await;
            nodes.insert(self.node.clone());
        }
        let (registry, rooms) = (Arc::clone(&self.registry), rooms.clone());
        self.with_estates(move |host_states| {
            let mut host_state = host_states.find(&nodes, registry.homes(), &rooms);
            let ticket = registry.keep_documents(std::mem::take(&mut host_state.documents));
            (host_state, ticket)
        })
        .await
    }

    /// Whether a host may have left a state of one of these rooms, which this host has claimed: one that is
    /// gone, or one that says so. Etcd is asked for its entry, since what is followed of claims and of nodes
    /// does not arrive in one order.
    async fn may_have_left(&self, node: &str, rooms: &BTreeMap<u32, Option<u64>>) -> bool {
        match self.discovery.get(&format!("{NODES}{node}")).await {
            Ok(Some(entry)) => NodeInfo::read(&entry.value)
                .map_or(true, |info| rooms.keys().any(|home| info.may_hold(*home))),
            Ok(None) | Err(_) => true,
        }
    }

    /// Whether no host has ever kept anything of a home room: nobody can have claimed one that is shown as
    /// free. A host without a shared directory cannot know.
    pub(super) async fn is_first(&mut self) -> bool {
        if !self.dormant.is_empty() || !self.continuity.is_new() {
            return false;
        }
        self.with_estates(|host_states| host_states.are_empty()).await.unwrap_or(false)
    }

    /// Does something with the shared directory, on a thread that may wait for it.
    async fn with_estates<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut HostStates) -> T + Send + 'static,
    ) -> Option<T> {
        let mut host_states = self.host_states.take()?;
        let done = blocking::run(move || {
            let done = work(&mut host_states);
            (host_states, done)
        });
        // It fails when the runtime ends.
        let (host_states, done) = done.await.ok()?;
        self.host_states = Some(host_states);
        Some(done)
    }

    /// What other hosts have superseded of this one's states.
    pub(super) async fn own_marks(&mut self) -> BTreeMap<String, u64> {
        self.with_estates(|host_states| host_states.own_marks()).await.unwrap_or_default()
    }

    /// Whether others may have had a room, and have ended, since it was this host's: then what stands here is not its
    /// latest state.
    pub(super) fn may_be_outdated(&self, home: u32, marks: &BTreeMap<String, u64>) -> bool {
        let room = Homes::name(home);
        let superseded = marks.get(&room).is_some_and(|mark| *mark > self.homes().generation(home));
        // Of a room that is not open nothing lies here that could have been marked.
        self.host_states.is_some() && (superseded || !self.registry.is_open(&room))
    }

    /// Rooms of which this host has a state, and that others have claimed: once the owner has taken that up, or had
    /// the time for it, the state counts no more.
    pub(super) async fn yield_dormant(&mut self, claims: &HashMap<u32, (Owner, u64)>) {
        let owner_of = |room: &str| Some(&claims.get(&self.registry.homes().number(room)?)?.0);
        let generations = self.dormant.generations();
        let overtaken = |room: &&String| owner_of(room).is_some_and(|owner| *owner != self.owner);
        let overtaken: Vec<String> = generations.keys().filter(overtaken).cloned().collect();
        self.overtaken.retain(|room, _| overtaken.contains(room));
        if overtaken.is_empty() {
            return;
        }
        let marks = self.own_marks().await;
        for room in overtaken {
            let since = *self.overtaken.entry(room.clone()).or_insert_with(Instant::now);
            if marks.get(&room).copied() > generations.get(&room).copied() {
                debug!(room, "room has gone on at another host from what this one had of it");
                self.dormant.remove(&room);
                self.registry.group().world().journal.forget(&room.into());
            } else if self.host_states.is_none() || since.elapsed() > TAKING_UP {
                let Some(past) = self.dormant.remove(&room) else {
                    debug!(room, "what this host had of a room that went on elsewhere is dropped");
                    self.registry.group().world().journal.forget(&room.into());
                    continue;
                };
                // It went on there without what lies here, while this node was away.
                let home = self.homes().number(&room);
                let owner = home.and_then(|home| claims.get(&home)).map(|(owner, _)| owner.to_string());
                warn!(room, owner, "room has another host by now: what this node had of it is set aside");
                self.registry.set_aside(&room, &past);
            }
        }
    }
}
