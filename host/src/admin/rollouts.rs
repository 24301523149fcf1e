//! Rollouts: the cluster's versions, as operators ask for them and are told of them.

use tonic::{Response, Status};

use super::{AdminService, proto, reply as deploy_reply, status};
use crate::cluster::rollout::record::Release;
use crate::cluster::rollout::{Progress, Rollout, RolloutError, RolloutReport};

impl AdminService {
    /// The plugin's versions in the cluster.
    pub(super) fn rollout(&self, name: &str) -> Result<&Rollout, Status> {
        self.rollouts.get(name).ok_or_else(|| {
            Status::failed_precondition(
                "this node is in no cluster: deploy without --cluster, or start nodes with ETCD_HOST",
            )
        })
    }

    /// Whether the version of this node alone may be changed.
    pub(super) fn check_alone(&self, name: &str) -> Result<(), Status> {
        match self.rollouts.get(name) {
            Some(rollout) if rollout.governs() => Err(Status::failed_precondition(format!(
                "the cluster has one version of {name} for all nodes: use --cluster"
            ))),
            _ => Ok(()),
        }
    }
}

/// What a rollout did.
pub(super) fn reply(
    result: Result<RolloutReport, RolloutError>,
) -> Result<Response<proto::DeployReply>, Status> {
    let report = result.map_err(|error| refusal(&error))?;
    let nodes = u32::try_from(report.nodes).unwrap_or(u32::MAX);
    Ok(Response::new(proto::DeployReply { nodes, ..deploy_reply(&report.here) }))
}

fn refusal(error: &RolloutError) -> Status {
    let text = error.to_string();
    match error {
        RolloutError::Deploy(error) => status(error),
        RolloutError::Withdrawn(_)
        | RolloutError::TakenBack(_)
        | RolloutError::Busy { .. }
        | RolloutError::Behind(_)
        | RolloutError::NoPrevious
        | RolloutError::Overtaken(_)
        | RolloutError::Apart { .. }
        | RolloutError::Lost
        | RolloutError::Record { .. } => Status::failed_precondition(text),
        RolloutError::Discovery(_) | RolloutError::Shutdown => Status::unavailable(text),
    }
}

/// How far the nodes are.
pub(super) fn told(progress: Progress) -> proto::ProgressReply {
    let mut told = proto::ProgressReply::default();
    if let Some(record) = progress.record {
        told.live = record.live.as_ref().map(version);
        told.rollout = record.rollout;
        if let Some(next) = record.next {
            told.next = Some(version(&next.release));
            told.coordinator = next.coordinator;
            told.rollout = next.rollout;
        }
        if let Some(failed) = record.failed {
            let digest = failed.digest.to_string();
            told.failed = Some(proto::Version { digest, label: failed.label, size_bytes: 0 });
            told.reason = failed.reason;
        }
    }
    let nodes = progress.nodes.into_iter().map(|(node, status)| proto::NodeProgress {
        node,
        rollout: status.rollout,
        step: status.step.name().to_owned(),
        reason: status.reason,
        digest: status.digest.to_string(),
        rooms: status.rooms,
        pause_max_us: status.pause_max_us,
    });
    told.nodes = nodes.collect();
    told
}

fn version(release: &Release) -> proto::Version {
    let digest = release.digest.to_string();
    proto::Version { digest, label: release.label.clone(), size_bytes: release.size_bytes }
}
