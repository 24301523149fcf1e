//! Check: what no single value shows, and what lies outside the process.

use std::collections::BTreeMap;
use std::path::Path;

use crate::peer::{Security, SecurityError, TlsFiles};

use super::{AUTH_KEY_MIN_BYTES, Auth, Config, ConfigError};

mod etcd;

/// The keys of a manifest that an operator can cap.
const CAPS: [&str; 4] = ["memory_mib", "deadline_ms", "snapshot_max_bytes", "tick_hz"];

pub(crate) fn check(config: &Config, sources: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let conflict = |key: &'static str, value: String, problem: String| {
        let origin = sources.get(key).cloned().unwrap_or_else(|| "default".into());
        Err(ConfigError::Conflict { key, value, origin, problem })
    };
    if config.max_rooms < config.home_rooms {
        let least = config.home_rooms;
        let problem = format!("is less than home_rooms = {least}: allowed is {least} to 1000000");
        return conflict("max_rooms", config.max_rooms.to_string(), problem);
    }
    for (plugin, caps) in &config.plugin_cap {
        for (key, value) in caps {
            if !CAPS.contains(&&**key) || value.parse::<u64>().is_err() {
                let problem = format!("is no cap: allowed is {} = a whole number", CAPS.join(", "));
                return conflict("plugin_cap", format!("{plugin}.{key}={value}"), problem);
            }
        }
    }
    // A legal frame that no burst can pay for would never get through.
    let burst = usize::try_from(config.bytes_burst).unwrap_or(usize::MAX);
    if config.limits && burst < config.frame_max_bytes {
        let least = config.frame_max_bytes;
        let problem = format!("is less than frame_max_bytes = {least}: allowed is {least} to 1073741824");
        return conflict("bytes_burst", burst.to_string(), problem);
    }
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&config.log) {
        let problem = format!(
            "is no filter ({error}): allowed is error, warn, info, debug, trace, off, or TARGET=LEVEL, comma between"
        );
        return conflict("log", format!("{:?}", config.log), problem);
    }
    peers(config, sources)?;
    etcd::check(config, sources)?;
    match (config.auth, &config.auth_key) {
        (Auth::Token, None) => {
            conflict("auth", "token".into(), "needs auth_key = FILE, the secret that signs tokens".into())
        }
        (Auth::Token, Some(path)) => secret(path, sources.get("auth_key").map_or("default", String::as_str)),
        (Auth::Dev, _) => Ok(()),
    }
}

/// Whether the node can show other nodes what it is to, and check what they show.
fn peers(config: &Config, sources: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let [token, ca, cert, key] =
        [&config.peer_token_file, &config.peer_ca, &config.peer_cert, &config.peer_key].map(Option::as_deref);
    let loaded = TlsFiles::of(ca, cert, key).and_then(|files| Security::load(token, files));
    loaded.map(drop).map_err(|error| {
        let conflict = |key: &'static str, value: Option<&Path>, problem| ConfigError::Conflict {
            key,
            value: value.unwrap_or(Path::new("")).display().to_string(),
            origin: sources.get(key).cloned().unwrap_or_else(|| "default".into()),
            problem,
        };
        match error {
            SecurityError::Read { key, path, source } => {
                ConfigError::Unreadable { what: what(key), path, source }
            }
            SecurityError::Content { key, path, problem } => conflict(key, Some(&path), problem),
            SecurityError::Alone { given, missing } => {
                let value = match given {
                    "peer_ca" => ca,
                    "peer_cert" => cert,
                    _ => key,
                };
                let problem = format!("needs {missing} = FILE: peer_ca, peer_cert and peer_key go together");
                conflict(given, value, problem)
            }
        }
    })
}

fn what(key: &str) -> &'static str {
    match key {
        "peer_token_file" => "the secret of peer_token_file",
        "peer_ca" => "the certificates of peer_ca",
        "peer_cert" => "the certificate of peer_cert",
        _ => "the private key of peer_key",
    }
}

/// Whether the secret can be read and is long enough, as the agent will see it: a file that is one line of text
/// counts without the line's end.
fn secret(path: &Path, origin: &str) -> Result<(), ConfigError> {
    let bytes = std::fs::read(path).map_err(|source| ConfigError::Unreadable {
        what: "the secret of auth_key",
        path: path.to_owned(),
        source,
    })?;
    let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let secret = line.filter(|line| line.iter().all(|byte| (0x20..0x7F).contains(byte))).unwrap_or(&bytes);
    if secret.len() >= AUTH_KEY_MIN_BYTES {
        return Ok(());
    }
    Err(ConfigError::Conflict {
        key: "auth_key",
        value: path.display().to_string(),
        origin: origin.to_owned(),
        problem: format!("holds {} bytes: allowed is {AUTH_KEY_MIN_BYTES} or more", secret.len()),
    })
}
