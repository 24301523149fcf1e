//! Files that are no plugin for this node: refused before anything of them runs, with a text that names the item.

use hotseat::proto::admin::DeployRequest;
use hotseat_build::{Manifest, with_manifest};
use tonic::Code;

use crate::arena::Player;
use crate::guests::{bare, guests};
use crate::world::World;

/// A component from its text, under a manifest for that world.
fn component(text: &str, world: &str) -> Vec<u8> {
    let manifest = format!("name = \"game-logic\"\nversion = \"9.0.0\"\nworld = {world:?}\n");
    with_manifest(wat::parse_str(text).unwrap(), &Manifest::parse(&manifest).unwrap())
}

/// The good component with that text where its manifest should be.
fn with_section(manifest: &str) -> Vec<u8> {
    let mut bytes = bare(&guests().v1);
    let name = b"\x10hotseat:manifest";
    let length = name.len() + manifest.len();
    assert!(length < 1 << 14, "two bytes of LEB128");
    bytes.extend([0, u8::try_from(length & 0x7F).unwrap() | 0x80, u8::try_from(length >> 7).unwrap()]);
    bytes.extend(name);
    bytes.extend(manifest.as_bytes());
    bytes
}

/// Deploys each and sees that it is refused in these words, while a player plays on.
async fn refused(table: &[(&str, Vec<u8>, &[&str])]) {
    let world = World::start(&guests().v1).await;
    let mut alice = Player::enter(&world, "alice").await;
    let rooms = world.metric("hotseat_rooms").await;
    for (what, artefact, words) in table {
        let request = DeployRequest {
            name: "game-logic".into(),
            artefact: artefact.clone(),
            cluster: false,
            plan: false,
            ..DeployRequest::default()
        };
        let status = world.admin().await.deploy(request).await.expect_err(what);
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
        for word in *words {
            let text = status.message();
            assert!(text.contains(word), "{what}: {text:?} does not name {word:?}");
        }
        assert_eq!(alice.step().await.rules, 1, "{what}");
    }
    assert_eq!(world.live().await, "1.0.0");
    assert_eq!(world.plugin().await.traps, 0);
    assert_eq!(world.metric("hotseat_rooms").await, rooms);
    assert_eq!(world.metric("hotseat_room_swaps_total{outcome=\"done\"}").await, 0);
    let world = world.restart().await;
    assert_eq!(world.live().await, "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_no_component() {
    let good = &guests().v1.bytes;
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xFF);
    refused(&[
        ("nothing", Vec::new(), &["not a WebAssembly file", "empty"]),
        ("text", b"#!/bin/sh\n".to_vec(), &["not a WebAssembly file", "23 21 2f"]),
        ("a core module", wat::parse_str("(module)").unwrap(), &["core WebAssembly module", "hotseat build"]),
        ("half a file", good[..good.len() / 2].to_vec(), &["damaged or invalid component", "offset"]),
        ("a damaged file", damaged, &["refused"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_that_are_missing_or_wrong() {
    let manifest = "name = \"game-logic\"\nversion = \"1.0.0\"\nworld = \"game-logic\"\n";
    let twice = with_manifest(guests().v1.bytes.clone(), &guests().v1.manifest);
    refused(&[
        ("none", bare(&guests().v1), &["no `hotseat:manifest` section"]),
        ("two", twice, &["2 manifest sections"]),
        ("no TOML", with_section("name = "), &["bad `hotseat:manifest`", "line 1"]),
        ("no version", with_section("name = \"game-logic\""), &["version"]),
        ("a surplus key", with_section(&format!("{manifest}speed = 9\n")), &["speed"]),
        (
            "a limit out of range",
            with_section(&format!("{manifest}[limits]\nmemory_mib = 100000\n")),
            &["limits.memory_mib", "100000", "4096"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_for_another_world() {
    let another = with_section("name = \"game-logic\"\nversion = \"1.0.0\"\nworld = \"weather\"\n");
    refused(&[
        ("another world", another, &["unknown world \"weather\"", "game-logic"]),
        (
            "another version of the interface",
            component("(component (import \"hotseat:plugin/log@0.2.0\" (instance)))", "game-logic"),
            &["hotseat:plugin@0.2.0", "hotseat:plugin@0.1.0", "hotseat:plugin/log@0.2.0"],
        ),
        (
            "no exports",
            component("(component)", "game-logic"),
            &["does not export", "hotseat:plugin/lifecycle@0.1.0", "hotseat:plugin/room@0.1.0"],
        ),
        (
            "an import of its own",
            component("(component (import \"files\" (instance (export \"open\" (func)))))", "game-logic"),
            &["does not give: files"],
        ),
        (
            "a function that the interface does not have",
            component(
                "(component (import \"hotseat:plugin/log@0.1.0\" (instance (export \"shout\" (func)))))",
                "game-logic",
            ),
            &["does not give: hotseat:plugin/log@0.1.0#shout"],
        ),
        (
            "WASI",
            component(
                "(component (import \"wasi:cli/environment@0.2.0\" (instance)) \
                 (import \"wasi:sockets/tcp@0.2.0\" (instance)))",
                "game-logic",
            ),
            &["imports WASI", "wasi:cli/environment@0.2.0", "wasi:sockets/tcp@0.2.0"],
        ),
    ])
    .await;
}
