use std::sync::LazyLock;

use proptest::prelude::*;
use wasm_encoder::{ComponentSection as _, CustomSection};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, SourceMap};

use super::*;
use crate::component::{MANIFEST_SECTION, MAX_MANIFEST_BYTES, with_descriptors, with_manifest};
use crate::inspect::inspect;
use crate::interface::{MAX_PROTO_BYTES, MethodKind};
use crate::wit::WIT;

/// A component for the contract with `from` replaced by `to`; no manifest.
#[track_caller]
fn component(from: &str, to: &str) -> Vec<u8> {
    component_for("game-logic", from, to)
}

#[track_caller]
fn component_for(world: &str, from: &str, to: &str) -> Vec<u8> {
    let mut sources = SourceMap::new();
    let mut found = from.is_empty();
    for (name, text) in WIT {
        found |= text.contains(from);
        sources.push_str(name, if from.is_empty() { (*text).to_owned() } else { text.replace(from, to) });
    }
    assert!(found, "the contract has no {from:?} any more");
    let mut resolve = Resolve::default();
    let package = resolve.push_group(sources.parse().map_err(|(_, e)| e).unwrap()).unwrap();
    let world = resolve.packages[package].worlds[world];
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

static SERVED: LazyLock<Vec<u8>> = LazyLock::new(|| service(&[&descriptors(PROTO)]));
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
fn the_refusal_of_wasi_names_the_switch_of_the_tool() {
    let text =
        r#"(component (import "wasi:cli/environment@0.2.0" (instance (export "get-environment" (func)))))"#;
    for (tool, words) in [
        ("ComponentizeJS", ["jco componentize", "--disable all"]),
        ("component-init-transform", ["componentize-py componentize", "--stub-wasi"]),
        ("TinyGo", ["-target=wasm-unknown", "without packages"]),
        ("clang", ["-nostdlib", "hotseat plugin pack"]),
        ("rustc", ["wasm32-unknown-unknown", "docs/other-languages.md"]),
    ] {
        let mut bytes = wat::parse_str(text).unwrap();
        let mut made_by = vec![1, 12];
        made_by.extend(b"processed-by\x01");
        made_by.push(u8::try_from(tool.len()).unwrap());
        made_by.extend(tool.as_bytes());
        made_by.extend(b"\x011");
        CustomSection { name: "producers".into(), data: made_by.into() }.append_to_component(&mut bytes);
        refused(&with_manifest(bytes, &manifest("game-logic")), &words);
    }
}

#[test]
fn wrong_types_are_refused() {
    refused(&artefact("tick: func(dt-ms: u32);", "tick: func(dt-ms: u64);"), &["does not fit world", "u64"]);
}

const PROTO: &str = "syntax = \"proto3\"; package demo;
    message Ask { int64 SetId = 3; } message Sum { int32 sum = 1; }
    service Tally {
        rpc Add(Ask) returns (Sum);
        rpc Watch(Ask) returns (stream Sum);
    }";

fn descriptors(text: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("it.proto"), text).unwrap();
    protox::Compiler::new([dir.path()]).unwrap().open_file("it.proto").unwrap().encode_file_descriptor_set()
}

fn service_manifest() -> Manifest {
    let text = "name = \"x\"\nversion = \"0.0.1\"\nworld = \"service\"\n\
                [service]\nproto = \"it.proto\"\nshard_by = \"SetId\"\n";
    Manifest::parse(text).unwrap()
}

/// A service with these in its `hotseat:proto` sections.
fn service(sections: &[&[u8]]) -> Vec<u8> {
    let component = component_for("service", "", "");
    let component = sections.iter().fold(component, |it, section| with_descriptors(it, section));
    with_manifest(component, &service_manifest())
}

#[test]
fn a_service_is_accepted_and_says_what_it_serves() {
    let proto = descriptors(PROTO);
    let bytes = service(&[&proto]);
    assert_eq!(verify(&bytes), Ok(service_manifest()));
    let interface = interface(&bytes).unwrap();
    assert_eq!(interface.services, ["demo.Tally"]);
    let methods: Vec<_> = interface.methods.iter().map(|it| (&*it.path, it.kind, it.shard_field)).collect();
    let expected = [("demo.Tally/Add", MethodKind::Call, 3), ("demo.Tally/Watch", MethodKind::Subscribe, 3)];
    assert_eq!(methods, expected);

    let inspection = inspect(&bytes).unwrap();
    assert_eq!(inspection.refusal, None);
    assert!(
        inspection
            .exports
            .ends_with(&["demo.Tally/Add (call)".into(), "demo.Tally/Watch (subscribe)".into()])
    );
    assert!(
        inspection.sections.iter().any(|it| it.name == "custom \"hotseat:proto\"" && it.bytes == proto.len())
    );
    assert_eq!(serde_json::to_value(&inspection).unwrap()["manifest"]["service"]["shard_by"], "SetId");
}

#[test]
fn the_manifest_of_a_service_can_be_replaced() {
    let bytes = service(&[&descriptors(PROTO)]);
    let section = with_manifest(Vec::new(), &service_manifest());
    let bare = bytes.strip_suffix(&section[..]).unwrap().to_owned();
    let other = Manifest { version: semver::Version::new(2, 0, 0), ..service_manifest() };
    let relabelled = with_manifest(bare, &other);
    assert_eq!(verify(&relabelled), Ok(other));
    assert_eq!(interface(&relabelled), interface(&bytes));
}

#[test]
fn services_that_cannot_be_served_are_refused() {
    refused(&service(&[]), &["no `hotseat:proto` section", "`hotseat build`"]);
    let proto = descriptors(PROTO);
    refused(&service(&[&proto, &proto]), &["bad `hotseat:proto` section", "2 of them"]);
    refused(&service(&[b"rubbish"]), &["bad `hotseat:proto` section", "no usable descriptors"]);
    refused(&service(&[&vec![0; MAX_PROTO_BYTES + 1]]), &["bad `hotseat:proto` section", "1048577 bytes"]);
    let other = descriptors(&PROTO.replace("SetId", "Key"));
    refused(&service(&[&other]), &["demo.Tally/Add", "demo.Ask", "\"SetId\""]);
    let refusal = inspect(&service(&[&other])).unwrap().refusal.unwrap();
    assert!(refusal.contains("demo.Ask"), "{refusal}");

    let incomplete = component_for("service", "end: func(channel: u64, status: u32, text: string);", "");
    let incomplete = with_manifest(with_descriptors(incomplete, &proto), &service_manifest());
    assert_eq!(verify(&incomplete), Ok(service_manifest()), "what it does not import is its own affair");
    let missing = component_for("service", "unsubscribe: func(channel: u64);", "");
    let missing = with_manifest(with_descriptors(missing, &proto), &service_manifest());
    refused(&missing, &["does not export", "hotseat:plugin/handler@0.1.0#unsubscribe"]);
    let game = with_manifest(with_descriptors(component("", ""), &proto), &service_manifest());
    refused(&game, &["world \"service\"", "hotseat:plugin/players@0.1.0"]);
}

#[test]
fn only_a_service_has_an_interface() {
    let error = interface(&GOOD).expect_err("must be refused").to_string();
    assert!(error.contains("\"game-logic\"") && error.contains("serves no gRPC methods"), "{error}");
    assert!(matches!(interface(b""), Err(VerifyError::NotWasm { .. })));
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
    let _ = interface(bytes);
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
        service in any::<bool>(),
    ) {
        let mut bytes = if service { SERVED.clone() } else { GOOD.clone() };
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

/// A name as a hostile file has it: long, over several lines, with marks that reorder the text around it.
fn hostile(name: &str, times: usize) -> String {
    format!("{name}\n\u{1b}[31m\u{202e}").repeat(times)
}

#[track_caller]
fn is_fit_to_print(text: &str) {
    assert!(text.len() < 4 * REFUSAL_MAX, "{} bytes", text.len());
    assert_eq!(crate::printable::printable(text, usize::MAX), text);
}

#[test]
fn a_refusal_cites_names_however_long_in_a_bounded_line() {
    let exported = |name: &str| {
        let text = format!(
            "(component (instance $i) (export {name:?} (instance $i)) (export {name:?} (instance $i)))"
        );
        verify(&wat::parse_str(text).unwrap()).unwrap_err().to_string()
    };
    is_fit_to_print(&exported(&"a".repeat(10 << 20)));
    // The validator takes names of up to 100,000 bytes, and repeats one that is there twice.
    let long = "a".repeat(90_000);
    let twice = exported(&long);
    assert!(twice.contains("bytes more"), "{twice}");
    is_fit_to_print(&twice);
    // So do imports that no world gives: good names, but long ones.
    let import = format!("(component (import {long:?} (func)))");
    let surplus = with_section(wat::parse_str(import).unwrap(), manifest("game-logic").to_toml().as_bytes());
    let inspection = inspect(&surplus).unwrap();
    assert_eq!(inspection.imports.len(), 1);
    inspection.imports.iter().chain(&inspection.refusal).for_each(|text| is_fit_to_print(text));
    is_fit_to_print(&verify(&surplus).unwrap_err().to_string());
    // And of the manifest, which may repeat itself in what is wrong with it.
    let key = with_section(wat::parse_str("(component)").unwrap(), hostile("world", 100).as_bytes());
    is_fit_to_print(&verify(&key).unwrap_err().to_string());
}

proptest! {
    #[test]
    fn whatever_an_artefact_says_is_shown_in_a_bounded_line(
        text in any::<String>(),
        times in 1..2_000_usize,
    ) {
        let said = || hostile(&text, times);
        let world = said;
        for error in [
            VerifyError::Invalid { reason: said() },
            VerifyError::Feature { reason: said() },
            VerifyError::Manifest { reason: said() },
            VerifyError::Interface { reason: said() },
            VerifyError::NoService { world: world() },
            VerifyError::UnknownWorld { world: world(), known: "x".into() },
            VerifyError::Version { found: said(), ours: "x".into(), items: said() },
            VerifyError::Wasi { items: said(), advice: "x" },
            VerifyError::Surplus { world: world(), items: list(&vec![said(); 100]) },
            VerifyError::Missing { world: world(), items: list(&vec![said(); 100]) },
            VerifyError::Types { world: world(), reason: said() },
        ] {
            is_fit_to_print(&error.to_string());
        }
        let component = with_section(wat::parse_str("(component)").unwrap(), said().as_bytes());
        is_fit_to_print(&verify(&component).unwrap_err().to_string());
    }
}
