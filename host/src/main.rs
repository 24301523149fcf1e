//! The `hotseat` binary: parse, run the command, tell how it went.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use hotseat::cli::{self, Cli};

/// How long work that cannot be interrupted (a compilation) may delay the end of the process.
const LINGER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli).unwrap_or_else(|error| cli::report(&error))
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads that run everything")?;
    let code = runtime.block_on(cli.run());
    runtime.shutdown_timeout(LINGER);
    code
}
