//! Rebalancer: keeps this host's home rooms: claims those that are to be its own, gives up those that are
//! not, and lets none move while the lease cannot be proved.

mod claims;
mod departures;
mod failover;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::departures::DepartingRoom;
use crate::cluster::continuity::Continuity;
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::placement::{HOMES, MOVED, Owner, Placement, rendezvous};
use crate::cluster::rollout::Standing;
use crate::cluster::rooms::drain_progress::DrainProgress;
use crate::cluster::rooms::handover::HandoverSender;
use crate::cluster::rooms::host_state::HostStates;
use crate::cluster::rooms::lease_gate::LeaseGate;
use crate::discovery::{Discovery, Lease};
use crate::game::Homes;
use crate::game::registry::Registry;
use crate::journal::Dormant;

/// A room that was loaded here and has no claim after so long is asked after.
const STAGED: Duration = Duration::from_secs(10);

/// Between two looks, if nothing happens.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What a rebalancer is made of.
pub struct Rebalancer {
    /// This node.
    pub node: String,
    /// This process, as its claims name it.
    pub owner: Owner,
    /// Claims and leases.
    pub discovery: Discovery,
    /// Who has what.
    pub placement: Placement,
    /// The rooms.
    pub registry: Arc<Registry>,
    /// What an earlier process of this node left of home rooms; taken up again where they are claimed again.
    pub dormant: Dormant,
    /// What other hosts have left where all can read it.
    pub host_states: Option<HostStates>,
    /// Home rooms that are dormant here and claimed by others, and since when that is known.
    pub overtaken: HashMap<String, Instant>,
    /// Home rooms that nobody has, and that are left to hosts which have a state of them; since when.
    pub left_to_others: HashMap<u32, Instant>,
    /// Home rooms that were lost and may not have ended here yet.
    pub ending: BTreeSet<String>,
    /// Brings rooms to other hosts.
    pub handover_sender: HandoverSender,
    /// Home rooms whose state the live version did not read, and when that was.
    pub unreadable: HashMap<u32, Instant>,
    /// Home rooms that nobody has, and since when.
    pub free_since: HashMap<u32, Instant>,
    /// The host that each home room was claimed by last.
    pub last_owners: HashMap<u32, String>,
    /// When it was last said that rooms wait for a journal that cannot be read.
    pub told_unreadable: Option<Instant>,
    /// Hosts that have not taken a room a moment ago.
    pub refusing: HashMap<String, Instant>,
    /// Before this, rooms that nobody has are left alone. An etcd that has lost its data shows no claims though others still
    /// hold theirs: for as long as a lease lasts they may act under them, and until then they will have claimed again.
    pub heir_from: Option<Instant>,
    /// Whether etcd has kept its data since this host was last here.
    pub continuity: Continuity,
    /// Rooms that have not gone a moment ago.
    pub staying: HashMap<String, Instant>,
    /// How far this host is with handing rooms over.
    pub progress: DrainProgress,
    /// Counters.
    pub metrics: ClusterMetrics,
    /// Set once this node is to be empty.
    pub draining: watch::Receiver<bool>,
    /// How this node stands towards the cluster's version of the game.
    pub standing: watch::Receiver<Standing>,
}

impl Rebalancer {
    /// Keeps the rooms until `stop` fires. To be run once the node stands among the others.
    pub async fn run(self, stop: CancellationToken) {
        let confirmed = watch::Sender::new(0);
        let lease_gate = LeaseGate {
            lease: self.discovery.lease(),
            confirmed: confirmed.subscribe(),
            homes: Arc::clone(self.homes()),
            metrics: self.metrics.clone(),
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.keep(&confirmed) => {}
            () = lease_gate.watch() => {}
        }
    }

    async fn keep(mut self, confirmed: &watch::Sender<u64>) {
        let mut lease = self.discovery.lease();
        loop {
            let held = *lease.borrow_and_update();
            if let Lease::Held { epoch, until, .. } = held {
                let before = *confirmed.borrow();
                if before != epoch && (before == 0 || self.claim_again().await) {
                    let is_known = self.continuity.check(&self.discovery, epoch).await;
                    let inherits = before == 0 && (is_known || self.is_first().await);
                    self.heir_from = (!inherits).then_some(until);
                    confirmed.send_replace(epoch);
                }
                if self.homes().gate().is_open() && self.placement.is_fresh() {
                    if self.is_heir() {
                        self.continuity.keep().await;
                    }
                    self.tend().await;
                }
            }
            self.metrics.homes.set(i64::try_from(self.homes().claims().len()).unwrap_or(i64::MAX));
            tokio::select! {
                biased;
                Ok(()) = lease.changed() => {}
                () = self.placement.changed() => {}
                Ok(()) = self.draining.changed() => {}
                Ok(()) = self.standing.changed() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Whether rooms that nobody has are free.
    fn is_heir(&self) -> bool {
        self.heir_from.is_none_or(|from| from <= Instant::now())
    }

    fn homes(&self) -> &Arc<Homes> {
        self.registry.homes()
    }

    /// Brings what this host has closer to what it is to have.
    async fn tend(&mut self) {
        let nodes = self.placement.nodes();
        let draining = *self.draining.borrow();
        let Standing { behind, busy } = *self.standing.borrow_and_update();
        let hosts: Vec<&str> = nodes
            .iter()
            .filter(|node| node.takes_rooms() && !((draining || behind) && node.id == self.node))
            .map(|node| node.id.as_str())
            .collect();
        let claims = self.placement.claims();
        let begins = self.is_heir() && !draining && !behind;
        let mut wanted = Vec::new();
        let mut leaving = Vec::new();
        for home in 0..self.homes().count() {
            let owner = claims.get(&home).map(|(owner, _)| owner);
            let to_be = rendezvous(home.to_be_bytes(), hosts.iter().copied());
            let ours = self.homes().owns(home);
            match owner {
                Some(owner) if *owner == self.owner && !ours && self.is_ready(home) => wanted.push(home),
                Some(owner) if *owner == self.owner && !ours => {}
                Some(owner) if *owner != self.owner && ours => self.lost(home, owner),
                Some(_) if ours && to_be.is_some_and(|host| host != self.node) => {
                    leaving.extend(to_be.map(|host| (home, host.to_owned())));
                }
                None if begins && !self.is_ending(home) && self.is_to_begin(home, &nodes, to_be) => {
                    wanted.push(home);
                }
                _ => {}
            }
        }
        self.left_to_others.retain(|home, _| !claims.contains_key(home));
        self.free_since.retain(|home, _| !claims.contains_key(home));
        self.yield_dormant(&claims).await;
        self.mark_kept().await;
        self.tend_moved().await;
        for room in self.registry.staged_longer(STAGED) {
            let home = self.homes().number(&room);
            let key = home.map_or_else(|| format!("{MOVED}{room}"), |home| format!("{HOMES}{home}"));
            match (self.discovery.get(&key).await, home) {
                (Ok(Some(entry)), Some(home)) if entry.value == self.owner.write() => wanted.push(home),
                (Ok(Some(entry)), None) if entry.value == self.owner.write() => {
                    self.registry.open_staged(&room, self.registry.now_ms())
                }
                // It was given to this host under a lease that is over, or its host has ended before that.
                (Ok(None), Some(home)) if begins => wanted.push(home),
                (Ok(None), Some(_)) => {}
                (Ok(Some(_)), Some(_)) => {
                    if let Some(generation) = self.registry.leave_staged(&room) {
                        self.leave_ending(room, generation);
                    }
                }
                (Ok(_), None) => self.registry.unstage(&room),
                // Whose it is will be known later.
                (Err(_), _) => {}
            }
        }
        self.hold_back(&mut wanted, &claims, &nodes).await;
        self.last_owners.extend(claims.iter().map(|(home, (owner, _))| (*home, owner.node.clone())));
        self.claim_all(wanted).await;
        if busy && !draining {
            // Where a room is, a version on probation can be taken back from it to the state that it was handed.
            return;
        }
        let mut leaving: Vec<_> =
            leaving.into_iter().map(|(home, host)| (DepartingRoom::Home(home), host)).collect();
        if draining {
            leaving.extend(self.plugin_rooms(&hosts));
        }
        self.let_go(leaving).await;
    }

    /// Rooms of plugins that come here begin; records of those that have ended here go.
    async fn tend_moved(&self) {
        for (room, (owner, revision)) in self.placement.moved() {
            if owner != self.owner {
                continue;
            }
            if self.registry.has_staged(&room) {
                self.registry.open_staged(&room, self.registry.now_ms());
            } else if !self.registry.is_open(&room) {
                // One that is away is asked again at the next look.
                let _ = self.discovery.remove(&format!("{MOVED}{room}"), revision).await;
            }
        }
    }

    /// Another host has a room that was ours, and goes on from what it finds of it on this host's disk.
    fn lost(&mut self, home: u32, owner: &Owner) {
        debug!(home, %owner, "home room lost to another host");
        self.give_up(home);
    }

    /// A room ends here without its state being handed to anybody: that stays in the journal until a later
    /// one is known.
    fn give_up(&mut self, home: u32) {
        let room = Homes::name(home);
        self.homes().given_up(home);
        if self.registry.is_open(&room) && !self.registry.has_staged(&room) {
            self.dormant.leave(&room, self.homes().generation(home));
        }
        self.registry.drop_room(&room);
        self.ending.insert(room);
    }

    /// A room ends here, and its state stays in the journal.
    fn leave_ending(&mut self, room: String, generation: u64) {
        if self.registry.is_open(&room) {
            self.dormant.leave(&room, generation);
            self.ending.insert(room);
        }
    }

    /// Whether a room that was given to this host can begin here.
    fn is_ready(&mut self, home: u32) -> bool {
        !self.is_ending(home) && !self.is_unreadable(home)
    }

    /// Whether a room that was given up still stands here, with a state that counts no more.
    fn is_ending(&mut self, home: u32) -> bool {
        let room = Homes::name(home);
        let stands = self.registry.is_open(&room) && !self.registry.has_staged(&room);
        let ending = self.ending.contains(&room) && stands;
        if !ending {
            self.ending.remove(&room);
        }
        ending
    }
}
