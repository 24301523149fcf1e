//! Dialer: connections to other nodes.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::TryFutureExt as _;
use futures_util::future::{Either, MapErr};
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response, header};
use tonic::transport::channel::ResponseFuture;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tower::{BoxError, Service};

/// How long the other side may take to take a connection: nodes of a cluster are near each other.
const CONNECT: Duration = Duration::from_secs(2);

/// A peer is asked so often whether it is there, also while nothing is to be said: of a machine that lost its power no
/// word comes.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// One that does not answer within this is gone, and the connection with it.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens connections to other nodes and shows what they ask for. Cheap to clone. The default shows nothing.
#[derive(Clone, Default)]
pub struct Dialer {
    token: Option<HeaderValue>,
    tls: Option<ClientTlsConfig>,
    name: Option<Arc<str>>,
    network: Option<Arc<dyn Network>>,
}

/// An answer under way.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

/// A network that is none of the system's: in a simulation, all nodes are in one process.
pub trait Network: Send + Sync {
    /// Brings a request to whoever listens at `addr`.
    fn ask(&self, addr: &str, request: Request<Body>) -> Answer;
}

/// An address that cannot be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("address {addr:?} cannot be dialled: {why}")]
pub struct DialError {
    addr: String,
    why: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] DialError),
    /// Nobody there takes it, or the certificates do not go together.
    #[error("no connection to {addr}")]
    Away {
        /// Whom.
        addr: String,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// A connection to another node, made when it is first used and again after it broke. Cheap to clone.
#[derive(Clone)]
pub struct PeerChannel {
    way: Way,
    token: Option<HeaderValue>,
}

#[derive(Clone)]
enum Way {
    Channel(Channel),
    Network { network: Arc<dyn Network>, addr: Arc<str> },
}

impl Dialer {
    pub(super) fn new(token: Option<HeaderValue>, tls: Option<ClientTlsConfig>) -> Self {
        Self { token, tls, name: None, network: None }
    }

    /// Reaches everybody through a network of its own.
    pub fn through(network: Arc<dyn Network>) -> Self {
        Self { network: Some(network), ..Self::default() }
    }

    /// The same, but the other side's certificate must be for `host`, whatever address is dialled. For a node that
    /// calls itself by loopback.
    pub fn named(self, host: &str) -> Self {
        Self { name: Some(host.into()), ..self }
    }

    /// A channel to a peer at `addr`, which is `HOST:PORT`. Does not wait: a dead address shows when it is used, within
    /// 2 s and as long again for the handshake; a peer that falls silent within 10 s. With certificates the peer's must
    /// be for `HOST`, and nothing is sent to one whose certificate is not good. `http://HOST:PORT` is the same without
    /// certificates, `https://HOST:PORT` with them; the secret is not sent in the clear where there are certificates.
    ///
    /// # Errors
    /// If `addr` is no address.
    pub fn open(&self, addr: &str) -> Result<PeerChannel, DialError> {
        if let Some(network) = self.network.clone() {
            return Ok(PeerChannel { way: Way::Network { network, addr: addr.into() }, token: None });
        }
        Ok(self.with_token(self.endpoint(addr)?.connect_lazy()))
    }

    /// As [`Self::open`], once the connection stands. Cancel safe.
    ///
    /// # Errors
    /// If `addr` is no address, or nobody there takes the connection.
    pub async fn connect(&self, addr: &str) -> Result<PeerChannel, ConnectError> {
        if self.network.is_some() {
            return Ok(self.open(addr)?);
        }
        let connected = self.endpoint(addr)?.connect().await;
        let channel = connected.map_err(|source| ConnectError::Away { addr: addr.to_owned(), source })?;
        Ok(self.with_token(channel))
    }

    fn with_token(&self, channel: Channel) -> PeerChannel {
        PeerChannel { way: Way::Channel(channel), token: self.token.clone() }
    }

    fn endpoint(&self, addr: &str) -> Result<Endpoint, DialError> {
        let error = |why: String| DialError { addr: addr.to_owned(), why };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let rest = match addr.split_once("://") {
            None => addr,
            Some((given, rest)) if given == scheme => rest,
            Some(_) => {
                return Err(error(format!(
                    "allowed is HOST:PORT, reached by {scheme}:// as this node is set up"
                )));
            }
        };
        let endpoint = endpoint(&format!("{scheme}://{rest}")).map_err(error)?;
        let uri = endpoint.uri();
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or_default());
        if host.is_empty() || port == 0 || !matches!(uri.path(), "" | "/") {
            return Err(error("allowed is HOST:PORT".into()));
        }
        let endpoint = endpoint
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let Some(tls) = self.tls.clone() else { return Ok(endpoint) };
        let tls = match &self.name {
            Some(name) => tls.domain_name(&**name),
            None => tls,
        };
        endpoint.tls_config(tls).map_err(|cause| error(words(&cause)))
    }
}

impl PeerChannel {
    /// A channel to a server that is none of this cluster's nodes, at `http://HOST:PORT`: it is shown no secret and no
    /// certificate, and is not asked whether it is there while nothing is to be said. Does not wait.
    ///
    /// # Errors
    /// If `url` is none.
    pub fn foreign(url: &str) -> Result<Self, DialError> {
        let error = |why: String| DialError { addr: url.to_owned(), why };
        if !url.starts_with("http://") {
            return Err(error("allowed is http://HOST:PORT".into()));
        }
        let channel = endpoint(url).map_err(error)?.connect_lazy();
        Ok(Self { way: Way::Channel(channel), token: None })
    }
}

fn endpoint(url: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| words(&error))?;
    Ok(endpoint.connect_timeout(CONNECT).tcp_nodelay(true))
}

/// An error with what it came of, which its own text leaves out.
fn words(error: &tonic::transport::Error) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

impl Service<Request<Body>> for PeerChannel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Either<MapErr<ResponseFuture, fn(tonic::transport::Error) -> BoxError>, Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.way {
            Way::Channel(channel) => channel.poll_ready(cx).map_err(Into::into),
            Way::Network { .. } => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        match &mut self.way {
            Way::Channel(channel) => Either::Left(channel.call(request).map_err(Into::into)),
            Way::Network { network, addr } => Either::Right(network.ask(addr, request)),
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, tls, name, network: _ } = self;
        let mut f = f.debug_struct("Dialer");
        f.field("token", &token.is_some()).field("tls", &tls.is_some()).field("name", name).finish()
    }
}

impl fmt::Debug for PeerChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("PeerChannel");
        match &self.way {
            Way::Channel(channel) => f.field("channel", channel),
            Way::Network { addr, .. } => f.field("addr", addr),
        };
        f.field("token", &self.token.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Security;
    use crate::peer::test_certs::Ca;

    #[tokio::test]
    async fn addresses_are_host_and_port() {
        let dir = tempfile::tempdir().unwrap();
        let tls = Security::load(None, Some(Ca::new().issue(dir.path(), "node", &["127.0.0.1"]))).unwrap();
        for (dialer, right, wrong) in [(Dialer::default(), "http", "https"), (tls.dialer(), "https", "http")]
        {
            for good in ["127.0.0.1:1", "[::1]:65535", "game-1.example:80", &format!("{right}://localhost:1")]
            {
                assert!(dialer.open(good).is_ok(), "{good}");
            }
            let scheme = format!("{wrong}://localhost:1");
            for bad in
                ["", ":1", "localhost", "localhost:0", "localhost:65536", "a b:1", "localhost:1/x", &scheme]
            {
                let Err(error) = dialer.open(bad) else { panic!("{bad} is dialled") };
                let error = error.to_string();
                assert!(error.starts_with(&format!("address {bad:?} cannot be dialled: ")), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn foreign_servers_are_shown_nothing() {
        assert!(PeerChannel::foreign("http://127.0.0.1:1").unwrap().token.is_none());
        for bad in ["127.0.0.1:1", "https://127.0.0.1:1", "http://", "http://a b"] {
            assert!(PeerChannel::foreign(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn secrets_are_not_shown_by_debug() {
        let dir = tempfile::tempdir().unwrap();
        let secret = "s3cret".repeat(6);
        let token = dir.path().join("token");
        std::fs::write(&token, &secret).unwrap();
        let files = Ca::new().issue(dir.path(), "node", &["127.0.0.1"]);
        let security = Security::load(Some(&token), Some(files)).unwrap();
        let dialer = security.dialer().named("game-1");
        let channel = dialer.open("127.0.0.1:1").unwrap();
        assert_eq!(format!("{security:?}"), "Security { token: true, tls: true }");
        assert_eq!(format!("{dialer:?}"), "Dialer { token: true, tls: true, name: Some(\"game-1\") }");
        assert!(!format!("{channel:?}").contains(&secret));
        assert!(!security.is_open() && Security::default().is_open());
    }
}
