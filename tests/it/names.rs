//! Names of gRPC services: nobody gets one that somebody else serves, and what is on disk keeps no node from starting.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use hotseat::app::{DeployError, StartError};
use hotseat::config::Config;
use hotseat_build::{Artefact, Digest, interface, with_descriptors, with_manifest};
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;

use crate::guests::{bare, guests, relabelled, services, versioned};
use crate::world::World;

fn named(artefact: &Artefact, name: &str) -> Artefact {
    relabelled(artefact, |manifest| manifest.name = name.to_owned())
}

/// The same artefact with its service under another name.
fn declaring(artefact: &Artefact, package: &str, service: &str) -> Artefact {
    let old = interface(&artefact.bytes).unwrap().descriptors;
    let component = bare(artefact);
    let component = component.strip_suffix(&with_descriptors(Vec::new(), &old)[..]).unwrap().to_owned();
    let mut files = FileDescriptorSet::decode(&old[..]).unwrap();
    for file in &mut files.file {
        for method in file.service.iter_mut().flat_map(|it| &mut it.method) {
            for name in [&mut method.input_type, &mut method.output_type] {
                let message = name.as_deref().unwrap().rsplit_once('.').unwrap().1.to_owned();
                *name = Some(format!(".{package}.{message}"));
            }
        }
        file.service[0].name = Some(service.to_owned());
        file.package = Some(package.to_owned());
    }
    let component = with_descriptors(component, &files.encode_to_vec());
    let bytes = with_manifest(component, &artefact.manifest);
    Artefact { digest: Digest::of(&bytes), manifest: artefact.manifest.clone(), bytes, inputs: Vec::new() }
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{text:?} does not name {word:?}");
    }
}

/// A folder of the data directory as an earlier node left it: these versions went live one after the other.
fn lived(data_dir: &Path, versions: &[&Artefact]) {
    let name = &versions[0].manifest.name;
    let dir = data_dir.join("plugins").join(name);
    fs::create_dir_all(&dir).unwrap();
    let mut history = OpenOptions::new().append(true).create(true).open(dir.join("history.jsonl")).unwrap();
    for version in versions {
        let (digest, label) = (version.digest.to_string(), version.manifest.version.to_string());
        fs::write(dir.join(format!("{digest}.wasm")), &version.bytes).unwrap();
        writeln!(
            history,
            "{{\"at_ms\":1,\"kind\":\"deployed\",\"digest\":\"{digest}\",\"label\":\"{label}\",\"size_bytes\":1}}"
        )
        .unwrap();
    }
}

fn given(config: &mut Config, artefact: &Artefact) {
    let name = artefact.manifest.name.clone();
    let file = config.data_dir.with_file_name(format!("{name}.wasm"));
    fs::write(&file, &artefact.bytes).unwrap();
    config.plugin.insert(name, file);
    config.shards = 2;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_takes_no_service_from_a_plugin_or_the_host() {
    let clumsy = &services().clumsy;
    let other = declaring(&named(clumsy, "evil"), "evil", "Other");
    let world = World::serving(&[clumsy, &other]).await;

    let thief = versioned(&named(clumsy, "evil"), 2);
    let error = world.deploy(&thief).await.unwrap_err();
    assert!(matches!(error, DeployError::Taken(_)), "{error}");
    says(&error.to_string(), &["refused", "test.Clumsy", "plugin clumsy"]);
    for (package, service) in
        [("grpc.health.v1", "Health"), ("proto", "SnowflakeService"), ("hotseat.cluster.v1", "Players")]
    {
        let thief = declaring(&named(clumsy, "evil"), package, service);
        let text = world.deploy(&thief).await.unwrap_err().to_string();
        says(&text, &["refused", &format!("{package}.{service}"), "the host itself serves"]);
    }
    assert_eq!(world.plugin_named("evil").await.live.unwrap().digest, other.digest.to_string());
    // Its own names it may keep, and the one who has the service may be replaced.
    world.deploy(&versioned(&other, 3)).await.unwrap();
    world.deploy(&versioned(clumsy, 3)).await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.plugin_named("evil").await.live.unwrap().label, "3.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_refuses_what_a_deployment_refuses() {
    let clumsy = &services().clumsy;
    let start = async |second: &Artefact| {
        let change = |config: &mut Config| {
            given(config, clumsy);
            given(config, second);
        };
        World::try_with(&guests().v1, change).await.map(drop).unwrap_err()
    };
    let error = start(&named(clumsy, "evil")).await;
    let StartError::Plugin { name, source: source @ DeployError::Taken(_) } = error else {
        panic!("{error}")
    };
    assert_eq!(name, "evil");
    says(&source.to_string(), &["test.Clumsy", "plugin clumsy"]);
    let error = start(&named(clumsy, "snowflake")).await.to_string();
    says(&error, &["plugin snowflake", "a service of its own"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_live_on_disk_keeps_no_node_from_starting() {
    let clumsy = &services().clumsy;
    let good = declaring(&named(clumsy, "evil"), "evil", "Other");
    let thief = versioned(&named(clumsy, "evil"), 2);
    let damaged = versioned(&good, 3);
    let change = |config: &mut Config| {
        given(config, clumsy);
        given(config, &good);
        lived(&config.data_dir, &[&good, &thief, &damaged]);
        let file = config.data_dir.join(format!("plugins/evil/{}.wasm", damaged.digest));
        fs::write(file, b"rubbish").unwrap();
    };
    let world = World::with(&guests().v1, change).await;
    let evil = world.plugin_named("evil").await;
    assert_eq!(evil.live.unwrap().digest, good.digest.to_string());
    says(&evil.problem, &["older version", &damaged.digest.short(), "is damaged", "test.Clumsy"]);
    assert_eq!(world.plugin_named("clumsy").await.problem, "");
    assert_eq!(world.metric("hotseat_plugin_start_failures_total{plugin=\"evil\"}").await, 2);
    // What failed is not tried again, and another version ends the trouble.
    let world = world.restart().await;
    let evil = world.plugin_named("evil").await;
    assert_eq!((evil.live.unwrap().digest, evil.problem), (good.digest.to_string(), String::new()));
    assert_eq!(evil.previous, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_none_of_whose_versions_starts_is_left_out() {
    let clumsy = &services().clumsy;
    let thief = named(clumsy, "evil");
    let change = |config: &mut Config| {
        given(config, clumsy);
        given(config, &thief);
        lived(&config.data_dir, &[&thief]);
    };
    let world = World::with(&guests().v1, change).await;
    let evil = world.plugin_named("evil").await;
    assert_eq!((evil.live, &*evil.state), (None, "not started"));
    says(&evil.problem, &["none of the versions", "test.Clumsy"]);
    assert_eq!(world.live().await, "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_game_whose_live_version_is_damaged_comes_up_on_the_one_before() {
    let (v1, v2) = (&guests().v1, &guests().v2);
    let change = |config: &mut Config| {
        lived(&config.data_dir, &[v1, v2]);
        fs::write(config.data_dir.join(format!("plugins/game-logic/{}.wasm", v2.digest)), b"").unwrap();
    };
    let world = World::with(v1, change).await;
    assert_eq!(world.live().await, "1.0.0");
    says(&world.plugin().await.problem, &[&v2.digest.short(), "is damaged"]);
    assert_eq!(world.history().await.last().unwrap(), "reverted 1.0.0");
    world.deploy(v2).await.unwrap();
    assert_eq!(world.plugin().await.problem, "");
}
