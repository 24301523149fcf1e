//! Options: where etcd is, and who we are there.

use std::fmt;
use std::time::Duration;

use etcd_client::{Certificate, Identity, TlsOptions};
use tonic::transport::Uri;

use crate::discovery::DiscoveryError;

/// The shortest and the longest life of a lease, seconds: etcd grants none below 2 with its default election timeout.
const TTL_S: std::ops::RangeInclusive<u64> = 2..=600;

/// What [`crate::discovery::Discovery::etcd`] is told.
#[derive(Clone)]
pub struct Options {
    /// `HOST:PORT`, `http://HOST:PORT` or `https://HOST:PORT`, at least one. One is used at a time; who does not answer
    /// is left for the next.
    pub endpoints: Vec<String>,
    /// What all keys begin with; a slash follows it. Empty is fine.
    pub prefix: String,
    /// Name and password for etcd's own authentication.
    pub user: Option<(String, String)>,
    /// For `https` endpoints, which need it: no root certificates are built in.
    pub tls: Option<Tls>,
    /// How long what is under the lease stays when this node is not heard of; whole seconds, 2 to 600.
    pub ttl: Duration,
}

/// Certificates, as PEM.
#[derive(Clone)]
pub struct Tls {
    /// Who may sign etcd's certificate.
    pub ca: Vec<u8>,
    /// This node's certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("tls", &self.tls.is_some())
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}

impl Options {
    /// What all keys begin with, and the life of a lease.
    pub(super) fn checked(&self) -> Result<(String, Duration), DiscoveryError> {
        let ttl_s = self.ttl.as_secs();
        if !TTL_S.contains(&ttl_s) {
            let (least, most) = (TTL_S.start(), TTL_S.end());
            return bad(format!("the lease lasts {ttl_s} s: allowed is {least} to {most}"));
        }
        if self.prefix.chars().any(char::is_control) {
            return bad(format!("the prefix {:?} has control characters", self.prefix));
        }
        if self.endpoints.is_empty() {
            return bad("no endpoint: at least one HOST:PORT is needed".into());
        }
        Ok((format!("{}/", self.prefix.trim_end_matches('/')), Duration::from_secs(ttl_s)))
    }

    /// The endpoint's URL, and what it needs of TLS.
    pub(super) fn endpoint(&self, text: &str) -> Result<(String, Option<TlsOptions>), DiscoveryError> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let allowed = "allowed is HOST:PORT, http://HOST:PORT or https://HOST:PORT";
        let Ok(uri) = url.parse::<Uri>() else {
            return bad(format!("endpoint {text:?} is no address: {allowed}"));
        };
        let plain = uri.path() == "/" && uri.query().is_none();
        let authority =
            uri.authority().is_some_and(|it| it.port_u16().is_some() && !it.as_str().contains('@'));
        match uri.scheme_str() {
            Some("http") if plain && authority => Ok((url, None)),
            Some("https") if plain && authority => match &self.tls {
                Some(tls) => Ok((url, Some(tls.options()?))),
                None => bad(format!("endpoint {text:?} needs the certificates of who may sign etcd's")),
            },
            _ => bad(format!("endpoint {text:?} is no address: {allowed}")),
        }
    }
}

impl Tls {
    fn options(&self) -> Result<TlsOptions, DiscoveryError> {
        // A text without any would be taken for a list of nobody.
        if !self.ca.windows(10).any(|text| text == b"-----BEGIN") {
            return bad("the certificates of who may sign etcd's are no PEM".into());
        }
        let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(&self.ca));
        Ok(match &self.identity {
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        })
    }
}

fn bad<T>(why: String) -> Result<T, DiscoveryError> {
    Err(DiscoveryError::Options { why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            endpoints: vec!["127.0.0.1:2379".into()],
            prefix: "/games/one/".into(),
            user: Some(("hotseat".into(), "a secret".into())),
            tls: None,
            ttl: Duration::from_secs(10),
        }
    }

    #[test]
    fn endpoints_are_addresses() {
        let options = options();
        for (text, url) in [
            ("etcd:2379", "http://etcd:2379"),
            ("http://[::1]:1", "http://[::1]:1"),
            ("http://a:1/", "http://a:1/"),
        ] {
            assert_eq!(options.endpoint(text).unwrap().0, url);
        }
        for bad in ["", "etcd", "etcd:x", "http://a", "http://a:1/v2", "ftp://a:1", "u:p@a:1", "a b:1"] {
            let error = options.endpoint(bad).unwrap_err().to_string();
            assert!(error.contains("allowed is HOST:PORT"), "{error}");
        }
        let error = options.endpoint("https://a:1").unwrap_err().to_string();
        assert!(error.contains("needs the certificates"), "{error}");
    }

    #[test]
    fn settings_have_bounds_and_secrets_are_not_shown() {
        let good = options();
        assert_eq!(good.checked().unwrap().0, "/games/one/");
        assert_eq!(Options { prefix: String::new(), ..options() }.checked().unwrap().0, "/");
        for bad in [
            Options { ttl: Duration::from_millis(1999), ..options() },
            Options { ttl: Duration::from_secs(601), ..options() },
            Options { endpoints: vec![], ..options() },
            Options { prefix: "a\n".into(), ..options() },
        ] {
            assert!(matches!(bad.checked(), Err(DiscoveryError::Options { .. })), "{bad:?}");
        }
        assert!(!format!("{good:?}").contains("a secret"));
        let tls = Tls { ca: b"nothing".to_vec(), identity: None };
        let error = tls.options().unwrap_err().to_string();
        assert!(error.contains("no PEM"), "{error}");
    }
}
