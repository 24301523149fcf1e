//! Settings: what the configuration says, as each part of the node takes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hotseat_build::Durability;

use super::ATTACH_TIMEOUT;
use crate::actor::World;
use crate::agent::{AgentConfig, Authenticator, KeyError, Rate, Rates};
use crate::config::{Auth, Config, Durable};
use crate::game::registry;
use crate::journal::{Journal, Letters};
use crate::service;
use crate::snowflake::Generator;

/// What the guests of one plugin get.
pub(super) fn world(
    config: &Config,
    plugin: &str,
    (journal, letters): (&Arc<Journal>, &Arc<Letters>),
    ids: &Arc<Generator>,
) -> World {
    let settings: BTreeMap<String, String> = config.plugin_config.get(plugin).cloned().unwrap_or_default();
    World {
        ids: Arc::clone(ids),
        settings: Arc::new(settings),
        log_inputs: config.log_inputs,
        log_bytes: config.log_bytes,
        journal: Arc::clone(journal),
        letters: Arc::clone(letters),
        durability: match config.durability {
            Durable::Manifest => None,
            Durable::None => Some(Durability::None),
            Durable::Snapshot => Some(Durability::Snapshot),
            Durable::Journal => Some(Durability::Journal),
        },
    }
}

/// The services guests can call: the configured ones, and this node's own under their plugins' names.
pub(super) fn services<'a>(
    config: &Config,
    own: impl Iterator<Item = &'a str>,
    grpc: SocketAddr,
) -> BTreeMap<String, Vec<String>> {
    let ip = match grpc.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let here = format!("http://{}", SocketAddr::new(ip, grpc.port()));
    let mut table = config.service.clone();
    for plugin in own {
        table.entry(plugin.to_owned()).or_insert_with(|| vec![here.clone()]);
    }
    table
}

pub(super) fn plane_bounds(config: &Config) -> service::Bounds {
    service::Bounds {
        shards: u32::try_from(config.shards).unwrap_or(u32::MAX),
        shard_mailbox: config.shard_mailbox,
        stream_messages: config.stream_messages,
        stream_bytes: config.stream_max_bytes,
        max_streams: config.max_streams,
    }
}

pub(super) fn bounds(config: &Config) -> registry::Bounds {
    registry::Bounds { max_rooms: config.max_rooms, room_mailbox: config.room_mailbox }
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
