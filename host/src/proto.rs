//! Proto: the gRPC code generated from `proto/`.

/// The operator's door: `hotseat.admin.v1`, documented in `proto/admin.proto`.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated; the protocol file documents it"
)]
pub mod admin {
    tonic::include_proto!("hotseat.admin.v1");
}

/// What the nodes of a cluster tell each other: `hotseat.cluster.v1`, documented in `proto/cluster.proto`.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated; the protocol file documents it"
)]
pub mod cluster {
    tonic::include_proto!("hotseat.cluster.v1");
}

/// The host's services under gonet/2's names: `proto`, documented in `proto/game.proto` and `proto/snowflake.proto`.
#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated; the protocol files document it"
)]
pub mod original {
    tonic::include_proto!("proto");
}

/// The descriptors of every protocol, encoded: what server reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The largest message of the admin service: an artefact of 64 MiB and what goes with it, bytes.
pub const ADMIN_MESSAGE_MAX_BYTES: usize = (64 << 20) + (64 << 10);
