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

/// The descriptors of every protocol, encoded: what server reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The largest message of the admin service: an artefact of 64 MiB and what goes with it, bytes.
pub const ADMIN_MESSAGE_MAX_BYTES: usize = (64 << 20) + (64 << 10);
