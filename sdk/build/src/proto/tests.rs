use std::path::PathBuf;

use super::*;

const SERVICE: &str = "syntax = \"proto3\"; package demo; import \"ask.proto\";
    service Tally { rpc Add(Ask) returns (Ask); }";
const ASK: &str = "syntax = \"proto3\"; package demo;\n// What it says.\nmessage Ask { uint64 Id = 4; }";

/// A tree of files, the crate is in `crate/`.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(tree.dir()).unwrap();
        for (path, text) in files {
            let path = tree.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        tree
    }

    fn dir(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap().join("crate")
    }

    fn compile(&self, proto: &str) -> Result<Vec<u8>, BuildError> {
        compile(&self.dir(), &Service { proto: proto.into(), shard_by: "Id".into() })
    }
}

#[test]
fn imports_are_found_beside_the_file_and_from_the_crate() {
    let expected = Tree::new(&[("crate/tally.proto", SERVICE), ("crate/ask.proto", ASK)]);
    let expected = expected.compile("tally.proto").unwrap();
    for (files, proto) in [
        ([("proto/tally.proto", SERVICE), ("proto/ask.proto", ASK)], "../proto/tally.proto"),
        ([("proto/tally.proto", SERVICE), ("crate/ask.proto", ASK)], "../proto/tally.proto"),
        ([("crate/proto/tally.proto", SERVICE), ("crate/ask.proto", ASK)], "proto/tally.proto"),
    ] {
        // Where the files are must not show.
        assert_eq!(Tree::new(&files).compile(proto).unwrap(), expected, "{files:?}");
    }
    let interface = Interface::read(&expected, "Id").unwrap();
    assert_eq!((interface.methods[0].path.as_str(), interface.methods[0].shard_field), ("demo.Tally/Add", 4));
    assert!(!expected.windows(4).any(|it| it == b"says"), "comments are left out");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Tree::new(&[]).compile("tally.proto").expect_err("must be refused");
    assert!(
        matches!(&error, BuildError::Read { path, .. } if path.ends_with("crate/tally.proto")),
        "{error}"
    );
}

#[track_caller]
fn refused(files: &[(&str, &str)], expected: &[&str]) {
    let error = Tree::new(files).compile("tally.proto").expect_err("must be refused");
    assert!(matches!(&error, BuildError::Proto { path, .. } if path.ends_with("tally.proto")), "{error}");
    let text = error.to_string();
    for word in expected {
        assert!(text.contains(word), "{text:?} does not name {word:?}");
    }
}

#[test]
fn what_is_wrong_in_the_file_is_told_with_its_place() {
    refused(
        &[("crate/tally.proto", "syntax = \"proto3\";\nmassage Ask {}\n")],
        &["tally.proto:2:1", "massage"],
    );
    refused(&[("crate/tally.proto", SERVICE)], &["tally.proto:1:", "ask.proto", "not found"]);
    let broken = "syntax = \"proto3\";\nservice Tally { rpc Add(Ask) returns (Ask); }";
    refused(&[("crate/tally.proto", broken)], &["Ask"]);
    let other = ASK.replace("Id", "Key");
    refused(
        &[("crate/tally.proto", SERVICE), ("crate/ask.proto", &other)],
        &["demo.Tally/Add", "no field \"Id\""],
    );
    refused(&[("crate/tally.proto", ASK)], &["no service"]);
}
