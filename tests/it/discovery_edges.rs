//! Discovery at its edges: who may in, encryption, and the connections to who is found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use etcd_client::{Permission, PermissionType};
use futures_util::StreamExt as _;
use hotseat::discovery::backends::{Backend, Backends};
use hotseat::discovery::{Discovery, DiscoveryError, Hold, Options, Tls};
use hotseat::peer::Dialer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::etcd::{Etcd, free_port, options};
use crate::world::{PATIENCE, eventually};

#[tokio::test]
async fn a_user_reaches_what_it_may_and_no_more() {
    let etcd = Etcd::start().await;
    let mut root = etcd.client().await;
    root.user_add("root", "root's", None).await.unwrap();
    root.role_add("root").await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.user_add("hotseat", "secret", None).await.unwrap();
    root.role_add("hotseat").await.unwrap();
    let own = Permission::new(PermissionType::Readwrite, "/test/").with_prefix();
    root.role_grant_permission("hotseat", own).await.unwrap();
    root.user_grant_role("hotseat", "hotseat").await.unwrap();
    root.auth_enable().await.unwrap();

    let user = |password: &str| Some(("hotseat".to_owned(), password.to_owned()));
    let node = Discovery::etcd(Options { user: user("secret"), ..options(&etcd.url(), 3) }).unwrap();
    let _registered = node.register("nodes/a", b"1".to_vec());
    timeout(PATIENCE, node.ready()).await.unwrap();
    let mut view = node.watch("nodes/");
    timeout(PATIENCE, view.wait_for(|view| view.entries.len() == 1)).await.unwrap().unwrap();
    // Its permission is for its own prefix.
    let abroad = Options { user: user("secret"), prefix: "/other".into(), ..options(&etcd.url(), 3) };
    let abroad = Discovery::etcd(abroad).unwrap();
    let refused = abroad.get("a").await;
    assert!(matches!(refused, Err(DiscoveryError::Refused { .. })), "{refused:?}");

    for unknown in [user("wrong"), None] {
        let stranger = Discovery::etcd(Options { user: unknown, ..options(&etcd.url(), 3) }).unwrap();
        let refused = stranger.get("a").await;
        assert!(matches!(refused, Err(DiscoveryError::Refused { .. })), "{refused:?}");
        assert!(!refused.unwrap_err().to_string().contains("secret"));
    }
}

/// A certificate for 127.0.0.1 and its key, PEM.
fn certificate(issuer: &CertifiedIssuer<'_, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn both_sides_show_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ours = issuer();
    let (server, server_key) = certificate(&ours);
    let files = [file("cert", &server), file("key", &server_key), file("ca", &ours.pem())];
    let etcd = Etcd::start_tls(files);
    let (client, client_key) = certificate(&ours);
    let tls = |ca: &str, identity: Option<(&str, &str)>| Options {
        tls: Some(Tls {
            ca: ca.into(),
            identity: identity.map(|(certificate, key)| (certificate.into(), key.into())),
        }),
        ..options(&etcd.url(), 3)
    };
    let known = Some((client.as_str(), client_key.as_str()));
    let node = Discovery::etcd(tls(&ours.pem(), known)).unwrap();
    timeout(PATIENCE, node.ready()).await.unwrap();
    node.put("a", b"1".to_vec(), Hold::Lease).await.unwrap();
    assert_eq!(node.get("a").await.unwrap().unwrap().value, "1");
    // Who shows no certificate, or trusts others, is not let in or does not come.
    for stranger in [tls(&ours.pem(), None), tls(&issuer().pem(), known)] {
        let away = Discovery::etcd(stranger).unwrap().get("a").await;
        assert!(matches!(away, Err(DiscoveryError::Away { .. })), "{away:?}");
    }
    let broken = Discovery::etcd(tls("no certificate", None));
    assert!(matches!(broken, Err(DiscoveryError::Options { .. })), "{broken:?}");
    let broken = Discovery::etcd(tls(&ours.pem(), Some((&client, "no key"))));
    assert!(matches!(broken, Err(DiscoveryError::Options { .. })), "{broken:?}");
    assert!(matches!(Discovery::etcd(options(&etcd.url(), 3)), Err(DiscoveryError::Options { .. })));
}

/// A server of health checks, and the connections it has taken.
async fn server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let incoming = TcpListenerStream::new(listener).inspect(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let (_, health) = tonic_health::server::health_reporter();
    let serving = tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming);
    tokio::spawn(async { serving.await.unwrap() });
    (addr, taken)
}

/// Whether who is found answers.
async fn answers(backend: Backend) -> bool {
    let mut client = HealthClient::new(backend.channel);
    let check = client.check(HealthCheckRequest { service: String::new() });
    timeout(PATIENCE, check).await.expect("no answer").is_ok()
}

fn found(discovery: &Discovery) -> Backends {
    Backends::new(discovery, &BTreeMap::new(), None, Dialer::default()).unwrap()
}

#[tokio::test]
async fn one_connection_for_an_address_however_often_it_is_told() {
    let etcd = Etcd::start().await;
    let (node, other) = (etcd.discovery(3), etcd.discovery(30));
    let backends = found(&other);
    let ((first, first_taken), (second, second_taken)) = (server().await, server().await);
    let mut registration = node.register("backends/rank/a", first.clone().into());
    for _ in 0..10 {
        let backend = eventually("a backend", async || backends.by_id("rank", "a")).await;
        assert!(answers(backend).await);
        // The later one counts, so there is no moment without.
        registration = node.register("backends/rank/a", first.clone().into());
    }
    assert_eq!(first_taken.load(Ordering::Relaxed), 1);
    registration.update(second.clone().into());
    let moved = async || backends.by_id("rank", "a").filter(|backend| *backend.addr == *second);
    assert!(answers(eventually("the new address", moved).await).await);
    assert_eq!((first_taken.load(Ordering::Relaxed), second_taken.load(Ordering::Relaxed)), (1, 1));
    let mut all = backends.subscribe("rank");
    assert_eq!(all.borrow_and_update().len(), 1, "never twice");
    // Its lease ends without it: it is gone.
    drop(node);
    std::mem::forget(registration);
    timeout(PATIENCE, all.wait_for(|all| all.is_empty())).await.unwrap().unwrap();
    assert!(backends.pick("rank").is_none());
}

#[tokio::test]
async fn a_dead_address_holds_nobody_up() {
    let etcd = Etcd::start().await;
    let node = etcd.discovery(5);
    let backends = found(&node);
    let (alive, _) = server().await;
    // Nothing listens on the one; the other takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = [format!("127.0.0.1:{}", free_port()), silent.local_addr().unwrap().to_string()];
    let _registered: Vec<_> = dead
        .iter()
        .chain([&alive])
        .enumerate()
        .map(|(at, addr)| node.register(&format!("backends/rank/{at}"), addr.clone().into()))
        .collect();
    let mut all = backends.subscribe("rank");
    timeout(PATIENCE, all.wait_for(|all| all.len() == 3)).await.unwrap().unwrap();
    let mut client = HealthClient::new(backends.by_id("rank", "1").unwrap().channel);
    let waits =
        tokio::spawn(async move { client.check(HealthCheckRequest { service: String::new() }).await });
    let begun = Instant::now();
    let mut turns = [0; 3];
    for _ in 0..3000 {
        turns[backends.pick("rank").unwrap().id.parse::<usize>().unwrap()] += 1;
    }
    assert_eq!(turns, [1000; 3]);
    assert!(begun.elapsed() < PATIENCE / 10, "{:?}", begun.elapsed());
    assert!(answers(backends.by_id("rank", "2").unwrap()).await);
    assert!(!answers(backends.by_id("rank", "0").unwrap()).await);
    assert!(!waits.is_finished());
    waits.abort();
}
