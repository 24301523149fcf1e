//! What the server gets to see.

use crate::support::{SOON, talk};
use hotseat_client::{Client, ClientError, Login, MAX_QUEUED};
use hotseat_packet::{MAX_SIZE, MAX_UP_PAYLOAD, WriteError, decode_up};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

#[tokio::test]
async fn frames_are_numbered_from_one_and_raw_bytes_are_not() {
    let (mut client, server) = talk(async |mut socket| socket.read_all().await).await;
    assert_eq!(client.next_seq(), 1);
    client.send(1001, &[7]).await.expect("sent");
    client.send_raw(&[0xAA, 0xBB]).await.expect("sent");
    client.queue(1002, &[]).expect("room");
    client.queue(0xFFFF, &[8, 9]).expect("room");
    assert_eq!(client.next_seq(), 4);
    client.flush().await.expect("sent");
    client.flush().await.expect("nothing to do");
    drop(client);

    let expected = [
        &[0, 7, 0, 0, 0, 1, 0x03, 0xE9, 7][..],
        &[0xAA, 0xBB],
        &[0, 6, 0, 0, 0, 2, 0x03, 0xEA],
        &[0, 8, 0, 0, 0, 3, 0xFF, 0xFF, 8, 9],
    ];
    assert_eq!(server.await.expect("no panic"), expected.concat());
}

#[tokio::test]
async fn a_login_is_the_bytes_of_the_original_and_gives_the_whole_user_id() {
    let (mut client, server) = talk(async |mut socket| {
        let asked = socket.read(40).await;
        socket
            .write(&[0, 14, 0, 11, 0x07, 0x65, 0x43, 0x21, 0xFE, 0xDC, 0xBA, 0x98, 0x87, 0x65, 0x43, 0x21])
            .await;
        (asked, socket.read_all().await)
    })
    .await;
    assert_eq!(client.login(&Login::device("dev1")).await.expect("accepted"), 0xFEDC_BA98_8765_4321);
    assert_eq!(client.next_seq(), 2);
    drop(client);

    let mut expected = vec![0, 38, 0, 0, 0, 1, 0, 10];
    // The way; open id and certificate; version; language, application, system, device name; device id; its
    // type; address.
    expected.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0, 4, b'd', b'e', b'v', b'1', 0, 0, 0, 0, 0, 0]);
    assert_eq!(server.await.expect("no panic"), (expected, vec![]));
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_costs_a_number() {
    let (mut client, server) = talk(async |mut socket| socket.read_all().await).await;
    let long = vec![0; MAX_UP_PAYLOAD + 1];
    let expected = WriteError::TooLong { what: "payload", len: 65_530, max: 65_529 };
    let refused = client.send(1001, &long).await;
    assert!(matches!(refused, Err(ClientError::Unsendable(error)) if error == expected));
    let text = "x".repeat(65_536);
    let refused = client.login(&Login::token(text)).await;
    assert!(matches!(refused, Err(ClientError::Unsendable(WriteError::TooLong { what: "string", .. }))));
    assert_eq!(client.next_seq(), 1);
    client.send(1001, &long[1..]).await.expect("the longest");
    drop(client);
    let got = server.await.expect("no panic");
    assert_eq!((got.len(), &got[..8]), (65_537, &[0xFF, 0xFF, 0, 0, 0, 1, 3, 0xE9][..]));
}

#[tokio::test]
async fn a_server_that_does_not_read_costs_a_timeout_and_no_byte() {
    let (start, started) = oneshot::channel::<()>();
    let (client, server) = talk(async |mut socket| {
        started.await.expect("the test goes on");
        socket.read_all().await
    })
    .await;
    let mut client = client.with_timeout(SOON);
    let payload = vec![7; 60_000];
    let timed_out = loop {
        match client.send(1001, &payload).await {
            Ok(()) => {}
            Err(ClientError::Timeout { waiting_for, .. }) => break waiting_for,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(timed_out.starts_with("room to send"), "{timed_out}");

    let full = loop {
        match client.queue(1001, &payload) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(full, ClientError::QueueFull { len: 60_008, max: MAX_QUEUED, .. }), "{full}");

    let sent = client.next_seq() - 1;
    start.send(()).expect("the server waits");
    let mut client = client.with_timeout(hotseat_client::DEFAULT_TIMEOUT);
    client.flush().await.expect("the server reads now");
    drop(client);

    let got = server.await.expect("no panic");
    let (mut at, mut seen) = (0, 0);
    while let Some((frame, used)) = decode_up(&got[at..], MAX_SIZE).expect("frames only") {
        seen += 1;
        assert_eq!((frame.seq, frame.payload.len()), (seen, payload.len()));
        at += used;
    }
    assert_eq!((seen, at), (sent, got.len()));
}

#[tokio::test]
async fn sending_to_a_closed_server_says_closed_and_what_it_sent_is_still_there() {
    let (mut client, server) = talk(async |mut socket| socket.frame(1102, &[1]).await).await;
    server.await.expect("no panic");
    let error = loop {
        if let Err(error) = client.send(1001, &[]).await {
            break error;
        }
    };
    assert!(matches!(error, ClientError::Closed { last_error: None, unfinished: 0 }), "{error}");
    assert_eq!(client.recv().await.expect("sent before the close").opcode, 1102);
    assert!(matches!(client.recv().await, Err(ClientError::Closed { .. })));
}

#[tokio::test]
async fn the_halves_work_in_two_tasks() {
    const FRAMES: u32 = 2000;
    let (client, server) = talk(async |mut socket| {
        for seq in 1..=FRAMES {
            let request = socket.read(12).await;
            assert_eq!(request[2..6], seq.to_be_bytes());
            socket.frame(1, &request[8..]).await;
        }
    })
    .await;
    let (mut sender, mut receiver) = client.split();
    let sending = tokio::spawn(async move {
        for id in 0..FRAMES {
            sender.heartbeat(id.cast_signed()).await.expect("sent");
        }
        sender
    });
    for id in 0..FRAMES {
        assert_eq!(receiver.expect(1).await.expect("answered"), id.to_be_bytes());
    }
    let sender = sending.await.expect("no panic");
    assert_eq!((sender.next_seq(), sender.pending()), (FRAMES + 1, 0));
    server.await.expect("no panic");
}

#[tokio::test]
async fn connecting_to_nothing_is_an_io_error() {
    // Bound and never listening, so that nobody else gets the port.
    let taken = TcpSocket::new_v4().expect("sockets are to be had");
    taken.bind(([127, 0, 0, 1], 0).into()).expect("loopback has a free port");
    let addr = taken.local_addr().expect("it is bound");
    assert!(matches!(Client::connect(addr).await, Err(ClientError::Io(_))));
}
