//! Agent: the gateway that clients connect to. It frames, counts, limits and routes; what a game frame says is
//! none of its business.
//!
//! One task a connection, which owns all of its state; the only things shared are the session's outbox and the
//! mailbox of its room. Local opcodes are answered on the spot, game frames go to the room in one batch a read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hotseat_packet::code;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::link::{Close, LeaveReason, Link};
use crate::telemetry::metrics::Metrics;

mod close;
mod codec;
mod input;
mod limits;
mod listener;
mod login;
mod route;
mod session;
mod session_table;

pub use limits::{Rate, Rates};
pub use login::{Authenticator, KEY_MIN, KeyError, LoginError, TokenKey};
use session_table::Roster;

/// Turned-away clients that may be waited for at a time, so that their last words reach them.
const REFUSALS: usize = 64;

/// What an agent does; all limits have been checked by whoever makes one.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Where clients connect. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Most connections at a time.
    pub max_sessions: usize,
    /// Most connections from one address; `None` for no limit.
    pub max_connections_per_addr: Option<usize>,
    /// Largest size field of a frame before the login is done, bytes.
    pub login_frame_max_bytes: usize,
    /// Largest size field of a frame after it, bytes.
    pub frame_max_bytes: usize,
    /// From the accepted connection to the good login.
    pub login_timeout: Duration,
    /// How long a client may send no whole frame, or read nothing of what waits for it; also how long a room
    /// may take none of its frames.
    pub idle_timeout: Duration,
    /// How long the game side may take to give a seat to a user who has logged in.
    pub attach_timeout: Duration,
    /// What one client may send; `None` for no limit.
    pub rates: Option<Rates>,
    /// Bytes that may wait for a client, in its outbox, and as much again on their way to the socket.
    pub outbox_max_bytes: usize,
    /// How long the sessions may take to end once the agent is stopped.
    pub grace: Duration,
}

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The address cannot be listened on.
    #[error("cannot listen for clients on {addr}: {source}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

/// An agent that listens but does not accept yet.
#[derive(Debug)]
pub struct Agent {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// What all sessions use.
#[derive(Debug)]
struct Shared {
    config: AgentConfig,
    authenticator: Authenticator,
    link: Link,
    metrics: Arc<Metrics>,
    roster: Arc<Roster>,
    tasks: TaskTracker,
    refusals: Arc<Semaphore>,
}

impl Agent {
    /// Listens. Clients that connect before [`Self::run`] wait in the system's backlog.
    ///
    /// # Errors
    /// [`AgentError::Bind`], naming the address.
    pub async fn bind(
        config: AgentConfig,
        authenticator: Authenticator,
        link: Link,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AgentError> {
        let bind = |source| AgentError::Bind { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        let sessions = metrics.agent.sessions.clone();
        let roster = Roster::new(config.max_sessions, config.max_connections_per_addr, sessions);
        let shared = Shared {
            config,
            authenticator,
            link,
            metrics,
            roster: Arc::new(roster),
            tasks: TaskTracker::new(),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
        };
        Ok(Self { listener, addr, shared: Arc::new(shared) })
    }

    /// Where it listens, with the port the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections are open; a live view that outlives the agent.
    pub fn sessions(&self) -> Arc<AtomicU64> {
        self.shared.roster.count()
    }

    /// Serves until `stop` fires; then closes the listener, tells every client that the node is shutting down
    /// and waits for the sessions to end, at most the configured grace. Not cancel safe: a dropped future
    /// stops accepting but leaves the sessions running.
    pub async fn run(self, stop: CancellationToken) {
        let Self { listener, addr, shared } = self;
        info!(%addr, "listening for clients");
        listener::accept(listener, &shared, &stop).await;

        let close = Close {
            leave: LeaveReason::Shutdown,
            reason: "shutdown",
            code: code::SHUTTING_DOWN,
            text: "the node is shutting down".to_owned(),
        };
        let sessions = shared.roster.close_all(&close);
        info!(sessions, "draining");
        shared.tasks.close();
        if timeout(shared.config.grace, shared.tasks.wait()).await.is_err() {
            warn!(left = shared.tasks.len(), grace = ?shared.config.grace, "sessions did not end in time");
        }
    }
}

#[cfg(test)]
mod tests;
