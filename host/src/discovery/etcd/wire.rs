//! Wire: requests to etcd, with a deadline, over one endpoint at a time.
//!
//! A client of our own for each endpoint: a balancer would go on choosing one that is dead, since it fails fastest.

use std::error::Error as _;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use futures_util::FutureExt as _;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{Options, REQUEST_TIMEOUT};
use crate::discovery::DiscoveryError;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Etcd takes pings that come faster than every 5 s for an attack.
const PING_EVERY: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// What etcd says when users have changed since this one came; it is let in again.
const OLD_LOGIN: &str = "revision of auth store is old";

pub(super) struct Wire {
    endpoints: Vec<Endpoint>,
    /// Which one is used now.
    now: AtomicUsize,
    user: Option<(String, String)>,
}

struct Endpoint {
    client: Client,
    /// Whether the client has shown name and password.
    known: Mutex<bool>,
}

/// Why a request failed, by what its maker does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Ask again later.
    Away(String),
    /// Do not ask again.
    Refused(String),
    /// The lease it names is not there.
    NoLease,
    /// What is asked for is too long ago.
    Compacted,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("endpoints", &self.endpoints.len()).finish_non_exhaustive()
    }
}

impl Wire {
    pub(super) fn new(options: Options) -> Result<Self, DiscoveryError> {
        let endpoint = |text: &String| {
            let (url, tls) = options.endpoint(text)?;
            let mut connect = ConnectOptions::new()
                .with_connect_timeout(CONNECT_TIMEOUT)
                .with_keep_alive(PING_EVERY, PING_TIMEOUT)
                .with_keep_alive_while_idle(false)
                .with_require_leader(true)
                .with_auto_token_refresh(true);
            if let Some(tls) = tls {
                connect = connect.with_tls(tls);
            }
            let unusable = |why: String| DiscoveryError::Options { why: format!("endpoint {text:?}: {why}") };
            // Without a user nothing is sent, so it is done at once.
            let client = Client::connect([url], Some(connect))
                .now_or_never()
                .ok_or_else(|| unusable("it cannot be used without waiting".into()))?
                .map_err(|error| unusable(words(&error)))?;
            Ok(Endpoint { client, known: Mutex::new(false) })
        };
        let endpoints = options.endpoints.iter().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self { endpoints, now: AtomicUsize::new(0), user: options.user })
    }

    /// Makes a request, of the next endpoint too if the first cannot have seen it. Gives up after [`REQUEST_TIMEOUT`].
    pub(super) async fn call<T, F>(&self, work: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut at = self.now.load(Ordering::Relaxed);
        let tries = async {
            let mut left = self.endpoints.len();
            loop {
                let error = match self.ask(at, &work).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                let failure = Failure::from(&error);
                if words(&error).contains(OLD_LOGIN) {
                    *self.endpoints[at].known.lock().await = false;
                }
                left -= 1;
                if left == 0 || !unseen(&error) || !matches!(failure, Failure::Away(_)) {
                    return Err(failure);
                }
                at = self.leave(at);
            }
        };
        let answer = timeout(REQUEST_TIMEOUT, tries).await;
        let answer =
            answer.unwrap_or_else(|_| Err(Failure::Away(format!("no answer within {REQUEST_TIMEOUT:?}"))));
        if matches!(answer, Err(Failure::Away(_))) {
            self.leave(at);
        }
        answer
    }

    async fn ask<T, F>(&self, at: usize, work: &impl Fn(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let endpoint = &self.endpoints[at];
        if let Some(user) = &self.user {
            let mut known = endpoint.known.lock().await;
            if !*known {
                endpoint.client.clone().update_user(Some(user.clone())).await?;
                *known = true;
            }
        }
        work(endpoint.client.clone()).await
    }

    /// Uses another endpoint from now on, unless somebody else has seen to that.
    fn leave(&self, at: usize) -> usize {
        let next = (at + 1) % self.endpoints.len();
        self.now.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(next)
    }
}

impl Failure {
    /// As the seam tells it, for a request about `key` that named `lease`.
    pub(super) fn of(self, key: &str, lease: i64) -> DiscoveryError {
        match self {
            Self::Away(why) => DiscoveryError::Away { why },
            Self::Refused(why) => DiscoveryError::Refused { why },
            Self::NoLease => DiscoveryError::NoLease { key: key.to_owned(), id: lease },
            Self::Compacted => DiscoveryError::Away { why: "what was asked for is compacted".into() },
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        use tonic::Code::{
            Aborted, Cancelled, DataLoss, DeadlineExceeded, Internal, NotFound, OutOfRange,
            ResourceExhausted, Unavailable, Unknown,
        };
        let why = words(error);
        match error {
            Error::LeaseKeepAliveError(_) => Self::NoLease,
            Error::GRpcStatus(status) => match status.code() {
                NotFound if status.message().contains("lease not found") => Self::NoLease,
                OutOfRange if status.message().contains("compacted") => Self::Compacted,
                ResourceExhausted if status.message().contains("too many requests") => Self::Away(why),
                Unavailable | DeadlineExceeded | Cancelled | Unknown | Internal | Aborted | DataLoss => {
                    Self::Away(why)
                }
                _ if why.contains(OLD_LOGIN) => Self::Away(why),
                _ => Self::Refused(why),
            },
            Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
                Self::Refused(why)
            }
            _ => Self::Away(why),
        }
    }
}

/// Whether the request has not left this process: nothing was there to take it.
fn unseen(error: &Error) -> bool {
    causes(error).any(|cause| {
        let system = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        matches!(
            system,
            Some(ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable)
        )
    })
}

/// The error and all that led to it, which the client's own words leave out.
fn words(error: &Error) -> String {
    let mut text = match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    };
    for cause in causes(error) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let mut next = match error {
        Error::GRpcStatus(status) => status.source(),
        Error::TransportError(error) => error.source(),
        _ => None,
    };
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}
