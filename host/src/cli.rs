//! Cli: the commands of `hotseat`. Each is a file; this one lists them.

use std::process::ExitCode;

pub mod bots;
pub mod build;
pub mod cluster;
mod compile_worker;
pub mod demo;
pub mod dev;
pub mod failure;
pub mod journal;
pub mod new;
mod node;
pub mod peers;
pub mod plugin;
mod print_config;
pub mod replay;
pub mod run;
pub mod service;
pub mod session;
mod signals;
pub mod terminal;
pub mod wit;

use crate::plugin::WORKER_COMMAND;
pub use failure::{EXIT_USAGE, report};

/// A game host whose logic is WebAssembly plugins, replaced under live players
#[derive(Debug, clap::Parser)]
#[command(name = "hotseat", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
First steps:
  hotseat demo                      two versions, 200 bots, one live swap, a report
  hotseat new my-game               a plugin to start from
  hotseat dev my-game               play it; every saved change goes live
  hotseat plugin deploy game-logic FILE   replace the game of a running node
  hotseat service list              what its other plugins serve over gRPC
  hotseat cluster status            the nodes of its cluster";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(run::RunArgs),
    Plugin(plugin::PluginArgs),
    Service(service::ServiceArgs),
    Cluster(cluster::ClusterArgs),
    Session(session::SessionArgs),
    Build(build::BuildArgs),
    New(new::NewArgs),
    Wit(wit::WitArgs),
    Dev(dev::DevArgs),
    Bots(bots::BotsArgs),
    Demo(demo::DemoArgs),
    Replay(replay::ReplayArgs),
    #[command(name = WORKER_COMMAND, hide = true)]
    CompileWorker(compile_worker::CompileWorkerArgs),
    Journal(journal::JournalArgs),
}

impl Cli {
    /// Runs the command to its end and gives the exit status of the process.
    ///
    /// # Errors
    /// Why it stopped, for [`report`].
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => run::run(args).await,
            Command::Plugin(args) => plugin::run(args).await,
            Command::Service(args) => service::run(args).await,
            Command::Cluster(args) => cluster::run(args).await,
            Command::Session(args) => session::run(args).await,
            Command::Build(args) => build::run(args).await,
            Command::New(args) => new::run(&args),
            Command::Wit(args) => wit::run(&args),
            Command::Dev(args) => dev::run(args).await,
            Command::Bots(args) => bots::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Replay(args) => replay::run(args).await,
            Command::CompileWorker(args) => Ok(compile_worker::run(&args)),
            Command::Journal(args) => journal::run(args).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
