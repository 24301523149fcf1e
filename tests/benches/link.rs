//! What the link between an agent and a game host costs, and how long players wait when a host goes away.
//!
//! A game host and an agent in processes of their own, on an etcd of their own, and beside them one node that is both.
//! The same closed loop of pings as in `frame_path` is put on the agent and on the node in turn. Measured is the
//! processor time of each process alone (user and system, from `/proc`) over a fixed number of round trips, after a
//! quarter as many to warm up. Then the game host's share with one stream a player (`proto.GameService`) instead of the
//! link: this process plays the agent then, without clients behind it.
//!
//! With `--failover` instead: two game hosts, an agent, and bots in the home rooms' arenas; the longest that any of
//! them saw nothing of its arena when a host drained or was killed.
//!
//! `cargo bench -p hotseat --bench link -- [--clients 64,256,1000] [--trips 300000] [--runs 3] [--only floor,node,agent,link,streams]`
//! `cargo bench -p hotseat --bench link -- --failover [--bots 200] [--runs 3] [--only killed]`

#[path = "link/cluster.rs"]
mod cluster;
#[path = "support/etcd.rs"]
mod etcd;
#[path = "link/failover.rs"]
mod failover;
mod load;
#[path = "support/node.rs"]
mod node;
#[path = "link/streams.rs"]
mod streams;

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Result;
use cluster::Cluster;
use load::floor::Floor;
use load::{Kind, Length, Round};
use node::{Node, median, option};

/// The cluster's home rooms: as many as one node has by default, so that both do the same.
const HOME_ROOMS: usize = 64;
const GAME: &str = "game-1";
const AGENT: &str = "agent-1";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == load::floor::SERVE) {
        return load::floor::serve();
    }
    let runs = option(&args, "--runs", "3").parse()?;
    let runtime = tokio::runtime::Runtime::new()?;
    if args.iter().any(|arg| arg == "--failover") {
        let (bots, only) = (option(&args, "--bots", "200").parse()?, option(&args, "--only", ""));
        return runtime.block_on(failover::measure(bots, runs, only));
    }
    let clients: Vec<usize> =
        option(&args, "--clients", "64,256,1000").split(',').map(str::parse).collect::<Result<_, _>>()?;
    let length = Length::Trips(option(&args, "--trips", "300000").parse()?);
    let only = option(&args, "--only", "floor,node,agent,link,streams");
    let wanted = |what: &str| only.split(',').any(|word| word == what);

    let both = Both::start(&runtime)?;
    let mut out = std::io::stdout();
    let mut lines = Vec::new();
    for clients in clients {
        let mut rounds = Rounds::default();
        // In turn, so that a bad minute is bad for all.
        for _ in 0..runs {
            let drive = |addr: SocketAddr, pids: &[u32], kind| load::drive(addr, pids, kind, clients, length);
            if wanted("floor") {
                rounds.floor.push(drive(both.floor.addr()?, &[both.floor.pid()], Kind::Bare)?);
            }
            if wanted("node") {
                let node = &both.node;
                rounds.node.push(drive(node.address("clients")?.parse()?, &[node.pid()], Kind::Ping)?);
            }
            let (agent, game) = (both.cluster.node(AGENT)?, both.cluster.node(GAME)?);
            let clients_door: SocketAddr = agent.address("clients")?.parse()?;
            if wanted("agent") {
                rounds.agent.push(drive(clients_door, &[agent.pid()], Kind::Heartbeat)?);
            }
            if wanted("link") {
                let pids = [agent.pid(), game.pid()];
                rounds.link.push(drive(clients_door, &pids, Kind::Ping)?);
            }
            if wanted("streams") {
                let pids = [game.pid(), std::process::id()];
                let round = streams::drive(game.address("grpc")?, &pids, clients, length);
                rounds.streams.push(runtime.block_on(round)?);
            }
        }
        lines.push((clients, rounds.medians()?));
        // What has been measured stands there, should a later one fail.
        let (clients, medians) = lines.last().expect("just pushed");
        writeln!(out, "{clients} clients")?;
        for (what, round) in medians {
            writeln!(
                out,
                "  {what:<8} {:>7.2} CPU s/M ({}) {:>7.1} k/s, p50 {:.2} ms, p99 {:.2} ms",
                round.cpu_per_million(),
                shares(round),
                round.per_second() / 1000.0,
                round.p50_ms,
                round.p99_ms
            )?;
        }
    }
    table(&lines)
}

/// What is measured, all running side by side; what is not under load costs next to nothing.
struct Both {
    cluster: Cluster,
    node: Node,
    floor: Floor,
}

impl Both {
    fn start(runtime: &tokio::runtime::Runtime) -> Result<Self> {
        let mut cluster = Cluster::start(10, HOME_ROOMS)?;
        cluster.add(GAME, "game")?;
        cluster.add(AGENT, "agent")?;
        runtime.block_on(cluster.settled(&[GAME]))?;
        Ok(Self { cluster, node: Node::start(&["game-logic"], &[])?, floor: Floor::start()? })
    }
}

#[derive(Default)]
struct Rounds {
    floor: Vec<Round>,
    node: Vec<Round>,
    /// Heartbeats, which the agent answers: what it costs without a link.
    agent: Vec<Round>,
    link: Vec<Round>,
    streams: Vec<Round>,
}

type Medians = Vec<(&'static str, Round)>;

impl Rounds {
    fn medians(self) -> Result<Medians> {
        let Self { floor, node, agent, link, streams } = self;
        let all = [("floor", floor), ("node", node), ("agent", agent), ("link", link), ("streams", streams)];
        let all = all.into_iter().filter(|(_, rounds)| !rounds.is_empty());
        // Of streams, the game host's share is what is compared.
        all.map(|(what, rounds)| {
            let by = |round: &Round| {
                if what == "streams" { share(round, 0) } else { round.cpu_per_million() }
            };
            Ok((what, median(rounds, by)?))
        })
        .collect()
    }
}

/// Processor seconds of one process per million round trips.
fn share(round: &Round, at: usize) -> f64 {
    round.cpu[at].as_secs_f64() / (round.trips as f64 / 1e6)
}

fn shares(round: &Round) -> String {
    let each: Vec<_> = (0..round.cpu.len()).map(|at| format!("{:.2}", share(round, at))).collect();
    each.join(" + ")
}

/// The rows of `docs/benchmarks.md`.
fn table(lines: &[(usize, Medians)]) -> Result<()> {
    let mut out = std::io::stdout();
    let find = |medians: &'_ Medians, wanted: &str| medians.iter().position(|(what, _)| *what == wanted);
    writeln!(
        out,
        "\n| clients | agent + game host | together | one node | x | heartbeat | floor | rate and latency |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for (clients, medians) in lines {
        let get = |what| find(medians, what).map(|at| &medians[at].1);
        let (Some(link), Some(node)) = (get("link"), get("node")) else { continue };
        let (Some(agent), Some(floor)) = (get("agent"), get("floor")) else { continue };
        let [both, one] = [link, node].map(Round::cpu_per_million);
        writeln!(
            out,
            "| {clients} | {} | **{both:.1}** CPU s/M | {one:.1} | {:.2} | {:.1} | {:.1} | {:.0} k/s, p50 {:.1} ms, p99 {:.1} ms |",
            shares(link),
            both / one,
            agent.cpu_per_million(),
            floor.cpu_per_million(),
            link.per_second() / 1000.0,
            link.p50_ms,
            link.p99_ms,
        )?;
    }
    writeln!(
        out,
        "\n| players | game host, link | game host, a stream each | x | the streams' other end | rate |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for (clients, medians) in lines {
        let get = |what| find(medians, what).map(|at| &medians[at].1);
        let (Some(link), Some(streams)) = (get("link"), get("streams")) else { continue };
        let (linked, streamed) = (share(link, 1), share(streams, 0));
        writeln!(
            out,
            "| {clients} | {linked:.1} CPU s/M | {streamed:.1} | {:.1} | {:.1} | {:.0} k/s |",
            streamed / linked,
            share(streams, 1),
            streams.per_second() / 1000.0,
        )?;
    }
    Ok(())
}
