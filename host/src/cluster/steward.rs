//! Steward: keeps this host's home rooms: claims those that are to be its own, gives up those that are not, and lets
//! none move while the lease cannot be proved.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::estate::{Estate, Estates};
use super::handover::Courier;
use super::metrics::ClusterMetrics;
use super::placement::{HOMES, MOVED, Placement, rendezvous};
use super::rollout::Standing;
use super::warden::Warden;
use crate::blocking;
use crate::discovery::{Discovery, DiscoveryError, Hold, Lease, Written};
use crate::game::Homes;
use crate::game::registry::{AT, Registry};
use crate::journal::Past;

/// Claims under way at a time.
const CLAIMS: usize = 16;

/// A room that was loaded here and has no claim after so long is asked after.
const STAGED: Duration = Duration::from_secs(10);

/// Between two looks, if nothing happens.
const LOOK: Duration = Duration::from_millis(500);

/// What a steward is made of.
pub struct Steward {
    /// This node.
    pub node: String,
    /// Claims and leases.
    pub discovery: Discovery,
    /// Who has what.
    pub placement: Placement,
    /// The rooms.
    pub registry: Arc<Registry>,
    /// What an earlier process of this node left of home rooms; taken up again where they are claimed again.
    pub pasts: BTreeMap<String, Past>,
    /// What dead hosts have left where all can read it.
    pub estates: Option<Estates>,
    /// Brings rooms to other hosts.
    pub courier: Courier,
    /// Hosts that have not taken a room a moment ago.
    pub refusing: HashMap<String, Instant>,
    /// Before this, rooms that nobody has are left alone. An etcd that has lost its data shows no claims though others still
    /// hold theirs: for as long as a lease lasts they may act under them, and until then they will have claimed again.
    pub heir_from: Option<Instant>,
    /// Counters.
    pub metrics: ClusterMetrics,
    /// Set once this node is to be empty.
    pub draining: watch::Receiver<bool>,
    /// How this node stands towards the cluster's version of the game.
    pub standing: watch::Receiver<Standing>,
}

/// How long a host that has not taken a room is given none.
const REFUSED: Duration = Duration::from_secs(1);

/// What became of a claim.
enum Claim {
    Ours(u64),
    Theirs(String),
    /// Not now.
    Later,
}

impl Steward {
    /// Keeps the rooms until `stop` fires. To be run once the node stands among the others.
    pub async fn run(self, stop: CancellationToken) {
        let confirmed = watch::Sender::new(0);
        let warden = Warden {
            lease: self.discovery.lease(),
            confirmed: confirmed.subscribe(),
            homes: Arc::clone(self.homes()),
            metrics: self.metrics.clone(),
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.keep(&confirmed) => {}
            () = warden.watch() => {}
        }
    }

    async fn keep(mut self, confirmed: &watch::Sender<u64>) {
        let mut lease = self.discovery.lease();
        loop {
            let held = *lease.borrow_and_update();
            if let Lease::Held { epoch, until, .. } = held {
                let before = *confirmed.borrow();
                if before != epoch && (before == 0 || self.claim_again().await) {
                    self.heir_from = (before != 0).then_some(until);
                    confirmed.send_replace(epoch);
                }
                if self.homes().gate().is_open() && self.placement.is_fresh() {
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
                () = tokio::time::sleep(LOOK) => {}
            }
        }
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
        let inherits = self.heir_from.is_none_or(|from| from <= Instant::now());
        let mut wanted = Vec::new();
        let mut leaving = Vec::new();
        for home in 0..self.homes().count() {
            let owner = claims.get(&home).map(|(owner, _)| owner.as_str());
            let to_be = rendezvous(home.to_be_bytes(), hosts.iter().copied());
            let ours = self.homes().owns(home);
            match owner {
                Some(owner) if owner == self.node && !ours => wanted.push(home),
                Some(owner) if owner != self.node && ours => self.lost(home, owner),
                Some(_) if ours && to_be.is_some_and(|host| host != self.node) => {
                    leaving.extend(to_be.map(|host| (home, host.to_owned())));
                }
                None if inherits && to_be == Some(&*self.node) => wanted.push(home),
                _ => {}
            }
        }
        let owner_of = |room: &str| claims.get(&self.registry.homes().number(room)?).map(|(owner, _)| owner);
        let overtaken =
            self.pasts.extract_if(.., |room, _| owner_of(room).is_some_and(|it| *it != self.node));
        for (room, past) in overtaken {
            // It went on there without what lies here, while this node was away.
            warn!(
                room,
                owner = owner_of(&room),
                "room has another host by now: what this node had of it is set aside"
            );
            self.registry.set_aside(&room, &past);
        }
        self.tend_moved().await;
        for room in self.registry.staged_longer(STAGED) {
            let home = self.homes().number(&room);
            let key = home.map_or_else(|| format!("{MOVED}{room}"), |home| format!("{HOMES}{home}"));
            match (self.discovery.get(&key).await, home) {
                (Ok(Some(entry)), Some(home)) if entry.value == self.node.as_bytes() => wanted.push(home),
                (Ok(Some(entry)), None) if entry.value == self.node.as_bytes() => {
                    self.registry.open_staged(&room)
                }
                (Ok(_), _) => self.registry.unstage(&room),
                // Whose it is will be known later.
                (Err(_), _) => {}
            }
        }
        self.claim_all(wanted).await;
        if busy && !draining {
            // Where a room is, a version on probation can be taken back from it to the state that it was handed.
            return;
        }
        self.refusing.retain(|_, since| since.elapsed() < REFUSED);
        for (home, host) in leaving {
            if self.refusing.contains_key(&host) {
                continue;
            }
            if !self.homes().gate().is_open() {
                return;
            }
            self.hand_over(home, &host).await;
        }
        if draining {
            self.hand_over_rooms(&hosts).await;
        }
    }

    /// Rooms of plugins that come here begin; records of those that have ended here go.
    async fn tend_moved(&self) {
        for (room, (node, revision)) in self.placement.moved() {
            if node != self.node {
                continue;
            }
            if self.registry.has_staged(&room) {
                self.registry.open_staged(&room);
            } else if !self.registry.is_open(&room) {
                // One that is away is asked again at the next look.
                let _ = self.discovery.remove(&format!("{MOVED}{room}"), revision).await;
            }
        }
    }

    /// The rooms that plugins have created here go elsewhere, each to a host of its own.
    async fn hand_over_rooms(&self, hosts: &[&str]) {
        for room in self.registry.plugin_rooms() {
            let Some(to) =
                rendezvous(&room, hosts.iter().copied()).and_then(|host| self.placement.node(host))
            else {
                return;
            };
            if self.registry.has_staged(&room) {
                continue;
            }
            match self.courier.hand_over_room(&self.registry, &room, &to).await {
                Ok(()) => {
                    self.metrics.handed_over.inc();
                    debug!(room, to = to.id, "room handed over");
                }
                Err(why) => warn!(room, to = to.id, %why, "room not handed over, it stays here"),
            }
        }
    }

    async fn hand_over(&mut self, home: u32, host: &str) {
        let Some(to) = self.placement.node(host) else { return };
        let Some(revision) = self.homes().claims().get(&home).copied() else { return };
        match self.courier.hand_over(&self.registry, home, revision, &to).await {
            Ok(()) => {
                self.metrics.handed_over.inc();
                debug!(home, to = host, "home room handed over");
            }
            Err(why) => {
                // The next room would fare no better.
                self.refusing.insert(host.to_owned(), Instant::now());
                warn!(home, to = host, %why, "home room not handed over, it stays here");
            }
        }
    }

    /// Claims rooms that nobody has, or that were handed to this host.
    async fn claim_all(&mut self, homes: Vec<u32>) {
        if homes.is_empty() {
            return;
        }
        let count = homes.len();
        let claims: Vec<_> = stream::iter(homes)
            .map(|home| {
                let (discovery, node) = (&self.discovery, &self.node);
                async move { (home, claim(discovery, node, home).await) }
            })
            .buffer_unordered(CLAIMS)
            .collect()
            .await;
        let ours: BTreeMap<u32, u64> = claims
            .into_iter()
            .filter_map(
                |(home, claim)| if let Claim::Ours(revision) = claim { Some((home, revision)) } else { None },
            )
            .collect();
        self.bring_back(&ours).await;
        for (home, revision) in &ours {
            self.homes().claimed(*home, *revision);
            self.registry.open_staged(&Homes::name(*home));
        }
        debug!(claimed = ours.len(), of = count, "home rooms claimed");
    }

    /// Rooms that were not handed over go on from what this host, or one that is dead, has left of them. To be done
    /// before anybody is let in.
    async fn bring_back(&mut self, ours: &BTreeMap<u32, u64>) {
        let mut back = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for home in ours.keys() {
            let name = Homes::name(*home);
            let past = self.pasts.remove(&name);
            // What was handed over is newer than all that lies about.
            if self.registry.has_staged(&name) || self.registry.is_open(&name) {
                continue;
            }
            match past {
                Some(past) => drop(back.insert(name, past)),
                None => drop(missing.insert(*home)),
            }
        }
        // Rooms come one by one when another host hands its own over; only those that nobody handed over are looked for.
        if !missing.is_empty()
            && let Some(mut estates) = self.estates.take()
        {
            let live: BTreeSet<String> = self.placement.nodes().into_iter().map(|node| node.id).collect();
            let registry = Arc::clone(&self.registry);
            let found = blocking::run(move || {
                let Estate { rooms, documents } = estates.find(&live, registry.homes(), &missing);
                registry.keep_documents(documents);
                (estates, rooms)
            });
            if let Ok((estates, rooms)) = found.await {
                self.estates = Some(estates);
                back.extend(rooms);
            }
        }
        if !back.is_empty() {
            self.registry.restore(back).await;
        }
    }

    /// A new lease: what was claimed under the one before may be another host's by now. False if that lease was lost as
    /// well before all was known: until the next one the rooms stand still as they are.
    async fn claim_again(&mut self) -> bool {
        let held: BTreeMap<u32, u64> = self.homes().claims().into_iter().collect();
        let claims: Vec<_> = stream::iter(held.into_keys())
            .map(|home| {
                let (discovery, node) = (&self.discovery, &self.node);
                async move {
                    loop {
                        match claim(discovery, node, home).await {
                            Claim::Later if discovery.holds().is_some() => {}
                            claim => return (home, claim),
                        }
                        tokio::time::sleep(LOOK).await;
                    }
                }
            })
            .buffer_unordered(CLAIMS)
            .collect()
            .await;
        for room in self.registry.plugin_rooms().iter().filter(|room| room.contains(AT)) {
            // Without the record players who come anew do not find it; those who sit there stay.
            let written =
                self.discovery.create(&format!("{MOVED}{room}"), self.node.clone().into(), Hold::Lease).await;
            debug!(room, ?written, "room of another host's name kept under a new lease");
        }
        let (mut kept, mut lost, mut unknown) = (0, 0, 0);
        for (home, claim) in claims {
            match claim {
                Claim::Ours(revision) => {
                    kept += 1;
                    self.homes().claimed(home, revision);
                }
                Claim::Theirs(owner) => {
                    lost += 1;
                    self.lost(home, &owner);
                }
                Claim::Later => unknown += 1,
            }
        }
        if lost > 0 {
            error!(kept, lost, "home rooms lost to other hosts with the lease; their state here is dropped");
        }
        if unknown > 0 {
            warn!(kept, unknown, "the new lease was lost before all home rooms were claimed again");
        } else {
            info!(kept, "home rooms claimed again under a new lease");
        }
        unknown == 0
    }

    /// Another host has a room that was ours: what stands here is worth nothing any more.
    fn lost(&self, home: u32, owner: &str) {
        debug!(home, owner, "home room lost to another host; its state here is dropped");
        self.homes().given_up(home);
        self.registry.drop_room(&Homes::name(home));
    }
}

/// Claims a room, if nobody has it or it was given to `node`.
async fn claim(discovery: &Discovery, node: &str, home: u32) -> Claim {
    let key = format!("{HOMES}{home}");
    let later = |error: DiscoveryError| {
        debug!(home, %error, "claim not answered");
        Claim::Later
    };
    match discovery.create(&key, node.as_bytes().to_vec(), Hold::Lease).await {
        Ok(Written::Done(revision)) => Claim::Ours(revision),
        // Given to us by the host before, or ours under a lease that is over: it is to be under the present one.
        Ok(Written::Refused(Some(entry))) if entry.value == node.as_bytes() => {
            match discovery.replace(&key, entry.revision, node.as_bytes().to_vec(), Hold::Lease).await {
                Ok(Written::Done(revision)) => Claim::Ours(revision),
                Ok(Written::Refused(_)) => Claim::Later,
                Err(error) => later(error),
            }
        }
        Ok(Written::Refused(Some(entry))) => {
            Claim::Theirs(String::from_utf8_lossy(&entry.value).into_owned())
        }
        Ok(Written::Refused(None)) => Claim::Later,
        Err(error) => later(error),
    }
}
