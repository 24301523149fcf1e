//! (being written)
#[derive(Debug, clap::Args)]
/// Bots.
pub struct BotsArgs {}
/// Runs.
pub async fn run(_: BotsArgs) -> anyhow::Result<std::process::ExitCode> { anyhow::bail!("not yet") }
