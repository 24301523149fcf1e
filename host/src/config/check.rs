//! Check: what no single value shows, and what lies outside the process.

use std::collections::BTreeMap;
use std::path::Path;

use super::{AUTH_KEY_MIN_BYTES, Auth, Config, ConfigError};

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
    match (config.auth, &config.auth_key) {
        (Auth::Token, None) => {
            conflict("auth", "token".into(), "needs auth_key = FILE, the secret that signs tokens".into())
        }
        (Auth::Token, Some(path)) => secret(path, sources.get("auth_key").map_or("default", String::as_str)),
        (Auth::Dev, _) => Ok(()),
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
