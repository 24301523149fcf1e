//! Etcd: what its settings need of each other.

use std::collections::BTreeMap;
use std::path::Path;

use tonic::transport::Uri;

use super::{Config, ConfigError};

const ALLOWED: &str =
    "allowed is HOST:PORT, http://HOST:PORT or https://HOST:PORT, several separated by commas";

impl Config {
    /// The addresses in `etcd_host`; empty for a node on its own.
    pub fn etcd_endpoints(&self) -> Vec<String> {
        let texts = self.etcd_host.iter().flat_map(|text| text.split(','));
        texts.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
    }
}

pub(super) fn check(config: &Config, sources: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let conflict = |key: &'static str, value: &str, problem: &str| {
        let origin = sources.get(key).cloned().unwrap_or_else(|| "default".into());
        Err(ConfigError::Conflict { key, value: value.to_owned(), origin, problem: problem.to_owned() })
    };
    let endpoints = config.etcd_endpoints();
    if let (Some(text), true) = (&config.etcd_host, endpoints.is_empty()) {
        return conflict("etcd_host", text, &format!("names no address: {ALLOWED}"));
    }
    if let Some(bad) = endpoints.iter().find(|endpoint| scheme(endpoint).is_none()) {
        return conflict("etcd_host", bad, &format!("is no address: {ALLOWED}"));
    }
    let secure = endpoints.iter().find(|endpoint| scheme(endpoint) == Some(Scheme::Https));
    if let (Some(endpoint), None) = (secure, &config.etcd_ca) {
        let problem = "needs etcd_ca = FILE, the certificates of who may sign etcd's: none are built in";
        return conflict("etcd_host", endpoint, problem);
    }
    let files =
        [("etcd_ca", &config.etcd_ca), ("etcd_cert", &config.etcd_cert), ("etcd_key", &config.etcd_key)];
    if let (None, Some((key, file))) =
        (secure, files.iter().find_map(|(key, file)| Some((key, file.as_ref()?))))
    {
        let problem = "is for https:// addresses, and etcd_host names none";
        return conflict(key, &file.display().to_string(), problem);
    }
    match (&config.etcd_cert, &config.etcd_key) {
        (Some(file), None) => {
            return conflict("etcd_cert", &file.display().to_string(), "needs etcd_key = FILE, its key");
        }
        (None, Some(file)) => {
            return conflict(
                "etcd_key",
                &file.display().to_string(),
                "needs etcd_cert = FILE, its certificate",
            );
        }
        _ => {}
    }
    match (&config.etcd_user, &config.etcd_password_file) {
        (Some(user), None) => return conflict("etcd_user", user, "needs etcd_password_file = FILE"),
        (None, Some(file)) => {
            return conflict("etcd_password_file", &file.display().to_string(), "needs etcd_user = NAME");
        }
        _ => {}
    }
    for (what, file) in [
        ("the certificates of etcd_ca", &config.etcd_ca),
        ("the certificate of etcd_cert", &config.etcd_cert),
        ("the key of etcd_key", &config.etcd_key),
    ] {
        file.as_ref().map_or(Ok(Vec::new()), |file| read(what, file))?;
    }
    if let Some(file) = &config.etcd_password_file
        && read("the password of etcd_password_file", file)?.trim_ascii().is_empty()
    {
        return conflict("etcd_password_file", &file.display().to_string(), "holds no password");
    }
    Ok(())
}

#[derive(PartialEq)]
enum Scheme {
    Http,
    Https,
}

/// None if it is no address.
fn scheme(endpoint: &str) -> Option<Scheme> {
    let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let uri = url.parse::<Uri>().ok()?;
    let authority = uri.authority()?;
    let fits = authority.port_u16().is_some()
        && !authority.as_str().contains('@')
        && uri.path() == "/"
        && uri.query().is_none();
    match uri.scheme_str() {
        Some("http") if fits => Some(Scheme::Http),
        Some("https") if fits => Some(Scheme::Https),
        _ => None,
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Unreadable { what, path: path.to_owned(), source })
}
