//! Outside: what is asked of a node's process beside playing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Tells a process to stop and waits for that; how long it took, none if it was not over in time.
pub(crate) fn stop(pid: u32, patience: Duration) -> Result<Option<Duration>> {
    let started = Instant::now();
    Command::new("kill").arg(pid.to_string()).status()?;
    while started.elapsed() < patience {
        // Nobody has waited for it, so it is there still; the field behind the name in brackets is its state.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        if stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')) {
            return Ok(Some(started.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(None)
}

/// The sum of a metric over its labels, as a scraper gets it at the admin address.
pub(crate) fn metric(admin: &str, name: &str) -> Result<u64> {
    let mut stream = TcpStream::connect(admin)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let values = answer.lines().filter(|line| line.starts_with(name));
    Ok(values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}
