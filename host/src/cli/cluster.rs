//! `hotseat cluster`: the nodes of a cluster.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tonic::{Code, Status};

use super::failure::Failure;
use super::node::{self, Node};
use super::terminal::{self, line, progress, short};
use crate::proto::admin::{ClusterNode, ClusterReply, ClusterRequest, DrainReply, DrainRequest};

/// How long `drain` waits for the next room to go.
const DRAINED: Duration = Duration::from_secs(60);

/// The same, once it is known of every room that is left why it stays.
const KNOWN: Duration = Duration::from_secs(5);

/// Between two lines that say how far the node is.
const LINE: Duration = Duration::from_secs(1);

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Show the nodes of a cluster and empty one of them
#[derive(Debug, clap::Args)]
pub struct ClusterArgs {
    /// The admin address of a node; `drain` empties that one [default: HOTSEAT_ADMIN, else 127.0.0.1:9600]
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
    /// All nodes as this one sees them: what they do, run and hold, and whether etcd answers
    Status,
    /// Hand the node's rooms to other hosts, with their players, and take no more; waits until they are gone
    Drain {
        /// Take rooms again
        #[arg(long)]
        undo: bool,
    },
}

/// Runs one of the commands.
///
/// # Errors
/// If the node is not there, or it refuses.
pub async fn run(args: ClusterArgs) -> anyhow::Result<ExitCode> {
    let node = Node::named(args.admin.as_deref())?;
    match args.command {
        Command::Status => {
            let reply = look(&node).await?;
            if args.json { node::json(&reply)? } else { show(&reply) }
        }
        Command::Drain { undo } => drain(&node, undo, args.json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn look(node: &Node) -> Result<ClusterReply, Failure> {
    let reply = node.connect().await?.cluster(ClusterRequest {}).await;
    Ok(reply.map_err(|status| refused(node, "cluster status", &status))?.into_inner())
}

fn show(reply: &ClusterReply) {
    let rows: Vec<_> = reply.nodes.iter().map(row).collect();
    line(&terminal::table(
        [
            "NODE", "ROLES", "VERSION", "LINK", "STATE", "SESSIONS", "ROOMS", "PLAYERS", "HOMES", "CLIENTS",
            "GRPC", "ADMIN", "PLUGINS",
        ],
        &rows,
    ));
    if !reply.shared {
        return line(&format!("{} is by itself: no etcd is configured", reply.node));
    }
    line(&format!("{} home rooms, {} of them at no host", reply.home_rooms, reply.unclaimed));
    line(if reply.fresh { "etcd answers" } else { "etcd does not answer: this is what was known last" });
}

fn row(node: &ClusterNode) -> [String; 13] {
    let some = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let plugins: Vec<_> =
        node.plugins.iter().map(|plugin| format!("{} {}", plugin.name, short(&plugin.digest))).collect();
    [
        node.id.clone(),
        some(&node.roles.join(",")),
        node.version.clone(),
        node.link.to_string(),
        if node.draining { "draining" } else { "up" }.to_owned(),
        node.sessions.to_string(),
        node.rooms.to_string(),
        node.players.to_string(),
        node.homes.to_string(),
        some(&node.listen),
        node.grpc.clone(),
        node.admin.clone(),
        some(&plugins.join(", ")),
    ]
}

/// What has been said of a host that is being emptied.
struct Heard {
    /// Rooms that had gone before.
    first: u64,
    /// Rooms that have gone.
    moved: u64,
    /// Since when no room has gone.
    since: Instant,
    /// When the last line was written.
    line: Instant,
    /// Rooms that do not go, and why.
    staying: BTreeMap<String, String>,
}

impl Heard {
    fn new(moved: u64) -> Self {
        let now = Instant::now();
        Self { first: moved, moved, since: now, line: now, staying: BTreeMap::new() }
    }

    /// How long rooms may stay without any of them going: not for long if it is known of each why it stays.
    fn patience(&self, homes: u32, rooms: u64) -> Duration {
        let known = self.staying.len() as u64;
        if known > 0 && u64::from(homes) <= known && rooms <= known { KNOWN } else { DRAINED }
    }

    /// Says what is new: rooms that do not go at once, and how many have gone now and then.
    fn tell(&mut self, now: &ClusterReply, left: u32, silent: bool) {
        let staying: BTreeMap<_, _> =
            now.staying.iter().map(|room| (room.room.clone(), room.why.clone())).collect();
        for (room, why) in staying.iter().filter(|(room, why)| self.staying.get(*room) != Some(*why)) {
            if !silent {
                progress(&format!("{room} stays: {why}"));
            }
        }
        self.staying = staying;
        if now.moved > self.moved {
            self.since = Instant::now();
            if !silent && self.line.elapsed() >= LINE {
                self.line = Instant::now();
                progress(&format!("{} rooms handed over, {left} home rooms left", now.moved - self.first));
            }
            self.moved = now.moved;
        }
    }
}

async fn drain(node: &Node, undo: bool, as_json: bool) -> Result<(), Failure> {
    let reply = node.connect().await?.drain(DrainRequest { undo }).await;
    let mut reply = reply.map_err(|status| refused(node, "drain", &status))?.into_inner();
    if undo {
        return told(&reply, as_json, "the node takes rooms again");
    }
    let began = Instant::now();
    let had = reply.homes;
    if !as_json && had > 0 && reply.hosts > 0 {
        progress(&format!("handing {had} home rooms over…"));
    }
    let mut rooms = 1;
    let mut heard = Heard::new(look(node).await?.moved);
    while reply.homes > 0 || rooms > 0 {
        if reply.hosts == 0 {
            return Err(Failure::new(format!("no other host takes the node's {} home rooms", reply.homes))
                .next("start another node with the role game: they go there; `--undo` keeps them here"));
        }
        if heard.since.elapsed() > heard.patience(reply.homes, rooms) {
            let left = reply.homes;
            return Err(Failure::new(format!(
                "{left} of {had} home rooms are still here, {rooms} rooms are open"
            ))
            .cause(heard.staying.values().cloned().collect::<Vec<_>>().join("; "))
            .next(
                "the node goes on trying; a room that is too large goes where handover_max_bytes allows it",
            ));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        // Asking for it anew would undo what another operator has undone meanwhile.
        let now = look(node).await?;
        let takes = |other: &&ClusterNode| {
            other.id != now.node && !other.draining && other.roles.iter().any(|role| role == "game")
        };
        reply.hosts = u32::try_from(now.nodes.iter().filter(takes).count()).unwrap_or(u32::MAX);
        heard.tell(&now, reply.homes, as_json);
        let this = now.nodes.iter().find(|other| other.id == now.node);
        (reply.homes, rooms) = this.map_or((0, 0), |this| (this.homes, this.rooms));
    }
    let took = terminal::duration(began.elapsed());
    told(
        &reply,
        as_json,
        &format!(
            "{had} home rooms, and whatever else was open, handed over in {took}; the node takes no more"
        ),
    )
}

fn told(reply: &DrainReply, as_json: bool, text: &str) -> Result<(), Failure> {
    if as_json {
        return node::json(reply);
    }
    line(text);
    Ok(())
}

fn refused(node: &Node, what: &str, status: &Status) -> Failure {
    match status.code() {
        Code::FailedPrecondition => Failure::new(format!("{what} refused: {}", status.message()))
            .next("a node joins a cluster by ETCD_HOST; `hotseat cluster status` shows the others"),
        _ => node.refused(what, status),
    }
}
