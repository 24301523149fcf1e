//! A fleet against an agent that makes mistakes on purpose.

use std::time::Duration;

use hotseat_packet::{ErrorInfo, MAX_SIZE, Message as _, UserSnapshot, code, decode_up, encode_down, opcode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::messages::{ENTER_ACK, ENTER_REQ, EnterAck, PING_ACK, PING_REQ};
use super::*;

/// What the agent does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The answer to ping 3 never comes.
    Lose,
    /// The answer to ping 3 comes twice.
    Repeat,
    /// The answer to ping 3 comes after that to ping 4.
    Swap,
    /// Ping 3 is refused.
    Refuse,
    /// The connection is closed at ping 3.
    Close,
}

async fn agent(mistake: Mistake) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, mistake));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, mistake: Mistake) {
    let mut input = Vec::new();
    while stream.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
        let mut output = Vec::new();
        while let Some((frame, used)) = decode_up(&input, MAX_SIZE).unwrap() {
            let id = frame.payload.first_chunk().map_or(0, |bytes: &[u8; 4]| i32::from_be_bytes(*bytes));
            match (frame.opcode, id, mistake) {
                (opcode::USER_LOGIN_REQ, ..) => {
                    let user = UserSnapshot::new(7).to_bytes().unwrap();
                    encode_down(&mut output, opcode::USER_LOGIN_SUCCEED_ACK, &user).unwrap();
                }
                (ENTER_REQ, ..) => {
                    let ack = EnterAck { arena: String::new(), rules: 1, tick: 0, x: 0, y: 0, score: 0 };
                    encode_down(&mut output, ENTER_ACK, &ack.to_bytes().unwrap()).unwrap();
                }
                (PING_REQ, 3, Mistake::Lose | Mistake::Swap) => {}
                (PING_REQ, 3, Mistake::Refuse) => {
                    let info = ErrorInfo { code: code::BUSY, msg: "not now".to_owned() };
                    encode_down(&mut output, opcode::CLIENT_ERROR_ACK, &info.to_bytes().unwrap()).unwrap();
                }
                (PING_REQ, 3, Mistake::Close) => return,
                (PING_REQ, id, _) => {
                    encode_down(&mut output, PING_ACK, frame.payload).unwrap();
                    let again = match (id, mistake) {
                        (3, Mistake::Repeat) => Some(3_i32),
                        (4, Mistake::Swap) => Some(3),
                        _ => None,
                    };
                    if let Some(id) = again {
                        encode_down(&mut output, PING_ACK, &id.to_be_bytes()).unwrap();
                    }
                }
                _ => {}
            }
            input.drain(..used);
        }
        if stream.write_all(&output).await.is_err() {
            return;
        }
    }
}

/// Three bots until there are ten answers, or nothing more comes.
async fn play(mistake: Mistake, rate: f64) -> Report {
    let options = Options {
        clients: 3,
        rate,
        play: Play::Ping,
        ramp: Duration::ZERO,
        patience: Duration::from_millis(200),
        ..Options::new(agent(mistake).await)
    };
    let mut fleet = Fleet::start(options).unwrap();
    assert!(fleet.gathered().await);
    fleet.mark("playing");
    let enough = async {
        while fleet.sample().total.answered < 30 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let quiet = matches!((mistake, rate), (Mistake::Close, _) | (Mistake::Lose | Mistake::Swap, 0.0));
    let limit = Duration::from_millis(if quiet { 300 } else { 20_000 });
    assert_eq!(timeout(limit, enough).await.is_err(), quiet);
    fleet.stop().await
}

#[tokio::test]
async fn a_good_agent_passes() {
    for rate in [0.0, 200.0] {
        let report = play(Mistake::None, rate).await;
        assert!(report.passed(), "{}", report.text());
        assert_eq!((report.kept, report.total.pings), (3, report.total.answered));
        assert_eq!(report.latency.samples, report.total.answered);
        assert_eq!(report.last().label, "playing");
    }
}

#[tokio::test]
async fn every_mistake_is_found() {
    type Found = fn(&Report) -> u64;
    let cases: [(Mistake, Found); 5] = [
        (Mistake::Lose, |report| report.total.lost),
        (Mistake::Repeat, |report| report.total.duplicated),
        (Mistake::Swap, |report| report.total.out_of_order),
        (Mistake::Refuse, |report| report.total.lost.min(report.refusals[0].count)),
        (Mistake::Close, |report| report.disconnected as u64),
    ];
    for (mistake, found) in cases {
        let report = play(mistake, 200.0).await;
        assert_eq!(found(&report), 3, "{mistake:?}\n{}", report.text());
        assert!(!report.passed(), "{mistake:?}");
    }
}

#[tokio::test]
async fn a_closed_loop_waits_for_its_answer_and_survives_a_refusal() {
    let report = play(Mistake::Lose, 0.0).await;
    assert_eq!((report.total.pings, report.total.answered, report.total.lost), (12, 9, 3));
    let report = play(Mistake::Refuse, 0.0).await;
    assert_eq!(report.total.lost, 3);
    assert!(report.total.answered >= 30);
}

#[tokio::test]
async fn nobody_there_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fleet = Fleet::start(Options { clients: 2, ..Options::new(free) }).unwrap();
    assert!(!fleet.gathered().await);
    let report = fleet.stop().await;
    assert!(!report.passed() && report.kept == 0);
    assert!(report.failures[0].contains("cannot connect"), "{:?}", report.failures);
}

#[test]
fn options_have_bounds() {
    let fine = Options::new(SocketAddr::from(([127, 0, 0, 1], 1)));
    assert_eq!(fine.check(), Ok(()));
    let wrong = [
        Options { clients: 0, ..fine.clone() },
        Options { clients: CLIENTS_MAX + 1, ..fine.clone() },
        Options { rate: -1.0, ..fine.clone() },
        Options { moves: f64::NAN, ..fine.clone() },
        Options { play: Play::Arenas(0), ..fine.clone() },
        Options { ramp: RAMP_MAX * 2, ..fine.clone() },
        Options { prefix: "x".repeat(PREFIX_MAX + 1), ..fine.clone() },
    ];
    for options in wrong {
        assert!(options.check().is_err(), "{options:?}");
    }
}
