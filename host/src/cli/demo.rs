//! (being written)
#[derive(Debug, clap::Args)]
/// Demo.
pub struct DemoArgs {}
/// Runs.
pub async fn run(_: DemoArgs) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not yet")
}
