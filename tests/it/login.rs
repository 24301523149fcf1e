//! Who a client is.

use hotseat::config::Auth;
use hotseat_client::{ClientError, Login};
use hotseat_packet::code;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use crate::arena::{Player, enter, notify, ping};
use crate::guests::guests;
use crate::world::{World, ended};

const KEY: &[u8] = b"a key of more than thirty-two bytes";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_the_same_account_across_connections_and_restarts() {
    let world = World::start(&guests().v1).await;
    let (first, alice) = world.player("alice").await;
    let (_bob, bob) = world.player("bob").await;
    assert_ne!(alice, bob);
    drop(first);
    assert_eq!(world.player("alice").await.1, alice);
    let world = world.restart().await;
    assert_eq!(world.player("alice").await.1, alice);
    assert_eq!(world.player("bob").await.1, bob);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_login_takes_the_place_of_the_first() {
    let world = World::start(&guests().v1).await;
    let mut bob = Player::enter(&world, "bob").await;
    let Player { client: mut older, user, .. } = Player::enter(&world, "alice").await;
    while bob.step().await.players < 2 {}

    let (mut newer, again) = world.player("alice").await;
    assert_eq!(again, user);
    // The older connection hears why, after whatever was on its way.
    let end = loop {
        match older.recv().await {
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    match end {
        ClientError::Closed { last_error: Some(last), .. } => assert_eq!(last.code, code::DUPLICATE_LOGIN),
        other => panic!("{other}"),
    }
    // The room has let the older one go and holds the player once.
    while bob.step().await.players > 1 {}
    ping(&mut newer, 3).await;
    enter(&mut newer, "").await;
    notify(&mut newer).await;
    while bob.step().await.players < 2 {}
    assert_eq!(world.plugin().await.players, 2);
    world.counted("hotseat_players", 2).await;
    world.counted("hotseat_agent_closed_total{reason=\"duplicate_login\"}", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_logins_of_one_account_leave_one_player() {
    let world = World::start(&guests().v1).await;
    let logins = (0..8).map(|_| async {
        let mut client = world.stranger().await;
        let login = client.login(&Login::device("alice")).await;
        (client, login)
    });
    let mut clients = futures_util::future::join_all(logins).await;
    // Which of them is the last is nobody's business; that it is one is.
    world.counted("hotseat_agent_sessions", 1).await;
    world.counted("hotseat_players", 1).await;
    let mut alive = 0;
    for (client, login) in &mut clients {
        if login.is_ok() && client.heartbeat(1).await.is_ok() {
            ping(client, 1).await;
            alive += 1;
        }
    }
    assert_eq!(alive, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_in_the_middle_of_a_move_ends_up_in_one_place() {
    let world = World::start(&guests().ledger).await;
    let mut count = 0;
    for turn in 0..30u32 {
        // On its way to another room and back home, with messages behind it, when the same user logs in again.
        let mut older = world.client("alice").await;
        for room in ["den", "home/0"] {
            let mut target = hotseat_packet::Writer::new();
            target.string(room).unwrap();
            older.queue(ledger::MOVE, target.as_bytes()).unwrap();
            older.queue(ledger::COUNT, &turn.to_be_bytes()).unwrap();
        }
        older.flush().await.unwrap();
        let mut newer = world.client("alice").await;
        // Whatever became of the older one's messages: the newer one is heard, from its first message on.
        let (now, _) = crate::swap::count(&mut newer, turn).await;
        assert!(now > count, "{now} after {count}");
        count = now;
        let (next, _) = crate::swap::count(&mut newer, turn).await;
        assert_eq!(next, now + 1);
    }
    world.counted("hotseat_agent_sessions", 0).await;
    world.counted("hotseat_players", 0).await;
}

async fn token_world() -> (World, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, KEY).unwrap();
    let world = World::with(&guests().v1, |config| {
        (config.auth, config.auth_key) = (Auth::Token, Some(path));
    })
    .await;
    (world, dir)
}

fn token(algorithm: Algorithm, key: &[u8], claims: &Value) -> Login {
    Login::token(encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key)).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_token_names_the_user() {
    let (world, _dir) = token_world().await;
    let claims = json!({ "sub": "4711", "exp": get_current_timestamp() + 60 });
    let mut client = world.stranger().await;
    assert_eq!(client.login(&token(Algorithm::HS256, KEY, &claims)).await.unwrap(), 4711);
    ping(&mut client, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_good_is_refused_with_the_reason() {
    let (world, _dir) = token_world().await;
    let now = get_current_timestamp();
    let good = json!({ "sub": "4711", "exp": now + 60 });
    let table = [
        (token(Algorithm::HS256, KEY, &json!({ "sub": "4711", "exp": now - 60 })), "expired"),
        (token(Algorithm::HS256, &[7; 40], &good), "signature"),
        (token(Algorithm::HS512, KEY, &good), "HS256"),
        (token(Algorithm::HS256, KEY, &json!({ "exp": now + 60 })), "sub"),
        (token(Algorithm::HS256, KEY, &json!({ "sub": "nobody", "exp": now + 60 })), "sub"),
        (Login::token("not a token"), "JWT"),
        (Login::token(""), "empty"),
        (Login::device("alice"), "login_way 1"),
    ];
    let refused = u64::try_from(table.len()).unwrap();
    for (login, word) in table {
        let mut client = world.stranger().await;
        match client.login(&login).await {
            Err(ClientError::Refused { code: code::LOGIN_FAILED, text }) => {
                assert!(text.contains(word), "{text:?} does not name {word:?}");
            }
            other => panic!("{word}: {other:?}"),
        }
        assert!(matches!(client.recv().await, Err(ClientError::Closed { .. })));
    }
    world.counted("hotseat_agent_closed_total{reason=\"login_failed\"}", refused).await;
    world.counted("hotseat_players", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_without_a_name_is_refused() {
    let world = World::start(&guests().v1).await;
    for device in ["", &"x".repeat(257)] {
        let login = world.stranger().await.login(&Login::device(device)).await;
        assert!(matches!(login, Err(ClientError::Refused { code: code::LOGIN_FAILED, .. })), "{login:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_says_goodbye() {
    let world = World::start(&guests().v1).await;
    let mut alice = world.client("alice").await;
    let mut stranger = world.stranger().await;
    stranger.heartbeat(1).await.unwrap();
    world.stop().await;
    ended(&mut alice, code::SHUTTING_DOWN).await;
    ended(&mut stranger, code::SHUTTING_DOWN).await;
}
