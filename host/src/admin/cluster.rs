//! Cluster: what operators see of all nodes, and what they do to one of them.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tonic::Status;
use tracing::info;

use super::AdminService;
use crate::cluster::node::NodeInfo;
use crate::cluster::placement::Placement;
use crate::cluster::player_directory::PlayerDirectory;
use crate::cluster::rooms::drain_progress::DrainProgress;
use crate::game::Homes;
use crate::proto::admin as proto;

/// This node among the others.
#[derive(Clone)]
pub struct ClusterHandle {
    /// What this node is, before it has done anything.
    pub info: NodeInfo,
    /// Who has what.
    pub placement: Placement,
    /// The home rooms, as this node sees them.
    pub homes: Arc<Homes>,
    /// Set once the node is to be empty.
    pub draining: watch::Sender<bool>,
    /// How far the node is with handing its rooms over.
    pub progress: DrainProgress,
    /// Who finds players.
    pub players: PlayerDirectory,
}

impl AdminService {
    pub(super) fn cluster(&self) -> proto::ClusterReply {
        let ClusterHandle { info, placement, homes, .. } = &self.place;
        let shared = homes.are_clustered();
        let mut owned: HashMap<String, u32> = HashMap::new();
        for (owner, _) in placement.claims().into_values() {
            *owned.entry(owner.node).or_default() += 1;
        }
        let home_rooms = if shared || self.registry.is_some() { homes.count() } else { 0 };
        let nodes = if shared { placement.nodes() } else { vec![self.info()] };
        if !shared {
            owned = [(info.id.clone(), home_rooms)].into();
        }
        let claimed: u32 = owned.values().sum();
        let (moved, staying) = self.place.progress.told();
        proto::ClusterReply {
            moved,
            staying: staying.into_iter().map(|(room, why)| proto::StayingRoom { room, why }).collect(),
            node: info.id.clone(),
            shared,
            fresh: !shared || placement.is_fresh(),
            home_rooms,
            unclaimed: home_rooms.saturating_sub(claimed),
            nodes: nodes.into_iter().map(|node| row(&owned, node)).collect(),
        }
    }

    /// A node by itself, as it would tell others.
    fn info(&self) -> NodeInfo {
        self.place.info.at_present(self.sessions.as_deref(), self.registry.as_deref(), &self.deployers)
    }

    pub(super) fn drain(&self, undo: bool) -> Result<proto::DrainReply, Status> {
        let ClusterHandle { info, placement, homes, draining, .. } = &self.place;
        if !homes.are_clustered() {
            return Err(Status::failed_precondition(format!(
                "node {} is by itself: there is no other node to take its rooms",
                info.id
            )));
        }
        if draining.send_replace(!undo) == undo {
            info!(draining = !undo, "told by an operator");
        }
        let hosts = placement.nodes().iter().filter(|node| node.takes_rooms() && node.id != info.id).count();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(proto::DrainReply { homes: count(homes.claims().len()), hosts: count(hosts) })
    }

    pub(super) async fn move_session(&self, user: u64, to: &str) -> Result<proto::MoveSessionReply, Status> {
        let moved = self.place.players.move_player(user, to).await?;
        info!(user, from = moved.from, to = moved.to, "player moved by an operator");
        Ok(proto::MoveSessionReply { from: moved.from, to: moved.to })
    }
}

fn row(owned: &HashMap<String, u32>, node: NodeInfo) -> proto::ClusterNode {
    proto::ClusterNode {
        homes: owned.get(&node.id).copied().unwrap_or(0),
        id: node.id,
        roles: node.roles,
        version: node.version,
        link: node.link,
        grpc: node.grpc,
        admin: node.admin,
        listen: node.listen.unwrap_or_default(),
        started_ms: node.started_ms,
        draining: node.draining,
        sessions: node.sessions,
        rooms: node.rooms,
        players: node.players,
        plugins: node.plugins.into_iter().map(|(name, digest)| proto::NodePlugin { name, digest }).collect(),
    }
}
