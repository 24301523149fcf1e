//! Settings: what the configuration says, as each part of the node takes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hotseat_build::Durability;
use tokio::net::TcpListener;
use tracing::warn;

use super::{ATTACH_TIMEOUT, StartError};
use crate::actor::{Address, Caps, Shares, World};
use crate::agent::{AgentConfig, Authenticator, KeyError, Rate, Rates};
use crate::config::{Auth, Config, Durable, Role};
use crate::discovery::{Options, Tls};
use crate::game::registry;
use crate::journal::{DeadLetters, Journal, RollbackStore};
use crate::peer::{Dialer, Security, SecurityError, TlsFiles};
use crate::plugin::{CompileLimits, of_the_machine};
use crate::service;
use crate::snowflake::Generator;

/// What the guests of one plugin get.
pub(super) fn world(
    config: &Config,
    plugin: &str,
    (journal, dead_letters, rollbacks): (&Arc<Journal>, &Arc<DeadLetters>, &Arc<RollbackStore>),
    ids: &Arc<Generator>,
) -> World {
    let settings: BTreeMap<String, String> = config.plugin_config.get(plugin).cloned().unwrap_or_default();
    World {
        ids: Arc::clone(ids),
        settings: Arc::new(settings),
        log_inputs: config.log_inputs,
        log_bytes: config.log_bytes,
        journal: Arc::clone(journal),
        dead_letters: Arc::clone(dead_letters),
        rollbacks: Arc::clone(rollbacks),
        meter: None,
        durability: match config.durability {
            Durable::Manifest => None,
            Durable::None => Some(Durability::None),
            Durable::Snapshot => Some(Durability::Snapshot),
            Durable::Journal => Some(Durability::Journal),
        },
    }
}

/// What processor time the actors of a plugin may use. A shard is not ended for using too much: its data would be out of
/// reach for whoever asks for it next.
pub(super) fn shares(config: &Config, game: bool) -> Shares {
    let percent = |percent: u32| f64::from(percent) / 100.0;
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let close_after = Duration::from_millis(config.overload_close_ms);
    Shares {
        actor: percent(config.room_cpu_share),
        plugin: config.plugin_cpu_share.map_or((cores - 1.0).max(0.5), percent),
        close_after: (game && !close_after.is_zero()).then_some(close_after),
    }
}

/// What the manifests of a plugin may ask for.
pub(super) fn caps(config: &Config, plugin: &str) -> Caps {
    let mut caps = Caps::DEFAULT;
    for (key, value) in config.plugin_cap.get(plugin).into_iter().flatten() {
        // The configuration has been checked.
        if let (Some(cap), Ok(value)) = (caps.of(key), value.parse()) {
            *cap = value;
        }
    }
    caps
}

/// How much linear memory all guests may have together, bytes.
pub(super) fn guest_memory_max(config: &Config) -> u64 {
    let set = config.guest_memory_max_mib.map(|mib| u64::from(mib) << 20);
    set.or_else(|| of_the_machine().map(|bytes| bytes / 2)).unwrap_or(u64::MAX)
}

/// The services guests can call: the configured ones, and this node's own, by name: those of
/// plugins and of the host.
pub(super) fn services<'a>(
    config: &Config,
    own: impl Iterator<Item = &'a str>,
    grpc: SocketAddr,
) -> BTreeMap<String, Vec<Address>> {
    let ip = match grpc.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let here = Address::Peer(SocketAddr::new(ip, grpc.port()).to_string());
    let foreign = config
        .service
        .iter()
        .map(|(name, urls)| (name.clone(), urls.iter().map(|url| Address::Foreign(url.clone())).collect()));
    let mut table: BTreeMap<_, Vec<_>> = foreign.collect();
    for plugin in own {
        table.entry(plugin.to_owned()).or_insert_with(|| vec![here.clone()]);
    }
    table
}

/// How etcd is reached, if there is one.
pub(super) fn etcd(config: &Config) -> Result<Option<Options>, StartError> {
    if config.etcd_host.is_none() {
        return Ok(None);
    }
    let read = |key: &'static str, path: &PathBuf| {
        std::fs::read(path).map_err(|source| StartError::EtcdFile { key, path: path.clone(), source })
    };
    let password = match &config.etcd_password_file {
        Some(path) => {
            let text = String::from_utf8_lossy(&read("etcd_password_file", path)?).into_owned();
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => String::new(),
    };
    let identity = match (&config.etcd_cert, &config.etcd_key) {
        (Some(cert), Some(key)) => Some((read("etcd_cert", cert)?, read("etcd_key", key)?)),
        _ => None,
    };
    let ca = config.etcd_ca.as_ref().map(|path| read("etcd_ca", path)).transpose()?;
    Ok(Some(Options {
        endpoints: config.etcd_endpoints(),
        prefix: config.etcd_prefix.clone().unwrap_or_default(),
        user: config.etcd_user.clone().map(|user| (user, password)),
        tls: ca.map(|ca| Tls { ca, identity }),
        ttl: Duration::from_secs(config.lease_ttl_s),
    }))
}

/// Where other nodes reach this one: `HOST:PORT`.
pub(super) fn advertised(config: &Config, grpc: SocketAddr) -> Result<String, StartError> {
    match &config.advertise {
        Some(advertise) if advertise.parse::<SocketAddr>().is_ok() => Ok(advertise.clone()),
        Some(advertise) if host(advertise) != advertise && !advertise.ends_with(']') => Ok(advertise.clone()),
        Some(advertise) => Ok(format!("{advertise}:{}", grpc.port())),
        None if grpc.ip().is_unspecified() => Err(StartError::Advertise(grpc)),
        None => Ok(grpc.to_string()),
    }
}

/// What nodes show each other. Says so if this one asks strangers for nothing.
pub(super) fn security(config: &Config) -> Result<Security, SecurityError> {
    let [token, ca, cert, key] =
        [&config.peer_token_file, &config.peer_ca, &config.peer_cert, &config.peer_key].map(Option::as_deref);
    let security = Security::load(token, TlsFiles::of(ca, cert, key)?)?;
    if security.is_open() && !config.grpc_listen.ip().is_loopback() {
        warn!(
            grpc_listen = %config.grpc_listen,
            "whoever reaches this address is taken for a node of the cluster: set peer_token_file or peer_ca"
        );
    }
    Ok(security)
}

/// How this node reaches itself: at an address that its certificate may not be for.
pub(super) fn own_dialer(config: &Config, security: &Security) -> Dialer {
    let dialer = security.dialer();
    match &config.advertise {
        Some(advertise) => dialer.named(host(advertise)),
        None => dialer,
    }
}

/// The host of `HOST` or `HOST:PORT`.
fn host(advertise: &str) -> &str {
    if let Some((host, _)) = advertise.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return host;
    }
    match advertise.split_once(':') {
        // Two colons are in no name: an IPv6 address without brackets.
        Some((host, port)) if !port.contains(':') => host,
        _ => advertise,
    }
}

/// What compiling a plugin may take.
pub(super) fn compiler(config: &Config) -> CompileLimits {
    CompileLimits {
        program: config.compile_program.clone(),
        artefact_max_bytes: config.artefact_max_bytes,
        memory_max_bytes: config.compile_memory_max_bytes,
        timeout: Duration::from_millis(config.compile_timeout_ms),
    }
}

pub(super) fn plane_bounds(config: &Config) -> service::Bounds {
    service::Bounds {
        shards: u32::try_from(config.shards).unwrap_or(u32::MAX),
        shard_mailbox: config.shard_mailbox,
        stream_messages: config.stream_messages,
        stream_bytes: config.stream_max_bytes,
        streams_bytes: config.streams_max_bytes,
        max_streams: config.max_streams,
    }
}

pub(super) fn bounds(config: &Config) -> registry::Bounds {
    registry::Bounds {
        max_rooms: config.max_rooms,
        rooms_per_room: config.rooms_per_room,
        rooms_per_player: config.rooms_per_player,
        room_mailbox: config.room_mailbox,
        player_moves_per_s: config.player_moves_per_s,
    }
}

pub(super) fn agent_config(config: &Config) -> AgentConfig {
    let rate = |per_s: u32, burst: u32| Rate {
        per_s: NonZeroU32::new(per_s).unwrap_or(NonZeroU32::MIN),
        burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
    };
    let rates = Rates {
        frames: rate(config.frames_per_s, config.frames_burst),
        bytes: rate(config.bytes_per_s, config.bytes_burst),
    };
    AgentConfig {
        listen: config.listen,
        max_sessions: config.max_sessions,
        max_connections_per_addr: config.limits.then_some(config.max_connections_per_addr),
        login_frame_max_bytes: config.login_frame_max_bytes,
        frame_max_bytes: config.frame_max_bytes,
        login_timeout: Duration::from_millis(config.login_timeout_ms),
        idle_timeout: Duration::from_millis(config.idle_timeout_ms),
        attach_timeout: ATTACH_TIMEOUT,
        rates: config.limits.then_some(rates),
        outbox_max_bytes: config.outbox_max_bytes,
        grace: Duration::from_millis(config.shutdown_grace_ms),
    }
}

pub(super) fn authenticator(config: &Config) -> Result<Authenticator, KeyError> {
    match (config.auth, &config.auth_key) {
        (Auth::Token, Some(path)) => Authenticator::token_from_file(path),
        (Auth::Token, None) => Authenticator::token(&[]),
        (Auth::Dev, _) => Ok(Authenticator::Dev),
    }
}

/// Whether a node of these roles can do anything.
pub(super) fn check_roles(config: &Config) -> Result<(), StartError> {
    let has = |role| config.roles.contains(&role);
    if config.etcd_host.is_some() || has(Role::Game) || !has(Role::Agent) {
        return Ok(());
    }
    let roles: Vec<_> = config.roles.iter().map(ToString::to_string).collect();
    Err(StartError::Roles(roles.join(", ")))
}

/// A listener, and its address with the port that the system chose.
pub(super) async fn bind(
    key: &'static str,
    addr: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = |source| StartError::Bind { key, addr, source };
    let listener = TcpListener::bind(addr).await.map_err(error)?;
    let addr = listener.local_addr().map_err(error)?;
    Ok((listener, addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_advertised_address() {
        for (advertise, found) in [
            ("game-1", "game-1"),
            ("game-1:10000", "game-1"),
            ("10.0.0.1:10000", "10.0.0.1"),
            ("[fd00::1]:10000", "fd00::1"),
            ("[fd00::1]", "fd00::1"),
            ("fd00::1", "fd00::1"),
        ] {
            assert_eq!(host(advertise), found);
        }
    }
}
