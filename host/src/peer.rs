//! Peer: how this node reaches others of its cluster, and how it tells that who comes is one.
//!
//! Two means, alone or together: a secret that all nodes share, shown with every request, and certificates that both
//! sides of a connection show (mTLS). Who has shown what is asked for is a peer, and a peer is believed: there is one
//! circle of trust and no rights inside it.

mod dialer;
#[cfg(test)]
pub(crate) mod test_certs;
mod tls;
mod token;

use std::fmt;
use std::path::{Path, PathBuf};

use tokio_rustls::TlsAcceptor;
use tonic::codegen::http::HeaderMap;

pub use self::dialer::{Answer, ConnectError, DialError, Dialer, Network, PeerChannel};
use self::tls::Tls;
pub use self::tls::TlsFiles;
use self::token::Token;
pub use self::token::{TOKEN_MIN, Unauthenticated};

/// What nodes show each other. Cheap to clone. The default asks for nothing and shows nothing: everyone is a peer.
#[derive(Clone, Default)]
pub struct Security {
    token: Option<Token>,
    tls: Option<Tls>,
}

/// Why a node cannot show or check what it is to.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A file cannot be read.
    #[error("{key} {} cannot be read: {source}", path.display())]
    Read {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{key} {} {problem}", path.display())]
    Content {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, without a byte of a secret.
        problem: String,
    },
    /// Certificates need three files.
    #[error("{given} is of no use without {missing}: peer_ca, peer_cert and peer_key go together")]
    Alone {
        /// A key that is set.
        given: &'static str,
        /// One that is not.
        missing: &'static str,
    },
}

impl Security {
    /// Reads the secret and the certificates. `token_file` is one line of at least [`TOKEN_MIN`] printable ASCII
    /// characters without spaces; its line end does not count. Later changes of the files are not seen.
    ///
    /// # Errors
    /// [`SecurityError`] names the key and the file.
    pub fn load(token_file: Option<&Path>, tls: Option<TlsFiles>) -> Result<Self, SecurityError> {
        Ok(Self {
            token: token_file.map(Token::read).transpose()?,
            tls: tls.map(|files| Tls::read(&files)).transpose()?,
        })
    }

    /// Whether nothing is asked for, so that everyone who reaches this node is taken for a peer.
    pub fn is_open(&self) -> bool {
        self.token.is_none() && self.tls.is_none()
    }

    /// How this node reaches its peers: it shows what it asks for.
    pub fn dialer(&self) -> Dialer {
        Dialer::new(self.token.as_ref().map(Token::header), self.tls.as_ref().map(Tls::client))
    }

    /// How this node takes connections, if certificates are configured: none is made with a client whose certificate
    /// `peer_ca` has not signed.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        self.tls.as_ref().map(Tls::acceptor)
    }

    /// Whether a request is a peer's. The certificate is not looked at here: a request that came through the
    /// [`Self::acceptor`] has shown it.
    pub fn is_peer(&self, headers: &HeaderMap) -> bool {
        self.admit(headers).is_ok()
    }

    /// As [`Self::is_peer`], saying what is wrong. Takes the same time for every wrong secret.
    ///
    /// # Errors
    /// If there is a secret and the request has not shown it.
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), Unauthenticated> {
        self.token.as_ref().map_or(Ok(()), |token| token.check(headers))
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, tls } = self;
        f.debug_struct("Security").field("token", &token.is_some()).field("tls", &tls.is_some()).finish()
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, SecurityError> {
    std::fs::read(path).map_err(|source| SecurityError::Read { key, path: path.to_owned(), source })
}
