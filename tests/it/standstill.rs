//! Stand-still: a process that did not run for a while holds nobody to what could not be heard meanwhile.

use std::time::Duration;

use hotseat_client::{Client, Login};
use tokio::time::{interval, timeout};

use crate::guests::guests;
use crate::process::Process;
use crate::world::PATIENCE;

const PLAYERS: usize = 40;

/// Longer than the idle limit, and than a machine under load is late.
const STOPPED: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_closed_as_idle_who_spoke_while_the_node_stood_still() {
    let node = Process::start(&guests().v1, &["--idle-timeout-ms", "1000"]);
    let mut players = Vec::new();
    for at in 0..PLAYERS {
        let mut client = Client::connect(node.clients()).await.unwrap().with_timeout(PATIENCE);
        client.login(&Login::device(format!("device-{at}"))).await.unwrap();
        let (mut sender, receiver) = client.split();
        // As clients do: whether or not the one before has been answered.
        let beats = tokio::spawn(async move {
            let mut beat = interval(Duration::from_millis(200));
            for id in 0.. {
                beat.tick().await;
                if sender.heartbeat(id).await.is_err() {
                    break;
                }
            }
        });
        players.push((beats, receiver));
    }
    for _ in 0..2 {
        node.signal("STOP");
        tokio::time::sleep(STOPPED).await;
        node.signal("CONT");
        // Long enough for every deadline of before the stop to be looked at.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    let mut closed = 0;
    for (beats, mut receiver) in players {
        let alive = !beats.is_finished();
        beats.abort();
        // What was answered, up to the end: the last heartbeat's answer, or an error frame.
        let last = timeout(PATIENCE, async {
            let mut beats = 0;
            while receiver.recv().await.is_ok_and(|frame| frame.opcode == 1) {
                beats += 1;
            }
            beats
        });
        let beats = last.await.unwrap();
        // 9 s of heartbeats every 200 ms, as far as they were sent.
        closed += usize::from(!alive || beats < 30);
    }
    assert_eq!(closed, 0, "of {PLAYERS} players were closed");
}
