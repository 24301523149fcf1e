//! The floor: the least that answering a frame over TCP costs, one thread around one epoll.

use std::io::{ErrorKind, Read, Write};

use anyhow::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);

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
