//! Component: from the compiler's core module to an artefact.

use std::borrow::Cow;

use wasm_encoder::{ComponentSection as _, CustomSection, Module, RawSection};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;

use crate::interface::PROTO_SECTION;
use crate::manifest::Manifest;

/// The custom section that holds the manifest as TOML text.
pub const MANIFEST_SECTION: &str = "hotseat:manifest";

/// The manifest section's largest size in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 << 10;

/// Why a core module could not be made a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The bytes are no core module.
    #[error("not a core WebAssembly module: {0}")]
    NotAModule(String),
    /// The module does not say which world it is for.
    #[error(
        "the crate exports no plugin: its lib.rs needs `hotseat_guest::export!(YourGame);`, or \
         `export_service!` for a service"
    )]
    NoWorld,
    /// The module imports things that no WIT interface describes.
    #[error(
        "the crate needs {0}, which a plugin is not given: a dependency expects an operating system or a browser"
    )]
    Foreign(String),
    /// Anything else that keeps the module from being a component.
    #[error("cannot make a component of the module: {0}")]
    Rejected(String),
}

/// Makes an artefact: wraps the core module `core` as a component and adds the manifest, after the descriptors if
/// it is a service.
///
/// With `debug` the module keeps its DWARF sections, so that traps name files and lines; without, only its
/// function names. The result is not checked against the world: [`crate::verify`] does that.
///
/// # Errors
/// [`EncodeError`] if `core` is no module or was not built with the guest SDK.
pub fn encode(
    core: &[u8],
    manifest: &Manifest,
    descriptors: Option<&[u8]>,
    debug: bool,
) -> Result<Vec<u8>, EncodeError> {
    let core = prepare(core, debug)?;
    let mut component = ComponentEncoder::default()
        .validate(true)
        .module(&core)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|e| EncodeError::Rejected(format!("{e:#}")))?;
    if let Some(descriptors) = descriptors {
        component = with_descriptors(component, descriptors);
    }
    Ok(with_manifest(component, manifest))
}

/// Appends the section that says what a service plugin serves: the encoded `FileDescriptorSet`.
#[must_use]
pub fn with_descriptors(mut component: Vec<u8>, descriptors: &[u8]) -> Vec<u8> {
    let section = CustomSection { name: PROTO_SECTION.into(), data: Cow::Borrowed(descriptors) };
    section.append_to_component(&mut component);
    component
}

/// Appends the manifest section to a component. It is the last one of a built artefact.
#[must_use]
pub fn with_manifest(mut component: Vec<u8>, manifest: &Manifest) -> Vec<u8> {
    let text = manifest.to_toml();
    let section = CustomSection { name: MANIFEST_SECTION.into(), data: Cow::Borrowed(text.as_bytes()) };
    section.append_to_component(&mut component);
    component
}

/// Checks that the module can become a plugin, and drops debug sections unless wanted.
fn prepare(core: &[u8], debug: bool) -> Result<Vec<u8>, EncodeError> {
    let broken = |e: wasmparser::BinaryReaderError| EncodeError::NotAModule(e.to_string());
    let mut out = Module::new();
    let mut has_world = false;
    let mut foreign: Vec<String> = Vec::new();
    for payload in Parser::new(0).parse_all(core) {
        let payload = payload.map_err(broken)?;
        match &payload {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return Err(EncodeError::NotAModule("it is a component already".into()));
            }
            Payload::CustomSection(section) if !debug && section.name().starts_with(".debug") => continue,
            Payload::CustomSection(section) => has_world |= section.name().starts_with("component-type"),
            Payload::ImportSection(reader) => {
                for import in reader.clone().into_imports() {
                    let import = import.map_err(broken)?;
                    if !is_wit(import.module) {
                        foreign.push(format!("{}::{}", import.module, import.name));
                    }
                }
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            out.section(&RawSection { id, data: &core[range] });
        }
    }
    match (foreign.as_slice(), has_world) {
        ([], true) => Ok(out.finish()),
        ([], false) => Err(EncodeError::NoWorld),
        (_, _) => {
            foreign.truncate(8);
            Err(EncodeError::Foreign(foreign.join(", ")))
        }
    }
}

/// Whether an import's module name is one that WIT bindings produce.
fn is_wit(module: &str) -> bool {
    module.contains(':') || module.starts_with('$') || module.starts_with('[') || module.starts_with("cm32p2")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest::parse("name = \"x\"\nversion = \"0.0.1\"\nworld = \"game-logic\"").unwrap()
    }

    #[track_caller]
    fn check(wat: &str, expected: &EncodeError) {
        let error =
            encode(&wat::parse_str(wat).unwrap(), &manifest(), None, false).expect_err("must be refused");
        assert_eq!(&error, expected);
    }

    #[test]
    fn modules_that_cannot_become_plugins_are_refused() {
        check("(module)", &EncodeError::NoWorld);
        check(
            "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func)))",
            &EncodeError::Foreign("wasi_snapshot_preview1::fd_write".into()),
        );
        check("(component)", &EncodeError::NotAModule("it is a component already".into()));
        assert!(matches!(encode(b"rubbish", &manifest(), None, false), Err(EncodeError::NotAModule(_))));
    }

    #[test]
    fn debug_sections_go_and_names_stay() {
        let module = wat::parse_str(
            "(module (@custom \".debug_line\" \"x\") (@custom \"component-type:x\" \"y\") (func $f))",
        )
        .unwrap();
        let sections = |bytes: &[u8]| -> Vec<String> {
            Parser::new(0)
                .parse_all(bytes)
                .filter_map(|p| match p.unwrap() {
                    Payload::CustomSection(s) => Some(s.name().to_owned()),
                    _ => None,
                })
                .collect()
        };
        let mut lean = sections(&prepare(&module, false).unwrap());
        lean.sort();
        assert_eq!(lean, ["component-type:x", "name"]);
        assert!(sections(&prepare(&module, true).unwrap()).contains(&".debug_line".to_owned()));
    }
}
