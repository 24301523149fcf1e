//! Limits and deadlines: what a client may do too much or too little of.

use super::*;

fn rate(per_s: u32, burst: u32) -> Rate {
    Rate { per_s: NonZeroU32::new(per_s).unwrap(), burst: NonZeroU32::new(burst).unwrap() }
}

#[tokio::test]
async fn too_many_frames_or_bytes_end_the_session() {
    let many = rate(1_000_000, 1_000_000);
    let table = [
        (Rates { frames: rate(1, 5), bytes: many }, "more than 1 frames a second (bursts of 5)"),
        (Rates { frames: many, bytes: rate(1, 60) }, "more than 1 bytes a second (bursts of 60)"),
    ];
    for (rates, text) in table {
        let world = World::start(AgentConfig { rates: Some(rates), ..config() }).await;
        let mut client = world.connect().await;
        for _ in 0..5 {
            // Errors are answers too: they are bounded by the same limit.
            client.send(999, &[0; 4]).await;
            client.refused(code::UNKNOWN_OPCODE).await;
        }
        client.send(opcode::HEART_BEAT_REQ, &[0; 4]).await;
        assert_eq!(client.kicked(code::RATE_LIMITED).await, text);
        world.counted("closed_total{reason=\"rate_limited\"} 1").await;
    }
}

#[tokio::test]
async fn a_login_has_a_deadline_whatever_is_sent_meanwhile() {
    let login_timeout = Duration::from_millis(150);
    let world = World::start(AgentConfig { login_timeout, ..config() }).await;
    let started = std::time::Instant::now();
    let mut silent = world.connect().await;
    let mut beating = world.connect().await;
    let beats = async {
        loop {
            beating.send(opcode::HEART_BEAT_REQ, &[0; 4]).await;
            let (opcode, payload) = beating.recv().await.unwrap();
            if opcode == opcode::CLIENT_ERROR_ACK {
                break ErrorInfo::from_bytes(&payload).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let last = timeout(PATIENCE, beats).await.unwrap();
    assert_eq!((last.code, last.msg.as_str()), (code::LOGIN_TIMEOUT, "no login within 150ms"));
    assert!(started.elapsed() >= login_timeout);
    silent.kicked(code::LOGIN_TIMEOUT).await;
    world.counted("closed_total{reason=\"login_timeout\"} 2").await;
}

#[tokio::test]
async fn silence_ends_a_session_and_a_partial_frame_is_silence() {
    let idle_timeout = Duration::from_millis(300);
    let mut world = World::start(AgentConfig { idle_timeout, ..config() }).await;
    let (mut client, room) = world.player(8).await;
    let started = std::time::Instant::now();
    while started.elapsed() < idle_timeout * 2 {
        client.lives().await;
        tokio::time::sleep(idle_timeout / 10).await;
    }
    client.lives().await;
    // A byte now and then never makes a frame.
    let partial = client.encode(PING, &[0; 200]);
    let started = std::time::Instant::now();
    let (mut read, mut write) = client.stream.split();
    let drip = async {
        for byte in partial.chunks(1) {
            write.write_all(byte).await.unwrap();
            tokio::time::sleep(idle_timeout / 20).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = drip => panic!("a dripping client is kept"),
        read = read.read_buf(&mut answer) => assert!(read.unwrap() > 0),
    }
    assert!(started.elapsed() >= idle_timeout);
    client.buf = answer;
    assert_eq!(client.kicked(code::IDLE).await, "no whole frame for 300ms");
    assert_eq!(room.left().await, LeaveReason::Lost);
    world.counted("closed_total{reason=\"idle\"} 1").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_pushes_is_closed_as_slow() {
    let mut world = World::start(config()).await;
    let (client, room) = world.player(8).await;
    // Until the system's buffers and then the outbox are full.
    let flood = async {
        while room.player.outbox.push(PONG, &[7; 1000]) != crate::link::Push::Dropped {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, flood).await.unwrap();
    assert_eq!(room.left().await, LeaveReason::Violation);
    world.counted("closed_total{reason=\"slow_client\"} 1").await;
    drop(client);
}

#[tokio::test]
async fn a_client_that_never_reads_again_is_closed_as_slow() {
    let idle_timeout = Duration::from_millis(200);
    let outbox_max_bytes = 64 << 20;
    let mut world = World::start(AgentConfig { idle_timeout, outbox_max_bytes, ..config() }).await;
    let (client, room) = world.player(8).await;
    for _ in 0..20_000 {
        room.push(PONG, &[7; 1000]);
    }
    assert_eq!(room.left().await, LeaveReason::Violation);
    world.counted("closed_total{reason=\"slow_client\"} 1").await;
    drop(client);
}

#[tokio::test]
async fn every_answer_reaches_a_client_that_asks_first_and_reads_later() {
    let world = World::start(config()).await;
    let mut client = world.connect().await;
    let mut bytes = Vec::new();
    for id in 0..20_000_u32 {
        bytes.extend(client.encode(opcode::HEART_BEAT_REQ, &id.to_be_bytes()));
    }
    client.raw(&bytes).await;
    for id in 0..20_000_u32 {
        assert_eq!(client.recv().await, Some((opcode::HEART_BEAT_ACK, id.to_be_bytes().to_vec())));
    }
}

#[tokio::test]
async fn a_client_that_asks_without_reading_is_not_read_any_more() {
    let world = World::start(config()).await;
    let mut client = world.connect().await;
    let mut bytes = Vec::new();
    for id in 0..2_000_000_u32 {
        bytes.extend(client.encode(opcode::HEART_BEAT_REQ, &id.to_be_bytes()));
    }
    let (mut read, mut write) = client.stream.into_split();
    let sender = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write
    });
    let mut answers = vec![0; 8 * 2_000_000];
    timeout(PATIENCE, read.read_exact(&mut answers)).await.unwrap().unwrap();
    for (id, answer) in (0..2_000_000_u32).zip(answers.chunks(8)) {
        assert_eq!(answer[4..], id.to_be_bytes());
    }
    drop(sender.await.unwrap());
}

#[tokio::test]
async fn a_full_node_says_so_and_takes_the_next_when_one_goes() {
    let table = [
        (AgentConfig { max_sessions: 2, ..config() }, "this node is full: 2 sessions", "max_sessions"),
        (
            AgentConfig { max_connections_per_addr: Some(2), ..config() },
            "too many connections from your address: 2 allowed",
            "max_connections_per_addr",
        ),
    ];
    for (config, text, reason) in table {
        let world = World::start(config).await;
        let mut first = world.connect().await;
        let mut second = world.connect().await;
        first.lives().await;
        second.lives().await;
        for _ in 0..3 {
            let mut third = world.connect().await;
            third.send(opcode::USER_LOGIN_REQ, &device("tablet")).await;
            assert_eq!(third.kicked(code::BUSY).await, text);
        }
        world.counted(&format!("refused_total{{reason=\"{reason}\"}} 3")).await;
        assert_eq!(world.sessions.load(Ordering::Relaxed), 2);
        drop(first);
        world.counted("sessions 1").await;
        world.connect().await.lives().await;
    }
}

#[test]
fn an_idle_session_is_small() {
    // The task's own memory; the socket's registration and the outbox come on top, some hundred bytes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (link, _asks) = link(1);
        let metrics = Arc::new(Metrics::new().unwrap());
        let agent = Agent::bind(config(), Authenticator::Dev, link, metrics).await.unwrap();
        let (id, outbox) = (SessionId::next(), Arc::new(Outbox::new(1024)));
        let peer = stream.peer_addr().unwrap();
        let entry = agent.shared.roster.enter(id, peer.ip(), &outbox).unwrap();
        let shared = Arc::clone(&agent.shared);
        let session = super::super::session::Session::new(shared, stream, peer, id, outbox, entry);
        let size = size_of_val(&session.run());
        assert!(size <= 2048, "{size} bytes");
    });
}
