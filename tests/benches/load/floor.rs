//! The floor: the least that answering a frame over TCP costs, one thread around one epoll.

use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);
/// What a benchmark's process is told to be the floor.
pub(crate) const SERVE: &str = "--floor-server";

/// The floor's process; ended with this.
pub(crate) struct Floor {
    child: Child,
    addr: String,
}

impl Floor {
    /// This program once more; its `main` is to call [`serve`].
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?).arg(SERVE).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut addr = String::new();
        BufReader::new(stdout).read_line(&mut addr)?;
        Ok(Self { child, addr: addr.trim().to_owned() })
    }

    pub(crate) fn addr(&self) -> Result<SocketAddr> {
        Ok(self.addr.parse()?)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It holds nothing worth a graceful end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prints its address and answers every 12-byte frame with an 8-byte one, until it is killed.
pub(crate) fn serve() -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let mut clients: Vec<TcpStream> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut scratch = [0; 16 << 10];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(clients.len());
                    poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    clients.push(stream);
                }
                continue;
            }
            let Some(stream) = clients.get_mut(event.token().0) else { continue };
            loop {
                match stream.read(&mut scratch) {
                    Ok(0) => break,
                    Ok(length) => {
                        let mut answer = Vec::with_capacity(length);
                        for frame in scratch[..length].chunks_exact(12) {
                            answer.extend_from_slice(&[0, 6, 0, 1]);
                            answer.extend_from_slice(&frame[8..]);
                        }
                        // A client that is gone is not this benchmark's concern.
                        let _ = stream.write_all(&answer);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => break,
                }
            }
        }
    }
}
