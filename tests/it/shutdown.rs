//! The end of a node, and nodes that do not begin.

use std::net::TcpListener;
use std::time::Instant;

use hotseat_client::{Client, Login};
use hotseat_packet::code;
use misbehave::{ANSWER, FLOOD_LOGS, LOOP, STORE};

use crate::arena::{enter, notify, ping};
use crate::guests::{guests, relabelled};
use crate::process::{Process, run};
use crate::world::{PATIENCE, ask, refusal};

async fn client(process: &Process, device: &str) -> Client {
    let mut client = Client::connect(process.clients()).await.unwrap().with_timeout(PATIENCE);
    client.login(&Login::device(device)).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_stop_tells_its_players_and_ends_well() {
    for signal in ["TERM", "INT"] {
        let mut process = Process::start(&guests().v1, &[]);
        let mut alice = client(&process, "alice").await;
        let mut bob = client(&process, "bob").await;
        enter(&mut bob, "").await;
        notify(&mut bob).await;
        ping(&mut alice, 1).await;

        let told = Instant::now();
        process.signal(signal);
        for client in [&mut alice, &mut bob] {
            let end = loop {
                match client.recv().await {
                    Ok(_) => {}
                    Err(end) => break end,
                }
            };
            let hotseat_client::ClientError::Closed { last_error: Some(last), unfinished: 0 } = end else {
                panic!("{end}");
            };
            assert_eq!(last.code, code::SHUTTING_DOWN, "{}", last.msg);
        }
        drop((alice, bob));
        assert_eq!(process.ended().code(), Some(0), "SIG{signal}");
        assert!(told.elapsed().as_secs() < 5, "{:?}", told.elapsed());
        let events = process.events();
        assert_eq!(events.len(), process.lines().len(), "every line is JSON: {:?}", process.lines());
        assert!(events.iter().any(|event| event["message"] == "stopped"), "{events:?}");
        assert!(events.iter().all(|event| event["level"] == "INFO"), "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_ignores_the_goodbye_does_not_keep_the_node() {
    let mut process = Process::start(&guests().v1, &["--shutdown-grace-ms", "500"]);
    let _deaf = client(&process, "alice").await;
    process.signal("TERM");
    assert_eq!(process.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_cannot_flood_the_log() {
    // It is the log that is to be limited here, not the time.
    let guest = relabelled(&guests().misbehave, |manifest| manifest.limits.deadline_ms = 10_000);
    let process = Process::start(&guest, &["--plugin-cap", "game-logic.deadline_ms=10000"]);
    let mut alice = client(&process, "alice").await;
    let asked = Instant::now();
    // Ten thousand lines of 4 KiB in one call.
    ask(&mut alice, FLOOD_LOGS, b"", FLOOD_LOGS + ANSWER).await;
    let lines: Vec<_> = process.events().into_iter().filter(|event| event["target"] == "guest").collect();
    // A hundred a second, and the second may have turned during the call.
    let most = 100 * (usize::try_from(asked.elapsed().as_secs()).unwrap() + 2);
    assert!((1..=most).contains(&lines.len()), "{} lines, at most {most}", lines.len());
    for line in lines {
        assert!(line["message"].as_str().unwrap().len() <= 1024);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_logged_once_with_what_and_where() {
    let mut process = Process::start(&guests().misbehave, &[]);
    let mut alice = client(&process, "alice").await;
    alice.send(STORE, b"kept").await.unwrap();
    alice.send(LOOP, b"").await.unwrap();
    assert_eq!(refusal(&mut alice).await.0, code::MESSAGE_FAILED);
    let failed = |process: &mut Process| {
        process.events().into_iter().filter(|event| event["message"] == "guest failed").collect::<Vec<_>>()
    };
    process.wait("log of the fault", |process| !failed(process).is_empty());
    let failed = failed(&mut process);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((failed[0]["actor"].as_str(), failed[0]["input"].as_str()), (Some("home/0"), Some("message")));
    assert!(failed[0]["fault"].as_str().unwrap().contains("deadline"), "{failed:?}");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("game.wasm");
    std::fs::write(&file, &guests().v1.bytes).unwrap();
    let plugin = format!("game-logic={}", file.display());
    for key in ["--listen", "--grpc-listen", "--admin-listen"] {
        let mut args = vec!["run", "--plugin", &plugin];
        for other in ["--listen", "--grpc-listen", "--admin-listen"] {
            args.extend([other, if other == key { &addr } else { "127.0.0.1:0" }]);
        }
        run(&args).failed(1, &["the node cannot start", &addr, "is another node running?"]);
    }
}

#[test]
fn a_node_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("game.wasm");
    let plugin = format!("game-logic={}", file.display());
    run(&["run", "--plugin", &plugin]).failed(1, &["plugin game-logic", "game.wasm"]);
    std::fs::write(&file, b"not wasm").unwrap();
    run(&["run", "--plugin", &plugin]).failed(1, &["plugin game-logic", "not a WebAssembly file"]);
    std::fs::write(&file, &guests().v1.bytes).unwrap();
    run(&["run", "--roles", "agent"]).failed(1, &["roles agent", "ETCD_HOST"]);
    let other = format!("weather={}", file.display());
    run(&["run", "--plugin", &other]).failed(1, &["\"weather\"", "game-logic"]);
}
