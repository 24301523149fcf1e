//! Config: one flat tree of settings; every key, its default and its allowed range stand in the table below.
//!
//! Layers, the later one wins: defaults, `hotseat.toml`, `HOTSEAT_*` of the environment, flags. Maps are merged
//! name by name. What a layer says that the table does not know is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

mod check;
mod error;
mod flags;
mod layers;
mod maps;
mod print;
mod setting;
mod table;

pub use error::ConfigError;
pub use flags::RunFlags;
pub use layers::{Inputs, Loaded};
pub use setting::{Auth, Durable, LogFormat, Role};

use setting::{AddressSetting as _, Switch};
use table::keys;

/// The file that is read from the working directory if there is one and `--config` names no other.
pub const FILE: &str = "hotseat.toml";
/// What the names of environment variables begin with.
pub const ENV_PREFIX: &str = "HOTSEAT_";
/// Known, but no settings: what `hotseat plugin`, `--config` and the plugin build read.
pub(crate) const ENV_OTHERS: [&str; 3] = ["HOTSEAT_ADMIN", "HOTSEAT_CONFIG", "HOTSEAT_WASM_TOOLCHAIN"];
/// The shortest secret that `auth_key` may hold, bytes: the output size of SHA-256 (RFC 7518, section 3.2).
pub const AUTH_KEY_MIN_BYTES: usize = 32;

const MIB: usize = 1024 * 1024;

keys! {
    "Network" {
        /// Where game clients connect (TCP). Port 0 takes any free one.
        listen: SocketAddr = SocketAddr::loopback(8888);
        /// Where other services reach this node (gRPC).
        grpc_listen: SocketAddr = SocketAddr::loopback(10_000);
        /// Where operators reach this node: admin gRPC and metrics.
        admin_listen: SocketAddr = SocketAddr::loopback(9600);
    }
    "Node" {
        /// Directory of everything that outlives the process; made if it is not there.
        data_dir: PathBuf = PathBuf::from("hotseat-data");
        /// What this node does: all, or a list of agent and game.
        roles: BTreeSet<Role> = Role::ALL.into_iter().collect();
        /// How long sessions and rooms may take to end after SIGTERM, milliseconds.
        shutdown_grace_ms: u64 = 10_000, in 0..=600_000;
    }
    "Plugins" {
        /// NAME=FILE: the component that runs under a name; repeatable. Without any: the reference plugins.
        plugin: BTreeMap<String, PathBuf> = BTreeMap::new();
        /// PLUGIN.KEY=VALUE: what a plugin reads through its `config` interface; repeatable.
        plugin_config: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        /// NAME=URL: a gRPC service plugins may call, http:// only; repeat a name for more instances.
        service: BTreeMap<String, Vec<String>> = BTreeMap::new();
        /// How long a service may take to answer a plugin, milliseconds.
        service_timeout_ms: u64 = 5000, in 1..=600_000;
        /// How long a new version is watched and rolled back by itself if it misbehaves, milliseconds.
        probation_ms: u64 = 30_000, in 0..=3_600_000;
    }
    "Login" {
        /// Who may log in: dev gives any device id a stable account, token wants a signed token.
        auth: Auth = Auth::Dev;
        /// File with the secret (at least 32 bytes) that signs tokens (HS256). Required by token.
        auth_key: Option<PathBuf> = None;
        /// How long a client may take to log in, milliseconds.
        login_timeout_ms: u64 = 10_000, in 10..=600_000;
        /// Largest frame before the login is done, bytes after the size field.
        login_frame_max_bytes: usize = 4096, in 6..=65_535;
    }
    "Limits" {
        /// on, or off for load tests: frames, bytes and connections per address are not limited then.
        limits: bool as Switch = true;
        /// Most sessions at a time.
        max_sessions: usize = 10_000, in 1..=1_000_000;
        /// Most connections from one IP address.
        max_connections_per_addr: usize = 1024, in 1..=1_000_000;
        /// Largest frame after the login, bytes after the size field.
        frame_max_bytes: usize = 16_384, in 6..=65_535;
        /// A session that sends nothing for so long is closed, milliseconds.
        idle_timeout_ms: u64 = 60_000, in 10..=86_400_000;
        /// Frames a session may send, on average a second.
        frames_per_s: u32 = 100, in 1..=1_000_000;
        /// Frames a session may send at once.
        frames_burst: u32 = 200, in 1..=1_000_000;
        /// Bytes a session may send, on average a second.
        bytes_per_s: u32 = 65_536, in 1..=1_073_741_824;
        /// Bytes a session may send at once; at least one frame of frame_max_bytes.
        bytes_burst: u32 = 131_072, in 1..=1_073_741_824;
        /// Bytes that may wait for a client that does not read; beyond it is closed as slow.
        outbox_max_bytes: usize = 262_144, in 1024..=1024 * MIB;
    }
    "Game" {
        /// Rooms that users are spread over by a hash of their id. Keep it once there is data.
        home_rooms: usize = 64, in 1..=65_536;
        /// Most rooms at a time, home rooms included.
        max_rooms: usize = 4096, in 1..=1_000_000;
        /// Events that may wait for a room; beyond that its clients are read more slowly.
        room_mailbox: usize = 1024, in 1..=65_536;
        /// Inputs a room keeps since its last snapshot, to replay them after a trap.
        log_inputs: usize = 4096, in 1..=1_000_000;
        /// Bytes of those inputs.
        log_bytes: usize = MIB, in 1024..=1024 * MIB;
        /// What of a room survives a crash; manifest leaves it to the plugin.
        durability: Durable = Durable::Manifest;
        /// Inputs that guests failed on, kept for `hotseat replay`: most files, 0 for none; the oldest go first.
        dead_letters: usize = 100, in 0..=100_000;
    }
    "Services" {
        /// Shards of each service plugin: what serves in parallel. Keep it once there is data.
        shards: usize = 8, in 1..=256;
        /// Requests that may wait for a shard; beyond that they are refused with RESOURCE_EXHAUSTED.
        shard_mailbox: usize = 4096, in 1..=65_536;
        /// Streams of services that may be open at a time.
        max_streams: usize = 100_000, in 1..=10_000_000;
        /// Messages that a stream's client may leave unread; beyond that it is cut.
        stream_messages: usize = 4096, in 1..=1_000_000;
        /// Bytes that it may leave unread.
        stream_max_bytes: usize = 4 * MIB, in 1024..=1024 * MIB;
    }
    "Logging" {
        /// What is logged: a level, or a filter such as `info,hotseat::agent=debug`.
        log: String = "info".to_owned();
        /// How: text or json, to standard error.
        log_format: LogFormat = LogFormat::Text;
    }
}

impl Config {
    /// Reads all layers: the working directory's `hotseat.toml` or the file that `flags` names, the process's
    /// environment, `flags`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its key, value, allowed range and origin.
    pub fn load(flags: &RunFlags) -> Result<Loaded, ConfigError> {
        Inputs::of_process(flags.clone())?.load()
    }
}

#[cfg(test)]
mod tests;
