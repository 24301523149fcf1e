//! `proto.GameService`: what an agent of gonet/2, as it is, gets from this host.

use std::collections::HashSet;
use std::time::Duration;

use game_logic::messages::{ENTER_ACK, ENTER_REQ, EnterReq, PING_ACK, PING_REQ, Ping};
use hotseat::proto::original::game::{Frame, FrameType};
use hotseat::proto::original::game_service_client::GameServiceClient;
use hotseat_packet::{ErrorInfo, Message as _, code, opcode};
use misbehave::{ANSWER, ECHO, KICK, REFUSE};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use crate::guests::guests;
use crate::world::{PATIENCE, World, ask, ended, eventually};

/// One player's stream, as an agent has it.
pub(crate) struct Play {
    ups: mpsc::Sender<Frame>,
    downs: Streaming<Frame>,
}

impl Play {
    async fn open(channel: &Channel, user: Option<&str>) -> Result<Self, Status> {
        let (ups, queue) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(queue));
        if let Some(user) = user {
            request.metadata_mut().insert("userid", user.parse().unwrap());
        }
        let downs = GameServiceClient::new(channel.clone()).stream(request).await?.into_inner();
        Ok(Self { ups, downs })
    }

    pub(crate) async fn of(channel: &Channel, user: u64) -> Self {
        Self::open(channel, Some(&user.to_string())).await.unwrap()
    }

    async fn send(&self, frame_type: i32, message: &[u8]) {
        self.ups.send(Frame { r#type: frame_type, message: message.to_vec() }).await.unwrap();
    }

    async fn say(&self, op: u16, payload: &[u8]) {
        self.send(0, &[&op.to_be_bytes()[..], payload].concat()).await;
    }

    async fn ping(&self, id: i32) {
        self.say(PING_REQ, &Ping { id }.to_bytes().unwrap()).await;
    }

    async fn next(&mut self) -> Result<Option<Frame>, Status> {
        timeout(PATIENCE, self.downs.message()).await.expect("the host is silent")
    }

    /// The next frame, which is a message: opcode and payload.
    async fn message(&mut self) -> (u16, Vec<u8>) {
        let frame = self.next().await.unwrap().expect("a frame");
        assert_eq!(frame.r#type(), FrameType::Message);
        let (op, payload) = frame.message.split_first_chunk().unwrap();
        (u16::from_be_bytes(*op), payload.to_vec())
    }

    /// The payload of the next message with that opcode.
    pub(crate) async fn wait_for(&mut self, op: u16) -> Vec<u8> {
        loop {
            let (found, payload) = self.message().await;
            if found == op {
                return payload;
            }
        }
    }

    /// Enters an arena by name.
    pub(crate) async fn enter(&mut self, arena: &str) {
        self.say(ENTER_REQ, &EnterReq { arena: arena.to_owned() }.to_bytes().unwrap()).await;
        self.wait_for(ENTER_ACK).await;
    }

    /// Pings, and sees the answer.
    pub(crate) async fn lives(&mut self, id: i32) {
        self.ping(id).await;
        assert_eq!(self.wait_for(PING_ACK).await, id.to_be_bytes());
    }

    /// What comes before the end, which is a failure: its status.
    async fn fails(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended in good order"),
                Err(status) => return status,
            }
        }
    }

    /// Why the client is told that it is kicked; then the kick and the end, in good order.
    async fn kicked(&mut self) -> ErrorInfo {
        let told = ErrorInfo::from_bytes(&self.wait_for(opcode::CLIENT_ERROR_ACK).await).unwrap();
        let kick = self.next().await.unwrap().expect("a kick");
        assert_eq!((kick.r#type(), &kick.message[..]), (FrameType::Kick, &b""[..]));
        assert_eq!(self.next().await.unwrap(), None);
        told
    }
}

async fn players(world: &World, count: u64) {
    eventually("that many players", async || (world.plugin().await.players == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_of_the_original_come_back() {
    let world = World::start(&guests().v1).await;
    let mut play = Play::of(&world.channel().await, 1).await;
    for round in 0..10u64 {
        let text = (round * 7_919 + 104_729).to_string();
        play.send(FrameType::Ping.into(), text.as_bytes()).await;
        let frame = play.next().await.unwrap().unwrap();
        assert_eq!((frame.r#type(), frame.message), (FrameType::Ping, text.into_bytes()));
    }
    // The agent closes its side: the player leaves, all is well.
    play.lives(1).await;
    players(&world, 1).await;
    let Play { ups, mut downs } = play;
    drop(ups);
    assert_eq!(timeout(PATIENCE, downs.message()).await.unwrap().unwrap(), None);
    players(&world, 0).await;
    world.counted("hotseat_game_streams", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_plays_is_said_in_the_metadata() {
    let world = World::start(&guests().v1).await;
    let channel = world.channel().await;
    for nobody in [None, Some("alice"), Some(""), Some("9223372036854775808")] {
        let refused = Play::open(&channel, nobody).await.err().unwrap();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unknown, "incorrect frame type"),
            "{nobody:?}"
        );
    }
    for low in ["0", "-5"] {
        let refused = Play::open(&channel, Some(low)).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(&format!("userid {low}: must be 1 to ")), "{refused}");
    }
    // Whole, where the original keeps 32 bits.
    let mut play = Play::of(&channel, i64::MAX as u64).await;
    play.lives(7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_goes_to_the_guest_and_back() {
    let world = World::start(&guests().misbehave).await;
    let mut play = Play::of(&world.channel().await, 1).await;
    for size in [0, 1, 60_000] {
        play.say(ECHO, &vec![7; size]).await;
        assert_eq!(play.message().await, (ECHO + ANSWER, vec![7; size]));
    }
    // What the guest refuses is told, and the stream goes on.
    for (op, expected) in [(REFUSE, 1234), (4000, 1000)] {
        play.say(op, b"").await;
        let (op, payload) = play.message().await;
        assert_eq!((op, ErrorInfo::from_bytes(&payload).unwrap().code), (opcode::CLIENT_ERROR_ACK, expected));
    }
    play.say(KICK, b"").await;
    assert_eq!(play.kicked().await.code, 1999);
    players(&world, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_frame_ends_the_stream() {
    let world = World::start(&guests().v1).await;
    let channel = world.channel().await;
    let long = [&PING_REQ.to_be_bytes()[..], &[0; 65_530]].concat();
    let table: [(i32, &[u8], Code, &str); 8] = [
        (0, b"", Code::Unknown, "read uint16 failed"),
        (0, b"\x03", Code::Unknown, "read uint16 failed"),
        (1, b"", Code::Unknown, "incorrect frame type"),
        (3, b"\x03\xE9", Code::Unknown, "incorrect frame type"),
        (-1, b"", Code::Unknown, "incorrect frame type"),
        // Nothing can be bound to these.
        (0, b"\x03\xE8", Code::Unknown, "service not bind"),
        (0, b"\xFF\xFF", Code::Unknown, "service not bind"),
        (0, &long, Code::InvalidArgument, "payload of 65530 bytes: at most 65529"),
    ];
    for (user, (frame_type, message, code, text)) in (1..).zip(table) {
        let mut play = Play::of(&channel, user).await;
        play.lives(1).await;
        play.send(frame_type, message).await;
        let status = play.fails().await;
        assert_eq!((status.code(), status.message()), (code, text), "{frame_type} {:?}", message.len());
    }
    players(&world, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_login_takes_the_seat() {
    let world = World::start(&guests().v1).await;
    let channel = world.channel().await;
    let mut first = Play::of(&channel, 5).await;
    first.lives(1).await;
    let mut second = Play::of(&channel, 5).await;
    assert_eq!(first.kicked().await.code, code::DUPLICATE_LOGIN);
    second.lives(2).await;

    // Neither way of coming here is above the other.
    let (mut client, user) = world.player("alice").await;
    let mut third = Play::of(&channel, user).await;
    ended(&mut client, code::DUPLICATE_LOGIN).await;
    third.lives(3).await;
    let mut client = world.client("alice").await;
    assert_eq!(third.kicked().await.code, code::DUPLICATE_LOGIN);
    ask(&mut client, PING_REQ, &4i32.to_be_bytes(), PING_ACK).await;
    players(&world, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_passed_on_the_way_to_another_room() {
    const BURST: i32 = 200;
    let world = World::start(&guests().v1).await;
    let mut play = Play::of(&world.channel().await, 1).await;
    let ups = play.ups.clone();
    let arenas = ["one", "two", "", "three"];
    let sending = tokio::spawn(async move {
        let send = async |op: u16, payload: &[u8]| {
            let message = [&op.to_be_bytes()[..], payload].concat();
            ups.send(Frame { r#type: 0, message }).await.unwrap();
        };
        let mut id = 0;
        for arena in arenas {
            let enter = EnterReq { arena: arena.to_owned() }.to_bytes().unwrap();
            send(ENTER_REQ, &enter).await;
            for _ in 0..BURST {
                send(PING_REQ, &Ping { id }.to_bytes().unwrap()).await;
                id += 1;
            }
        }
    });
    let (mut acks, mut entered) = (Vec::new(), 0);
    while acks.len() < BURST as usize * arenas.len() {
        match play.message().await {
            (PING_ACK, payload) => acks.push(Ping::from_bytes(&payload).unwrap().id),
            (ENTER_ACK, _) => entered += 1,
            _ => {}
        }
    }
    sending.await.unwrap();
    assert_eq!(acks, (0..BURST * 4).collect::<Vec<_>>());
    // An empty name is the arena the player is in already.
    assert!(entered >= 3, "{entered}");
    assert_eq!(world.metric("hotseat_transfers_total").await, 3);
}

/// The original answers no more once an agent has a hundred streams on a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_players_share_a_connection() {
    const STREAMS: u64 = 300;
    let world = World::start(&guests().v1).await;
    let channel = world.channel().await;
    let mut plays = Vec::new();
    for user in 1..=STREAMS {
        plays.push(Play::of(&channel, user).await);
    }
    for (id, play) in (0..).zip(&plays) {
        play.ping(id).await;
    }
    let mut seen = HashSet::new();
    for play in &mut plays {
        seen.insert(play.wait_for(PING_ACK).await);
    }
    assert_eq!(seen.len() as u64, STREAMS);
    players(&world, STREAMS).await;
    world.counted("hotseat_game_streams", STREAMS).await;
    drop((plays, channel));
    players(&world, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_is_cut() {
    let world = World::with(&guests().v1, |config| config.outbox_max_bytes = 1024).await;
    // The smaller the window, the sooner it is full.
    let url = format!("http://{}", world.grpc_addr());
    let narrow = Endpoint::from_shared(url).unwrap().initial_stream_window_size(64);
    let mut play = Play::of(&narrow.connect().await.unwrap(), 1).await;
    play.say(ENTER_REQ, &EnterReq { arena: String::new() }.to_bytes().unwrap()).await;
    let mut other = Play::of(&world.channel().await, 2).await;
    players(&world, 2).await;
    players(&world, 1).await;
    let status = play.fails().await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "more than 1024 bytes wait to be read");
    other.lives(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_players_than_there_is_room_for_are_refused() {
    let world = World::with(&guests().v1, |config| config.max_sessions = 2).await;
    let channel = world.channel().await;
    let mut plays = [Play::of(&channel, 1).await, Play::of(&channel, 2).await];
    let refused = Play::open(&channel, Some("3")).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("max_sessions limit of 2"), "{refused}");
    plays[1].lives(1).await;
    drop(plays);
    eventually("a place", async || Play::open(&channel, Some("3")).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_ends_kicks_its_players() {
    let world = World::start(&guests().v1).await;
    let mut play = Play::of(&world.channel().await, 1).await;
    play.lives(1).await;
    let (told, ()) = tokio::join!(play.kicked(), async {
        timeout(Duration::from_secs(10), world.stop()).await.unwrap();
    });
    assert_eq!(told.code, code::SHUTTING_DOWN);
}
