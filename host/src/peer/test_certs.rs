//! Forge: certificates for tests.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

use super::TlsFiles;

/// Somebody who signs certificates.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these hosts, written to `dir` under this name, with its key and the signer's certificate.
    pub(crate) fn issue(&self, dir: &Path, name: &str, hosts: &[&str]) -> TlsFiles {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.write(dir, name, &CertificateParams::new(hosts).unwrap())
    }

    /// One that was good once.
    pub(crate) fn issue_expired(&self, dir: &Path, name: &str) -> TlsFiles {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2020, 1, 1);
        self.write(dir, name, &params)
    }

    fn write(&self, dir: &Path, name: &str, params: &CertificateParams) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        let file = |ending: &str, text: String| {
            let path = dir.join(format!("{name}.{ending}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        TlsFiles {
            ca: file("ca", self.0.pem()),
            cert: file("pem", cert.pem()),
            key: file("key", key.serialize_pem()),
        }
    }
}
