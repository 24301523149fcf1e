//! Shell: commands that run in the workspace, and what is said about them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The workspace's directory.
pub(crate) struct Root(PathBuf);

impl Root {
    /// The workspace this binary belongs to.
    pub(crate) fn find() -> Result<Self> {
        // Cargo sets the variable for `cargo xtask`; the built-in path serves a binary that is started directly.
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().context("xtask lies below the workspace")?;
        Ok(Self(root.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where cargo builds; `CARGO_TARGET_DIR` moves it.
    pub(crate) fn target(&self) -> PathBuf {
        self.0.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
    }

    /// The binary that `build` leaves.
    pub(crate) fn hotseat(&self) -> PathBuf {
        self.target().join("release").join(format!("hotseat{}", env::consts::EXE_SUFFIX))
    }
}

/// Cargo in the workspace's directory, without what belongs to xtask's own package.
pub(crate) fn cargo(root: &Root) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let ours =
            name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"));
        if ours {
            command.env_remove(&name);
        }
    }
    command.current_dir(root.path());
    command
}

/// Runs a command that shows its own output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// The first line a command writes; none if it is not there or fails.
pub(crate) fn first_line(program: &Path, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
    output.status.success().then_some(text)
}

/// Whether `apt-get install` can be run without questions: it is there, and we are root.
pub(crate) fn can_apt() -> bool {
    first_line(Path::new("apt-get"), &["--version"]).is_some()
        && first_line(Path::new("id"), &["-u"]).as_deref() == Some("0")
}

/// Hands over to `program`: its exit status becomes ours, and signals reach it alone.
pub(crate) fn replace(program: &Path, command: &str, arguments: &[String]) -> Result<()> {
    let mut child = Command::new(program);
    child.arg(command).args(arguments);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt as _;
        let error = child.exec();
        Err(error).with_context(|| format!("cannot run {}", program.display()))
    }
    #[cfg(not(unix))]
    run(&mut child)
}

/// Announces a step that takes a while.
pub(crate) fn step(text: &str) {
    say(&format!("==> {text}"));
}

/// One line for the person who waits. On stderr, in order with cargo's own lines.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|a| format!(" {}", a.to_string_lossy()));
    format!("`{program}{}`", arguments.collect::<String>())
}
