//! Peer: how this node reaches others of its cluster, and how it tells that who comes is one.

use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response, header};
use tonic::transport::{Channel, Endpoint};
use tower::Service;

/// Opens connections to other nodes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    token: Option<HeaderValue>,
}

/// An address that cannot be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("peer address {addr:?} is not HOST:PORT: {why}")]
pub struct DialError {
    addr: String,
    why: String,
}

/// A connection to another node, made when it is first used and again after it broke. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PeerChannel {
    channel: Channel,
    token: Option<HeaderValue>,
}

impl Dialer {
    /// A channel to `addr`, which is `HOST:PORT` or `http://HOST:PORT`. Does not wait: a dead address shows when it is used.
    ///
    /// # Errors
    /// If `addr` is no address.
    pub fn open(&self, addr: &str) -> Result<PeerChannel, DialError> {
        let error = |why: String| DialError { addr: addr.to_owned(), why };
        let url = if addr.contains("://") { addr.to_owned() } else { format!("http://{addr}") };
        let endpoint = Endpoint::from_shared(url).map_err(|e| error(e.to_string()))?;
        let channel = endpoint.tcp_nodelay(true).connect_lazy();
        Ok(PeerChannel { channel, token: self.token.clone() })
    }
}

impl Service<Request<Body>> for PeerChannel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        self.channel.call(request)
    }
}
