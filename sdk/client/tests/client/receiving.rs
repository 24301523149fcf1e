//! What becomes of the bytes the server sends, and of the ways it stops.

use std::time::Duration;

use crate::support::{SOON, error, frame, talk};
use hotseat_client::{Client, ClientError, Frame, Login};
use hotseat_packet::{ErrorInfo, FrameError, MAX_DOWN_PAYLOAD};
use tokio::sync::mpsc;

fn last(error: &ClientError) -> Option<&ErrorInfo> {
    match error {
        ClientError::Closed { last_error, .. } => last_error.as_ref(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn frames_arrive_whole_however_they_are_cut() {
    let payloads: Vec<Vec<u8>> =
        [0, 1, 5, 300, 5000, MAX_DOWN_PAYLOAD, 2].map(|len| vec![len as u8; len]).into();
    for chunk in [1, 3, 700, 100_000] {
        let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(1106, payload)).collect();
        let (mut client, server) = talk(async move |mut socket| {
            for part in bytes.chunks(chunk) {
                socket.write(part).await;
            }
        })
        .await;
        for payload in &payloads {
            let expected = Frame { opcode: 1106, payload: payload.clone() };
            assert!(client.recv().await.expect("sent") == expected, "{} bytes", payload.len());
        }
        server.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let bytes = [frame(1102, &[1, 2, 3]), frame(1106, &[4])].concat();
    for cut in 0..bytes.len() {
        let (go, mut gone_on) = mpsc::channel::<()>(1);
        let parts = (bytes[..cut].to_vec(), bytes[cut..].to_vec());
        let (client, server) = talk(async move |mut socket| {
            socket.write(&parts.0).await;
            gone_on.recv().await;
            socket.write(&parts.1).await;
        })
        .await;
        let mut client = client.with_timeout(Duration::from_millis(3));
        let mut frames = Vec::new();
        loop {
            match client.recv().await {
                Ok(frame) => frames.push(frame.opcode),
                Err(ClientError::Timeout { waiting_for, .. }) => {
                    assert_eq!(waiting_for, "frame");
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        go.send(()).await.expect("the server waits");
        let mut client = client.with_timeout(Duration::MAX);
        while frames.len() < 2 {
            frames.push(client.recv().await.expect("sent").opcode);
        }
        assert_eq!(frames, [1102, 1106], "cut at {cut}");
        server.await.expect("no panic");
    }
}

#[tokio::test]
async fn expect_takes_the_next_frame_and_wait_for_looks_further() {
    let (mut client, _server) = talk(async |mut socket| {
        socket.frame(1106, &[1]).await;
        socket.frame(1106, &[2]).await;
        socket.frame(1102, &[3]).await;
        socket.frame(13, &error(5, "short")).await;
        socket.frame(13, &error(1004, "not in an arena")).await;
        socket.frame(13, &error(4, "asked for")).await;
        socket.read_all().await
    })
    .await;
    let unexpected = client.expect(1102).await;
    assert!(matches!(unexpected, Err(ClientError::Unexpected { expected: 1102, got: 1106 })));
    assert_eq!(client.wait_for(1102).await.expect("sent"), [3]);
    let refused = client.expect(1102).await.expect_err("an error frame came");
    assert_eq!(refused.to_string(), "refused with code 5 (bad_payload): short");
    let refused = client.wait_for(1102).await.expect_err("an error frame came");
    assert!(matches!(&refused, ClientError::Refused { code: 1004, text } if text == "not in an arena"));
    assert_eq!(client.expect(13).await.expect("sent"), error(4, "asked for"));
}

#[tokio::test]
async fn a_wait_ends_in_time_though_other_frames_keep_coming() {
    let (client, _server) = talk(async |mut socket| {
        use tokio::io::AsyncWriteExt;
        let mut every = tokio::time::interval(Duration::from_millis(1));
        while socket.0.write_all(&frame(1106, &[])).await.is_ok() {
            every.tick().await;
        }
    })
    .await;
    let mut client = client.with_timeout(SOON);
    let late = client.wait_for(1102).await.expect_err("it is never sent");
    assert_eq!(late.to_string(), "no frame with opcode 1102 within 40ms");
    client.recv().await.expect("the connection lives on");
}

#[tokio::test]
async fn a_heartbeat_waits_for_its_own_answer() {
    let (mut client, server) = talk(async |mut socket| {
        let asked = socket.read(12).await;
        socket.frame(1, &6_i32.to_be_bytes()).await;
        socket.frame(1106, &[]).await;
        socket.frame(1, &asked[8..]).await;
        asked
    })
    .await;
    client.heartbeat(777).await.expect("answered");
    assert_eq!(server.await.expect("no panic"), [0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 3, 9]);
}

#[tokio::test]
async fn a_refused_login_gives_the_reason_and_so_does_the_close_after_it() {
    for opcode in [12, 13] {
        let (mut client, _server) = talk(async move |mut socket| {
            socket.read(8).await;
            socket.frame(opcode, &error(6, "token expired")).await;
        })
        .await;
        let refused = client.login(&Login::token("jwt")).await.expect_err("refused");
        assert!(
            matches!(&refused, ClientError::Refused { code: 6, text } if text == "token expired"),
            "{refused}"
        );
        // The server closed with bytes unread, so this is a reset and not an orderly end.
        let closed = client.recv().await.expect_err("closed");
        assert_eq!(last(&closed), Some(&ErrorInfo { code: 6, msg: "token expired".into() }));
        let text = "server closed the connection after error 6 (login_failed): token expired";
        assert_eq!(closed.to_string(), text);
    }
}

#[tokio::test]
async fn a_close_names_the_error_frame_only_if_it_came_last() {
    let (mut client, _server) = talk(async |mut socket| {
        socket.frame(13, &error(4, "no")).await;
        socket.frame(1106, &[]).await;
    })
    .await;
    assert_eq!(client.recv().await.expect("sent").opcode, 13);
    let closed = client.wait_for(1102).await.expect_err("closed");
    assert_eq!(last(&closed), None);
    assert_eq!(closed.to_string(), "server closed the connection");
}

#[tokio::test]
async fn a_close_inside_a_frame_says_so() {
    let (mut client, _server) = talk(async |mut socket| socket.write(&[0, 9, 3]).await).await;
    let closed = client.recv().await.expect_err("closed");
    assert!(matches!(closed, ClientError::Closed { unfinished: 3, .. }));
    assert_eq!(closed.to_string(), "server closed the connection, 3 bytes into an unfinished frame");
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_the_connection_for_good() {
    let (mut client, _server) = talk(async |mut socket| {
        socket.write(&[0, 2, 4, 4, 0, 1, 0, 2, 4, 4]).await;
        socket.read_all().await
    })
    .await;
    assert_eq!(client.recv().await.expect("a frame").opcode, 0x0404);
    for _ in 0..2 {
        let error = client.recv().await.expect_err("size 1");
        assert!(matches!(error, ClientError::Frame(FrameError::TooShort { size: 1, min: 2 })));
    }
}

#[tokio::test]
async fn a_malformed_answer_is_named() {
    let (mut client, _server) = talk(async |mut socket| {
        socket.frame(11, &[0, 0]).await;
        socket.frame(13, &[1]).await;
        socket.read_all().await
    })
    .await;
    let login = client.login(&Login::device("d")).await;
    assert!(matches!(login, Err(ClientError::Payload { opcode: 11, .. })));
    let refused = client.expect(1102).await;
    assert!(matches!(refused, Err(ClientError::Payload { opcode: 13, .. })));
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let (client, _server) = talk(async |mut socket| socket.read_all().await).await;
    let mut client: Client = client.with_timeout(SOON);
    let late = client.login(&Login::device("d")).await.expect_err("no answer");
    assert_eq!(late.to_string(), "no frame with opcode 11 within 40ms");
    assert!(matches!(client.heartbeat(1).await, Err(ClientError::Timeout { .. })));
}
