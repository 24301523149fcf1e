//! `hotseat service`: the gRPC services of a running node, tried by hand.

use std::process::ExitCode;

mod call;
mod number;
mod server;

use super::peers::PeerArgs;

/// Show and call the services of a running node
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    /// The node's gRPC address [default: HOTSEAT_GRPC, else 127.0.0.1:10000]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    grpc: Option<String>,
    #[command(flatten)]
    peers: PeerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The methods that are served, as the node describes them
    List,
    /// Call a method; answers come as lines of JSON, those of a stream as they arrive
    Call {
        /// `package.Service/Method`, as `list` shows it
        method: String,
        /// The request as JSON, with the field names of the .proto file; bytes are base64
        #[arg(default_value = "{}")]
        request: String,
        /// End a stream after so many messages
        #[arg(long, value_name = "COUNT")]
        take: Option<usize>,
    },
}

/// Runs one of the commands.
///
/// # Errors
/// If the node is not there, does not know the method, or its answer is a failure.
pub async fn run(args: ServiceArgs) -> anyhow::Result<ExitCode> {
    let mut server = server::Server::connect(args.grpc.as_deref(), &args.peers.dialer()?).await?;
    match args.command {
        Command::List => call::list(&mut server).await?,
        Command::Call { method, request, take } => call::call(&mut server, &method, &request, take).await?,
    }
    Ok(ExitCode::SUCCESS)
}
