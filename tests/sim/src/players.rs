//! Players: who plays in a simulated cluster. They stand for agents that outlive the hosts: each looks up where its room
//! is, takes a seat there and plays; when the host or the room is gone it comes again, as an agent's session does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use hotseat::cluster::node::NodeInfo;
use hotseat::cluster::placement::{HOMES as CLAIMS, NODES, Owner};
use hotseat::game::Homes;
use hotseat::link::{LeaveReason, Seat, SeatRequest, SessionId};
use tokio::sync::mpsc;

use crate::etcd::Etcd;
use crate::host::Host;
use crate::model::Model;
use crate::network::process_at;
use crate::rng::Rng;
use crate::session::{End, Ends, Order, Session};
use crate::{HOMES, Process, USERS, lock};

/// A player whose host is no more among the nodes is told so after this, ms.
const NOTICED: u64 = 1_000;

/// Messages that a player sends before it waits for an answer.
const AHEAD: usize = 3;

struct Player {
    home: u32,
    place: Place,
    login: u64,
    /// When it does something next.
    next_ms: u64,
    /// Since when its host is not among the nodes.
    missing_since: Option<u64>,
    request: SeatRequest,
    seat: Option<Box<Seat>>,
    unsent: VecDeque<u32>,
    session: SessionId,
}

enum Place {
    Away,
    At { process: Process, number: u64, orders: mpsc::UnboundedSender<Order>, seated: bool },
}

pub(crate) struct Players {
    players: BTreeMap<u64, Player>,
    rng: Rng,
    model: Arc<Mutex<Model>>,
    ends: Arc<Mutex<Ends>>,
    number: u64,
    seen: Seen,
}

/// What agents know from etcd.
#[derive(Default)]
struct Seen {
    changes: u64,
    /// By node.
    processes: BTreeMap<String, Process>,
    /// The nodes that have them, by home room.
    owners: BTreeMap<u32, Owner>,
}

impl Players {
    pub(crate) fn new(mut rng: Rng, model: Arc<Mutex<Model>>) -> Self {
        let homes = Homes::single_node(HOMES);
        let mut players = BTreeMap::new();
        for user in 1..=USERS {
            let home = homes.of(user);
            lock(&model).figures.entry(user).or_default().home = home;
            let next_ms = 1_000 + rng.range(0, 2_000);
            let (place, session) = (Place::Away, SessionId::next());
            let request = SeatRequest::default();
            let player = Player {
                home,
                place,
                login: 0,
                next_ms,
                missing_since: None,
                request,
                seat: None,
                unsent: VecDeque::new(),
                session,
            };
            players.insert(user, player);
        }
        Self { players, rng, model, ends: Arc::default(), number: 0, seen: Seen::default() }
    }

    /// How often each has been answered.
    pub(crate) fn answers(&self) -> BTreeMap<u64, u64> {
        lock(&self.model).figures.iter().map(|(user, figure)| (*user, figure.answers)).collect()
    }

    /// Who has not been answered since then.
    pub(crate) fn unanswered_since(&self, before: &BTreeMap<u64, u64>) -> Vec<u64> {
        let model = lock(&self.model);
        let silent = model.figures.iter().filter(|(user, figure)| before.get(user) == Some(&figure.answers));
        silent.map(|(user, _)| *user).collect()
    }

    /// A process is no more.
    pub(crate) fn lost(&mut self, process: Process, now_ms: u64) {
        for (user, player) in &mut self.players {
            if matches!(&player.place, Place::At { process: at, .. } if *at == process) {
                player.come_again(now_ms + self.rng.range(50, 1_500));
                lock(&self.model).abandon(*user);
            }
        }
    }

    /// Time has passed.
    pub(crate) fn step(&mut self, now_ms: u64, hosts: &BTreeMap<Process, Host>, etcd: &Mutex<Etcd>) {
        self.hear(now_ms);
        self.seen.look(&lock(etcd));
        let users: Vec<u64> = self.players.keys().copied().collect();
        for user in users {
            let Some(player) = self.players.get_mut(&user) else { continue };
            match &player.place {
                Place::Away if player.next_ms <= now_ms => match self.seen.find(player, hosts) {
                    Some(process) => self.sit(user, process, now_ms, hosts),
                    None => player.next_ms = now_ms + 200,
                },
                Place::At { process, orders, seated, .. } => {
                    let node = hosts.get(process).map(|host| &host.given.node);
                    if node.and_then(|node| self.seen.processes.get(node)) == Some(process) {
                        player.missing_since = None;
                    } else if now_ms - *player.missing_since.get_or_insert(now_ms) > NOTICED {
                        // The host hears of it when it goes on.
                        let _ = orders.send(Order::Leave(LeaveReason::LinkLost));
                        player.come_again(now_ms + self.rng.range(20, 500));
                        lock(&self.model).abandon(user);
                        continue;
                    }
                    if *seated && player.next_ms <= now_ms {
                        let waiting = lock(&self.model).figures.get(&user).map_or(0, |it| it.pending.len());
                        if waiting == 0 && self.rng.chance(2) {
                            let _ = orders.send(Order::Leave(LeaveReason::Closed));
                            (player.place, player.login) = (Place::Away, 0);
                            player.session = SessionId::next();
                            player.next_ms = now_ms + self.rng.range(100, 2_000);
                            continue;
                        }
                        if waiting < AHEAD {
                            let _ = orders.send(Order::Send(lock(&self.model).send(user)));
                        }
                        player.next_ms = now_ms + self.rng.range(20, 600);
                    }
                }
                Place::Away => {}
            }
        }
    }

    /// What sessions have told.
    fn hear(&mut self, now_ms: u64) {
        let Ends { seated, ended } = std::mem::take(&mut *lock(&self.ends));
        for (user, of, login) in seated {
            let Some(player) = self.players.get_mut(&user) else { continue };
            if let Place::At { number, seated, .. } = &mut player.place
                && *number == of
            {
                (*seated, player.login) = (true, login);
            }
        }
        for (user, of, end) in ended {
            let Some(player) = self.players.get_mut(&user) else { continue };
            if !matches!(&player.place, Place::At { number, .. } if *number == of) {
                continue;
            }
            match end {
                End::LinkRequest { request, seat, unsent } => {
                    player.place = Place::Away;
                    player.next_ms = now_ms + self.rng.range(1, 200);
                    (player.request, player.seat, player.unsent) = (*request, seat, unsent);
                }
                End::Over(why) => {
                    lock(&self.model).tell(format!("player {user}: {why}"));
                    lock(&self.model).abandon(user);
                    player.come_anew(now_ms + self.rng.range(50, 1_500));
                }
            }
        }
    }

    fn sit(&mut self, user: u64, process: Process, now_ms: u64, hosts: &BTreeMap<Process, Host>) {
        let Some(up) = hosts.get(&process).and_then(Host::up) else { return };
        let (Some(player), Some(host)) = (self.players.get_mut(&user), hosts.get(&process)) else { return };
        self.number += 1;
        let (orders, receiver) = mpsc::unbounded_channel();
        let session = Session {
            user,
            number: self.number,
            id: player.session,
            at: process,
            request: std::mem::take(&mut player.request),
            seat: player.seat.take(),
            orders: receiver,
            unsent: std::mem::take(&mut player.unsent),
            link: up.link,
            registry: up.registry,
            journal: up.journal,
            model: Arc::clone(&self.model),
            ends: Arc::clone(&self.ends),
        };
        host.spawn(session.run());
        player.place = Place::At { process, number: self.number, orders, seated: false };
        player.missing_since = None;
        player.next_ms = now_ms + self.rng.range(20, 300);
    }
}

impl Player {
    /// The same session, elsewhere: its host is gone.
    fn come_again(&mut self, at_ms: u64) {
        self.place = Place::Away;
        self.next_ms = at_ms;
        self.seat = None;
        self.unsent.clear();
        self.request = SeatRequest { login: self.login, again: self.login != 0, ..SeatRequest::default() };
    }

    /// Another session.
    fn come_anew(&mut self, at_ms: u64) {
        self.login = 0;
        self.session = SessionId::next();
        self.come_again(at_ms);
    }
}

impl Seen {
    fn look(&mut self, etcd: &Etcd) {
        if self.changes == etcd.changes {
            return;
        }
        self.changes = etcd.changes;
        let process = |value| process_at(&NodeInfo::read(value).ok()?.grpc);
        let nodes = etcd.values(NODES).filter_map(|(node, value)| Some((node.to_owned(), process(value)?)));
        self.processes = nodes.collect();
        let claims =
            etcd.values(CLAIMS).filter_map(|(home, value)| Some((home.parse().ok()?, Owner::read(value)?)));
        self.owners = claims.collect();
    }

    /// The process that has a player's room.
    fn find(&self, player: &Player, hosts: &BTreeMap<Process, Host>) -> Option<Process> {
        let owner = self.owners.get(&player.home)?;
        let process = *self.processes.get(&owner.node)?;
        if owner.process != process.to_string() {
            return None;
        }
        hosts.get(&process).is_some_and(|host| host.up().is_some()).then_some(process)
    }
}
