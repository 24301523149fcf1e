//! Settings of `hotseat run`: their layers, and what is wrong with wrong ones.

use std::path::Path;
use std::process::Command;

use crate::process::{Told, hotseat, run};

/// `hotseat run --print-config` in a directory, with these variables and flags.
fn print_config(dir: &Path, env: &[(&str, &str)], flags: &[&str]) -> Told {
    let mut command = hotseat(dir);
    command.args(["run", "--print-config"]).args(flags).envs(env.iter().copied());
    command.output().unwrap().into()
}

#[test]
fn every_setting_is_printed_with_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        "home_rooms = 7\nmax_rooms = 70\nroom_mailbox = 77\n[plugin_config.game-logic]\nspeed = \"3\"\n";
    std::fs::write(dir.path().join("hotseat.toml"), file).unwrap();
    let env = [("HOTSEAT_MAX_ROOMS", "80"), ("HOTSEAT_ROOM_MAILBOX", "88")];
    let out = print_config(dir.path(), &env, &["--room-mailbox", "99"]).fine();
    for line in [
        "listen = \"127.0.0.1:8888\" # default",
        "grpc_listen = \"127.0.0.1:10000\" # default",
        "admin_listen = \"127.0.0.1:9600\" # default",
        "home_rooms = 7 # hotseat.toml",
        "max_rooms = 80 # environment HOTSEAT_MAX_ROOMS",
        "room_mailbox = 99 # flag --room-mailbox",
        "speed = \"3\" # hotseat.toml",
    ] {
        assert!(out.lines().any(|printed| printed == line), "no {line:?} in\n{out}");
    }
    // What is printed is a file that says the same.
    let again = tempfile::tempdir().unwrap();
    std::fs::write(again.path().join("hotseat.toml"), &out).unwrap();
    let values = |out: &str| -> toml::Table { out.parse().unwrap() };
    assert_eq!(values(&print_config(again.path(), &[], &[]).fine()), values(&out));
}

#[test]
fn a_file_may_be_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("other.toml"), "home_rooms = 5\n").unwrap();
    let out = print_config(dir.path(), &[], &["--config", "other.toml"]).fine();
    assert!(out.contains("home_rooms = 5 # other.toml"), "{out}");
    let out = print_config(dir.path(), &[("HOTSEAT_CONFIG", "other.toml")], &[]).fine();
    assert!(out.contains("home_rooms = 5 # other.toml"), "{out}");
    print_config(dir.path(), &[], &["--config", "none.toml"]).failed(64, &["none.toml"]);
}

#[test]
fn values_that_are_wrong_name_key_value_and_range() {
    let table: [(&[&str], &[&str]); 7] = [
        (&["--home-rooms", "0"], &["home_rooms", "0", "1", "65536", "flag --home-rooms"]),
        (&["--max-sessions", "many"], &["max_sessions", "many", "1000000"]),
        (&["--listen", "nowhere"], &["listen", "nowhere", "flag --listen"]),
        (&["--auth", "open"], &["auth", "open", "dev", "token"]),
        (&["--auth", "token"], &["auth_key"]),
        (&["--max-rooms", "3"], &["max_rooms", "3", "home_rooms = 64"]),
        (&["--log", "info,="], &["log", "info,="]),
    ];
    for (flags, words) in table {
        let args = [&["run"], flags].concat();
        run(&args).failed(64, words);
    }
}

#[test]
fn keys_that_are_unknown_are_errors_in_every_layer() {
    let dir = tempfile::tempdir().unwrap();
    print_config(dir.path(), &[("HOTSEAT_HOME_ROMS", "9")], &[])
        .failed(64, &["HOTSEAT_HOME_ROMS", "environment", "did you mean HOTSEAT_HOME_ROOMS?"]);
    std::fs::write(dir.path().join("hotseat.toml"), "home-room = 9\n").unwrap();
    print_config(dir.path(), &[], &[]).failed(64, &["home-room", "hotseat.toml", "did you mean home_rooms?"]);
    std::fs::write(dir.path().join("hotseat.toml"), "home_rooms = \n").unwrap();
    print_config(dir.path(), &[], &[]).failed(64, &["hotseat.toml is not valid TOML", "line 1"]);
    let flag = run(&["run", "--home-roms", "9"]);
    assert!(flag.code.is_some_and(|code| code != 0), "{flag:?}");
    assert!(flag.err.contains("--home-roms") && flag.err.contains("--home-rooms"), "{}", flag.err);
}

#[test]
fn a_secret_that_is_too_short_is_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "short\n").unwrap();
    print_config(dir.path(), &[], &["--auth", "token", "--auth-key", "key"])
        .failed(64, &["auth_key", "5 bytes", "32"]);
}

#[test]
fn a_role_whose_plugin_is_not_there_is_named() {
    // Reference plugins are looked for around the binary.
    let binary = Path::new(env!("CARGO_BIN_EXE_hotseat"));
    let dir = tempfile::tempdir_in(binary.parent().unwrap()).unwrap();
    let alone = dir.path().join("hotseat");
    std::fs::hard_link(binary, &alone).unwrap();
    for (role, plugin) in [("game", "game-logic"), ("chat", "chat"), ("rank", "rank")] {
        let mut command = Command::new(&alone);
        command.current_dir(dir.path()).args(["run", "--roles", role]);
        let anywhere = "127.0.0.1:0";
        command.args(["--listen", anywhere, "--grpc-listen", anywhere, "--admin-listen", anywhere]);
        let told = Told::from(command.output().unwrap());
        told.failed(1, &[&format!("no {plugin} plugin"), &format!("--plugin {plugin}=FILE")]);
    }
}
