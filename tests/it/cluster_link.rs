//! The link from outside: peers that say what no agent says, and a way between two nodes that swallows what is sent.

use std::collections::VecDeque;

use game_logic::messages::{PING_ACK, PING_REQ, Ping};
use hotseat::proto::cluster::down::What as Told;
use hotseat::proto::cluster::up::What;
use hotseat::proto::cluster::{Attach, Down, DownBatch, Fence, Hello, Up, UpBatch};
use hotseat_packet::{Message as _, decode_down};
use prost::Message;
use prost::bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::arena::ping;
use crate::cluster::{Cluster, number, whole};
use crate::world::PATIENCE;

/// A user that no other test has.
const USER: u64 = 4242;

fn hello(version: u32) -> UpBatch {
    UpBatch { hello: Some(Hello { version, node: "odd".to_owned() }), ups: Vec::new() }
}

fn frame(opcode: u16, payload: &[u8]) -> Vec<u8> {
    let size = u16::try_from(payload.len()).unwrap();
    [&size.to_be_bytes()[..], &opcode.to_be_bytes(), payload].concat()
}

/// What the host reads as a batch whose hello is these bytes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Garble {
    #[prost(bytes = "vec", tag = "1")]
    hello: Vec<u8>,
}

/// Opens a link as an agent does and says this first. What the host answers, and a way to say more.
async fn open<T>(
    channel: &Channel,
    first: Option<T>,
) -> Result<(mpsc::Sender<T>, Streaming<DownBatch>), Status>
where
    T: Message + Default + 'static,
{
    let (ups, queue) = mpsc::channel(16);
    let ups = match first {
        Some(first) => {
            ups.send(first).await.unwrap();
            ups
        }
        // The stream ends with its last sender.
        None => {
            drop(ups);
            mpsc::channel(1).0
        }
    };
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = "/hotseat.cluster.v1.Link/Open".parse().unwrap();
    let request = Request::new(ReceiverStream::new(queue));
    let opened = client.streaming(request, path, ProstCodec::<T, DownBatch>::default());
    let downs = timeout(PATIENCE, opened).await.expect("the host is silent")?.into_inner();
    Ok((ups, downs))
}

/// An agent that is none.
struct Unauthenticated {
    ups: mpsc::Sender<UpBatch>,
    downs: Streaming<DownBatch>,
    heard: VecDeque<Down>,
}

impl Unauthenticated {
    async fn welcome(channel: &Channel) -> Self {
        let (ups, mut downs) = open(channel, Some(hello(1))).await.unwrap();
        let first = timeout(PATIENCE, downs.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(first.welcome.unwrap().node, "game-1");
        Self { ups, downs, heard: first.downs.into() }
    }

    async fn say(&self, session: u64, what: Option<What>) {
        let ups = vec![Up { session, what }];
        self.ups.send(UpBatch { hello: None, ups }).await.unwrap();
    }

    /// The next word, which is for that session.
    async fn word(&mut self, session: u64) -> Told {
        let down = loop {
            if let Some(down) = self.heard.pop_front() {
                break down;
            }
            let batch = timeout(PATIENCE, self.downs.message()).await.expect("the host is silent");
            self.heard.extend(batch.unwrap().expect("the link stands").downs);
        };
        assert_eq!(down.sessions, [session]);
        down.what.unwrap()
    }

    /// A session that sits there gets its answer.
    async fn pinged(&mut self, session: u64, id: i32) {
        let ping = Ping { id }.to_bytes().unwrap();
        self.say(session, Some(What::Frames(frame(PING_REQ, &ping).into()))).await;
        let Told::Frames(frames) = self.word(session).await else { panic!("no frames") };
        let (answer, _) = decode_down(&frames).unwrap().unwrap();
        assert_eq!((answer.opcode, answer.payload), (PING_ACK, &ping[..]));
    }

    async fn refused(&mut self, session: u64) -> String {
        let Told::Refused(refused) = self.word(session).await else { panic!("not refused") };
        refused.text
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_say_what_no_agent_says_disturb_nobody() {
    let mut cluster = Cluster::start().await;
    cluster.add("game-1", "game");
    cluster.add("agent-1", "agent");
    cluster.settled(&["game-1"]).await;
    let mut alice = cluster.login("agent-1", "alice").await;
    let url = format!("http://{}", cluster.node("game-1").grpc());
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();

    // No agent at all.
    for (first, code, text) in [
        (Some(hello(9)), Code::FailedPrecondition, "link version 9 of agent odd: this host speaks 1"),
        (Some(hello(0)), Code::FailedPrecondition, "link version 0 of agent odd: this host speaks 1"),
        (Some(UpBatch::default()), Code::InvalidArgument, "the first message of a link must be a hello"),
        (None, Code::InvalidArgument, "no hello"),
    ] {
        let status = open(&channel, first).await.err().unwrap();
        assert_eq!((status.code(), status.message()), (code, text));
    }
    let status = open(&channel, Some(Garble { hello: vec![0xFF; 20] })).await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("link message: "), "{status:?}");
    // One that loses its mind.
    let good = Garble { hello: hello(1).hello.unwrap().encode_to_vec() };
    let (ups, mut downs) = open(&channel, Some(good)).await.unwrap();
    ups.send(Garble { hello: vec![0xFF; 20] }).await.unwrap();
    let ended = async { while let Ok(Some(_)) = downs.message().await {} };
    timeout(PATIENCE, ended).await.expect("the host ends the link");
    ping(&mut alice, 1).await;

    // One that speaks the language, and says odd things.
    let mut odd = Unauthenticated::welcome(&channel).await;
    let torn = Bytes::from_static(&[0, 9, 1]);
    let seat = |user, backlog| What::Attach(Attach { user, backlog, ..Attach::default() });
    for what in [None, Some(What::Frames(torn.clone())), Some(What::Fence(Fence {})), Some(What::Leave(77))] {
        odd.say(99, what).await;
    }
    odd.say(1, Some(seat(0, Vec::new()))).await;
    assert_eq!(odd.refused(1).await, "user 0 is nobody");
    odd.say(2, Some(seat(USER, vec![torn.clone()]))).await;
    assert_eq!(odd.refused(2).await, "torn frames");
    let room = Attach { user: USER, room: "no/such room\n".to_owned(), ..Attach::default() };
    odd.say(3, Some(What::Attach(room))).await;
    // As everybody who comes to a room that is gone.
    let Told::Seated(seated) = odd.word(3).await else { panic!("no seat") };
    assert!(seated.room.starts_with("home/"), "{seated:?}");
    odd.say(3, Some(What::Leave(0))).await;
    odd.say(4, Some(seat(USER, Vec::new()))).await;
    let Told::Seated(seated) = odd.word(4).await else { panic!("no seat") };
    assert!(seated.room.starts_with("home/"), "{seated:?}");
    odd.pinged(4, 1).await;
    // Nothing of these comes to the game; what is behind them does.
    odd.say(4, Some(What::Frames(torn))).await;
    odd.say(4, None).await;
    odd.say(4, Some(What::Fence(Fence {}))).await;
    odd.say(99, Some(What::Frames(frame(PING_REQ, &[0; 4]).into()))).await;
    odd.pinged(4, 2).await;
    odd.say(4, Some(What::Leave(u32::MAX))).await;
    odd.say(4, Some(What::Frames(frame(PING_REQ, &[0; 4]).into()))).await;
    odd.say(5, Some(seat(USER, Vec::new()))).await;
    assert!(matches!(odd.word(5).await, Told::Seated(_)));
    odd.pinged(5, 3).await;
    ping(&mut alice, 2).await;
    drop(odd);
    ping(&mut alice, 3).await;
    let lines = cluster.node("game-1").lines();
    for words in ["agent of another link version refused", "torn frames, dropped"] {
        assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:?}");
    }
    assert!(lines.iter().all(|line| !line.contains("panicked")), "{lines:?}");
}

/// A way to a node that can fall silent: what is sent is swallowed, and nobody is told.
struct Strait {
    port: u16,
    /// Where it leads.
    to: watch::Sender<Option<String>>,
    /// How often it has fallen silent; it is silent at odd numbers.
    silences: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

impl Strait {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to, silences, mut tasks) = (watch::Sender::new(None), watch::Sender::new(0), JoinSet::new());
        let (mut addr, state) = (to.subscribe(), silences.subscribe());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let addr: Option<String> = addr.wait_for(Option::is_some).await.unwrap().clone();
                let Ok(far) = TcpStream::connect(addr.unwrap()).await else { continue };
                let ((up, near), (down, far)) = (near.into_split(), far.into_split());
                let born = *state.borrow();
                open.spawn(carry(up, far, born, state.clone()));
                open.spawn(carry(down, near, born, state.clone()));
            }
        });
        Self { port, to, silences, _tasks: tasks }
    }
}

/// Carries bytes until it falls silent. The connection is of no use from then on, and stands.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    born: u64,
    mut silences: watch::Receiver<u64>,
) {
    let mut buf = vec![0; 64 << 10];
    let carried = async {
        loop {
            match from.read(&mut buf).await {
                Ok(read) if read > 0 && to.write_all(&buf[..read]).await.is_ok() => {}
                _ => return,
            }
        }
    };
    tokio::select! {
        biased;
        _ = silences.wait_for(|now| *now != born || now % 2 == 1) => {}
        () = carried => return,
    }
    // Both ends stay open for as long as the test runs.
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_falls_silent_is_left_for_another() {
    let mut cluster = Cluster::start().await;
    let strait = Strait::new().await;
    cluster.add_with("game-1", "game", &["--advertise", &format!("127.0.0.1:{}", strait.port)]);
    strait.to.send_replace(Some(cluster.node("game-1").grpc().to_owned()));
    cluster.add("agent-1", "agent");
    cluster.settled(&["game-1"]).await;
    let bots = cluster.bots("agent-1", 40, "--home", 14);
    cluster.playing(40).await;
    strait.silences.send_modify(|silences| *silences += 1);
    // Five seconds of silence until the agent asks whether the host is there, and five that it waits for an answer.
    cluster.node("agent-1").wait("word of the end of the link", |agent| {
        agent.lines().iter().any(|line| line.contains("link ended"))
    });
    strait.silences.send_modify(|silences| *silences += 1);
    let report = bots.report().await;
    whole(&report, 40);
    // Ten a second of each, before the silence and behind it; what was said into it is lost. All have kept their places.
    assert!(number(&report, "answered") > 1000, "{report:#}");
    assert!(number(&report, "reseated") >= 40, "{report:#}");
    assert_eq!(number(&report, "scores_fallen"), 0, "{report:#}");
}
