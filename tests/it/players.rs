//! `Players/Push`: a frame for a user, from whoever knows the user's id.

use hotseat::proto::cluster::players_client::PlayersClient;
use hotseat::proto::cluster::{PushReply, PushRequest};
use misbehave::{ANSWER, CALL};
use tonic::Code;

use crate::guests::guests;
use crate::world::{World, ask};

const OPCODE: u16 = 2001;

fn push(user: u64, opcode: u32, payload: &[u8]) -> PushRequest {
    PushRequest { user, opcode, payload: payload.to_vec().into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_comes_to_who_is_connected() {
    let world = World::start(&guests().v1).await;
    let mut players = PlayersClient::new(world.channel().await);
    let (mut alice, user) = world.player("alice").await;
    let (_bob, other) = world.player("bob").await;
    assert_ne!(user, other);
    for payload in [&b"hello"[..], b"", &[7; 65_533]] {
        let reply = players.push(push(user, OPCODE.into(), payload)).await.unwrap().into_inner();
        assert_eq!(reply, PushReply { connected: true });
        let frame = alice.recv().await.unwrap();
        assert_eq!((frame.opcode, frame.payload), (OPCODE, payload.to_vec()));
    }
    let nobody = players.push(push(other + 1, OPCODE.into(), b"")).await.unwrap().into_inner();
    assert_eq!(nobody, PushReply { connected: false });
    drop(alice);
    crate::world::eventually("alice to be gone", async || {
        let reply = players.push(push(user, OPCODE.into(), b"")).await.unwrap().into_inner();
        (!reply.connected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_frame_is_refused() {
    let world = World::start(&guests().v1).await;
    let mut players = PlayersClient::new(world.channel().await);
    for (request, text) in [
        (push(0, 2001, b""), "user 0 is nobody"),
        (push(1, 65_536, b""), "opcode 65536: must be 1001 to 32767, the others are the agent's"),
        (push(1, 1000, b""), "opcode 1000: must be 1001 to 32767, the others are the agent's"),
        (push(1, 13, b""), "opcode 13: must be 1001 to 32767, the others are the agent's"),
        (push(1, 2001, &[0; 65_534]), "payload of 65534 bytes: at most 65533"),
    ] {
        let status = players.push(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));
    }
}

/// The guest's request is empty, so it is for user 0: that the service itself says so is what is to be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_find_it_on_their_own_node() {
    let world = World::start(&guests().misbehave).await;
    let mut alice = world.client("alice").await;
    let method = b"players/hotseat.cluster.v1.Players/Push";
    let answer = ask(&mut alice, CALL, method, CALL + ANSWER).await;
    assert_eq!(answer, (Code::InvalidArgument as u32).to_be_bytes());
}
