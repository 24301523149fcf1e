//! `hotseat session`: players who are connected.

use std::process::ExitCode;

use tonic::Code;

use super::failure::Failure;
use super::node::{self, Node};
use super::terminal::line;
use crate::proto::admin::MoveSessionRequest;

/// Move players who are connected
#[derive(Debug, clap::Args)]
pub struct SessionArgs {
    /// The admin address of a node, any one of the cluster [default: HOTSEAT_ADMIN, else 127.0.0.1:9600]
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
    /// Send a player to another room; the connection stays, nothing the client sends is lost
    Move {
        /// The player's user id
        #[arg(long)]
        user: u64,
        /// `home`, a room of the host that the player is at, ROOM@NODE, or the node of the player's home room. A home room
        /// itself goes to another node when its host is drained
        #[arg(long, value_name = "NODE|ROOM")]
        to: String,
    },
}

/// Runs one of the commands.
///
/// # Errors
/// If the node is not there, or the player cannot be moved.
pub async fn run(args: SessionArgs) -> anyhow::Result<ExitCode> {
    let node = Node::named(args.admin.as_deref())?;
    let Command::Move { user, to } = args.command;
    let reply = node.connect().await?.move_session(MoveSessionRequest { user, to }).await;
    let reply = reply.map_err(|status| {
        let refused = Failure::new(format!("move refused: {}", status.message()));
        match status.code() {
            Code::NotFound => refused.next(
                "the player must be connected, and the room open: `hotseat cluster status` shows the nodes",
            ),
            Code::InvalidArgument => refused.next("`hotseat session move --help` says what can be named"),
            Code::AlreadyExists => refused.next("there is nothing to do"),
            Code::Aborted => refused.next("nothing has changed; try again in a moment"),
            Code::Unavailable => refused.next("`hotseat cluster status` shows which nodes are there"),
            _ => node.refused("move", &status),
        }
    })?;
    let reply = reply.into_inner();
    if args.json {
        node::json(&reply)?;
    } else {
        line(&format!("user {user} goes from {} to {}", reply.from, reply.to));
    }
    Ok(ExitCode::SUCCESS)
}
