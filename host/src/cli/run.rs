//! `hotseat run`: one node, until it is told to stop.

use std::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use tracing::{error, info, warn};

use super::failure::Failure;
use super::print_config;
use super::signals::Signals;
use crate::app::App;
use crate::config::{Config, RunFlags};
use crate::telemetry::log;

/// What the app's own grace may be late before the process ends without it.
const GRACE_SLACK: Duration = Duration::from_secs(5);

/// Run a node
///
/// Every setting is a flag, a variable (`--grpc-listen` is HOTSEAT_GRPC_LISTEN) and a key of hotseat.toml
/// (`grpc_listen`). Flags win over variables, variables over the file, the file over the defaults.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    flags: RunFlags,
    /// Print the settings, each with its origin, in the form of hotseat.toml, and exit
    #[arg(long, help_heading = "Configuration")]
    print_config: bool,
}

/// Runs a node until SIGTERM or SIGINT, then ends it gracefully; a second signal ends it at once.
///
/// # Errors
/// If the configuration is wrong or the node cannot start.
pub async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let loaded = Config::load(&args.flags)?;
    if args.print_config {
        print_config::print(&loaded);
        return Ok(ExitCode::SUCCESS);
    }
    let config = loaded.config;
    log::init(&config.log, config.log_format)?;
    let grace = Duration::from_millis(config.shutdown_grace_ms);
    let mut signals = Signals::new()?;
    let app = tokio::select! {
        app = start(config) => app?,
        signal = signals.recv() => {
            warn!(signal, "stopped before the node was up");
            return Ok(ExitCode::FAILURE);
        }
    };
    tokio::select! {
        signal = signals.recv() => info!(signal, "stopping; a second signal ends the process at once"),
        why = app.cast_out() => {
            error!(why, "this node cannot go on in its cluster: stopping");
            stop(app, grace, &mut signals).await;
            return Err(Failure::new("the node cannot go on in its cluster").cause(why).into());
        }
    }
    Ok(stop(app, grace, &mut signals).await)
}

/// Starts a node and says where it listens.
pub(super) async fn start(config: Config) -> anyhow::Result<App> {
    let app = App::start(config).await.map_err(|error| {
        let next = next_step(&error);
        Failure::new("the node cannot start").cause(error).next(next)
    })?;
    let addrs = app.addrs();
    if let Some(address) = addrs.listen {
        info!(what = "clients", %address, "listening");
    }
    for (what, address) in [("grpc", addrs.grpc), ("admin", addrs.admin)] {
        info!(what, %address, "listening");
    }
    Ok(app)
}

/// Ends a node within its grace, or at once at a second signal. The exit status tells which.
pub(super) async fn stop(app: App, grace: Duration, signals: &mut Signals) -> ExitCode {
    tokio::select! {
        done = tokio::time::timeout(grace + GRACE_SLACK, app.stop()) => match done {
            Ok(()) => {
                info!("stopped");
                ExitCode::SUCCESS
            }
            Err(_) => {
                error!(grace_ms = grace.as_millis(), "the node did not stop in time");
                ExitCode::FAILURE
            }
        },
        signal = signals.recv() => {
            warn!(signal, "second signal");
            std::process::exit(1)
        }
    }
}

fn next_step(error: &(dyn Error + 'static)) -> &'static str {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(ErrorKind::AddrInUse) => {
                return "is another node running? Stop it, or take other addresses with --listen, --grpc-listen \
                        and --admin-listen (port 0: any free one)";
            }
            Some(ErrorKind::PermissionDenied) => {
                return "may this user write --data-dir, and listen on that port?";
            }
            _ => cause = error.source(),
        }
    }
    "`hotseat run --print-config` shows the settings it was started with"
}
