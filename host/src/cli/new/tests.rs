//! The template holds together; that it builds and plays is tested from outside.

use super::*;

#[test]
fn names_that_cargo_and_file_systems_take() {
    for name in ["a", "my-game", "g2", &"x".repeat(39)] {
        check_name(name).unwrap();
    }
    for name in ["", "-a", "2a", "A", "my_game", "a b", "../a", "test", "hotseat-guest", &"x".repeat(40)] {
        let error = check_name(name).unwrap_err().to_string();
        assert!(error.contains("at most 39 characters"), "{error}");
    }
}

#[test]
fn a_vendored_crate_has_everything_it_inherits() {
    let files = files("my-game", None).unwrap();
    let text = |path: &str| {
        let found = files.iter().filter(|(known, _)| known == path).collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "{path}");
        found[0].1.as_str()
    };
    let root: toml::Table = text("Cargo.toml").parse().unwrap();
    assert_eq!(root["package"]["name"].as_str(), Some("my-game"));
    let workspace = &root["workspace"];
    for name in ["hotseat-guest", "hotseat-packet", "hotseat-client"] {
        let path = workspace["dependencies"][name]["path"].as_str().unwrap();
        let manifest: toml::Table = text(&format!("{path}/Cargo.toml")).parse().unwrap();
        for (key, value) in manifest["package"].as_table().unwrap() {
            let inherits = value.get("workspace").is_some();
            assert!(!inherits || workspace["package"].get(key).is_some(), "{name}: {key}");
        }
        assert!(files.iter().any(|(known, _)| *known == format!("{path}/src/lib.rs")));
    }
    for name in ["serde", "postcard", "wit-bindgen", "thiserror", "tokio"] {
        assert!(workspace["dependencies"].get(name).is_some(), "{name}");
    }
    assert!(workspace["dependencies"].get("wasmtime").is_none(), "only what is needed");
    for name in ["types.wit", "host.wit", "game-logic.wit"] {
        assert!(text(&format!("wit/{name}")).contains("package hotseat:plugin@"), "{name}");
    }
    assert!(text("Cargo.lock").contains("name = \"wit-bindgen\""));
    assert!(files.iter().all(|(path, text)| path.starts_with("sdk/") || !text.contains("{{")));
}

#[test]
fn the_manifest_is_one_a_node_takes() {
    let files = files("my-game", None).unwrap();
    let (_, text) = files.iter().find(|(path, _)| path == "plugin.toml").unwrap();
    let manifest = hotseat_build::Manifest::parse(text).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.world.as_str()), ("game-logic", "game-logic"));
}

#[test]
fn a_checkout_is_used_by_path() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sdk = checkout(&repository).unwrap();
    let files = files("my-game", Some(&sdk)).unwrap();
    assert!(!files.iter().any(|(path, _)| path.starts_with("sdk/") || path.starts_with("wit/")));
    let (_, text) = files.iter().find(|(path, _)| path == "Cargo.toml").unwrap();
    let root: toml::Table = text.parse().unwrap();
    let path = root["workspace"]["dependencies"]["hotseat-guest"]["path"].as_str().unwrap();
    assert!(Path::new(path).join("Cargo.toml").is_file(), "{path}");
    assert!(checkout(Path::new("/nonexistent")).is_err());
}

#[test]
fn only_an_empty_directory_is_written_into() {
    let dir = tempfile::tempdir().unwrap();
    check_empty(dir.path()).unwrap();
    check_empty(&dir.path().join("none")).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(check_empty(dir.path()).unwrap_err().to_string().contains("is not empty"));
    assert!(check_empty(&dir.path().join("file")).is_err());
}
