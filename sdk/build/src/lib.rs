//! From a plugin crate to one artefact file, and back to what is in it.
//!
//! An artefact is a WebAssembly component for one world of `wit/`, with its [`Manifest`] in a custom section and,
//! if it is a gRPC service, the descriptors of its methods ([`Interface`]) in another: a single file that a node
//! can check, store and run. This crate finds a compiler for it ([`Toolchain`]), makes it ([`build`]), and tells
//! good files from bad ones before any of their code runs ([`verify`], [`interface()`], [`inspect`]). It holds no
//! engine: the host, the command line, `xtask` and the tests all use it.

pub mod bounds;
mod component;
mod crate_build;
mod digest;
mod inspect;
mod interface;
mod manifest;
mod pack;
mod printable;
mod process;
mod proto;
mod shape;
mod toolchain;
mod verify;
pub mod wit;

pub use component::{
    EncodeError, MANIFEST_SECTION, MAX_MANIFEST_BYTES, encode, with_descriptors, with_manifest,
};
pub use crate_build::{Artefact, BuildError, BuildOptions, build, build_with_command};
pub use digest::{Digest, DigestError};
pub use inspect::{InspectError, Inspection, SectionInfo, inspect};
pub use interface::{Interface, MAX_PROTO_BYTES, Method, MethodKind, PROTO_SECTION};
pub use manifest::{Build, Durability, Limits, Manifest, ManifestError, Service};
pub use pack::pack;
pub use printable::{TEXT_MAX, excerpt, into_printable, printable};
pub use process::absolute_target_dir;
pub use toolchain::{Route, TARGET, Toolchain, ToolchainError};
pub use verify::{VerifyError, declared, interface, verify};
pub use wit::WIT;
