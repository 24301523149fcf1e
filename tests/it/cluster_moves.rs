//! Players that change hosts: by the game, by an operator, with their rooms; and what finds them wherever they are.

use std::collections::BTreeMap;
use std::time::Duration;

use game_logic::messages::{ENTER_ACK, EnterAck, PING_ACK, PING_REQ, Ping};
use hotseat::proto::cluster::players_client::PlayersClient;
use hotseat::proto::cluster::{PushReply, PushRequest};
use hotseat_client::{Client, Frame};
use hotseat_packet::{Message as _, Reader, Writer};
use ledger::{CLOSED, COUNT, COUNTED, MOVE, SAVE, SAVED, SHOW, SHOWN};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arena::{enter, notify};
use crate::cluster::{Cluster, HOMES, home_of};
use crate::guests::guests;
use crate::process::{channel, operate};

/// An opcode of no game.
pub(crate) const PUSHED: u16 = 2999;

/// The name of a room, as a message that asks for it.
fn target(room: &str) -> Vec<u8> {
    let mut target = Writer::new();
    target.string(room).unwrap();
    target.into_bytes()
}

/// Goes through rooms on both hosts, back and forth, and says things all the time; every answer is known beforehand,
/// for the rooms keep count.
async fn wander(mut client: Client, home: String, den: String) {
    let mut counts = BTreeMap::<&str, u32>::new();
    let (mut seq, mut expected) = (0_u32, Vec::new());
    let mut here = &home;
    let (mut sender, mut receiver) = {
        client.flush().await.unwrap();
        client.split()
    };
    let mut script = Vec::new();
    for turn in 0..40 {
        for _ in 0..turn % 7 {
            seq += 1;
            let count = counts.entry(here).or_default();
            *count += 1;
            script.push((COUNT, seq.to_be_bytes().to_vec()));
            let mut counted = Writer::new();
            counted.u32(seq).u32(*count).u8(1);
            expected.push((COUNTED, counted.into_bytes()));
            expected.push((CLOSED, seq.to_be_bytes().to_vec()));
        }
        *counts.entry(here).or_default() += 1;
        here = if here == &home { &den } else { &home };
        script.push((MOVE, target(here)));
    }
    // In writes of all sizes, and none waits for an answer.
    let say = async move {
        for (at, (opcode, payload)) in script.iter().enumerate() {
            sender.queue(*opcode, payload).unwrap();
            if at % 5 == 0 {
                sender.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        sender.flush().await.unwrap();
        sender
    };
    let hear = async move {
        for (at, expected) in expected.into_iter().enumerate() {
            let on = format!("frame {at} on the way between {home} and {den}");
            let Frame { opcode, payload, .. } =
                receiver.recv().await.unwrap_or_else(|no| panic!("{on}: {no}"));
            assert_eq!((opcode, payload), expected, "{on}");
        }
    };
    // The connection ends with its sender.
    let (_sender, ()) = tokio::join!(say, hear);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_game_sends_its_players_to_another_host_and_back() {
    let cluster = Cluster::of(&guests().ledger).await.with_two_hosts(&["agent-1"]).await;
    // Whoever goes to a room that is not there comes home: somebody opens them.
    let mut guides = Vec::new();
    for host in ["game-1", "game-2"] {
        let (mut guide, _) = cluster.player_of("agent-1", host, "guide").await;
        guide.send(MOVE, &target("den")).await.unwrap();
        guide.send(SHOW, &[]).await.unwrap();
        assert_eq!(guide.expect(SHOWN).await.unwrap(), [0; 8]);
        guides.push(guide);
    }
    let mut wanderers = Vec::new();
    for number in 0..6 {
        let (host, other) = if number % 2 == 0 { ("game-1", "game-2") } else { ("game-2", "game-1") };
        let device = format!("wanderer-{number}");
        let (client, user) = cluster.player_of("agent-1", host, &device).await;
        let home = format!("home/{}", hotseat::game::Homes::clustered(HOMES).of(user));
        wanderers.push(tokio::spawn(wander(client, home, format!("den@{other}"))));
    }
    for wanderer in wanderers {
        wanderer.await.unwrap();
    }
}

/// What a game's room and a player's document say: ledger's counts.
pub(crate) async fn show(client: &mut Client) -> (u32, u32) {
    client.send(SHOW, &[]).await.unwrap();
    let payload = client.wait_for(SHOWN).await.unwrap();
    let mut reader = Reader::new(&payload);
    (reader.u32().unwrap(), reader.u32().unwrap())
}

pub(crate) async fn save(client: &mut Client) -> u32 {
    client.send(SAVE, &[]).await.unwrap();
    Reader::new(&client.wait_for(SAVED).await.unwrap()).u32().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_go_where_the_home_room_goes() {
    let mut cluster = Cluster::of(&guests().ledger).await.with_two_hosts(&["agent-1"]).await;
    let (mut alice, user) = cluster.player_of("agent-1", "game-1", "alice").await;
    let device =
        (0..).map(|number| format!("alice-{number}")).find(|device| crate::cluster::user_of(device) == user);
    let device = device.unwrap();
    let (mut gone, other) = cluster.player_of("agent-1", "game-1", "gone").await;
    assert_ne!(user, other);
    for count in 1..=3 {
        assert_eq!(save(&mut alice).await, count);
    }
    assert_eq!(save(&mut gone).await, 1);
    drop(gone);

    cluster.drain("game-1");
    cluster.settled(&["game-2"]).await;
    assert_eq!(show(&mut alice).await, (3, 3));
    assert_eq!(save(&mut alice).await, 4);
    // Leaving counts, and is saved.
    let mut alice = cluster.login("agent-1", &device).await;
    assert_eq!(show(&mut alice).await, (5, 5));
    let back =
        (0..).map(|number| format!("gone-{number}")).find(|device| crate::cluster::user_of(device) == other);
    let mut back = cluster.login("agent-1", &back.unwrap()).await;
    assert_eq!(show(&mut back).await, (2, 2));

    // One that dies.
    cluster.add("game-3", "game");
    cluster.settled(&["game-2", "game-3"]).await;
    let (host, heir) = match cluster.host_of(user).await.as_str() {
        "game-2" => ("game-2", "game-3"),
        _ => ("game-3", "game-2"),
    };
    // A room writes behind: what is half a second old is on the disk.
    let mut sure = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1000) {
        let count = save(&mut alice).await;
        if begun.elapsed() < Duration::from_millis(500) {
            sure = count;
        }
    }
    cluster.kill(host);
    cluster.settled(&[heir]).await;
    let (count, saved) = show(&mut alice).await;
    assert_eq!(count, saved);
    assert!(count >= sure, "{count} after {sure}");
    let mut alice = cluster.login("agent-1", &device).await;
    assert_eq!(show(&mut alice).await, (count + 1, count + 1));
}

/// Pings all the time, until told to end; every ping is answered once and in order. What else came.
pub(crate) async fn ping_on(client: Client, end: CancellationToken) -> (Client, Vec<Frame>) {
    let mut client = client;
    let (mut id, mut others) = (0, Vec::new());
    while !end.is_cancelled() {
        // Eight on the way at a time.
        let ids: Vec<_> = (id..id + 8).map(|id| Ping { id }.to_bytes().unwrap()).collect();
        ids.iter().for_each(|ping| client.queue(PING_REQ, ping).unwrap());
        client.flush().await.unwrap();
        for ping in &ids {
            let frame = loop {
                match client.recv().await.unwrap() {
                    frame if frame.opcode == PING_ACK => break frame,
                    other => others.push(other),
                }
            };
            assert_eq!(frame.payload, *ping);
        }
        id += 8;
    }
    (client, others)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_pushes_find_players_at_every_host() {
    let mut cluster = Cluster::two_hosts(&["agent-1", "agent-2"]).await;
    let (alice, user) = cluster.player_of("agent-1", "game-1", "alice").await;
    let (mut bob, other) = cluster.player_of("agent-2", "game-2", "bob").await;
    assert_eq!(enter(&mut bob, "x").await.arena, "x");
    let home = format!("home/{}", hotseat::game::Homes::clustered(HOMES).of(user));
    let nodes = ["game-1", "game-2", "agent-1", "agent-2"];
    let doors: Vec<_> = nodes.iter().map(|node| cluster.node(node).admin().to_owned()).collect();
    let services: Vec<_> = nodes.iter().map(|node| cluster.node(node).grpc().to_owned()).collect();

    let end = CancellationToken::new();
    let pinging = [alice, bob].map(|client| tokio::spawn(ping_on(client, end.clone())));
    let mut pushed = Vec::new();
    for door in &doors {
        for (from, to) in [(&*home, "arena/x@game-2"), ("arena/x", "home")] {
            let alice = user.to_string();
            let told = operate(door, &["session", "move", "--user", &alice, "--to", to, "--json"]).await;
            let reply: serde_json::Value = serde_json::from_str(&told).unwrap();
            let to = if to == "home" { &*home } else { to };
            assert_eq!((&reply["from"], &reply["to"]), (&from.into(), &to.into()), "{reply}");
            for service in &services {
                let mut players = PlayersClient::new(channel(service));
                for user in [user, other] {
                    let payload = pushed.len().to_be_bytes().to_vec();
                    let push = PushRequest { user, opcode: PUSHED.into(), payload: payload.clone().into() };
                    let reply = players.push(push).await.unwrap().into_inner();
                    assert_eq!(reply, PushReply { connected: true }, "{user} by {service}");
                    pushed.push((user, payload));
                }
            }
        }
    }
    end.cancel();
    let mut entered = Vec::new();
    for (pinging, wanted) in pinging.into_iter().zip([user, other]) {
        let (mut client, frames) = pinging.await.unwrap();
        let acks = frames.iter().filter(|frame| frame.opcode == ENTER_ACK);
        entered.push(acks.map(|ack| EnterAck::from_bytes(&ack.payload).unwrap().arena).collect::<Vec<_>>());
        let pushes = frames.into_iter().filter(|frame| frame.opcode == PUSHED);
        let mut heard: Vec<_> = pushes.map(|frame| frame.payload).collect();
        let ours = pushed.iter().filter(|(user, _)| *user == wanted);
        let ours: Vec<_> = ours.map(|(_, payload)| payload.clone()).collect();
        while heard.len() < ours.len() {
            heard.push(client.wait_for(PUSHED).await.unwrap());
        }
        assert_eq!(heard, ours);
    }
    // Alice was told of the arena each time that she came to one.
    assert_eq!(entered, [vec!["x".to_owned(); doors.len()], Vec::new()]);
}

/// Sees that what the arena tells from now on is all of it, tick after tick, and of both players.
async fn watch_both(client: &mut Client, users: [u64; 2]) {
    let mut last = None;
    for _ in 0..10 {
        let seen = notify(client).await;
        assert!(last.is_none_or(|last| seen.tick == last + 1), "tick {} after {last:?}", seen.tick);
        last = Some(seen.tick);
        for user in users {
            assert!(seen.players.iter().any(|seen| seen.user == user), "{user} is not in {seen:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_whose_players_are_at_two_agents_tells_all_of_them() {
    let mut cluster = Cluster::start().await;
    cluster.add("game-1", "game");
    cluster.add("agent-1", "agent");
    cluster.add("agent-2", "agent");
    cluster.settled(&["game-1"]).await;
    // Who lives together.
    let device = "neighbour-0";
    let mut others = (1..).map(|number| format!("neighbour-{number}"));
    let other = others.find(|other| home_of(other) == home_of(device)).unwrap();
    let (mut alice, user) = cluster.player("agent-1", device).await;
    let (mut bob, friend) = cluster.player("agent-2", &other).await;
    let arena = enter(&mut alice, "").await.arena;
    assert_eq!(enter(&mut bob, "").await.arena, arena);
    // From the first tick that both are in.
    while notify(&mut alice).await.players.len() < 2 {}
    tokio::join!(watch_both(&mut alice, [user, friend]), watch_both(&mut bob, [user, friend]));
    // And when one of the agents is gone, the other one's players are told of who is left.
    cluster.kill("agent-2");
    while notify(&mut alice).await.players.len() > 1 {}
}
