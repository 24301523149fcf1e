//! Builtin services: the host's own services on the gRPC gRPC server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use tokio_util::sync::CancellationToken;

use super::membership::Membership;
use crate::actor::deploy::Deployer;
use crate::cluster::link::grpc::GrpcLink;
use crate::cluster::link::server::LinkServer;
use crate::cluster::player_directory::PlayerDirectory;
use crate::cluster::rollout::Shelf;
use crate::config::{Config, Role};
use crate::game::registry::Registry;
use crate::gonet::{GameStreams, StreamParts};
use crate::link::Link;
use crate::proto::DESCRIPTORS;
use crate::proto::cluster::players_server::PlayersServer;
use crate::proto::original::snowflake_service_server::SnowflakeServiceServer;
use crate::service::BuiltinServices;

/// The full names of the host's own gRPC services, whichever of them this node serves.
pub(super) fn own_services() -> Vec<String> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptors were made with this build");
    let names = files.file.iter().flat_map(|file| {
        file.service.iter().map(|service| match file.package() {
            "" => service.name().to_owned(),
            package => format!("{package}.{}", service.name()),
        })
    });
    names.collect()
}

/// What they are made of.
pub(super) struct BuiltinParts<'a> {
    pub(super) config: &'a Config,
    pub(super) membership: &'a Membership,
    /// The rooms of this node, if it has any.
    pub(super) registry: Option<&'a Arc<Registry>>,
    /// The plugins of this node.
    pub(super) deployers: &'a BTreeMap<String, Deployer>,
    /// To the rooms of all hosts.
    pub(super) link: Link,
    /// To those of this one.
    pub(super) rooms: &'a Link,
    pub(super) players: &'a PlayerDirectory,
    pub(super) stop: &'a CancellationToken,
}

/// The services, and what of them is to have ended before the rooms do.
pub(super) fn builtin(parts: BuiltinParts<'_>) -> (BuiltinServices, Option<GameStreams>, Option<LinkServer>) {
    let BuiltinParts { config, membership, registry, deployers, link, rooms, players, stop } = parts;
    let mut builtin = BuiltinServices::described_by(DESCRIPTORS);
    if registry.is_some() || membership.is_shared() {
        builtin = builtin.add(PlayersServer::new(players.clone()));
    }
    if membership.is_shared() && !deployers.is_empty() {
        builtin = builtin.add(Shelf::served(deployers.clone()));
    }
    if let Some(snowflake) = &membership.snowflake
        && config.roles.contains(&Role::Snowflake)
    {
        builtin = builtin.add(SnowflakeServiceServer::new(snowflake.service()));
    }
    let Some(registry) = registry else { return (builtin, None, None) };
    let streams = GameStreams::new(StreamParts {
        link,
        outbox_max_bytes: config.outbox_max_bytes,
        max_streams: config.max_sessions,
        patience: Duration::from_millis(config.idle_timeout_ms),
        stop: stop.clone(),
        metrics: membership.metrics.clone(),
    });
    builtin = builtin.add(streams.server());
    if !membership.is_shared() {
        return (builtin, Some(streams), None);
    }
    let link_server = membership.link_server(rooms.clone(), config.max_sessions);
    builtin = builtin.add(GrpcLink::new(link_server.clone())).add(membership.rooms(Arc::clone(registry)));
    (builtin, Some(streams), Some(link_server))
}
