//! Process: child processes whose lines are seen while they run.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Lines of a child that wait to be looked at; when full, the child waits.
const PENDING_LINES: usize = 256;

/// Longest line, in bytes; a longer one comes in pieces.
/// Cargo's JSON messages carry whole diagnostics in one line.
const MAX_LINE_BYTES: u64 = 4 << 20;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Out(String),
    Err(String),
}

/// Runs `command` to its end with no input, handing over each line as it comes.
pub(crate) fn run(command: &mut Command, on_line: &mut dyn FnMut(Line)) -> io::Result<ExitStatus> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (sender, lines) = sync_channel(PENDING_LINES);
    let out = child.stdout.take().map(|pipe| forward(pipe, sender.clone(), Line::Out));
    let err = child.stderr.take().map(|pipe| forward(pipe, sender, Line::Err));
    lines.iter().for_each(on_line);
    for reader in [out, err].into_iter().flatten() {
        // A reader ends with its pipe; one that panicked has only lost lines.
        let _ = reader.join();
    }
    child.wait()
}

fn forward(
    pipe: impl Read + Send + 'static,
    sender: SyncSender<Line>,
    wrap: fn(String) -> Line,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(wrap(text)).is_err() {
                return;
            }
        }
    })
}

/// The output of a short command; none if it cannot be run or fails.
pub(crate) fn output(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Removes what an outer cargo, its flags or its lints would leak into a build of our own.
///
/// What belongs to the machine and its user stays: where cargo lives, its network, its registries.
pub(crate) fn without_outer_build(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            command.env_remove(&name);
        }
    }
    absolute_target_dir(command)
}

/// A target directory that the user has named is where the user is, not where the crate is that cargo is run in.
pub fn absolute_target_dir(command: &mut Command) -> &mut Command {
    for name in TARGET_DIRS {
        if let Some(absolute) = std::env::var_os(name).and_then(absolute) {
            command.env(name, absolute);
        }
    }
    command
}

/// The variables by which a user names it.
const TARGET_DIRS: [&str; 2] = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"];

/// None if there is nothing to change.
fn absolute(path: OsString) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    if path.as_os_str().is_empty() || path.is_absolute() { None } else { std::path::absolute(path).ok() }
}

fn leaks(name: &str) -> bool {
    const OURS_TO_KEEP: [&str; 10] = [
        "CARGO_HOME",
        "CARGO_BUILD_JOBS",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_CREDENTIAL_",
        "CARGO_TERM_",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET_DIR",
    ];
    const LEAKS: [&str; 12] = [
        "CARGO",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "MAKEFLAGS",
        "MFLAGS",
        "OUT_DIR",
        "CLIPPY_ARGS",
    ];
    let ours = name.starts_with("CARGO_") || name.starts_with("__CARGO");
    LEAKS.contains(&name) || (ours && !OURS_TO_KEEP.iter().any(|kept| name.starts_with(kept)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outer_build_does_not_leak_in() {
        for name in [
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_MANIFEST_DIR",
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_MAKEFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
        ] {
            assert!(leaks(name), "{name}");
        }
        for name in
            ["CARGO_HOME", "RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "CARGO_HTTP_CAINFO", "PATH", "RUSTC_WRAPPER"]
        {
            assert!(!leaks(name), "{name}");
        }
    }

    #[test]
    fn a_relative_target_directory_is_the_users() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("out/here".into()), Some(here.join("out/here")));
        assert_eq!(absolute("/out".into()), None);
        assert_eq!(absolute("".into()), None);
    }

    #[test]
    fn lines_of_both_pipes_arrive() {
        let mut seen = Vec::new();
        let status =
            run(Command::new("sh").args(["-c", "echo a; echo b >&2; exit 3"]), &mut |line| seen.push(line))
                .unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(seen.contains(&Line::Out("a".into())) && seen.contains(&Line::Err("b".into())), "{seen:?}");
    }
}
