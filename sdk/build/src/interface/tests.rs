use proptest::prelude::*;
use protox::Compiler;

use super::*;

/// The descriptors of a file in package `demo` with this in it.
#[track_caller]
fn descriptors(text: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("it.proto"), format!("syntax = \"proto3\";\npackage demo;\n{text}"))
        .unwrap();
    let mut compiler = Compiler::new([dir.path()]).unwrap();
    compiler.include_imports(true).open_file("it.proto").unwrap().encode_file_descriptor_set()
}

const GOOD: &str = "
    import \"google/protobuf/timestamp.proto\";
    message Ask { string what = 1; int64 SetId = 7; google.protobuf.Timestamp at = 3; }
    message Old { fixed64 SetId = 1; }
    message Sum { int32 sum = 1; }
    service Tally {
        rpc Add(Ask) returns (Sum);
        rpc Get(Ask) returns (Sum) { option idempotency_level = NO_SIDE_EFFECTS; }
        rpc Again(Ask) returns (Sum) { option idempotency_level = IDEMPOTENT; }
        rpc Watch(Ask) returns (stream Sum) { option idempotency_level = NO_SIDE_EFFECTS; }
    }
    service Other { rpc Add(Old) returns (Sum); }
";

#[track_caller]
fn refused(descriptors: &[u8], expected: &[&str]) {
    let text = Interface::read(descriptors, "SetId").expect_err("must be refused");
    for word in expected {
        assert!(text.contains(word), "{text:?} does not name {word:?}");
    }
}

#[test]
fn methods_are_read_with_kind_and_shard_field() {
    let bytes = descriptors(GOOD);
    let interface = Interface::read(&bytes, "SetId").unwrap();
    assert_eq!(interface.descriptors, bytes);
    assert_eq!(interface.services, ["demo.Tally", "demo.Other"]);
    let method = |path: &str, kind, shard_field| Method { path: path.into(), kind, shard_field };
    let expected = [
        method("demo.Tally/Add", MethodKind::Call, 7),
        method("demo.Tally/Get", MethodKind::Query, 7),
        method("demo.Tally/Again", MethodKind::Call, 7),
        method("demo.Tally/Watch", MethodKind::Subscribe, 7),
        method("demo.Other/Add", MethodKind::Call, 1),
    ];
    assert_eq!(interface.methods, expected);
}

#[test]
fn every_type_of_the_shard_field_is_judged() {
    let with = |ty: &str| {
        descriptors(&format!(
            "message Ask {{ {ty} SetId = 2; }} message Thing {{}} enum Kind {{ NONE = 0; }}
             service Tally {{ rpc Add(Ask) returns (Thing); }}"
        ))
    };
    for ty in ["uint64", "int64", "uint32", "int32", "fixed64", "sfixed64", "optional uint64"] {
        assert_eq!(Interface::read(&with(ty), "SetId").unwrap().methods[0].shard_field, 2, "{ty}");
    }
    for (ty, named) in [
        ("string", "\"string\""),
        ("bytes", "\"bytes\""),
        ("bool", "\"bool\""),
        ("double", "\"double\""),
        ("sint64", "\"sint64\""),
        ("sint32", "\"sint32\""),
        ("fixed32", "\"fixed32\""),
        ("sfixed32", "\"sfixed32\""),
        ("Kind", "\"demo.Kind\""),
        ("Thing", "\"demo.Thing\""),
        ("repeated uint64", "\"repeated uint64\""),
        ("map<int64, int64>", "\"demo.Ask.SetIdEntry\""),
    ] {
        refused(&with(ty), &["demo.Tally/Add", "\"SetId\"", "demo.Ask", named, "uint64, int64"]);
    }
}

#[test]
fn what_cannot_be_served_is_refused() {
    refused(&descriptors("message Ask {}"), &["no service"]);
    refused(b"", &["no service"]);
    refused(&descriptors("service Tally {}"), &["no service declares a method", "demo.Tally"]);
    let ask = "message Ask { int64 SetId = 1; } message Bare { int64 setid = 1; }";
    let one = |rpc: &str| descriptors(&format!("{ask} service Tally {{ rpc Add{rpc}; }}"));
    refused(&one("(stream Ask) returns (Ask)"), &["demo.Tally/Add", "stream of requests"]);
    refused(&one("(stream Ask) returns (stream Ask)"), &["demo.Tally/Add", "stream of requests"]);
    refused(&one("(Bare) returns (Ask)"), &["demo.Tally/Add", "demo.Bare", "no field \"SetId\""]);
    refused(&vec![0; MAX_PROTO_BYTES + 1], &["1048577 bytes", "1048576"]);
}

#[test]
fn what_are_no_descriptors_is_refused() {
    refused(b"rubbish", &["no usable descriptors"]);
    let bytes = descriptors(GOOD);
    refused(&bytes[..bytes.len() - 1], &["no usable descriptors"]);
    // Without the file it imports.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.proto"), "syntax = \"proto3\"; message A {}").unwrap();
    let text = "syntax = \"proto3\"; import \"a.proto\"; service S { rpc F(A) returns (A); }";
    std::fs::write(dir.path().join("b.proto"), text).unwrap();
    let mut compiler = Compiler::new([dir.path()]).unwrap();
    let alone = compiler.include_imports(false).open_file("b.proto").unwrap().encode_file_descriptor_set();
    refused(&alone, &["no usable descriptors", "a.proto"]);
}

#[test]
fn names_that_no_proto_file_has_are_refused() {
    for path in ["Tally", "demo.Tally/", "/Add", "demo..Tally/Add", "demo.Tally/A b", "1.T/A", "a/b/c"] {
        assert!(!is_path(path), "{path}");
    }
    assert!(is_path("demo.v1_2.Tally/Add_1") && is_path("Tally/Add"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_descriptors_never_panic(
        cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        whole in any::<bool>(),
    ) {
        let mut bytes = descriptors(GOOD);
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = Interface::read(&bytes, "SetId");
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Interface::read(&bytes, "SetId");
    }
}
