//! What is set before a test room or shard exists.

use std::cell::RefCell;
use std::rc::Rc;

use crate::game::{Game, UserId};
use crate::service::Service;
use crate::state::Snapshot;
use crate::testing::{SharedHost, TestHost, TestRoom, TestShard};

/// What a test settles before `open` or `migrate` run: for games and services that read it there.
///
/// ```
/// # use hotseat_guest::{Game, Room};
/// use hotseat_guest::testing::Setup;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Greeter(Vec<u8>);
/// # impl Game for Greeter {
/// #     const SCHEMA: u32 = 1;
/// #     fn open(room: &Room<Self>, _: &str, _: &[u8]) -> Result<Self, String> {
/// #         room.config("greeting").map(Greeter).ok_or("no greeting".into())
/// #     }
/// # }
///
/// let room = Setup::new().seed(7).config("greeting", b"hello").open::<Greeter>("home/1", b"").expect("opens");
/// assert_eq!(room.state().0, b"hello");
/// ```
#[must_use]
pub struct Setup {
    host: TestHost,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// Seed 1, no settings, time 2026-01-01 UTC.
    pub fn new() -> Self {
        Self { host: TestHost::new() }
    }

    /// Where the random numbers begin.
    pub fn seed(mut self, seed: u64) -> Self {
        self.host.seed(seed);
        self
    }

    /// The time, in milliseconds since 1970-01-01 UTC.
    pub fn now_ms(mut self, now_ms: u64) -> Self {
        self.host.now_ms = now_ms;
        self
    }

    /// One of the operator's settings.
    pub fn config(mut self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.host.config.insert(key.into(), value.into());
        self
    }

    /// A player's document, visible once the player has joined.
    pub fn profile(mut self, user: UserId, bytes: impl Into<Vec<u8>>) -> Self {
        self.host.profiles.insert(user, bytes.into());
        self
    }

    /// A new room.
    ///
    /// # Errors
    /// Those of [`Game::open`].
    pub fn open<G: Game>(self, key: &str, args: &[u8]) -> Result<TestRoom<G>, String> {
        TestRoom::open_on(self.shared(key), key, args)
    }

    /// A room out of a saved state; without players, timers and calls.
    ///
    /// # Errors
    /// If the state does not decode, is of a newer schema, or the migration fails.
    pub fn load<G: Game>(self, snapshot: &Snapshot) -> Result<TestRoom<G>, String> {
        TestRoom::load_on(self.shared(""), snapshot)
    }

    /// A new shard.
    ///
    /// # Errors
    /// Those of [`Service::open`].
    pub fn open_shard<S: Service>(self, key: &str) -> Result<TestShard<S>, String> {
        TestShard::open_on(self.shared(key), key)
    }

    /// A shard out of a saved state; without streams, timers and calls.
    ///
    /// # Errors
    /// If the state does not decode, is of a newer schema, or the migration fails.
    pub fn load_shard<S: Service>(self, snapshot: &Snapshot) -> Result<TestShard<S>, String> {
        TestShard::load_on(self.shared(""), snapshot)
    }

    fn shared(mut self, key: &str) -> SharedHost {
        self.host.key = key.into();
        Rc::new(RefCell::new(self.host))
    }
}
