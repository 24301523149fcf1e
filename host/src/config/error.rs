//! Errors of reading the configuration. All of them are the operator's to mend before the node starts.

use std::path::PathBuf;

/// Why there is no valid configuration. Nothing has been started or written then.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there, or was named, but cannot be read.
    #[error("cannot read {what} {}", path.display())]
    Unreadable {
        /// What it is for.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML; the source says where.
    #[error("{} is not valid TOML", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line and column.
        source: Box<toml::de::Error>,
    },
    /// A key that no setting has.
    #[error("unknown key {key} in {origin}{}", nearest.as_ref().map(|it| format!(", did you mean {it}?")).unwrap_or_default())]
    Unknown {
        /// As it is written there.
        key: String,
        /// Which layer.
        origin: String,
        /// A key that looks like it, written as that layer writes it.
        nearest: Option<String>,
    },
    /// A value that its key does not take.
    #[error("{key} = {value} ({origin}): allowed is {allowed}")]
    Value {
        /// Which setting.
        key: String,
        /// What it was given.
        value: String,
        /// What it takes.
        allowed: String,
        /// Which layer.
        origin: String,
    },
    /// Two values that do not go together.
    #[error("{key} = {value} ({origin}) {problem}")]
    Conflict {
        /// Which setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// Which layer.
        origin: String,
        /// With what, and what would do.
        problem: String,
    },
}
