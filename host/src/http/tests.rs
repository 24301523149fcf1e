use std::net::Ipv4Addr;

use axum::body::to_bytes;
use prometheus::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tonic::Status;

use super::*;

/// Far more than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough never to matter.
const LONG: Duration = Duration::from_secs(3600);

const BOUNDS: Bounds =
    Bounds { connections: 100, handshake: LONG, idle: LONG, stall: LONG, uploads: 100, turn: LONG };

/// Bytes of an answer that no socket takes while nobody reads.
const HUGE: usize = 64 << 20;

struct World {
    addr: std::net::SocketAddr,
    metrics: HttpMetrics,
    stop: CancellationToken,
}

impl World {
    async fn start(bounds: Bounds) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let metrics = HttpMetrics::register(&Registry::new()).unwrap();
        let port = Port {
            name: "test",
            bounds,
            http1: true,
            acceptor: None,
            streams: BTreeSet::from(["/streams".to_owned()]),
            handshakes: None,
            metrics: metrics.clone(),
        };
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, port, length, stop.clone()));
        Self { addr, metrics, stop }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// A connection over which the first bytes of a request of `whole` bytes have gone.
    async fn upload(&self, path: &str, sent: &[u8], whole: usize) -> TcpStream {
        let mut stream = self.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {whole}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream
    }

    fn large(&self) -> i64 {
        self.metrics.uploads.with_label_values(&["test"]).get()
    }

    fn refused(&self, why: &str) -> u64 {
        self.metrics.refused.with_label_values(&["test", why]).get()
    }

    fn cut(&self, why: &str) -> u64 {
        self.metrics.cut.with_label_values(&["test", why]).get()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// How long a request is, or a huge answer.
async fn length(request: Request<Body>) -> Response<Body> {
    if request.uri().path() == "/huge" {
        return Response::new(Body::from(vec![0; HUGE]));
    }
    match to_bytes(request.into_body(), usize::MAX).await {
        Ok(bytes) => Response::new(Body::from(format!("{} bytes", bytes.len()))),
        Err(error) => Status::from_error(error.into()).into_http(),
    }
}

/// What comes up to the end of `what`.
async fn until(stream: &mut TcpStream, what: &str) -> String {
    let mut text = String::new();
    let mut buf = [0; 4096];
    let read = async {
        while !text.contains(what) {
            let count = stream.read(&mut buf).await.unwrap();
            assert!(count > 0, "{text:?} ends without {what:?}");
            text.push_str(&String::from_utf8_lossy(&buf[..count]));
        }
    };
    timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("no {what:?}"));
    text
}

/// The connection is closed by the node.
async fn closed(stream: &mut TcpStream) {
    let mut buf = [0; 4096];
    let read = async { while !matches!(stream.read(&mut buf).await, Ok(0) | Err(_)) {} };
    timeout(PATIENCE, read).await.expect("the connection stays open");
}

async fn eventually(what: &str, probe: impl Fn() -> bool) {
    let found = async {
        while !probe() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {what}"));
}

#[tokio::test]
async fn who_does_not_say_what_it_wants_is_cut() {
    let world = World::start(Bounds { handshake: Duration::from_millis(200), ..BOUNDS }).await;
    for half in ["", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST / HT"] {
        let mut stream = world.connect().await;
        stream.write_all(half.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    }
    assert_eq!(world.cut("handshake"), 3, "the first has not come as far as HTTP");
}

#[tokio::test]
async fn a_request_head_that_never_ends_is_cut() {
    let world = World::start(Bounds { idle: Duration::from_millis(200), ..BOUNDS }).await;
    // An HTTP/2 preface, empty settings, and the first three bytes of a header block of 100.
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x64\x01\x04\0\0\0\x01\x83\x86\x84";
    let http1 = b"POST / HTTP/1.1\r\nHost: somewhere-or-other\r\nContent-Len";
    for half in [&http2[..], http1] {
        let mut stream = world.connect().await;
        stream.write_all(half).await.unwrap();
        closed(&mut stream).await;
    }
    // A connection that is used stays.
    let mut used = world.upload("/", b"abc", 3).await;
    for _ in 0..10 {
        until(&mut used, "3 bytes").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        used.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_does_not_go_on_is_refused() {
    let world = World::start(Bounds { stall: Duration::from_millis(200), ..BOUNDS }).await;
    for sent in [0, 10, 200_000] {
        let mut stream = world.upload("/", &vec![7; sent], 1_000_000).await;
        until(&mut stream, "grpc-status: 4").await;
    }
    assert_eq!(world.refused("stalled"), 3);
    eventually("free turn", || world.large() == 0).await;
    // Between the messages of a stream time may pass, within one it may not.
    let mut between = world.upload("/streams", &[0, 0, 0, 0, 1, 7], 12).await;
    let mut within = world.upload("/streams", &[0, 0, 0, 0, 2, 7], 12).await;
    until(&mut within, "grpc-status: 4").await;
    between.write_all(&[0, 0, 0, 0, 1, 7]).await.unwrap();
    until(&mut between, "12 bytes").await;
}

#[tokio::test]
async fn large_requests_are_received_a_few_at_a_time() {
    let bounds = Bounds { uploads: 2, turn: Duration::from_millis(300), ..BOUNDS };
    let world = World::start(bounds).await;
    let large = vec![7; 300_000];
    let mut stalled = Vec::new();
    for _ in 0..2 {
        stalled.push(world.upload("/", &large, 300_001).await);
    }
    eventually("two turns", || world.large() == 2).await;
    for _ in 0..3 {
        let mut late = world.upload("/", &large[..100_000], 300_001).await;
        until(&mut late, "grpc-status: 8").await;
    }
    assert_eq!((world.large(), world.refused("waited")), (2, 3));
    // Small ones need no turn, and a turn that is over is the next one's.
    until(&mut world.upload("/", b"abc", 3).await, "3 bytes").await;
    let mut next = world.upload("/", &large, 300_000).await;
    stalled[0].write_all(&[7]).await.unwrap();
    until(&mut stalled[0], "300001 bytes").await;
    until(&mut next, "300000 bytes").await;
    drop(stalled);
    eventually("free turns", || world.large() == 0).await;
}

#[tokio::test]
async fn who_does_not_read_its_answer_is_cut() {
    let world = World::start(Bounds { stall: Duration::from_millis(200), ..BOUNDS }).await;
    let mut stream = world.connect().await;
    stream.write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    eventually("cut", || world.cut("stalled") == 1).await;
    closed(&mut stream).await;
}

#[tokio::test]
async fn connections_have_a_bound_and_answers_wait_for_nothing() {
    let world = World::start(Bounds { connections: 1, ..BOUNDS }).await;
    let mut first = world.upload("/", b"abc", 3).await;
    until(&mut first, "3 bytes").await;
    let mut second = world.upload("/", b"abcd", 4).await;
    assert_eq!(world.metrics.connections.with_label_values(&["test"]).get(), 1);
    assert!(
        timeout(Duration::from_millis(100), second.read(&mut [0])).await.is_err(),
        "served beyond the bound"
    );
    drop(first);
    until(&mut second, "4 bytes").await;
}

#[test]
fn the_streams_of_clients_are_found_in_their_protocols() {
    let streams = client_streams(crate::proto::DESCRIPTORS);
    for path in ["/hotseat.cluster.v1.Link/Open", "/proto.GameService/Stream"] {
        assert!(streams.contains(path), "{streams:?}");
    }
    assert!(!streams.contains("/hotseat.admin.v1.Admin/Deploy"));
}
