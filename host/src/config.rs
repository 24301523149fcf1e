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
/// Known, but no settings: what `hotseat plugin`, `--config`, the plugin build and the tests read.
pub(crate) const ENV_OTHERS: [&str; 4] =
    ["HOTSEAT_ADMIN", "HOTSEAT_CONFIG", "HOTSEAT_ETCD", "HOTSEAT_WASM_TOOLCHAIN"];
/// Variables that containers of a cluster commonly have, and the keys they stand for.
pub(crate) const ENV_ALIASES: [(&str, &str); 3] =
    [("ETCD_HOST", "etcd_host"), ("SERVICE_ID", "node_id"), ("MACHINE_ID", "machine_id")];
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
        /// What this node does: all, or a list of agent, game, snowflake, rank and chat.
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
        /// Largest artefact of a plugin, bytes.
        artefact_max_bytes: usize = 64 * MIB, in 4096..=64 * MIB;
        /// Time of the processor that compiling a version may take, milliseconds; of the clock four times that.
        compile_timeout_ms: u64 = 120_000, in 1000..=3_600_000;
        /// Memory that compiling a version may take, in a process of its own, bytes.
        compile_memory_max_bytes: usize = 2048 * MIB, in 64 * MIB..=65_536 * MIB;
        /// The hotseat program that is started to compile. Without it: the one that runs.
        compile_program: Option<PathBuf> = None;
        /// How long a room may be expected to stand still while a deployment hands it over, milliseconds; a deployment that
        /// would take longer is refused unless the operator accepts it (`--accept-pause`).
        swap_pause_max_ms: u64 = 2_000, in 1..=3_600_000;
        /// How long a new version is watched and rolled back by itself if it misbehaves, milliseconds.
        probation_ms: u64 = 30_000, in 0..=3_600_000;
        /// How long after a deployment what rooms were and were told since is kept for going back, milliseconds; 0 for as
        /// long as the probation.
        rollback_window_ms: u64 = 600_000, in 0..=86_400_000;
        /// Most bytes that are kept on disk for it; the way back, or the probation, ends early there, and says so.
        rollback_max_bytes: u64 = 1 << 30, in 1024..=1 << 40;
    }
    "Guests" {
        /// Processor time that a room or shard may use, in per cent of a core; beyond that it waits.
        room_cpu_share: u32 = 50, in 1..=100;
        /// What all rooms or shards of a plugin may use together, in per cent of a core; beyond that the busiest wait.
        /// Without it: all cores but one, half a core where there is one.
        plugin_cpu_share: Option<u32> = None, in 10..=102_400;
        /// A room that asks for more than its share for so long is closed, milliseconds; 0: never.
        overload_close_ms: u64 = 10_000, in 0..=3_600_000;
        /// PLUGIN.KEY=VALUE: the most that a plugin's manifest may ask for; repeatable. Keys are memory_mib (1024 where
        /// nothing is said), deadline_ms (1000), snapshot_max_bytes (268435456) and tick_hz (100).
        plugin_cap: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        /// Linear memory of all guests together, MiB; near it the largest cannot grow. Without it: half of what the machine
        /// or the control group has.
        guest_memory_max_mib: Option<u32> = None, in 16..=16_777_216;
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
        /// Requests of more than 64 KiB (deployments) that admin_listen takes at a time; further ones wait.
        uploads: usize = 4, in 1..=1024;
    }
    "Game" {
        /// Rooms that users are spread over by a hash of their id. Keep it once there is data.
        home_rooms: usize = 64, in 1..=65_536;
        /// Most rooms at a time. Home rooms have their places among them, which no other room takes.
        max_rooms: usize = 4096, in 1..=1_000_000;
        /// Rooms that may be open at a time at the request of one room.
        rooms_per_room: usize = 1024, in 1..=1_000_000;
        /// Rooms that may be open at a time at the request of one player.
        rooms_per_player: usize = 32, in 1..=1_000_000;
        /// Events that may wait for a room; beyond that its clients are read more slowly.
        room_mailbox: usize = 1024, in 1..=65_536;
        /// How often rooms may send a player on to another room within a second; beyond that the player stays.
        player_moves_per_s: u32 = 10, in 1..=1_000_000;
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
        /// Bytes that all streams together may keep for clients that have not read them; beyond it streams with unread
        /// messages are cut.
        streams_max_bytes: usize = 256 * MIB, in 1024..=1024 * 1024 * MIB;
    }
    "Cluster" {
        /// The etcd of the cluster: HOST:PORT or http(s)://HOST:PORT, several separated by commas. ETCD_HOST says it too.
        /// Without it the node is on its own.
        etcd_host: Option<String> = None;
        /// What this node is called, once in the cluster. SERVICE_ID says it too. Without it: a name kept in data_dir.
        node_id: Option<String> = None;
        /// HOST or HOST:PORT under which other nodes reach grpc_listen. Without it: the address it listens on.
        advertise: Option<String> = None;
        /// What all keys in etcd begin with, such as /games/one.
        etcd_prefix: Option<String> = None;
        /// The user for etcd's own authentication.
        etcd_user: Option<String> = None;
        /// File with that user's password.
        etcd_password_file: Option<PathBuf> = None;
        /// Certificates (PEM) of who may sign etcd's certificate; https:// only.
        etcd_ca: Option<PathBuf> = None;
        /// This node's certificate for etcd (PEM), with etcd_key.
        etcd_cert: Option<PathBuf> = None;
        /// The key of etcd_cert (PEM).
        etcd_key: Option<PathBuf> = None;
        /// A node that is not heard of for so long is taken for dead, seconds.
        lease_ttl_s: u64 = 10, in 2..=600;
        /// Home rooms of the cluster, written down by its first node (256 if nothing is said). A node that
        /// says another number than the cluster has does not start; without it: the cluster's.
        cluster_home_rooms: Option<u32> = None, in 1..=65_536;
        /// The number that tells this node's ids from those of others, 0 to 1023. MACHINE_ID says it too. Without it: a
        /// free one is claimed.
        machine_id: Option<u32> = None, in 0..=1023;
        /// Names of services to look for in the cluster, separated by commas. Without it: all.
        discover: Option<String> = None;
        /// Directory that all game hosts of the cluster share: rooms of a host that died go on from what it wrote there.
        shared_dir: Option<PathBuf> = None;
        /// The largest state of a room that this host takes from another one, bytes.
        handover_max_bytes: usize = 1280 * MIB, in MIB..=3072 * MIB;
        /// File with the secret that nodes show each other (at least 32 bytes).
        peer_token_file: Option<PathBuf> = None;
        /// Certificates (PEM) of who may sign those of other nodes; nodes must show one then (mTLS).
        peer_ca: Option<PathBuf> = None;
        /// This node's certificate for other nodes (PEM), with peer_key.
        peer_cert: Option<PathBuf> = None;
        /// The key of peer_cert (PEM).
        peer_key: Option<PathBuf> = None;
    }
    "Snowflake" {
        /// Whether Next makes a sequence that is not there, beginning at 1; on or off.
        sequences_create: bool as Switch = false;
        /// Callers of Next that may wait; beyond that they are refused with RESOURCE_EXHAUSTED.
        sequences_waiting: usize = 65_536, in 1..=1_000_000;
        /// How long etcd may take to answer Next, milliseconds; UNAVAILABLE after that.
        sequences_timeout_ms: u64 = 2000, in 1..=60_000;
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
