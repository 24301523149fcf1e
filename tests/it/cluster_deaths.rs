//! Hosts that die twice, freeze, leave and start, alone and together: what their rooms had is there afterwards.

use std::time::Duration;

use hotseat_client::Client;

use crate::cluster::Cluster;
use crate::cluster_moves::{save, show};
use crate::guests::guests;

/// Players of such a cluster; about half of them are at home at each host.
const PLAYERS: usize = 24;

/// A room writes behind: what is so old is on the disk.
const ON_DISK: Duration = Duration::from_millis(500);

/// Players, each alone in its room but for chance, and how often each has saved.
struct Players {
    clients: Vec<Client>,
    saved: u32,
}

impl Players {
    /// Players whose home rooms are all different.
    async fn of(cluster: &Cluster) -> Self {
        let mut homes = std::collections::BTreeSet::new();
        let mut clients = Vec::new();
        for number in 0.. {
            let device = format!("saver-{number}");
            if homes.insert(crate::cluster::home_of(&device)) {
                clients.push(cluster.login("agent-1", &device).await);
            }
            if clients.len() == PLAYERS {
                break;
            }
        }
        Self { clients, saved: 0 }
    }

    /// Each of them counts on in its room and puts its document, and all of it gets to the disk.
    async fn save(&mut self, times: u32) {
        for _ in 0..times {
            self.saved += 1;
            for (at, client) in self.clients.iter_mut().enumerate() {
                assert_eq!(save(client).await, self.saved, "player {at}");
            }
        }
        tokio::time::sleep(ON_DISK).await;
    }

    /// No room and no document has lost anything.
    async fn check(&mut self, when: &str) {
        let mut lost = Vec::new();
        for (at, client) in self.clients.iter_mut().enumerate() {
            let seen = show(client).await;
            if seen != (self.saved, self.saved) {
                lost.push((at, seen));
            }
        }
        assert!(lost.is_empty(), "{when}: after {} saves, by player: {lost:?}", self.saved);
    }
}

/// Two hosts, an agent, and players who have saved.
async fn players() -> (Cluster, Players) {
    let cluster = Cluster::of(&guests().ledger).await.with_two_hosts(&["agent-1"]).await;
    let mut players = Players::of(&cluster).await;
    players.save(5).await;
    (cluster, players)
}

const HOSTS: [&str; 2] = ["game-1", "game-2"];

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_twice_loses_nothing_the_second_time() {
    let (mut cluster, mut players) = players().await;
    for death in 1..=2 {
        cluster.kill("game-1");
        cluster.settled(&["game-2"]).await;
        players.check(&format!("death {death}")).await;
        players.save(2).await;
        if death == 1 {
            cluster.add("game-1", "game");
            cluster.settled(&HOSTS).await;
            players.check("the host is back").await;
            players.save(3).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_frozen_and_dies_loses_nothing_that_it_had_again() {
    let (mut cluster, mut players) = players().await;
    cluster.node("game-1").signal("STOP");
    cluster.settled(&["game-2"]).await;
    players.check("frozen").await;
    players.save(2).await;
    cluster.node("game-1").signal("CONT");
    cluster.settled(&HOSTS).await;
    players.check("awake").await;
    players.save(3).await;
    cluster.kill("game-1");
    cluster.settled(&["game-2"]).await;
    players.check("dead").await;
    cluster.add("game-1", "game");
    cluster.settled(&HOSTS).await;
    players.check("back").await;
    // And the documents move on.
    players.save(1).await;
    players.check("back, and saved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_end_and_start_together_find_every_room() {
    let (mut cluster, mut players) = players().await;
    for way in ["KILL", "TERM", "TERM", "site", "KILL"] {
        let signal = if way == "site" { "KILL" } else { way };
        cluster.end_all(&HOSTS, signal);
        if way == "site" {
            cluster.etcd.restart_empty().await;
        }
        for host in HOSTS {
            cluster.launch(host, "game", &[]);
        }
        cluster.settled(&HOSTS).await;
        players.check(way).await;
        players.save(1).await;
    }
}
