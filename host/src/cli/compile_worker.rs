//! `hotseat compile-worker`: what a node starts to compile a plugin. Not for people.

use std::path::PathBuf;
use std::process::ExitCode;

use super::terminal;
use crate::plugin::{Work, work};

/// Compile one plugin for a node
#[derive(Debug, clap::Args)]
pub(super) struct CompileWorkerArgs {
    /// Where the compiled code goes
    to: PathBuf,
    /// Memory it may take, bytes
    memory_max_bytes: u64,
    /// Time of the processor it may take, seconds
    seconds: u64,
}

/// Works and tells how it went by the exit status.
pub(super) fn run(args: &CompileWorkerArgs) -> ExitCode {
    let CompileWorkerArgs { to, memory_max_bytes, seconds } = args;
    let (code, text) = work(&Work { to: to.clone(), memory_max_bytes: *memory_max_bytes, seconds: *seconds });
    if !text.is_empty() {
        terminal::line(&text);
    }
    ExitCode::from(code)
}
