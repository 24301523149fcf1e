//! Profiles: a player's document is one with the effects of the call that put it, wherever the player goes and however
//! the node ends.

use std::path::Path;
use std::time::Duration;

use hotseat_client::{Client, Login};
use hotseat_packet::{Reader, Writer, code};
use ledger::{MOVE, SAVE, SAVE_TRAP, SAVED, SHOW, SHOWN};

use crate::guests::guests;
use crate::process::Process;
use crate::world::{PATIENCE, World, refusal};

const CONFLICTS: &str = "hotseat_profile_conflicts_total";

/// What the room has counted of this player, and what the profile says.
async fn show(client: &mut Client) -> (u32, u32) {
    client.send(SHOW, &[]).await.unwrap();
    let payload = client.wait_for(SHOWN).await.unwrap();
    let mut reader = Reader::new(&payload);
    (reader.u32().unwrap(), reader.u32().unwrap())
}

async fn save(client: &mut Client) -> u32 {
    client.send(SAVE, &[]).await.unwrap();
    Reader::new(&client.expect(SAVED).await.unwrap()).u32().unwrap()
}

/// Goes to another room; what is sent next arrives there.
async fn go(client: &mut Client, room: &str) {
    let mut target = Writer::new();
    target.string(room).unwrap();
    client.send(MOVE, target.as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_follows_its_player_from_room_to_room() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    assert_eq!(show(&mut alice).await, (0, 0));
    assert_eq!(save(&mut alice).await, 1);
    assert_eq!(save(&mut alice).await, 2);
    for turn in 0..10 {
        // Going counts twice: asking for it, and leaving, which is saved.
        let (home, _) = show(&mut alice).await;
        go(&mut alice, "den").await;
        let (den, saved) = show(&mut alice).await;
        assert_eq!((den, saved), (turn * 3, home + 2));
        assert_eq!(save(&mut alice).await, den + 1);
        go(&mut alice, "home/0").await;
        assert_eq!(show(&mut alice).await, (home + 2, den + 3));
    }
    assert_eq!(world.metric(CONFLICTS).await, 0);
    let world = world.restart().await;
    let mut alice = world.client("alice").await;
    let (_, saved) = show(&mut alice).await;
    assert_eq!(saved, 23);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_after_the_put_leaves_the_old_document() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    assert_eq!(save(&mut alice).await, 1);
    for _ in 0..2 {
        alice.send(SAVE_TRAP, &[]).await.unwrap();
        assert_eq!(refusal(&mut alice).await.0, code::MESSAGE_FAILED);
        assert_eq!(show(&mut alice).await, (1, 1));
    }
    assert_eq!(save(&mut alice).await, 2);
    assert_eq!(world.metric(CONFLICTS).await, 0);
    let world = world.restart().await;
    let mut alice = world.client("alice").await;
    // Leaving counts.
    assert_eq!(show(&mut alice).await, (3, 3));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_login_comes_with_what_the_first_one_put_last() {
    let world = World::start(&guests().ledger).await;
    let mut older = world.client("alice").await;
    let mut count = save(&mut older).await;
    for _ in 0..20 {
        // The room saves once more when the older one leaves.
        let mut newer = world.client("alice").await;
        assert_eq!(show(&mut newer).await, (count + 1, count + 1));
        count = save(&mut newer).await;
        older = newer;
    }
    for turn in 1..20 {
        go(&mut older, "den").await;
        let (home, den) = (count + 2, show(&mut older).await.0);
        assert_eq!(save(&mut older).await, turn * 2 - 1);
        // From another room, too.
        let mut newer = world.client("alice").await;
        assert_eq!(show(&mut newer).await, (home, den + 2));
        count = home;
        older = newer;
    }
    assert_eq!(world.metric(CONFLICTS).await, 0);
    world.stop().await;
}

async fn login(process: &Process, device: &str) -> Client {
    let mut client = Client::connect(process.clients()).await.unwrap().with_timeout(PATIENCE);
    client.login(&Login::device(device)).await.unwrap();
    client
}

fn on(data: &Path) -> Process {
    Process::start(&guests().ledger, &["--data-dir", data.to_str().unwrap()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_profile_and_the_room_agree_whenever_the_node_was_killed() {
    let data = tempfile::tempdir().unwrap();
    let kills: u32 = std::env::var("HOTSEAT_TEST_KILLS").map_or(8, |kills| kills.parse().unwrap());
    let mut last = [0, 0];
    for life in 0..kills {
        let mut process = on(data.path());
        let mut clients = [login(&process, "alice").await, login(&process, "bob").await];
        for (client, last) in clients.iter_mut().zip(&mut last) {
            let (count, saved) = show(client).await;
            assert_eq!(count, saved, "life {life}");
            assert!(count >= *last, "life {life}: {count} after {last}");
            *last = count;
        }
        // Both say more than the node gets round to before it is killed.
        for client in &mut clients {
            (0..500).for_each(|_| client.queue(SAVE, &[]).unwrap());
            client.flush().await.unwrap();
        }
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        tokio::time::sleep(Duration::from_micros(u64::from(since.subsec_nanos() % 30_000))).await;
        process.signal("KILL");
        assert!(!process.ended().success());
    }
    let process = on(data.path());
    let mut alice = login(&process, "alice").await;
    let (count, saved) = show(&mut alice).await;
    assert_eq!(count, saved);
    assert!(count > 0);
}
