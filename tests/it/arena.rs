//! Arena: a player of the reference game who believes nothing it does not see.

use game_logic::field::{Point, SPEED};
use game_logic::messages::{
    ARENA_NOTIFY, ArenaNotify, ENTER_ACK, ENTER_REQ, EnterAck, EnterReq, MOVE_REQ, MoveReq, PING_ACK,
    PING_REQ, Ping, Seen,
};
use hotseat_client::Client;
use hotseat_packet::Message;

use crate::world::World;

/// Pings, and sees that the same id comes back as the next frame.
pub(crate) async fn ping(client: &mut Client, id: i32) {
    let ping = Ping { id }.to_bytes().unwrap();
    client.send(PING_REQ, &ping).await.unwrap();
    // Whoever plays is told of every tick, too.
    assert_eq!(client.wait_for(PING_ACK).await.unwrap(), ping);
}

/// Enters an arena, by name or, with an empty one, that of the room.
pub(crate) async fn enter(client: &mut Client, arena: &str) -> EnterAck {
    let request = EnterReq { arena: arena.to_owned() }.to_bytes().unwrap();
    client.send(ENTER_REQ, &request).await.unwrap();
    EnterAck::from_bytes(&client.wait_for(ENTER_ACK).await.unwrap()).unwrap()
}

/// The next notify.
pub(crate) async fn notify(client: &mut Client) -> ArenaNotify {
    ArenaNotify::from_bytes(&client.wait_for(ARENA_NOTIFY).await.unwrap()).unwrap()
}

/// A player in an arena. Each notify it reads must follow from the one before.
pub(crate) struct Player {
    pub(crate) client: Client,
    pub(crate) user: u64,
    tick: u32,
    me: Seen,
    coins: Vec<Point>,
    moves: u32,
    heading: (i8, i8),
}

/// What one tick brought a player.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) rules: u8,
    /// Points more than a tick ago.
    pub(crate) points: u32,
    /// Coins that lay elsewhere a tick ago: with one player in the arena, what that player took.
    pub(crate) taken: u32,
    pub(crate) players: usize,
}

impl Player {
    /// Logs in, enters the arena of the home room and sees the first tick there.
    pub(crate) async fn enter(world: &World, device: &str) -> Self {
        let (mut client, user) = world.player(device).await;
        let ack = enter(&mut client, "").await;
        let me = Seen { user, at: ack.at, score: ack.score, last_move: 0 };
        let mut player =
            Self { client, user, tick: ack.tick, me, coins: Vec::new(), moves: 0, heading: (0, 0) };
        // From here on it knows where the coins were.
        player.step().await;
        player
    }

    pub(crate) fn score(&self) -> u32 {
        self.me.score
    }

    /// Reads the next notify and holds it against the last.
    pub(crate) async fn step(&mut self) -> Step {
        let notify = notify(&mut self.client).await;
        assert_eq!(notify.tick, self.tick + 1, "a tick is missing or doubled");
        let me = *notify.players.iter().find(|seen| seen.user == self.user).expect("I am in the arena");
        let moved = me.at.x.abs_diff(self.me.at.x).max(me.at.y.abs_diff(self.me.at.y));
        assert!(moved <= SPEED.unsigned_abs(), "from {:?} to {:?} in one tick", self.me.at, me.at);
        assert!(me.score >= self.me.score, "{} points, {} before", me.score, self.me.score);
        assert!(me.last_move >= self.me.last_move && me.last_move <= self.moves, "{me:?}");
        let pairs = notify.coins.iter().zip(&self.coins);
        let step = Step {
            rules: notify.rules,
            points: me.score - self.me.score,
            taken: u32::try_from(pairs.filter(|(now, before)| now != before).count()).unwrap(),
            players: notify.players.len(),
        };
        (self.tick, self.me, self.coins) = (notify.tick, me, notify.coins);
        step
    }

    /// Heads that way.
    pub(crate) async fn head(&mut self, dx: i8, dy: i8) {
        if self.heading != (dx, dy) {
            self.heading = (dx, dy);
            self.moves += 1;
            let request = MoveReq { seq: self.moves, dx, dy }.to_bytes().unwrap();
            self.client.send(MOVE_REQ, &request).await.unwrap();
        }
    }

    /// One step towards the nearest coin.
    pub(crate) async fn hunt(&mut self) -> Step {
        let step = self.step().await;
        let Point { x, y } = self.me.at;
        let far = |coin: &&Point| coin.x.abs_diff(x).max(coin.y.abs_diff(y));
        let coin = *self.coins.iter().min_by_key(far).expect("there are always coins");
        let sign = |to: i16, from: i16| i8::try_from((to - from).signum()).unwrap();
        self.head(sign(coin.x, x), sign(coin.y, y)).await;
        step
    }
}
