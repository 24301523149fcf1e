//! Ghost: a node that is none, and what the others make of it.

use hotseat::config::Role;
use hotseat::discovery::{Discovery, Hold, Registration};
use hotseat::proto::cluster::rollout_server::{Rollout, RolloutServer};
use hotseat::proto::cluster::{FetchChunk, FetchRequest};
use hotseat_build::Artefact;
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::{RECORD, TTL, deploy, node, progress};
use crate::etcd::Etcd;
use crate::guests::{guests, versioned};
use crate::world::{World, eventually};

/// A node that is none: it stands among the others, proposes, and gives out artefacts as it likes.
struct Ghost {
    discovery: Discovery,
    _stands: Vec<Registration>,
}

/// Gives out these bytes, whatever it is asked for.
#[derive(Clone)]
struct Gives(Vec<u8>);

#[tonic::async_trait]
impl Rollout for Gives {
    type FetchStream = tokio_stream::Iter<std::vec::IntoIter<Result<FetchChunk, Status>>>;

    async fn fetch(&self, _: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let chunks: Vec<_> =
            self.0.chunks(1 << 20).map(|data| Ok(FetchChunk { data: data.to_vec().into() })).collect();
        Ok(Response::new(tokio_stream::iter(chunks)))
    }
}

impl Ghost {
    async fn stand(etcd: &Etcd, gives: Vec<u8>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let router = tonic::service::Routes::new(RolloutServer::new(Gives(gives))).into_axum_router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let discovery = etcd.discovery(TTL);
        discovery.ready().await;
        let info = json!({
            "id": "ghost", "roles": [], "grpc": addr, "admin": addr, "listen": null, "version": "0", "link": 1,
            "started_ms": 1, "draining": false, "sessions": 0, "rooms": 0, "players": 0, "plugins": {},
        });
        let status = json!({"rollout": 1, "digest": "00".repeat(32), "step": "ready", "at_ms": 1});
        let stands = vec![
            discovery.register("nodes/ghost", info.to_string().into()),
            discovery.register("plugin-nodes/game-logic/ghost", status.to_string().into()),
        ];
        for key in ["nodes/ghost", "plugin-nodes/game-logic/ghost"] {
            eventually(key, async || discovery.get(key).await.unwrap()).await;
        }
        Self { discovery, _stands: stands }
    }

    async fn propose(&self, artefact: &Artefact) {
        let release = |digest: String| json!({"digest": digest, "label": "9.0.0", "size_bytes": artefact.bytes.len(), "from": "ghost"});
        let record = json!({
            "generation": 1, "live": null, "rollout": 0, "at_ms": 0, "kind": "started", "probation_ms": 0,
            "previous": [], "failed": null,
            "next": {
                "rollout": 1, "release": release(artefact.digest.to_string()), "coordinator": "ghost",
                "over": release("00".repeat(32)), "kind": "deployed", "probation_ms": 0,
            },
        });
        self.discovery.put(RECORD, record.to_string().into(), Hold::Forever).await.unwrap();
    }

    async fn record(discovery: &Discovery) -> Value {
        let entry = discovery.get(RECORD).await.unwrap().unwrap();
        serde_json::from_slice(&entry.value).unwrap()
    }
}

/// What game-1 says, once it is done with what the ghost has proposed.
async fn verdict(world: &World) -> (String, String) {
    eventually("a verdict", async || {
        let nodes = progress(world).await.nodes;
        let node = nodes.into_iter().find(|node| node.node == "game-1" && node.rollout == 1)?;
        ["ready", "refused"].contains(&node.step.as_str()).then_some((node.step, node.reason))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_dies_with_its_coordinator() {
    let etcd = Etcd::start().await;
    let one = node(&etcd, "game-1", &[Role::Game], &guests().ledger, 4).await;
    let ghost = Ghost::stand(&etcd, guests().ledger_v2.bytes.clone()).await;
    ghost.propose(&guests().ledger_v2).await;
    // What the ghost gives is good, and game-1 would go along.
    assert_eq!(verdict(&one).await, ("ready".into(), String::new()));
    let status = deploy(&one, &versioned(&guests().ledger, 3)).await.unwrap_err();
    assert!(status.message().contains("node ghost is rolling 9.0.0 out"), "{status}");
    ghost.discovery.close().await;
    let told = eventually("a withdrawal", async || {
        let told = progress(&one).await;
        told.next.is_none().then_some(told)
    })
    .await;
    assert_eq!((told.live, told.reason.as_str()), (None, "coordinator ghost is gone"));
    assert_eq!(one.live().await, "1.0.0");
    // What it has got ready is of no consequence later.
    assert_eq!(deploy(&one, &versioned(&guests().ledger, 3)).await.unwrap().nodes, 1);
    assert_eq!(one.live().await, "3.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_are_refused_by_name() {
    for bytes in [guests().ledger.bytes.clone(), vec![0; guests().ledger_v2.bytes.len() + 1], Vec::new()] {
        let etcd = Etcd::start().await;
        let one = node(&etcd, "game-1", &[Role::Game], &guests().ledger, 4).await;
        let ghost = Ghost::stand(&etcd, bytes).await;
        ghost.propose(&guests().ledger_v2).await;
        let (step, reason) = verdict(&one).await;
        assert_eq!(step, "refused");
        let digest = guests().ledger_v2.digest;
        assert!(reason.contains(&digest.short()) && reason.contains("ghost: what it sends has"), "{reason}");
        assert_eq!(one.live().await, "1.0.0");
        assert_eq!(Ghost::record(&ghost.discovery).await["next"]["coordinator"], "ghost");
    }
}
