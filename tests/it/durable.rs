//! Rooms outlive the process: a restart, a kill, and what damage does.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hotseat::config::Durable;
use hotseat_client::{Client, Login};
use hotseat_packet::Reader;

use crate::arena::{enter, notify};
use crate::guests::guests;
use crate::process::Process;
use crate::world::{PATIENCE, World, ask};

const COUNT: u16 = 2001;
const COUNTED: u16 = 2002;
const COUNTED_AGAIN: u16 = 2003;

/// What an acknowledged message may be younger than, if a kill is to lose it: the writer gathers for a millisecond and
/// a crowded machine may keep it waiting.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// Sends one message to the ledger; how many it has counted of this player, ever. None if the node is gone.
async fn count(client: &mut Client, seq: u32) -> Option<u32> {
    client.send(COUNT, &seq.to_be_bytes()).await.ok()?;
    let payload = client.expect(COUNTED).await.ok()?;
    client.expect(COUNTED_AGAIN).await.ok()?;
    let mut reader = Reader::new(&payload);
    assert_eq!(reader.u32().unwrap(), seq);
    Some(reader.u32().unwrap())
}

async fn login(addr: &str) -> Client {
    let mut client = Client::connect(addr).await.unwrap().with_timeout(PATIENCE);
    client.login(&Login::device("alice")).await.unwrap();
    client
}

/// Something below `bound` that nobody has chosen.
fn random(bound: u32) -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.subsec_micros() % bound
}

fn on(data: &Path) -> Process {
    Process::start(&guests().ledger, &["--data-dir", data.to_str().unwrap()])
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data.join("journal")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_has_its_rooms_as_they_were() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    for seq in 1..=5 {
        assert_eq!(count(&mut alice, seq).await, Some(seq));
    }
    let world = world.restart().await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, Some(6));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_room_is_saved_and_nothing_of_it_has_to_be_done_again() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    for seq in 1..=5 {
        assert_eq!(count(&mut alice, seq).await, Some(seq));
    }
    // Whoever sits there keeps it ticking.
    drop(alice);
    world.counted("hotseat_idle_snapshots_total", 1).await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 6).await, Some(6));
    let world = world.restart().await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, Some(7));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_durability_rooms_begin_anew() {
    let world = World::with(&guests().ledger, |config| config.durability = Durable::None).await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, Some(1));
    let world = world.restart().await;
    let mut alice = world.client("alice").await;
    assert_eq!(count(&mut alice, 1).await, Some(1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_loses_no_more_than_the_last_moment() {
    let data = tempfile::tempdir().unwrap();
    let kills: u32 = std::env::var("HOTSEAT_TEST_KILLS").map_or(8, |kills| kills.parse().unwrap());
    // What the room may have counted when it comes back: what was acknowledged in good time, at most all that was sent.
    let (mut least, mut most) = (0, 0);
    for life in 0..kills {
        let mut process = on(data.path());
        let mut alice = login(process.clients()).await;
        let safe_until = Instant::now() + Duration::from_millis(u64::from(random(200)));
        let mut counted = None;
        for seq in 1.. {
            if Instant::now() >= safe_until + LAST_MOMENT {
                process.signal("KILL");
            }
            let Some(now) = count(&mut alice, seq).await else { break };
            match counted {
                None => {
                    assert!((least + 1..=most + 1).contains(&now), "life {life}: {now}, not {least}..={most}")
                }
                Some(before) => assert_eq!(now, before + 1, "life {life}"),
            }
            counted = Some(now);
            if Instant::now() < safe_until {
                least = now;
            }
            // The next one may be counted and its answer lost.
            most = now + 1;
        }
        assert!(!process.ended().success());
    }
    assert!(least > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_arena_of_a_killed_node_goes_on_without_its_players() {
    let data = tempfile::tempdir().unwrap();
    let args = ["--data-dir", data.path().to_str().unwrap()];
    let mut process = Process::start(&guests().v1, &args);
    let mut alice = login(process.clients()).await;
    let before = enter(&mut alice, "x").await;
    // Ticks go on while somebody is there, and are journalled.
    let tick = notify(&mut alice).await.tick;
    let seen = Instant::now();
    while seen.elapsed() < LAST_MOMENT {
        assert!(notify(&mut alice).await.tick > before.tick);
    }
    process.signal("KILL");
    assert!(!process.ended().success());

    let process = Process::start(&guests().v1, &args);
    let mut bob = Client::connect(process.clients()).await.unwrap().with_timeout(PATIENCE);
    let user = bob.login(&Login::device("bob")).await.unwrap();
    let after = enter(&mut bob, "x").await;
    assert!(after.tick >= tick, "tick {} after {tick}", after.tick);
    let seen = notify(&mut bob).await;
    let users: Vec<u64> = seen.players.iter().map(|seen| seen.user).collect();
    assert_eq!(users, [user]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_end_costs_the_last_record_and_damage_stops_the_node_with_a_name() {
    let data = tempfile::tempdir().unwrap();
    {
        let mut process = on(data.path());
        let mut alice = login(process.clients()).await;
        assert_eq!(count(&mut alice, 1).await, Some(1));
        process.signal("TERM");
        assert!(process.ended().success());
    }
    let segment = segments(data.path()).pop().unwrap();
    let whole = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, [&whole[..], &[9, 0, 0]].concat()).unwrap();
    {
        let mut process = on(data.path());
        let mut alice = login(process.clients()).await;
        assert_eq!(count(&mut alice, 2).await, Some(2));
        assert!(process.lines().iter().any(|line| line.contains("cut short")), "{:?}", process.lines());
        process.signal("TERM");
        assert!(process.ended().success());
    }
    let segment = segments(data.path()).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let plugin = data.path().join("first.wasm");
    std::fs::write(&plugin, &guests().ledger.bytes).unwrap();
    let told = crate::process::run(&[
        "run",
        "--listen=127.0.0.1:0",
        "--grpc-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        &format!("--data-dir={}", data.path().display()),
        &format!("--plugin=game-logic={}", plugin.display()),
    ]);
    let name = segment.file_name().unwrap().to_str().unwrap();
    told.failed(1, &[name, "damaged at byte 44", "checksum"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_on_the_same_data_is_refused() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    ask(&mut alice, COUNT, &1u32.to_be_bytes(), COUNTED).await;
    let told = crate::process::run(&[
        "run",
        "--listen=127.0.0.1:0",
        "--grpc-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        &format!("--data-dir={}", world.data_dir().display()),
    ]);
    told.failed(1, &["another node"]);
    world.stop().await;
}
