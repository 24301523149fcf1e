//! Tls: the certificates that nodes show each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::{SecurityError, read};

/// How long a handshake with a peer may take once the connection stands.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// The protocol of gRPC, as the handshake names it (RFC 7301).
const H2: &[u8] = b"h2";

const CA: &str = "peer_ca";
const CERT: &str = "peer_cert";
const KEY: &str = "peer_key";

/// Where the certificates are (PEM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of who may sign those of peers. Whoever has one signed by them is a peer: it should sign nothing
    /// else.
    pub ca: PathBuf,
    /// This node's, with what is between it and the signer. Peers check that it is for the host they dial, by IP
    /// address or by name.
    pub cert: PathBuf,
    /// The private key of `cert`, not encrypted.
    pub key: PathBuf,
}

impl TlsFiles {
    /// All three, or none.
    ///
    /// # Errors
    /// [`SecurityError::Alone`] if some are there and some are not.
    pub fn of(
        ca: Option<&Path>,
        cert: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Option<Self>, SecurityError> {
        let all = [(CA, ca), (CERT, cert), (KEY, key)];
        let given = all.iter().find(|(_, path)| path.is_some());
        let missing = all.iter().find(|(_, path)| path.is_none());
        match (ca, cert, key) {
            (Some(ca), Some(cert), Some(key)) => {
                Ok(Some(Self { ca: ca.to_owned(), cert: cert.to_owned(), key: key.to_owned() }))
            }
            _ => match (given, missing) {
                (Some((given, _)), Some((missing, _))) => Err(SecurityError::Alone { given, missing }),
                _ => Ok(None),
            },
        }
    }
}

/// Both ends of a connection between peers.
#[derive(Clone)]
pub(super) struct Tls {
    client: ClientTlsConfig,
    acceptor: TlsAcceptor,
}

impl Tls {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, SecurityError> {
        let TlsFiles { ca, cert, key } = files;
        let wrong = |key, path: &Path, problem: String| SecurityError::Content {
            key,
            path: path.to_owned(),
            problem,
        };
        let (ca_pem, cert_pem, key_pem) = (read(CA, ca)?, read(CERT, cert)?, read(KEY, key)?);
        let mut roots = RootCertStore::empty();
        for root in certificates(&ca_pem).map_err(|problem| wrong(CA, ca, problem))? {
            roots
                .add(root)
                .map_err(|error| wrong(CA, ca, format!("holds no certificate of a signer: {error}")))?;
        }
        let chain = certificates(&cert_pem).map_err(|problem| wrong(CERT, cert, problem))?;
        let private = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|_| wrong(KEY, key, "holds no private key in PEM that is not encrypted".into()))?;

        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = verifier.build().map_err(|error| wrong(CA, ca, format!("is of no use: {error}")))?;
        // Better now than at the first call of a peer.
        let (own, between) = chain.split_first().expect("a file without a certificate has been refused");
        let checked = verifier.verify_client_cert(own, between, UnixTime::now());
        checked.map_err(|error| {
            wrong(CERT, cert, format!("would be refused by peers with this peer_ca: {error}"))
        })?;

        let unfit = |error| wrong(KEY, key, format!("does not go with peer_cert: {error}"));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, private)
            .map_err(unfit)?;
        server.alpn_protocols = vec![H2.to_vec()];
        let client = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca_pem))
            .identity(Identity::from_pem(cert_pem, key_pem))
            .timeout(HANDSHAKE);
        Ok(Self { client, acceptor: TlsAcceptor::from(Arc::new(server)) })
    }

    pub(super) fn client(&self) -> ClientTlsConfig {
        self.client.clone()
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

/// The certificates of a file, at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("is not PEM: {error}"))?;
    if found.is_empty() { Err("holds no certificate in PEM".into()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Security;
    use crate::peer::test_certs::Ca;

    #[test]
    fn the_three_files_go_together() {
        let [ca, cert, key] = ["ca", "cert", "key"].map(Path::new);
        assert_eq!(TlsFiles::of(None, None, None).unwrap(), None);
        assert!(TlsFiles::of(Some(ca), Some(cert), Some(key)).unwrap().is_some());
        for (files, given, missing) in [
            ((Some(ca), None, None), CA, CERT),
            ((Some(ca), Some(cert), None), CA, KEY),
            ((None, Some(cert), None), CERT, CA),
            ((None, None, Some(key)), KEY, CA),
        ] {
            let error = TlsFiles::of(files.0, files.1, files.2).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{given} is of no use without {missing}: ")), "{error}");
        }
    }

    #[test]
    fn files_that_do_not_hold_together_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::new();
        let good = ca.issue(dir.path(), "good", &["127.0.0.1"]);
        assert!(Security::load(None, Some(good.clone())).is_ok());
        let other = Ca::new().issue(dir.path(), "other", &["127.0.0.1"]);
        let old = ca.issue_expired(dir.path(), "old");
        let nonsense = dir.path().join("nonsense");
        std::fs::write(&nonsense, "nonsense").unwrap();
        let cut = dir.path().join("cut");
        std::fs::write(&cut, "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
        let away = dir.path().join("away");
        let table = [
            (TlsFiles { ca: nonsense.clone(), ..good.clone() }, "peer_ca", "nonsense", "no certificate"),
            (TlsFiles { ca: cut, ..good.clone() }, "peer_ca", "cut", "is not PEM"),
            (TlsFiles { ca: away.clone(), ..good.clone() }, "peer_ca", "away", "cannot be read"),
            (TlsFiles { cert: good.key.clone(), ..good.clone() }, "peer_cert", "good.key", "no certificate"),
            (TlsFiles { cert: away.clone(), ..good.clone() }, "peer_cert", "away", "cannot be read"),
            (TlsFiles { cert: other.cert, ..good.clone() }, "peer_cert", "other.pem", "refused by peers"),
            (old, "peer_cert", "old.pem", "refused by peers"),
            (TlsFiles { key: nonsense, ..good.clone() }, "peer_key", "nonsense", "no private key"),
            (TlsFiles { key: away, ..good.clone() }, "peer_key", "away", "cannot be read"),
            (TlsFiles { key: other.key, ..good }, "peer_key", "other.key", "does not go with peer_cert"),
        ];
        for (files, key, file, words) in table {
            let error = Security::load(None, Some(files)).unwrap_err().to_string();
            assert!(error.starts_with(key) && error.contains(file) && error.contains(words), "{error}");
        }
    }
}
