//! Layering and validation, as tables.

use super::*;
use std::ffi::OsString;

struct Case {
    dir: tempfile::TempDir,
    inputs: Inputs,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let inputs = Inputs { dir: dir.path().to_owned(), ..Inputs::default() };
        Self { dir, inputs }
    }

    fn file(self, text: &str) -> Self {
        std::fs::write(self.dir.path().join(FILE), text).expect("the directory is ours");
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.inputs.env.push((OsString::from(name), OsString::from(value)));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.inputs.flags = self.inputs.flags.with(key, value);
        self
    }

    fn load(&self) -> Loaded {
        self.inputs.load().expect("this configuration is valid")
    }

    fn error(&self) -> String {
        self.inputs.load().expect_err("this configuration is not valid").to_string()
    }
}

#[test]
fn the_defaults_hold_together() {
    let loaded = Case::new().load();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.sources.values().all(|source| source == "default"));
    assert_eq!(loaded.sources.len(), KEYS.len());
    assert_eq!(loaded.config.listen.to_string(), "127.0.0.1:8888");
    assert!(loaded.config.roles.contains(&Role::Agent) && loaded.config.roles.contains(&Role::Game));
}

#[test]
fn a_later_layer_wins() {
    let file = "max_sessions = 1\n";
    let cases = [
        (Case::new(), 10_000, "default"),
        (Case::new().file(file), 1, "hotseat.toml"),
        (Case::new().file(file).env("HOTSEAT_MAX_SESSIONS", "2"), 2, "environment HOTSEAT_MAX_SESSIONS"),
        (
            Case::new().file(file).env("HOTSEAT_MAX_SESSIONS", "2").flag("max_sessions", "3"),
            3,
            "flag --max-sessions",
        ),
    ];
    for (case, value, source) in cases {
        let loaded = case.load();
        assert_eq!((loaded.config.max_sessions, loaded.sources["max_sessions"].as_str()), (value, source));
    }
}

#[test]
fn maps_are_merged_by_name() {
    let loaded = Case::new()
        .file(
            "[plugin]\ngame-logic = \"file.wasm\"\nchat = \"chat.wasm\"\n\
             [plugin_config.game-logic]\nspeed = 5\nname = \"a\"\n\
             [service]\nrank = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]\n",
        )
        .env("HOTSEAT_PLUGIN", "game-logic=env.wasm, other=o.wasm")
        .env("HOTSEAT_SERVICE", "mail=http://localhost:1,mail=http://localhost:2")
        .flag("plugin", "game-logic=flag.wasm")
        .flag("plugin_config", "game-logic.speed=7")
        .load();
    let files: Vec<_> = loaded.config.plugin.iter().map(|(n, f)| (n.as_str(), f.to_str().unwrap())).collect();
    assert_eq!(files, [("chat", "chat.wasm"), ("game-logic", "flag.wasm"), ("other", "o.wasm")]);
    assert_eq!(loaded.sources["plugin.game-logic"], "flag --plugin");
    assert_eq!(loaded.sources["plugin.other"], "environment HOTSEAT_PLUGIN");
    assert_eq!(loaded.sources["plugin.chat"], "hotseat.toml");
    assert_eq!(loaded.config.plugin_config["game-logic"]["speed"], "7");
    assert_eq!(loaded.config.plugin_config["game-logic"]["name"], "a");
    assert_eq!(loaded.config.service["rank"].len(), 2);
    assert_eq!(loaded.config.service["mail"], ["http://localhost:1", "http://localhost:2"]);
}

#[test]
fn texts_and_file_values_mean_the_same() {
    let texts = [
        ("roles", "agent", "roles = [\"agent\"]"),
        ("roles", "agent,game,snowflake,rank,chat", "roles = \"all\""),
        ("limits", "off", "limits = false"),
        ("limits", "off", "limits = \"off\""),
        ("data_dir", "123", "data_dir = \"123\""),
        ("bytes_per_s", "1_000", "bytes_per_s = 1000"),
        ("log_format", "json", "log_format = \"json\""),
        ("listen", "[::1]:0", "listen = \"[::1]:0\""),
    ];
    for (key, text, file) in texts {
        let flag = Case::new().flag(key, text).load().config;
        let env = Case::new().env(&format!("HOTSEAT_{}", key.to_uppercase()), text).load().config;
        assert_eq!(flag, Case::new().file(file).load().config, "{key}");
        assert_eq!(flag, env, "{key}");
        assert_ne!(flag == Config::default(), text != "agent,game,snowflake,rank,chat", "{key}");
    }
}

#[test]
fn errors_name_key_value_range_and_origin() {
    let cases: &[(Case, &[&str])] = &[
        (Case::new().file("max_sessions = 0"), &["max_sessions = 0 (hotseat.toml)", "from 1 to 1000000"]),
        (Case::new().file("max_sessions = 1.5"), &["max_sessions = 1.5", "whole number"]),
        (Case::new().file("max_sessions = \"many\""), &["max_sessions = many", "whole number"]),
        (Case::new().file("listen = 8888"), &["listen = 8888", "127.0.0.1:8888"]),
        (Case::new().file("listn = \"x\""), &["unknown key listn in hotseat.toml", "did you mean listen?"]),
        (Case::new().file("[limit]\nx = 1"), &["unknown key limit", "did you mean limits?"]),
        (Case::new().file("zzzzzz = 1"), &["unknown key zzzzzz in hotseat.toml"]),
        (Case::new().file("= 1"), &["hotseat.toml is not valid TOML"]),
        (
            Case::new().env("HOTSEAT_LISTN", "x"),
            &["unknown key HOTSEAT_LISTN in the environment", "did you mean HOTSEAT_LISTEN?"],
        ),
        (Case::new().env("HOTSEAT_FOO", "x"), &["unknown key HOTSEAT_FOO in the environment"]),
        (
            Case::new().env("HOTSEAT_LISTEN", "localhost"),
            &["listen = localhost (environment HOTSEAT_LISTEN)", "an IP address and a port"],
        ),
        (Case::new().flag("frames_per_s", "-1"), &["frames_per_s = -1 (flag --frames-per-s)", "from 1 to"]),
        (Case::new().flag("roles", "agent,auth"), &["roles = auth", "agent, game, snowflake, rank, chat"]),
        (Case::new().flag("roles", "all,gate"), &["roles = gate", "agent, game, snowflake, rank, chat"]),
        (Case::new().flag("auth", "none"), &["auth = none (flag --auth)", "dev or token"]),
        (Case::new().flag("auth", "token"), &["auth = token (flag --auth) needs auth_key"]),
        (Case::new().flag("limits", "maybe"), &["limits = maybe", "on or off"]),
        (Case::new().flag("plugin", "game-logic"), &["plugin = game-logic (flag --plugin)", "NAME=FILE"]),
        (Case::new().flag("plugin", "A=f"), &["plugin = A (flag --plugin)", "a-z 0-9"]),
        (Case::new().flag("plugin", "a=f").flag("plugin", "a=g"), &["plugin = a=g", "each name once"]),
        (Case::new().flag("service", "a=https://x"), &["service = https://x", "http://127.0.0.1:50051"]),
        (Case::new().flag("plugin_config", "speed=5"), &["plugin_config = speed", "PLUGIN.KEY=VALUE"]),
        (Case::new().flag("data_dir", ""), &["data_dir =  (flag", "not empty"]),
        (Case::new().flag("log", "a=b=c"), &["log = \"a=b=c\" (flag --log)", "TARGET=LEVEL"]),
        (Case::new().flag("max_rooms", "63"), &["max_rooms = 63 (flag --max-rooms)", "home_rooms = 64"]),
        (Case::new().flag("bytes_burst", "16383"), &["bytes_burst = 16383", "frame_max_bytes = 16384"]),
        (Case::new().flag("no_such", "1"), &["unknown key no_such in the flags"]),
    ];
    for (case, parts) in cases {
        let error = case.error();
        for part in *parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
}

#[test]
fn environment_of_others_is_left_alone() {
    let loaded =
        Case::new().env("HOME", "/").env("HOTSEAT_ADMIN", "127.0.0.1:9").env("HOTSEATING", "x").load();
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn a_named_file_must_exist_and_an_unnamed_one_need_not() {
    let mut case = Case::new();
    assert_eq!(case.load().config, Config::default());
    case.inputs.flags.config = Some("other.toml".into());
    assert_eq!(case.error(), "cannot read the configuration file other.toml");
    std::fs::write(case.dir.path().join("other.toml"), "home_rooms = 1").unwrap();
    let loaded = case.load();
    assert_eq!((loaded.config.home_rooms, loaded.sources["home_rooms"].as_str()), (1, "other.toml"));
}

#[test]
fn a_secret_is_long_enough_and_never_printed() {
    let secret = "0123456789abcdef0123456789abcdef";
    let case = Case::new().flag("auth", "token");
    let path = case.dir.path().join("key");
    let case = case.flag("auth_key", path.to_str().unwrap());
    assert!(case.error().starts_with("cannot read the secret of auth_key"), "{}", case.error());
    for short in [secret[1..].to_owned(), format!("{}\r\n", &secret[1..])] {
        std::fs::write(&path, short).unwrap();
        assert!(case.error().contains("holds 31 bytes: allowed is 32 or more"), "{}", case.error());
    }
    std::fs::write(&path, format!("{secret}\r\n")).unwrap();
    let loaded = case.load();
    let printed = loaded.to_toml();
    assert!(printed.contains("auth_key = ") && !printed.contains(secret));
}

#[test]
fn what_nodes_show_each_other_is_looked_at_before_anything_runs() {
    let case = Case::new();
    let dir = case.dir.path().to_owned();
    let flag = |case: Case, key: &str, file: &str| case.flag(key, dir.join(file).to_str().unwrap());
    let case = flag(case, "peer_token_file", "token");
    assert!(case.error().starts_with("cannot read the secret of peer_token_file"), "{}", case.error());
    let secret = "0123456789abcdef0123456789abcdef";
    std::fs::write(dir.join("token"), &secret[1..]).unwrap();
    let short = case.error();
    assert!(short.contains("token (flag --peer-token-file) holds 31 bytes: allowed is 32 to"), "{short}");
    std::fs::write(dir.join("token"), format!("{secret}\n")).unwrap();
    assert!(!case.load().to_toml().contains(secret));

    let case = flag(case, "peer_cert", "node.pem");
    let alone = case.error();
    assert!(alone.contains("node.pem (flag --peer-cert) needs peer_ca = FILE"), "{alone}");
    let case = flag(case, "peer_ca", "node.ca");
    assert!(case.error().contains("node.ca (flag --peer-ca) needs peer_key = FILE"), "{}", case.error());
    let case = flag(case, "peer_key", "node.key");
    assert!(case.error().starts_with("cannot read the certificates of peer_ca"), "{}", case.error());
    crate::peer::test_certs::Ca::new().issue(&dir, "node", &["127.0.0.1"]);
    case.load();
    std::fs::write(dir.join("node.key"), secret).unwrap();
    let broken = case.error();
    assert!(broken.contains("node.key (flag --peer-key) holds no private key in PEM"), "{broken}");
    assert!(!broken.contains(secret));
}

#[test]
fn settings_of_etcd_need_each_other() {
    let file = |case: &Case, name: &str, text: &str| {
        let path = case.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let host = |text: &str| Case::new().flag("etcd_host", text);
    let secure = || {
        let case = host("https://e:2379");
        let ca = file(&case, "ca", "x");
        case.flag("etcd_ca", &ca)
    };
    let empty = host("e:2379").flag("etcd_user", "me");
    let password = file(&empty, "password", "\r\n");
    let cases: &[(Case, &[&str])] = &[
        (host(" , "), &["etcd_host =", "names no address", "HOST:PORT"]),
        (host("e:2379,e"), &["etcd_host = e (flag --etcd-host) is no address", "https://HOST:PORT"]),
        (host("u:p@e:1"), &["is no address"]),
        (host("http://e:1/v2"), &["is no address"]),
        (host("e:1,https://e:2"), &["etcd_host = https://e:2", "needs etcd_ca = FILE", "none are built in"]),
        (host("e:1").flag("etcd_ca", "f"), &["etcd_ca = f (flag --etcd-ca) is for https://"]),
        (Case::new().flag("etcd_cert", "f"), &["etcd_cert = f (flag --etcd-cert) is for https://"]),
        (secure().flag("etcd_cert", "f"), &["etcd_cert = f", "needs etcd_key = FILE"]),
        (secure().flag("etcd_key", "f"), &["etcd_key = f", "needs etcd_cert = FILE"]),
        (host("https://e:1").flag("etcd_ca", "/none"), &["cannot read the certificates of etcd_ca /none"]),
        (
            secure().flag("etcd_cert", "/none").flag("etcd_key", "/none"),
            &["cannot read the certificate of etcd_cert /none"],
        ),
        (host("e:1").flag("etcd_user", "me"), &["etcd_user = me", "needs etcd_password_file = FILE"]),
        (host("e:1").flag("etcd_password_file", "f"), &["etcd_password_file = f", "needs etcd_user = NAME"]),
        (
            host("e:1").flag("etcd_user", "me").flag("etcd_password_file", "/none"),
            &["cannot read the password of etcd_password_file /none"],
        ),
        (empty.flag("etcd_password_file", &password), &["etcd_password_file =", "holds no password"]),
    ];
    for (case, parts) in cases {
        let error = case.error();
        for part in *parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
    assert!(secure().load().config.etcd_endpoints() == ["https://e:2379"]);
    let several = Case::new().env("ETCD_HOST", "a:1, http://[::1]:2,");
    assert_eq!(several.load().config.etcd_endpoints(), ["a:1", "http://[::1]:2"]);
    assert!(Case::new().load().config.etcd_endpoints().is_empty());
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let full = Case::new()
        .file("log = 'info,hotseat=debug'\n[plugin_config.game-logic]\n\"a.b\" = \"one\\ntwo # \\\"three\\\"\"\n")
        .flag("plugin", "game-logic=a b.wasm")
        .flag("service", "rank=http://127.0.0.1:1")
        .flag("limits", "off");
    for case in [Case::new(), full] {
        let loaded = case.load();
        let printed = loaded.to_toml();
        let again = Case::new().file(&printed).load();
        assert_eq!(loaded.config, again.config, "{printed}");
        for line in printed.lines().filter(|line| line.contains(" = ")) {
            assert!(line.contains(" # ") || line.starts_with('#') || line.contains("\"\"\""), "{line}");
        }
    }
    let printed = Case::new().flag("listen", "127.0.0.1:0").load().to_toml();
    assert!(printed.contains("listen = \"127.0.0.1:0\" # flag --listen\n"), "{printed}");
    assert!(printed.contains("data_dir = \"hotseat-data\" # default\n"), "{printed}");
}

#[test]
fn every_key_is_a_flag() {
    let command = <RunFlags as clap::Args>::augment_args(clap::Command::new("run"));
    command.clone().debug_assert();
    let matches = command.clone().get_matches_from([
        "run",
        "--plugin",
        "a=f",
        "--plugin",
        "b=g",
        "--home-rooms",
        "7",
        "--config",
        "x.toml",
    ]);
    let flags = <RunFlags as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
    assert_eq!(flags.values["plugin"], ["a=f", "b=g"]);
    assert_eq!(flags.values["home_rooms"], ["7"]);
    assert_eq!(flags.values.len(), 2);
    assert_eq!(flags.config, Some("x.toml".into()));
    for key in KEYS {
        assert!(command.get_arguments().any(|arg| arg.get_long() == Some(key.flag())), "{}", key.name);
    }
}
