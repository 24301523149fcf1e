//! Dead letters and `hotseat replay`: what failed fails again off-line, and a fix can be proved there.

mod shell;

use std::collections::BTreeMap;
use std::path::Path;

use hotseat::journal::{Found, inspect};
use hotseat_client::Client;
use hotseat_packet::code;
use hotseat_services::rank::{Change, RankingServiceClient};
use ledger::{COUNT, TRAP};
use misbehave::{ANSWER, ECHO, PANIC, SET_MODE, STORE};

use self::shell::{Shell, letters, listing, only, says};
use crate::arena::ping;
use crate::guests::{guests, root, services, versioned};
use crate::process::Process;
use crate::swap::count;
use crate::world::{World, ask, eventually, refusal};

/// Waits until the journal in `data` holds that payload of the home room.
async fn journalled(data: &Path, payload: &[u8]) {
    eventually("journalled input", async || {
        let Ok(Found::Rooms { saved_states, .. }) = inspect(&data.join("journal")) else { return None };
        let inputs = &saved_states.get("home/0")?.inputs;
        inputs.windows(payload.len()).any(|bytes| bytes == payload).then_some(())
    })
    .await;
}

/// Sends what the guest fails on.
async fn fails(client: &mut Client, op: u16, payload: &[u8]) {
    client.send(op, payload).await.unwrap();
    let (found, text) = refusal(client).await;
    assert_eq!(found, code::MESSAGE_FAILED, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_leaves_a_letter_that_traps_again() {
    let settings: BTreeMap<_, _> = [("mode".to_owned(), "calm".to_owned())].into();
    let world = World::with(&guests().misbehave, |config| {
        config.plugin_config = [("game-logic".to_owned(), settings)].into();
    })
    .await;
    let mut alice = world.client("alice").await;
    ask(&mut alice, ECHO, b"hello", ECHO + ANSWER).await;
    fails(&mut alice, PANIC, b"the last straw").await;
    world.counted("hotseat_dead_letters_total", 1).await;
    // The room has not waited for it, and lives.
    ask(&mut alice, ECHO, b"again", ECHO + ANSWER).await;

    let letter = letters(world.data_dir()).pop().unwrap();
    let shell = Shell::new();
    let said = says(
        shell.replay(&letter, &[]).await,
        1,
        &[
            "dead letter of room home/0",
            "version  game-logic 1.0.0",
            "message user=",
            "op=3011 payload=68656c6c6f",
            "op=3111 payload=68656c6c6f",
            "op=3004 payload=746865206c617374207374726177  <- the one that failed",
            "FAULT trap: ",
            "asked to",
            "1 faults",
            "it fails again, in the same way",
        ],
    );
    // What the guest asked for before it trapped is not to be seen.
    assert!(!said.contains("op=3104"), "{said}");
    let (code, objects) = shell.json(&letter, &[]).await;
    assert_eq!(code, Some(1));
    let about = only(&objects, "letter");
    assert_eq!((&about["settings"]["mode"], &about["cause"]), (&"calm".into(), &"skipped".into()));
    assert_eq!(about["digest"], guests().misbehave.digest.to_string());
    assert_eq!(only(&objects, "verdict")["outcome"], "same-fault");
    let last = objects.iter().rfind(|object| object["kind"] == "step").unwrap();
    assert_eq!((&last["input"]["op"], &last["failed_then"]), (&PANIC.into(), &true.into()));
    assert_eq!((&last["ended"], &last["fault"]["kind"]), (&"fault".into(), &"trap".into()));
    // Nothing but the fault.
    let brief = says(shell.replay(&letter, &["--brief"]).await, 1, &["op=3004"]);
    assert!(!brief.contains("op=3011"), "{brief}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fix_is_proved_by_the_letter_of_the_version_that_failed() {
    let world = World::start(&guests().trapping).await;
    let mut alice = world.client("alice").await;
    ping(&mut alice, 1).await;
    fails(&mut alice, game_logic::messages::PING_REQ, &50i32.to_be_bytes()).await;
    world.counted("hotseat_dead_letters_total", 1).await;
    let letter = letters(world.data_dir()).pop().unwrap();
    let (shell, guests) = (Shell::new(), guests());
    // Its artefact is found by its digest, and has line tables.
    says(shell.replay(&letter, &[]).await, 1, &["ping 50 is divisible by 50", "src/broken.rs:"]);
    let fixed = shell.file(&guests.v2);
    says(shell.replay(&letter, &["--plugin", &fixed]).await, 0, &["it does not fail", "0 faults"]);
    let broken = shell.file(&guests.trapping);
    let (code, objects) = shell.json(&letter, &["--plugin", &broken, "--plugin", &fixed]).await;
    assert_eq!(code, Some(1));
    let difference = only(&objects, "difference");
    assert_eq!((&difference["failed_then"], &difference["first"]["ended"]), (&true.into(), &"fault".into()));
    assert_eq!(difference["second"]["effects"][0]["what"], "send");
    // Away from its node, it needs the artefact.
    let moved = shell.0.path().join("moved.dead");
    std::fs::copy(&letter, &moved).unwrap();
    shell
        .replay(&moved, &[])
        .await
        .failed(2, &["moved.dead", "no artefact of plugin game-logic", "--plugin"]);
    says(shell.replay(&moved, &["--plugin", &broken]).await, 1, &["it fails again"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_taken_back_leaves_a_letter_of_its_own() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    count(&mut alice, 1).await;
    world.deploy(&guests().ledger_v2).await.unwrap();
    count(&mut alice, 2).await;
    fails(&mut alice, TRAP, &3u32.to_be_bytes()).await;
    world.counted("hotseat_dead_letters_total", 2).await;
    let shell = Shell::new();
    let mut causes = Vec::new();
    for letter in letters(world.data_dir()) {
        let (code, objects) = shell.json(&letter, &[]).await;
        assert_eq!((code, &only(&objects, "verdict")["outcome"]), (Some(1), &"same-fault".into()));
        let about = only(&objects, "letter");
        causes.push(format!("{} {}", about["version"], about["cause"]));
    }
    assert_eq!(causes, [r#""2.0.0" "reverted""#, r#""1.0.0" "skipped""#]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_nodes_journal_tells_two_versions_apart() {
    let world = World::start(&guests().ledger).await;
    let mut alice = world.client("alice").await;
    for seq in 1..=3 {
        count(&mut alice, 0x0a0b_0c00 + seq).await;
    }
    journalled(world.data_dir(), &0x0a0b_0c03u32.to_be_bytes()).await;
    let (shell, guests) = (Shell::new(), guests());
    let first = shell.file(&guests.ledger);
    let same = shell.file(&versioned(&guests.ledger, 9));
    let other = shell.file(&guests.ledger_v2);
    let data = world.data_dir();
    says(
        shell.replay(data, &["--plugin", &first, "--plugin", &same]).await,
        0,
        &["game-logic 1.0.0", "game-logic 9.0.0", "they do the same; their final states are equal"],
    );
    let said = says(
        shell.replay(data, &["--plugin", &first, "--plugin", &other]).await,
        1,
        &["they differ on 3 inputs", "cannot be compared: schema 1 and schema 2", "payload=0a0b0c01"],
    );
    assert!(!said.contains("tick dt_ms") && !said.contains("join"), "only what differs: {said}");
    // Without a name it is the live one.
    says(shell.replay(&data.join("journal"), &["--room", "home/0"]).await, 0, &["op=2001", "send user="]);
    shell.replay(data, &["--room", "home/9"]).await.failed(2, &["no room \"home/9\"", "\"home/0\""]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_of_a_stopped_node_replays_to_the_state_it_had() {
    let data = tempfile::tempdir().unwrap();
    let args = ["--data-dir", data.path().to_str().unwrap()];
    let mut process = Process::start(&guests().ledger, &args);
    let mut alice = Client::connect(process.clients()).await.unwrap();
    alice.login(&hotseat_client::Login::device("alice")).await.unwrap();
    for seq in 1..=5 {
        count(&mut alice, 0x0a0b_0c00 + seq).await;
    }
    // The log names the letter and says nothing of what the player sent.
    alice.send(TRAP, b"\0\0\0\x07tell nobody").await.unwrap();
    process.wait("letter", |process| {
        process.events().iter().any(|event| {
            event["fields"]["message"] == "dead letter written" || event["message"] == "dead letter written"
        })
    });
    let log = process.lines().join("\n");
    assert!(log.contains(".dead") && !log.contains("tell nobody"), "{log}");
    journalled(data.path(), &0x0a0b_0c05u32.to_be_bytes()).await;
    process.signal("KILL");
    assert!(!process.ended().success());

    let before = listing(data.path());
    let shell = Shell::new();
    let (code, objects) = shell.json(data.path(), &["--room", "home/0"]).await;
    assert_eq!(code, Some(0), "{objects:?}");
    let state = only(&objects, "summary")["state"].clone();
    let counts = objects.iter().filter(|object| object["input"]["op"] == COUNT).count();
    assert_eq!(counts, 5, "{objects:?}");
    assert_eq!(listing(data.path()), before, "nothing is changed");

    // Started anew on the same data, its node writes the state that it comes to.
    let mut process = Process::start(&guests().ledger, &args);
    process.signal("TERM");
    assert!(process.ended().success());
    let (code, objects) = shell.json(data.path(), &["--room", "home/0"]).await;
    let summary = only(&objects, "summary");
    assert_eq!((code, &summary["inputs"], &summary["state"]), (Some(0), &0.into(), &state));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_set_aside_is_replayed_where_it_loads() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    alice.send(STORE, b"kept").await.unwrap();
    ask(&mut alice, SET_MODE, b"fail-load", SET_MODE + ANSWER).await;
    let world = world.restart().await;
    let aside = world.data_dir().join("journal/aside");
    let file = std::fs::read_dir(aside).unwrap().next().unwrap().unwrap().path();
    let shell = Shell::new();
    shell
        .replay(&file, &[])
        .await
        .failed(2, &["does not take room \"home/0\"", "fail-load", "--plugin-config"]);
    let mended = shell.replay(&file, &["--plugin-config", "mode=calm"]).await;
    says(mended, 0, &["room home/0 from a state of", "0 faults"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_brings_the_settings_that_its_rooms_met() {
    let settings: BTreeMap<_, _> = [("mode".to_owned(), "fail-load".to_owned())].into();
    let world = World::with(&guests().misbehave, |config| {
        config.plugin_config = [("game-logic".to_owned(), settings)].into();
    })
    .await;
    ask(&mut world.client("alice").await, ECHO, b"hello", ECHO + ANSWER).await;
    // Its last words are a state, and this mode takes none.
    let (config, _dir) = world.stop_and_keep().await;
    let shell = Shell::new();
    shell.replay(&config.data_dir, &[]).await.failed(2, &["does not take room \"home/0\"", "fail-load"]);
    let mended = shell.replay(&config.data_dir, &["--plugin-config", "mode=calm"]).await;
    says(mended, 0, &["room home/0 from a state of"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_replayed_as_rooms_are() {
    let world = World::serving(&[&services().rank_trapping]).await;
    let mut client = RankingServiceClient::new(world.channel().await);
    let change = |score| Change { user_id: 1, score, set_id: 7 };
    client.rank_change(change(10)).await.unwrap();
    client.rank_change(change(rank::TRAP_SCORE)).await.unwrap_err();
    world.counted("hotseat_dead_letters_total", 1).await;
    let letter = letters(world.data_dir()).pop().unwrap();
    let shell = Shell::new();
    let words = ["dead letter of room rank#", "rank 3.0.0", "call method=", "RankChange", "it fails again"];
    says(shell.replay(&letter, &[]).await, 1, &words);
    let fixed = shell.file(&services().rank);
    let words = ["answer body=", "0 faults", "it does not fail: the input is handled"];
    says(shell.replay(&letter, &["--plugin", &fixed]).await, 0, &words);
    // Each room of a data directory on the plugin it is of, or those of one plugin alone.
    let _alice = world.client("alice").await;
    eventually("home room", async || {
        let Ok(Found::Rooms { saved_states, .. }) = inspect(&world.data_dir().join("journal")) else {
            return None;
        };
        saved_states.contains_key("home/0").then_some(())
    })
    .await;
    says(
        shell.replay(world.data_dir(), &[]).await,
        0,
        &["room home/0 from", "room rank#0 from", "room rank#1 from"],
    );
    let said = shell.replay(world.data_dir(), &["--plugin", &fixed]).await;
    let said = says(said, 0, &["room rank#0 from", "left out: 1 rooms of other plugins than rank"]);
    assert!(!said.contains("home/0"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_newest_letters_are_kept() {
    let world = World::with(&guests().misbehave, |config| config.dead_letters = 2).await;
    for (player, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let mut client = world.client(name).await;
        fails(&mut client, PANIC, &[0xd0 + u8::try_from(player).unwrap()]).await;
    }
    world.counted("hotseat_dead_letters_total", 4).await;
    let kept = letters(world.data_dir());
    let shell = Shell::new();
    for (letter, payload) in kept.iter().zip(["d2", "d3"]) {
        says(shell.replay(letter, &["--brief"]).await, 1, &[&format!("payload={payload}  <-")]);
    }
    assert_eq!(kept.len(), 2, "{kept:?}");

    let none = World::with(&guests().misbehave, |config| config.dead_letters = 0).await;
    fails(&mut none.client("a").await, PANIC, b"").await;
    none.counted("hotseat_guest_faults_total{kind=\"trap\"}", 1).await;
    let data = none.data_dir().to_owned();
    assert!(!data.join("dead-letters").exists());
    assert_eq!(none.metric("hotseat_dead_letters_total").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_refuses_costs_the_letter_and_not_the_room() {
    let world = World::with(&guests().misbehave, |config| {
        std::fs::create_dir_all(&config.data_dir).unwrap();
        std::fs::write(config.data_dir.join("dead-letters"), "in the way").unwrap();
    })
    .await;
    let mut alice = world.client("alice").await;
    fails(&mut alice, PANIC, b"").await;
    world.counted("hotseat_dead_letters_lost_total", 1).await;
    ask(&mut alice, ECHO, b"alive", ECHO + ANSWER).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_replayed_is_named_with_the_place() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    fails(&mut alice, PANIC, b"").await;
    world.counted("hotseat_dead_letters_total", 1).await;
    let letter = letters(world.data_dir()).pop().unwrap();
    let whole = std::fs::read(&letter).unwrap();
    let shell = Shell::new();
    let dir = shell.0.path();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut damaged = whole.clone();
    damaged[30] ^= 1;
    let mut later = whole.clone();
    let end = later.len() - 1;
    later[end] ^= 1;
    std::fs::create_dir(dir.join("empty")).unwrap();
    for (path, words) in [
        (write("damaged.dead", &damaged), &["damaged.dead is damaged at byte 8: the checksum"][..]),
        (write("later.dead", &later), &["later.dead is damaged at byte ", "the checksum"]),
        (write("short.dead", &whole[..end]), &["short.dead is damaged at byte ", "cut short"]),
        (write("text.dead", b"hello"), &["text.dead is neither a segment"]),
        (write("nothing.dead", b""), &["nothing.dead is neither a segment"]),
        (dir.join("none.dead"), &["none.dead", "No such file"]),
        (dir.join("empty"), &["empty is no journal"]),
    ] {
        shell.replay(&path, &[]).await.failed(2, words);
    }
    let junk = write("junk.wasm", b"hello");
    let args = ["--plugin", junk.to_str().unwrap()];
    shell.replay(&letter, &args).await.failed(2, &["junk.wasm", "not a WebAssembly file"]);
    shell.replay(&letter, &["--plugin", "none.wasm"]).await.failed(2, &["none.wasm", "No such file"]);
    shell.replay(&letter, &["--plugin-config", "mode"]).await.failed(2, &["KEY=VALUE"]);
    // Another game altogether refuses what it does not know.
    let other = shell.file(&guests().v1);
    says(shell.replay(&letter, &["--plugin", &other]).await, 0, &["it does not fail: the input is refused"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_page_on_replay_do_what_it_says() {
    let (shell, guests) = (Shell::new(), guests());
    let world = World::start(&guests.trapping).await;
    let mut alice = world.client("alice").await;
    fails(&mut alice, game_logic::messages::PING_REQ, &50i32.to_be_bytes()).await;
    world.counted("hotseat_dead_letters_total", 1).await;
    let data = shell.0.path().join("hotseat-data");
    for (path, bytes) in listing(world.data_dir()) {
        let copy = data.join(path.strip_prefix(world.data_dir()).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::write(copy, bytes).unwrap();
    }
    let letter = letters(&data).pop().unwrap();
    std::fs::rename(letter, data.join("dead-letters/home_0-1760000000000-1.dead")).unwrap();
    for (name, artefact) in [("fixed", &guests.v2), ("live", &guests.trapping), ("next", &guests.v2)] {
        std::fs::write(shell.0.path().join(name).with_extension("wasm"), &artefact.bytes).unwrap();
    }

    let page = std::fs::read_to_string(root().join("docs/replay.md")).unwrap();
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let commands: Vec<_> = blocks.flat_map(str::lines).collect();
    let mut statuses = Vec::new();
    for command in &commands {
        let args: Vec<_> = command.strip_prefix("hotseat replay ").unwrap().split(' ').collect();
        let told = shell.replay(Path::new(args[0]), &args[1..]).await;
        assert!(!told.out.is_empty() && told.err.is_empty(), "{command}: {told:?}");
        statuses.push(told.code.unwrap());
    }
    assert_eq!(statuses, [1, 0, 0, 0, 0], "{commands:?}");
}
