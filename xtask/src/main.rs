//! `cargo xtask`: set-up, build, test and demo of the workspace.

mod ci;
mod deny;
mod languages;
mod plugins;
mod setup;
mod shell;

use std::process::ExitCode;

use anyhow::{Result, bail};
use shell::{Root, cargo, run};

const HELP: &str = "\
Works on the Hotseat workspace.

Usage: cargo xtask COMMAND [ARGUMENTS]

Commands:
  setup   Finds what a build needs, installs what is missing, and says what it did
  build   setup, then target/release/hotseat and the plugins in target/plugins/
  plugins setup, then the plugins alone
  test    build, then every test; ARGUMENTS go to `cargo test`
  demo    build, then `hotseat demo`; ARGUMENTS go to it
  bench   build, then the benchmarks; ARGUMENTS go to `cargo bench`
  deny    The dependency policy of deny.toml: licences, bans, duplicates, sources
  ci      All that must pass before a change is taken: fmt, deny, clippy, doc, test
  help    This text

Everything is built with the release profile, so that the engine is compiled once.

Environment:
  HOTSEAT_WASM_TOOLCHAIN=rustup|debian  Which way plugins are compiled; by default the first that works
  HOTSEAT_ETCD=FILE                     The etcd that tests of the cluster start; by default the one in PATH
  HOTSEAT_DENY_ADVISORIES=1             deny also checks security advisories (fetches their database)
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_else(|| "help".into());
    let rest: Vec<String> = arguments.collect();
    match dispatch(&command, &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            shell::say(&format!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &str, rest: &[String]) -> Result<()> {
    let root = Root::find()?;
    let takes_arguments = matches!(command, "test" | "demo" | "bench");
    if rest.iter().any(|a| a == "--help" || a == "-h") && !takes_arguments {
        return help();
    }
    if !takes_arguments && !rest.is_empty() {
        bail!("`{command}` takes no arguments, got {rest:?}");
    }
    match command {
        "setup" => setup::run(&root).map(drop),
        "build" => build(&root),
        "plugins" => plugins::build(&root, &setup::run(&root)?),
        "test" => test(&root, rest),
        "demo" => {
            build(&root)?;
            shell::replace(&root.hotseat(), "demo", rest)
        }
        "bench" => {
            build(&root)?;
            run(cargo(&root).arg("bench").args(whole_workspace(rest)).args(rest))
        }
        "deny" => deny::run(&root),
        "ci" => ci::run(&root),
        "help" | "--help" | "-h" => help(),
        other => bail!("unknown command {other:?}; `cargo xtask help` lists them"),
    }
}

fn help() -> Result<()> {
    use std::io::Write as _;
    std::io::stdout().write_all(HELP.as_bytes())?;
    Ok(())
}

fn build(root: &Root) -> Result<()> {
    let toolchain = setup::run(root)?;
    shell::step("build: target/release/hotseat (the first time takes minutes: it compiles the engine)");
    run(cargo(root).args(["build", "--release", "--package", "hotseat"]))?;
    plugins::build(root, &toolchain)
}

/// Also the `test` step of `ci`.
fn test(root: &Root, rest: &[String]) -> Result<()> {
    build(root)?;
    languages::set_up(root)?;
    shell::step("test: every crate of the workspace, examples in the documentation included");
    run(cargo(root).args(["test", "--release"]).args(whole_workspace(rest)).args(rest))
}

/// `--workspace`, unless the arguments name packages themselves.
fn whole_workspace(arguments: &[String]) -> Option<&'static str> {
    let before_tests = arguments.iter().take_while(|a| *a != "--");
    let names_packages = before_tests
        .into_iter()
        .any(|a| a.starts_with("-p") || a == "--package" || a.starts_with("--package="));
    (!names_packages).then_some("--workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_given_by_hand_replace_the_workspace() {
        let check = |arguments: &[&str], expected| {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            assert_eq!(whole_workspace(&arguments), expected, "{arguments:?}");
        };
        check(&[], Some("--workspace"));
        check(&["-p", "hotseat-packet"], None);
        check(&["--package=hotseat-packet"], None);
        check(&["swap", "--", "--package"], Some("--workspace"));
    }

    #[test]
    fn unknown_commands_and_surplus_arguments_are_refused() {
        assert!(dispatch("fly", &[]).is_err());
        assert!(dispatch("setup", &["now".into()]).is_err());
    }
}
