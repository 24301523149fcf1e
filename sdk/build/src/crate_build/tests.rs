use super::*;

const CARGO_TOML: &str = "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
const CDYLIB: &str = "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n";
const PLUGIN_TOML: &str = "name = \"tiny\"\nversion = \"0.1.0\"\nworld = \"game-logic\"\n";

struct Workshop {
    toolchain: Toolchain,
    dir: tempfile::TempDir,
}

impl Workshop {
    fn new() -> Self {
        let toolchain = Toolchain::find(&mut |_| {}).expect("this machine builds plugins");
        Self { toolchain, dir: tempfile::tempdir().unwrap() }
    }

    /// Builds a crate of these files in a directory of its own; all share one target directory.
    #[track_caller]
    fn refused(&self, name: &str, files: &[(&str, &str)]) -> BuildError {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(dir.join("src")).unwrap();
        for (file, text) in files {
            std::fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
            std::fs::write(dir.join(file), text).unwrap();
        }
        let options = BuildOptions {
            target_dir: Some(self.dir.path().join("target")),
            offline: true,
            ..BuildOptions::new(dir)
        };
        build(&self.toolchain, &options, &mut |_| {}).expect_err("must be refused")
    }
}

#[test]
fn crates_that_are_no_plugins_get_a_clear_error() {
    let shop = Workshop::new();
    let cdylib = format!("{CARGO_TOML}{CDYLIB}");

    let error = shop.refused("no-manifest", &[("Cargo.toml", &cdylib), ("src/lib.rs", "")]);
    assert!(matches!(&error, BuildError::Read { path, .. } if path.ends_with("plugin.toml")), "{error}");

    let wrong = format!("{PLUGIN_TOML}[limits]\ntick_hz = 5000\n");
    let error =
        shop.refused("bad-manifest", &[("Cargo.toml", &cdylib), ("src/lib.rs", ""), ("plugin.toml", &wrong)]);
    assert!(error.to_string().contains("limits.tick_hz"), "{error}");

    let service = "name = \"tiny\"\nversion = \"0.1.0\"\nworld = \"service\"\n\
                   [service]\nproto = \"tiny.proto\"\nshard_by = \"Id\"\n";
    let source = [("Cargo.toml", cdylib.as_str()), ("src/lib.rs", ""), ("plugin.toml", service)];
    let error = shop.refused("no-proto", &source);
    assert!(matches!(&error, BuildError::Read { path, .. } if path.ends_with("tiny.proto")), "{error}");

    let proto = (
        "tiny.proto",
        "syntax = \"proto3\";\nmessage Ask { string Id = 1; }\n\
                                service Tiny { rpc Get(Ask) returns (Ask); }\n",
    );
    let error = shop.refused("bad-proto", &[source.as_slice(), &[proto]].concat());
    assert!(matches!(&error, BuildError::Proto { text, .. } if text.contains("\"string\"")), "{error}");

    let error = shop.refused("no-crate", &[("plugin.toml", PLUGIN_TOML)]);
    assert!(matches!(&error, BuildError::Cargo { text, .. } if text.contains("Cargo.toml")), "{error}");

    let source = [("Cargo.toml", CARGO_TOML), ("src/lib.rs", ""), ("plugin.toml", PLUGIN_TOML)];
    let error = shop.refused("rlib", &source);
    assert!(matches!(error, BuildError::NotCdylib { .. }), "{error}");
    assert!(error.to_string().contains("crate-type"), "{error}");

    let source = [("Cargo.toml", cdylib.as_str()), ("src/lib.rs", ""), ("plugin.toml", PLUGIN_TOML)];
    let error = shop.refused("no-world", &source);
    assert!(matches!(error, BuildError::Encode(EncodeError::NoWorld)), "{error}");

    // What the user's own programs are linked with is not for plugins: it comes as far as it does without.
    let flags = (".cargo/config.toml", "[build]\nrustflags = [\"-Clink-arg=-fuse-ld=no-such-linker\"]\n");
    let error = shop.refused("flags", &[source.as_slice(), &[flags]].concat());
    assert!(matches!(error, BuildError::Encode(EncodeError::NoWorld)), "{error}");

    let broken = "pub fn f() -> u32 { \"text\" }\n";
    let source = [("Cargo.toml", cdylib.as_str()), ("src/lib.rs", broken), ("plugin.toml", PLUGIN_TOML)];
    let error = shop.refused("broken", &source);
    assert!(
        matches!(&error, BuildError::Compile { rendered, .. } if rendered.contains("src/lib.rs:1")),
        "{error}"
    );

    let foreign = "#[link(wasm_import_module = \"env\")] unsafe extern \"C\" { fn now() -> f64; }\n\
                   #[unsafe(no_mangle)] pub extern \"C\" fn f() -> f64 { unsafe { now() } }\n";
    let source = [("Cargo.toml", cdylib.as_str()), ("src/lib.rs", foreign), ("plugin.toml", PLUGIN_TOML)];
    let error = shop.refused("foreign", &source);
    assert!(error.to_string().contains("env::now"), "{error}");
}

#[test]
fn the_files_that_a_module_is_made_of_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("game.wasm");
    assert_eq!(inputs(&module), Vec::<PathBuf>::new());
    let rule = "/t/game.wasm: /c/src/lib.rs /other\\ crate/src/lib.rs /c/text.txt\n\n/c/src/lib.rs:\n";
    std::fs::write(module.with_extension("d"), rule).unwrap();
    let expected = ["/c/src/lib.rs", "/other crate/src/lib.rs", "/c/text.txt"].map(PathBuf::from);
    assert_eq!(inputs(&module), expected);
}
