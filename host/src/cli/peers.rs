//! What a command shows a node whose gRPC address is for peers.

use std::ffi::OsString;
use std::path::PathBuf;

use super::failure::Failure;
use crate::peer::{Dialer, Security, TlsFiles};

/// The same files as those of a node's configuration, for a command that calls nodes as one of them would.
#[derive(Debug, clap::Args)]
pub struct PeerArgs {
    /// File with the secret that the nodes share [default: HOTSEAT_PEER_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    peer_token_file: Option<PathBuf>,
    /// Certificates (PEM) of who signs those of the nodes [default: HOTSEAT_PEER_CA]
    #[arg(long, global = true, value_name = "FILE")]
    peer_ca: Option<PathBuf>,
    /// A certificate to show the nodes (PEM) [default: HOTSEAT_PEER_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    peer_cert: Option<PathBuf>,
    /// Its key (PEM) [default: HOTSEAT_PEER_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    peer_key: Option<PathBuf>,
}

impl PeerArgs {
    /// Opens connections to nodes with what the flags name, else the environment.
    ///
    /// # Errors
    /// If a file is missing or does not hold what it should.
    pub fn dialer(&self) -> Result<Dialer, Failure> {
        let file = |flag: &Option<PathBuf>, variable: &str| {
            let variable = || std::env::var_os(variable).filter(|it| !it.is_empty());
            flag.clone().map(OsString::from).or_else(variable).map(PathBuf::from)
        };
        let token = file(&self.peer_token_file, "HOTSEAT_PEER_TOKEN_FILE");
        let ca = file(&self.peer_ca, "HOTSEAT_PEER_CA");
        let cert = file(&self.peer_cert, "HOTSEAT_PEER_CERT");
        let key = file(&self.peer_key, "HOTSEAT_PEER_KEY");
        let tls = TlsFiles::of(ca.as_deref(), cert.as_deref(), key.as_deref());
        let security = tls.and_then(|tls| Security::load(token.as_deref(), tls));
        Ok(security.map_err(|error| Failure::new(error.to_string()))?.dialer())
    }
}
