//! Shape: what can be read off a component without running it.
//!
//! The only file that meets untrusted bytes first: everything else works on a validated [`Shape`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmparser::component_types::ComponentEntityType;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use crate::bounds::{self, Cost};
use crate::component::{MANIFEST_SECTION, MAX_MANIFEST_BYTES};
use crate::interface::{Interface, PROTO_SECTION};
use crate::manifest::Manifest;
use crate::verify::VerifyError;

/// A validated component's outside.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    pub(crate) imports: Vec<Item>,
    pub(crate) exports: Vec<Item>,
    /// Top-level sections in file order: name and size of their content in bytes.
    pub(crate) sections: Vec<(String, usize)>,
    /// What it asks of the engine.
    pub(crate) cost: Cost,
    manifests: Vec<Vec<u8>>,
    protos: Vec<Vec<u8>>,
}

/// One import or export.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    /// The functions inside, if it is an instance.
    pub(crate) functions: Vec<String>,
}

impl Shape {
    /// Validates `bytes` and reads their outside. Never panics, whatever the bytes are.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, VerifyError> {
        match bytes.first_chunk() {
            Some(b"\0asm\x0d\0\x01\0") => {}
            Some([b'\0', b'a', b's', b'm', 1, 0, 0, 0]) => return Err(VerifyError::CoreModule),
            _ => return Err(VerifyError::NotWasm { start: start_of(bytes) }),
        }
        // The validator is fuzzed upstream; a panic in it must still not take a node down.
        catch_unwind(AssertUnwindSafe(|| Self::walk(bytes)))
            .unwrap_or_else(|_| Err(VerifyError::Invalid { reason: "the validator gave up on it".into() }))
    }

    /// Reads the sections that say what a component is, and nothing else of it.
    pub(crate) fn sections(bytes: &[u8]) -> Result<Self, VerifyError> {
        let mut shape = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|e| VerifyError::Invalid { reason: e.to_string() })?;
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) if depth == 0 => match section.name() {
                    MANIFEST_SECTION => shape.manifests.push(section.data().to_vec()),
                    PROTO_SECTION => shape.protos.push(section.data().to_vec()),
                    _ => {}
                },
                _ => {}
            }
        }
        Ok(shape)
    }

    fn walk(bytes: &[u8]) -> Result<Self, VerifyError> {
        let invalid = |e: wasmparser::BinaryReaderError| VerifyError::Invalid { reason: e.to_string() };
        // First of all: to validate what is nested without a bound takes memory without a bound.
        let cost = bounds::measure(bytes)?;
        let types = match Validator::new_with_features(bounds::features()).validate_all(bytes) {
            Ok(types) => types,
            Err(error) if Validator::new_with_features(WasmFeatures::all()).validate_all(bytes).is_ok() => {
                return Err(VerifyError::Feature { reason: error.to_string() });
            }
            Err(error) => return Err(invalid(error)),
        };
        let item = |name: &str, ty: Option<&ComponentEntityType>| Item {
            name: name.to_owned(),
            functions: match ty {
                Some(ComponentEntityType::Instance(id)) => types[*id]
                    .exports
                    .iter()
                    .filter(|(_, inner)| matches!(inner.ty, ComponentEntityType::Func(_)))
                    .map(|(name, _)| name.clone())
                    .collect(),
                _ => Vec::new(),
            },
        };
        let mut shape = Self { cost, ..Self::default() };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(invalid)?;
            if depth == 0 {
                if let Some(section) = section_of(&payload) {
                    shape.sections.push(section);
                }
                match &payload {
                    Payload::ComponentImportSection(reader) => {
                        for import in reader.clone() {
                            let name = import.map_err(invalid)?.name.name;
                            let ty = types.as_ref().component_item_for_import(name);
                            shape.imports.push(item(name, ty.map(|i| &i.ty)));
                        }
                    }
                    Payload::ComponentExportSection(reader) => {
                        for export in reader.clone() {
                            let name = export.map_err(invalid)?.name.name;
                            let ty = types.as_ref().component_item_for_export(name);
                            shape.exports.push(item(name, ty.map(|i| &i.ty)));
                        }
                    }
                    Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                        shape.manifests.push(section.data().to_vec());
                    }
                    Payload::CustomSection(section) if section.name() == PROTO_SECTION => {
                        shape.protos.push(section.data().to_vec());
                    }
                    _ => {}
                }
            }
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Ok(shape)
    }

    /// The manifest in the component.
    pub(crate) fn manifest(&self) -> Result<Manifest, VerifyError> {
        let [section] = self.manifests.as_slice() else {
            return Err(match self.manifests.len() {
                0 => VerifyError::NoManifest,
                count => VerifyError::Manifest { reason: format!("there are {count} manifest sections") },
            });
        };
        if section.len() > MAX_MANIFEST_BYTES {
            let reason = format!("{} bytes, at most {MAX_MANIFEST_BYTES} are allowed", section.len());
            return Err(VerifyError::Manifest { reason });
        }
        let text = std::str::from_utf8(section)
            .map_err(|_| VerifyError::Manifest { reason: "it is not UTF-8 text".into() })?;
        Manifest::parse(text).map_err(|e| VerifyError::Manifest { reason: e.to_string() })
    }

    /// What the component serves; none if it is for another world than `service`.
    pub(crate) fn interface(&self, manifest: &Manifest) -> Result<Option<Interface>, VerifyError> {
        let Some(service) = &manifest.service else { return Ok(None) };
        let [section] = self.protos.as_slice() else {
            return Err(match self.protos.len() {
                0 => VerifyError::NoInterface,
                count => VerifyError::Interface { reason: format!("there are {count} of them") },
            });
        };
        let interface = Interface::read(section, &service.shard_by);
        interface.map(Some).map_err(|reason| VerifyError::Interface { reason })
    }
}

fn section_of(payload: &Payload<'_>) -> Option<(String, usize)> {
    Some(match payload {
        Payload::CustomSection(s) => (format!("custom {:?}", s.name()), s.data().len()),
        Payload::ModuleSection { unchecked_range, .. } => ("core module".into(), unchecked_range.len()),
        Payload::ComponentSection { unchecked_range, .. } => ("component".into(), unchecked_range.len()),
        Payload::ComponentTypeSection(s) => ("types".into(), s.range().len()),
        Payload::ComponentImportSection(s) => ("imports".into(), s.range().len()),
        Payload::ComponentExportSection(s) => ("exports".into(), s.range().len()),
        Payload::ComponentAliasSection(s) => ("aliases".into(), s.range().len()),
        Payload::ComponentCanonicalSection(s) => ("canonical functions".into(), s.range().len()),
        Payload::ComponentInstanceSection(s) => ("instances".into(), s.range().len()),
        Payload::InstanceSection(s) => ("core instances".into(), s.range().len()),
        Payload::CoreTypeSection(s) => ("core types".into(), s.range().len()),
        _ => return None,
    })
}

fn start_of(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the file is empty".into();
    }
    let shown: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("the file begins with {}", shown.join(" "))
}
