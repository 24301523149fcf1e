//! Inspect: what is in an artefact, for people and for `--json`.

use serde::{Serialize, Serializer};

use crate::digest::Digest;
use crate::interface::Interface;
use crate::manifest::Manifest;
use crate::printable::{TEXT_MAX, excerpt};
use crate::shape::{Item, Shape};
use crate::verify::{VerifyError, check};

/// What an artefact holds.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The sha256 of the file; as 64 hex digits in JSON.
    #[serde(serialize_with = "as_text")]
    pub digest: Digest,
    /// Its size in bytes.
    pub size: usize,
    /// Its manifest, defaults filled in.
    pub manifest: Manifest,
    /// What it wants from the host: `interface#function`, sorted.
    pub imports: Vec<String>,
    /// What it offers: `interface#function`, sorted; then, of a service, its gRPC methods and the handler that each
    /// reaches, in the order of its `.proto` file: `proto.RankingService/RankChange (call)`.
    pub exports: Vec<String>,
    /// Its top-level sections in file order.
    pub sections: Vec<SectionInfo>,
    /// Why a host would refuse it; none if it is fine.
    pub refusal: Option<String>,
}

/// One top-level section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SectionInfo {
    /// Its kind, and its name if it is a custom section.
    pub name: String,
    /// The size of its content in bytes.
    pub bytes: usize,
}

/// The file cannot be read as an artefact: no component, or no usable manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct InspectError(#[from] pub VerifyError);

/// Reads an artefact. A component that does not fit its world is still shown, with the refusal.
///
/// Never panics, whatever the bytes are.
///
/// # Errors
/// [`InspectError`] if there is no valid component or no usable manifest in it.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectError> {
    let shape = Shape::read(bytes)?;
    let manifest = shape.manifest()?;
    let refusal = check(bytes, &shape, &manifest).err().map(|e| e.to_string());
    let mut exports = names(&shape.exports);
    if let Ok(Some(interface)) = shape.interface(&manifest) {
        exports.extend(methods(&interface));
    }
    Ok(Inspection {
        digest: Digest::of(bytes),
        size: bytes.len(),
        manifest,
        imports: names(&shape.imports),
        exports,
        sections: shape
            .sections
            .into_iter()
            .map(|(name, bytes)| SectionInfo { name: excerpt(&name, TEXT_MAX), bytes })
            .collect(),
        refusal,
    })
}

fn names(items: &[Item]) -> Vec<String> {
    let mut names = Vec::new();
    for item in items {
        if item.functions.is_empty() {
            names.push(item.name.clone());
        }
        names.extend(item.functions.iter().map(|function| format!("{}#{function}", item.name)));
    }
    names.sort();
    names.iter().map(|name| excerpt(name, TEXT_MAX)).collect()
}

fn methods(interface: &Interface) -> impl Iterator<Item = String> {
    interface.methods.iter().map(|method| format!("{} ({})", method.path, method.kind))
}

fn as_text<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}
