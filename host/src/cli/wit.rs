//! `hotseat wit`: the plugin contract, for toolchains that make bindings of it.

use std::path::PathBuf;
use std::process::ExitCode;

use hotseat_build::WIT;

use super::{build, terminal};

/// Write the WIT package that plugins are made for
///
/// Other languages than Rust make their bindings of it; docs/other-languages.md shows how.
#[derive(Debug, clap::Args)]
pub struct WitArgs {
    /// The directory to write to; made if it is not there
    #[arg(short, long, value_name = "DIR", default_value = "wit")]
    output: PathBuf,
}

/// Writes the files.
///
/// # Errors
/// If one cannot be written.
pub fn run(args: &WitArgs) -> anyhow::Result<ExitCode> {
    for (name, text) in WIT {
        build::write(&args.output.join(name), text.as_bytes())?;
    }
    terminal::line(&format!("wrote {} to {}", hotseat_build::wit::package(), args.output.display()));
    Ok(ExitCode::SUCCESS)
}
