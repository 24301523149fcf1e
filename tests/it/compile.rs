//! Compiling from outside: files that take a compiler's time and memory cost the node nothing, and nothing waits for them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hotseat::app::DeployError;
use hotseat::proto::admin::{DeployRequest, RollbackRequest};
use hotseat_build::{Artefact, Digest, Manifest, with_manifest};

use crate::arena::{Player, ping};
use crate::guests::{bare, guests, versioned};
use crate::world::{World, eventually};

/// The good game with a module beside it that is never run, only compiled.
fn with_module(module: &str) -> Artefact {
    let module = wat::parse_str(format!("(module {module})")).unwrap();
    let mut bytes = bare(&guests().v1);
    bytes.push(1);
    let mut length = module.len();
    while length > 0x7F {
        bytes.push(u8::try_from(length & 0x7F).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend(module);
    let manifest = Manifest { version: semver::Version::new(9, 0, 0), ..guests().v1.manifest.clone() };
    let bytes = with_manifest(bytes, &manifest);
    Artefact { digest: Digest::of(&bytes), manifest, bytes, inputs: Vec::new() }
}

/// A function of loops inside of loops, each around all of a thousand locals: minutes for a compiler, and gigabytes.
fn hostile() -> Artefact {
    let (locals, depth) = (1000, 200);
    let mut body = format!("(func (local {}) ", "i32 ".repeat(locals));
    body.push_str(&"(loop ".repeat(depth));
    for local in 0..locals {
        write!(body, "(local.set {local} (i32.add (local.get {local}) (i32.const 3)))").unwrap();
    }
    for level in 0..depth {
        write!(body, "(br_if 0 (local.get {level})))").unwrap();
    }
    body.push(')');
    with_module(&body)
}

fn workers(world: &World) -> Vec<PathBuf> {
    let cache = world.data_dir().join("cache");
    let found = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("compile-worker") && line.contains(&*cache.to_string_lossy())
    });
    found.map(|entry| entry.path()).collect()
}

fn request(artefact: &Artefact) -> DeployRequest {
    DeployRequest { name: "game-logic".into(), artefact: artefact.bytes.clone(), ..DeployRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_file_ends_at_a_limit_and_the_node_plays_on() {
    let limits = |config: &mut hotseat::config::Config| {
        config.compile_timeout_ms = 3000;
        config.compile_memory_max_bytes = 256 << 20;
        config.artefact_max_bytes = 8 << 20;
    };
    let world = World::with(&guests().v1, limits).await;
    let mut alice = Player::enter(&world, "alice").await;
    let text = world.deploy(&hostile()).await.unwrap_err().to_string();
    let memory = text.contains("compile_memory_max_bytes = 268435456");
    assert!(memory || text.contains("compile_timeout_ms = 3000"), "{text}");
    let text = world.deploy(&with_module(&"(func)".repeat(900_000))).await.unwrap_err().to_string();
    assert!(text.contains("functions"), "{text}");
    let large = with_module(&format!("(memory 1) (data (i32.const 0) \"{}\")", "x".repeat(9 << 20)));
    let text = world.deploy(&large).await.unwrap_err().to_string();
    assert!(text.contains("artefact_max_bytes = 8388608"), "{text}");
    assert_eq!(alice.step().await.rules, 1);
    assert!(workers(&world).is_empty());
    let leftovers = std::fs::read_dir(world.data_dir().join("cache")).unwrap().flatten();
    let leftovers: Vec<_> = leftovers.filter(|it| it.path().extension().unwrap() != "cwasm").collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
    world.deploy(&guests().v2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_for_a_compilation_which_can_be_given_up() {
    let world = World::with(&guests().v1, |config| config.compile_memory_max_bytes = 8 << 30).await;
    world.deploy(&guests().v2).await.unwrap();
    assert_eq!(world.plugin().await.state, "probation");
    let mut admin = world.admin().await;
    let deploy = request(&hostile());
    let slow = tokio::spawn(async move { admin.deploy(deploy).await });
    let worker = eventually("a worker", async || workers(&world).pop()).await;
    assert_eq!(world.plugin().await.state, "compiling");
    // It gives way to everything else.
    let stat = std::fs::read_to_string(worker.join("stat")).unwrap();
    assert!(!stat.is_empty());
    let nice = async || {
        let stat = std::fs::read_to_string(worker.join("stat")).ok()?;
        let fields = stat.rsplit_once(')')?.1;
        (fields.split_whitespace().nth(16)? == "10").then_some(())
    };
    eventually("a nice worker", nice).await;
    // Back from a version on probation, while the other one is compiled.
    let begun = Instant::now();
    let rollback = RollbackRequest { name: "game-logic".into(), cluster: false };
    world.admin().await.rollback(rollback).await.unwrap();
    assert_eq!(world.live().await, "1.0.0");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(workers(&world).len(), 1, "it has ended meanwhile: nothing was shown");
    // Who asked goes away, and the work ends with it.
    slow.abort();
    eventually("no worker", async || workers(&world).is_empty().then_some(())).await;
    world.idle().await;
    world.deploy(&versioned(&guests().v1, 5)).await.unwrap();
    assert_eq!(world.live().await, "5.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_on_probation_goes_back_by_itself_beside_a_compilation() {
    let world = World::with(&guests().v1, |config| config.compile_memory_max_bytes = 8 << 30).await;
    let mut alice = world.client("alice").await;
    world.deploy(&guests().trapping).await.unwrap();
    let mut admin = world.admin().await;
    let deploy = request(&hostile());
    let slow = tokio::spawn(async move { admin.deploy(deploy).await });
    eventually("a worker", async || workers(&world).pop()).await;
    for id in 1..=50 {
        ping(&mut alice, id).await;
    }
    eventually("the version before", async || (world.live().await == "1.0.0").then_some(())).await;
    assert_eq!(workers(&world).len(), 1, "it has ended meanwhile: nothing was shown");
    slow.abort();
    eventually("no worker", async || workers(&world).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_node_ends_its_compilations_and_a_missing_program_is_named() {
    let world = World::start(&guests().v1).await;
    let mut admin = world.admin().await;
    let deploy = request(&hostile());
    let slow = tokio::spawn(async move { admin.deploy(deploy).await });
    eventually("a worker", async || workers(&world).pop()).await;
    let (mut config, dir) = world.stop_and_keep().await;
    slow.abort();
    config.compile_program = Some("/nowhere/hotseat".into());
    let world = World::again(config, dir).await.unwrap();
    eventually("no worker", async || workers(&world).is_empty().then_some(())).await;
    let error = world.deploy(&versioned(&guests().v1, 77)).await.unwrap_err();
    assert!(matches!(error, DeployError::Version(_)), "{error}");
    assert!(error.to_string().contains("/nowhere/hotseat"), "{error}");
}
