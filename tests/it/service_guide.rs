//! docs/services.md, followed by the letter.

use std::process::Command;

use hotseat_build::Manifest;

use crate::guests::{guests, root, services};
use crate::process::{Process, run, tool};

fn text() -> String {
    std::fs::read_to_string(root().join("docs/services.md")).unwrap()
}

/// The blocks of that language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_commands_do_what_the_guide_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = Vec::new();
    for plugin in [&services().rank, &services().chat] {
        let file = dir.path().join(format!("{}.wasm", plugin.manifest.name));
        std::fs::write(&file, &plugin.bytes).unwrap();
        args.push(format!("--plugin={}={}", plugin.manifest.name, file.display()));
    }
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let process = Process::start(&guests().v1, &args);
    let told: Vec<_> = blocks(&text(), "sh")
        .iter()
        .flat_map(|block| block.lines())
        .map(|line| {
            let line = line.replacen("hotseat", env!("CARGO_BIN_EXE_hotseat"), 1);
            tool(Command::new("sh").arg("-c").arg(line).env("HOTSEAT_GRPC", process.grpc()))
        })
        .collect();
    assert_eq!(told.len(), 6);
    for method in
        ["proto.RankingService/RankChange", "proto.ChatService/Subscribe", "stream proto.Chat.Message"]
    {
        assert!(told[0].contains(method), "{}", told[0]);
    }
    assert_eq!(told[2], "{\"UserIds\":[7],\"Scores\":[120]}\n");
    assert!(told[5].contains("\"Body\":\"aGVsbG8=\",\"Offset\":1"), "{}", told[5]);

    let failed = |args: &[&str], words: &[&str]| {
        let mut all = vec!["service", "--grpc", process.grpc()];
        all.extend(args);
        run(&all).failed(1, words);
    };
    let range = "proto.RankingService/QueryRankRange";
    failed(&["call", range, "{\"SetId\": 9}"], &["NotFound", "name not exists"]);
    failed(&["call", range, "{\"Set\": 9}"], &["Ranking.Range", "SetId", "Season"]);
    failed(&["call", range, "9"], &["Ranking.Range"]);
    failed(&["call", "proto.RankingService/Nothing"], &["no method Nothing", "service list"]);
    failed(&["call", "proto.Nobody/Nothing"], &["proto.Nobody", "service list"]);
    failed(&["call", "nothing"], &["package.Service/Method"]);
    failed(&["--grpc", "127.0.0.1:1", "list"], &["no node answers at 127.0.0.1:1", "--grpc"]);
}

#[test]
fn the_manifest_is_one() {
    let text = text();
    let [manifest] = blocks(&text, "toml")[..] else { panic!("one manifest") };
    let manifest = Manifest::parse(manifest).unwrap();
    assert_eq!(
        (manifest.world.as_str(), manifest.service.unwrap().shard_by.as_str()),
        ("service", "guild_id")
    );
}
