//! `hotseat plugin`: the plugins of a running node.

use std::path::PathBuf;
use std::process::ExitCode;

use super::node;
use super::node::json;

mod deploy;
mod inspect;
mod list;
mod nodes;
mod pack;
mod steps;

/// Show and replace the plugins of a running node
#[derive(Debug, clap::Args)]
pub struct PluginArgs {
    /// The node's admin address [default: HOTSEAT_ADMIN, else 127.0.0.1:9600]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    admin: Option<String>,
    /// Write the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The node's plugins and the version each of them runs
    List,
    /// What is in a built file, and whether a node would take it; needs no node
    Inspect {
        /// The file that `hotseat build` wrote
        file: PathBuf,
    },
    /// Make the file that is deployed of a component, or a core module, that another toolchain made; needs no node
    Pack {
        /// The component, or a core module with the names of the world's functions
        file: PathBuf,
        /// Its plugin.toml
        #[arg(long, value_name = "FILE")]
        manifest: PathBuf,
        /// Where to write the file [default: NAME.hotseat.wasm beside the component]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Replace a plugin's version under its live rooms
    Deploy {
        /// The plugin's name: that of its manifest
        name: String,
        /// The file that `hotseat build` wrote
        file: PathBuf,
        /// On every node of the cluster that runs the plugin, or on none
        #[arg(long)]
        cluster: bool,
        /// Only say what it would do, and whether and how one could go back
        #[arg(long)]
        plan: bool,
        /// End this room if the version cannot take it over, and leave what it was in a file; repeatable
        #[arg(long, value_name = "ROOM")]
        set_aside: Vec<String>,
        /// Deploy also if a room is expected to stand still for longer than swap_pause_max_ms
        #[arg(long)]
        accept_pause: bool,
    },
    /// Go back to the version that was live before
    Rollback {
        /// The plugin's name
        name: String,
        /// On every node of the cluster that runs the plugin, or on none
        #[arg(long)]
        cluster: bool,
    },
    /// What happened to a plugin, newest last
    History {
        /// The plugin's name
        name: String,
    },
}

/// Runs one of the commands.
///
/// # Errors
/// If the file is bad, the node is not there, or it refuses.
pub async fn run(args: PluginArgs) -> anyhow::Result<ExitCode> {
    let node = || node::Node::named(args.admin.as_deref());
    match &args.command {
        Command::List => list::list(node()?, args.json).await?,
        Command::History { name } => list::history(node()?, name, args.json).await?,
        Command::Inspect { file } => return inspect::inspect(file, args.json).await,
        Command::Pack { file, manifest, output } => pack::pack(file, manifest, output.as_deref()).await?,
        Command::Deploy { name, file, cluster, plan, set_aside, accept_pause } => {
            let (set_aside, accept_pause) = (set_aside.clone(), *accept_pause);
            let what = deploy::What { cluster: *cluster, plan: *plan, set_aside, accept_pause };
            deploy::deploy(node()?, name, file, &what, args.json).await?;
        }
        Command::Rollback { name, cluster } => {
            deploy::rollback(node()?, name, *cluster, args.json).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
