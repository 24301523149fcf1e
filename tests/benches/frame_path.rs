//! What a round trip costs the node: client, agent, room in Wasm, back.
//!
//! Closed loop over TCP on loopback: every client has one frame under way, 12 bytes there, 8 bytes back; the load
//! generator runs on the same cores. Measured is the processor time of the *server process* (user and system, from
//! `/proc`) per million round trips, which survives a noisy machine better than any rate; in the same run the same
//! load is put on the floor, a bare single-threaded epoll echo.
//!
//! `cargo bench -p hotseat --bench frame_path -- [--clients 64,256,1000] [--seconds 4] [--runs 3]`

mod load;
#[path = "support/node.rs"]
mod node;

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use load::floor::Floor;
use load::{Kind, Length, Round};
use node::{Node, median, option};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == load::floor::SERVE) {
        return load::floor::serve();
    }
    let clients: Vec<usize> =
        option(&args, "--clients", "64,256,1000").split(',').map(str::parse).collect::<Result<_, _>>()?;
    let seconds = Duration::from_secs_f64(option(&args, "--seconds", "4").parse()?);
    let runs: usize = option(&args, "--runs", "3").parse()?;

    let mut out = std::io::stdout();
    writeln!(out, "clients  path        CPU s/M   x floor   k/s    p50 ms   p99 ms   (medians of {runs})")?;
    for clients in clients {
        let mut floor = 0.0;
        for path in [Path::Floor, Path::Heartbeat, Path::Ping] {
            let mut rounds = Vec::new();
            for _ in 0..runs {
                rounds.push(measure(path, clients, seconds)?);
            }
            let round = median(rounds, Round::cpu_per_million)?;
            if let Path::Floor = path {
                floor = round.cpu_per_million();
            }
            writeln!(
                out,
                "{clients:>7}  {:<10} {:>8.2} {:>9.2} {:>7.1} {:>8.2} {:>8.2}",
                path.name(),
                round.cpu_per_million(),
                round.cpu_per_million() / floor,
                round.per_second() / 1000.0,
                round.p50_ms,
                round.p99_ms,
            )?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Path {
    Floor,
    Heartbeat,
    Ping,
}

impl Path {
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Heartbeat => "heartbeat",
            Self::Ping => "ping",
        }
    }
}

fn measure(path: Path, clients: usize, time: Duration) -> Result<Round> {
    let length = Length::Time(time);
    let kind = match path {
        Path::Floor => {
            let floor = Floor::start()?;
            return load::drive(floor.addr()?, &[floor.pid()], Kind::Bare, clients, length);
        }
        Path::Heartbeat => Kind::Heartbeat,
        Path::Ping => Kind::Ping,
    };
    let node = Node::start(&["game-logic"], &[])?;
    load::drive(node.address("clients")?.parse()?, &[node.pid()], kind, clients, length)
}
