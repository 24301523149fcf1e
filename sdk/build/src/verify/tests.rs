use std::sync::LazyLock;

use proptest::prelude::*;
use wasm_encoder::{ComponentSection as _, CustomSection};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, SourceMap};

use super::*;
use crate::component::{MANIFEST_SECTION, MAX_MANIFEST_BYTES, with_manifest};
use crate::inspect::inspect;
use crate::wit::WIT;

/// A component for the contract with `from` replaced by `to`; no manifest.
#[track_caller]
fn component(from: &str, to: &str) -> Vec<u8> {
    let mut sources = SourceMap::new();
    let mut found = from.is_empty();
    for (name, text) in WIT {
        found |= text.contains(from);
        sources.push_str(name, if from.is_empty() { (*text).to_owned() } else { text.replace(from, to) });
    }
    assert!(found, "the contract has no {from:?} any more");
    let mut resolve = Resolve::default();
    let package = resolve.push_group(sources.parse().map_err(|(_, e)| e).unwrap()).unwrap();
    let world = resolve.packages[package].worlds["game-logic"];
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

fn manifest(world: &str) -> Manifest {
    Manifest::parse(&format!("name = \"x\"\nversion = \"0.0.1\"\nworld = {world:?}")).unwrap()
}

fn artefact(from: &str, to: &str) -> Vec<u8> {
    with_manifest(component(from, to), &manifest("game-logic"))
}

fn with_section(mut component: Vec<u8>, data: &[u8]) -> Vec<u8> {
    CustomSection { name: MANIFEST_SECTION.into(), data: data.into() }.append_to_component(&mut component);
    component
}

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| artefact("", ""));

#[track_caller]
fn refused(bytes: &[u8], expected: &[&str]) {
    let text = verify(bytes).expect_err("must be refused").to_string();
    for word in expected {
        assert!(text.contains(word), "{text:?} does not name {word:?}");
    }
}

#[test]
fn a_component_for_the_world_is_accepted() {
    assert_eq!(verify(&GOOD), Ok(manifest("game-logic")));
}

#[test]
fn exports_beyond_the_world_do_no_harm() {
    let bytes = artefact("export room;", "export room;\n export extra: interface { f: func(); }");
    assert_eq!(verify(&bytes), Ok(manifest("game-logic")));
}

#[test]
fn files_that_are_no_component_are_refused() {
    refused(b"", &["not a WebAssembly file", "empty"]);
    refused(b"\x7fELF\x02\x01\x01\x00", &["not a WebAssembly file", "7f 45 4c 46"]);
    refused(&wat::parse_str("(module)").unwrap(), &["core WebAssembly module", "`hotseat build`"]);
    refused(&GOOD[..GOOD.len() / 2], &["damaged or invalid component", "offset"]);
    let invalid = "(component (core module (func (result i32))))";
    refused(&wat::parse_str(invalid).unwrap(), &["damaged or invalid component"]);
}

#[test]
fn manifests_that_cannot_be_used_are_refused() {
    refused(&component("", ""), &["no `hotseat:manifest` section", "`hotseat build`"]);
    refused(&with_section(GOOD.clone(), b""), &["2 manifest sections"]);
    refused(&with_section(component("", ""), b"\xff\xfe"), &["bad `hotseat:manifest`", "UTF-8"]);
    refused(&with_section(component("", ""), b"name = "), &["bad `hotseat:manifest`", "line 1"]);
    refused(&with_section(component("", ""), b"name = \"x\""), &["version"]);
    refused(&with_section(component("", ""), &vec![b'#'; MAX_MANIFEST_BYTES + 1]), &["65537 bytes", "65536"]);
    refused(&with_section(component("", ""), "[".repeat(60_000).as_bytes()), &["bad `hotseat:manifest`"]);
    refused(
        &with_manifest(component("", ""), &manifest("weather")),
        &["unknown world \"weather\"", "game-logic"],
    );
}

#[test]
fn another_version_of_the_contract_is_refused() {
    refused(
        &artefact("hotseat:plugin@0.1.0", "hotseat:plugin@0.2.0"),
        &["hotseat:plugin@0.2.0", "hotseat:plugin@0.1.0", "hotseat:plugin/room@0.2.0"],
    );
}

#[test]
fn missing_exports_are_named() {
    refused(&artefact("export lifecycle;", ""), &["does not export", "hotseat:plugin/lifecycle@0.1.0"]);
    refused(&artefact("tick: func(dt-ms: u32);", ""), &["hotseat:plugin/room@0.1.0#tick"]);
    let empty = wat::parse_str("(component)").unwrap();
    refused(&with_manifest(empty, &manifest("game-logic")), &["lifecycle@0.1.0, hotseat:plugin/room@0.1.0"]);
}

#[test]
fn surplus_imports_are_named() {
    refused(
        &artefact("export room;", "export room;\n import files: interface { open: func(); }"),
        &["does not give: files"],
    );
    refused(
        &artefact("write: func(level: u32,", "shout: func();\n write: func(level: u32,"),
        &["does not give: hotseat:plugin/log@0.1.0#shout"],
    );
}

#[test]
fn wasi_imports_are_named() {
    let text = r#"(component
        (import "wasi:cli/environment@0.2.0" (instance (export "get-environment" (func))))
        (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#;
    refused(
        &with_manifest(wat::parse_str(text).unwrap(), &manifest("game-logic")),
        &[
            "imports WASI: wasi:cli/environment@0.2.0, wasi:clocks/wall-clock@0.2.0; a plugin gets only",
            "wasm32-unknown-unknown",
        ],
    );
}

#[test]
fn wrong_types_are_refused() {
    refused(&artefact("tick: func(dt-ms: u32);", "tick: func(dt-ms: u64);"), &["does not fit world", "u64"]);
}

#[test]
fn an_inspection_shows_what_is_inside() {
    let inspection = inspect(&GOOD).unwrap();
    assert_eq!(inspection.refusal, None);
    assert_eq!(inspection.size, GOOD.len());
    assert!(inspection.exports.contains(&"hotseat:plugin/room@0.1.0#tick".to_owned()));
    assert!(inspection.imports.contains(&"hotseat:plugin/log@0.1.0#write".to_owned()));
    assert!(inspection.sections.iter().any(|s| s.name == "custom \"hotseat:manifest\"" && s.bytes > 0));
    let json = serde_json::to_value(&inspection).unwrap();
    assert_eq!(json["digest"], inspection.digest.to_string());
    assert_eq!(json["manifest"]["limits"]["durability"], "journal");

    let refused = inspect(&artefact("tick: func(dt-ms: u32);", "")).unwrap().refusal.unwrap();
    assert!(refused.contains("#tick"), "{refused}");
    assert!(inspect(&component("", "")).is_err());
}

/// Whatever the answer is, it must not come from a panic that was caught.
#[track_caller]
fn answers(bytes: &[u8]) {
    if let Err(e) = verify(bytes) {
        assert!(!e.to_string().contains("gave up"), "a library panicked");
    }
    drop(inspect(bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        answers(&bytes);
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        component.extend(&bytes);
        answers(&component);
    }

    #[test]
    fn damaged_components_never_panic(
        cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        whole in any::<bool>(),
    ) {
        let mut bytes = GOOD.clone();
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        answers(&bytes);
    }
}
