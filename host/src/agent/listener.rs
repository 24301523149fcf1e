//! Listener: takes connections, within the caps.

use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hotseat_packet::{code, opcode};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Shared;
use super::close::farewell;
use super::codec::Output;
use super::session::Session;
use super::session_table::Refused;
use crate::link::{Outbox, SessionId};

/// How long to wait when the system cannot give another socket. Long enough not to spin, short enough that a
/// client of the backlog does not give up.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Takes connections until `stop` fires, then closes the listener.
pub(super) async fn accept(listener: TcpListener, shared: &Arc<Shared>, stop: &CancellationToken) {
    let metrics = &shared.metrics.agent;
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if std::mem::take(&mut failing) {
                    info!("accepting connections again");
                }
                metrics.accepted.inc();
                admit(shared, stream, peer);
            }
            Err(error) if is_of_the_connection(&error) => debug!(%error, "a connection was gone already"),
            Err(error) => {
                metrics.accept_errors.inc();
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "cannot accept connections; trying every {BACK_OFF:?}");
                }
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = sleep(BACK_OFF) => {}
                }
            }
        }
    }
}

/// Whether an accept failed because of that one connection; anything else concerns the next one too.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn admit(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let id = SessionId::next();
    let outbox = Arc::new(Outbox::new(shared.config.outbox_max_bytes));
    let entry = match shared.roster.enter(id, peer.ip(), &outbox) {
        Ok(entry) => entry,
        Err(refused) => return refuse(shared, stream, peer, refused),
    };
    if let Err(error) = stream.set_nodelay(true) {
        // The socket is broken already; the session will find out. Its frames would only be later.
        debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let session = Session::new(Arc::clone(shared), stream, peer, id, outbox, entry);
    shared.tasks.spawn(session.run());
}

/// Tells a client why it is turned away. Costs no session, and no more than a few waiting sockets.
fn refuse(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr, refused: Refused) {
    debug!(%peer, %refused, "refused");
    shared.metrics.agent.refused.with_label_values(&[refused.reason()]).inc();
    shared.metrics.agent.errors.with_label_values(&[code::name(code::BUSY).unwrap_or("busy")]).inc();
    let mut out = Output::default();
    out.error(opcode::CLIENT_ERROR_ACK, code::BUSY, &refused.to_string());
    // Straight to the system: a new socket always has space for a frame, and the runtime does not know yet that
    // it is writable.
    let Ok(mut stream) = stream.into_std() else { return };
    let written = stream.write(out.pending()).and_then(|_| stream.shutdown(Shutdown::Write));
    if written.is_err() {
        return;
    }
    let Ok(permit) = Arc::clone(&shared.refusals).try_acquire_owned() else { return };
    if let Ok(stream) = TcpStream::from_std(stream) {
        shared.tasks.spawn(async move {
            farewell(stream, Output::default()).await;
            drop(permit);
        });
    }
}
