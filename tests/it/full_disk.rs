//! A disk that takes nothing for a while: the node says so, plays on, and loses nothing once there is space again.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hotseat::game::Profiles;
use hotseat_client::{Client, Login};
use hotseat_packet::Reader;
use ledger::{SAVE, SAVED, SHOW, SHOWN};

use crate::guests::guests;
use crate::process::{Process, run};
use crate::world::{PATIENCE, eventually, http_get, take_compiled};

const PLAYERS: usize = 20;

/// A node whose files may be kept from growing, which is what a full disk is to whoever writes.
fn start(data: &Path, args: &[&str]) -> Process {
    let mut process = launch(data, args);
    process.listens(3);
    process
}

fn launch(data: &Path, args: &[&str]) -> Process {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("first.wasm");
    std::fs::write(&file, &guests().ledger.bytes).unwrap();
    take_compiled(data);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_hotseat"), "run"]);
    command.arg(format!("--plugin=game-logic={}", file.display()));
    // Nor does it get a setting of whoever runs the tests.
    let ours = |name: &str| name.starts_with("HOTSEAT_") && name != "HOTSEAT_WASM_TOOLCHAIN";
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        command.env_remove(name);
    }
    command.args(["--data-dir", data.to_str().unwrap()]).args(args);
    Process::launched(&mut command, dir)
}

/// Files of the process may have so many bytes from now on, or `unlimited`.
fn limit_files(process: &Process, bytes: &str) {
    let pid = process.id().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
    assert!(limited.unwrap().success());
}

async fn login(process: &Process, name: &str) -> Client {
    let mut client = Client::connect(process.clients()).await.unwrap().with_timeout(PATIENCE);
    client.login(&Login::device(name)).await.unwrap();
    client
}

/// Has the player's document put; what it says then.
async fn save(client: &mut Client) -> u32 {
    client.send(SAVE, &[]).await.unwrap();
    Reader::new(&client.expect(SAVED).await.unwrap()).u32().unwrap()
}

/// What the player's document says.
async fn saved(client: &mut Client) -> u32 {
    client.send(SHOW, &[]).await.unwrap();
    let payload = client.wait_for(SHOWN).await.unwrap();
    let mut reader = Reader::new(&payload);
    reader.u32().unwrap();
    reader.u32().unwrap()
}

async fn readiness(process: &Process) -> (u16, String) {
    let (head, body) = http_get(process.admin(), "/readyz").await;
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

/// Waits until `/readyz` answers so; with what.
async fn ready(process: &Process, status: u16, word: &str) -> String {
    let started = Instant::now();
    loop {
        let (found, body) = readiness(process).await;
        if found == status && body.contains(word) {
            return body;
        }
        assert!(started.elapsed() < 3 * PATIENCE, "{found} {body}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the documents of all players are on disk, so that the node has nothing left to write.
async fn written(data: &Path) {
    eventually("the documents on disk", async || {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(data.join("profiles.redb"), copy.path().join("profiles.redb")).ok()?;
        let found = Profiles::left_in(copy.path(), |_| true).ok()?;
        (found.len() == PLAYERS).then_some(())
    })
    .await;
}

/// With `durability = none` the profiles are put at once; else they wait for the journal.
async fn is_full_for_a_while(durability: &str, part: &str) {
    let data = tempfile::tempdir().unwrap();
    let args = ["--durability", durability];
    let mut process = start(data.path(), &args);
    let mut players = Vec::new();
    for at in 0..PLAYERS {
        let mut player = login(&process, &format!("player-{at}")).await;
        assert_eq!(save(&mut player).await, 1);
        players.push(player);
    }
    assert_eq!(readiness(&process).await, (200, "ready\n".into()));
    written(data.path()).await;
    limit_files(&process, "512");
    for player in &mut players {
        assert_eq!(save(player).await, 2);
    }
    let told = ready(&process, 503, part).await;
    assert!(told.contains("not ready") && told.contains(data.path().to_str().unwrap()), "{told}");
    // It is tried many times, and said once.
    ready(&process, 503, "5 tries").await;
    let lines = process.lines();
    let said: Vec<_> = lines.iter().filter(|line| line.contains("trying again")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    let (_, metrics) = http_get(process.admin(), "/metrics").await;
    assert!(metrics.contains(&format!("hotseat_disk_failing{{part=\"{part}\"}} 1")), "{metrics}");
    for player in &mut players {
        assert_eq!(save(player).await, 3);
    }
    limit_files(&process, "unlimited");
    ready(&process, 200, "ready").await;
    // Leaving would be saved too.
    process.signal("TERM");
    assert!(process.ended().success());
    let half: Vec<_> = std::fs::read_dir(data.path().join("journal")).unwrap().flatten().collect();
    assert!(half.iter().all(|file| file.path().extension().is_none_or(|it| it != "partial")), "{half:?}");
    let process = start(data.path(), &args);
    for at in 0..PLAYERS {
        let mut player = login(&process, &format!("player-{at}")).await;
        let found = saved(&mut player).await;
        assert!(found >= 3, "player-{at}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_on_a_disk_that_is_full_for_a_while_loses_nothing() {
    is_full_for_a_while("journal", "journal").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_on_a_disk_that_is_full_for_a_while_are_all_there() {
    is_full_for_a_while("none", "profiles").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_shown_and_mended_by_command() {
    let data = tempfile::tempdir().unwrap();
    let mut process = start(data.path(), &[]);
    let mut player = login(&process, "alice").await;
    for count in 1..=30 {
        assert_eq!(save(&mut player).await, count);
    }
    let dir = data.path().to_str().unwrap();
    // While the node runs it is looked at, and not mended.
    let told = run(&["journal", "check", dir]).fine();
    assert!(told.contains("is in use") && told.contains("room home/0: base of"), "{told}");
    run(&["journal", "repair", dir, "--yes"]).failed(1, &["is in use", "stop the node first"]);
    process.signal("KILL");
    assert!(!process.ended().success());
    let told = run(&["journal", "check", dir]).fine();
    assert!(told.contains("no damage"), "{told}");
    // Bit 30 of the length of a record in the middle.
    let segment = data.path().join("journal/0000000000000001.seg");
    let whole = std::fs::read(&segment).unwrap();
    let mut at = 44;
    while at < whole.len() / 2 {
        at += 8 + usize::try_from(u32::from_le_bytes(whole[at..at + 4].try_into().unwrap())).unwrap();
    }
    let mut bytes = whole.clone();
    bytes[at + 3] ^= 64;
    std::fs::write(&segment, &bytes).unwrap();
    let place = format!("at byte {at}");
    let mut refused = launch(data.path(), &[]);
    assert!(!refused.ended().success());
    let said = refused.lines().join("\n");
    assert!(said.contains(&place) && said.contains("hotseat journal repair"), "{said}");
    let told = run(&["journal", "check", dir]);
    assert!(told.code == Some(1) && told.out.contains(&place), "{told:?}");
    assert!(told.out.contains("cannot be trusted"), "{told:?}");
    // It asks, and nobody answers.
    run(&["journal", "repair", dir]).failed(1, &["nothing has been changed"]);
    assert_eq!(std::fs::read(&segment).unwrap(), bytes);
    let told = run(&["journal", "repair", dir, "--yes"]).fine();
    assert!(told.contains("mended"), "{told}");
    let kept = data.path().join("journal/aside");
    let kept = std::fs::read_dir(kept).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read(kept.join("0000000000000001.seg")).unwrap(), bytes);
    assert!(run(&["journal", "check", dir]).fine().contains("no damage"));
    let process = start(data.path(), &[]);
    // The documents had all been put; the room is as it was in the middle.
    assert!(saved(&mut login(&process, "alice").await).await >= 1);
}
